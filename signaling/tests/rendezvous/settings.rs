//! What an operator sets: where it may stand, which place goes first, and what is said of
//! what cannot be.

use crate::process::{command, fails};
use crate::rig::PATIENCE;
use proptest::prelude::*;
use shoal_signaling::{
    limits::LIMITS,
    settings::{self, SETTINGS, Settings},
};
use std::{collections::BTreeMap, path::PathBuf};
use tokio::time::timeout;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) -> String {
        let path = self.0.join("shoal.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let arguments = ["shoal-signaling"].iter().chain(arguments);
    let invocation = settings::invocation(arguments.map(Into::into)).unwrap();
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    settings::load(&invocation, |name| {
        variables.get(name).map(|&text| text.into())
    })
    .map_err(|error| error.to_string())
}

#[test]
fn a_flag_goes_before_a_variable_before_a_file_before_the_default() {
    let folder = Folder::new("layers");
    let file = folder.file("connections = 3\nlease-seconds = 3.5\nallow-origin = ['https://a']");
    let connections = |arguments: &[&str], variables: &[(&str, &str)]| {
        load(arguments, variables).unwrap().limits.connections
    };
    let variable = ("SHOAL_CONNECTIONS", "2");
    let config = ["--config", &file];
    let both = ["--config", &file, "--connections", "1"];
    assert_eq!(
        connections(&[], &[]),
        Settings::default().limits.connections
    );
    assert_eq!(connections(&config, &[]), 3);
    assert_eq!(connections(&[], &[("SHOAL_CONFIG", &file)]), 3);
    assert_eq!(connections(&config, &[variable]), 2);
    assert_eq!(connections(&both, &[variable]), 1);

    let all = load(&both, &[variable]).unwrap();
    assert_eq!(all.limits.lease.as_millis(), 3_500);
    assert_eq!(all.allowed_origins, ["https://a"]);
    let variables = [("SHOAL_ALLOW_ORIGIN", "https://b,https://c:443")];
    let origins = load(&config, &variables).unwrap().allowed_origins;
    assert_eq!(
        origins,
        ["https://b", "https://c"],
        "a list is replaced whole"
    );
    let flags = ["--allow-origin", "https://d", "--allow-origin", "https://e"];
    let origins = load(&flags, &variables).unwrap().allowed_origins;
    assert_eq!(origins, ["https://d", "https://e"]);

    let filter = |variables: &[(&str, &str)]| load(&[], variables).unwrap().log_filter;
    assert_eq!(filter(&[("RUST_LOG", "warn")]), "warn");
    let both = [("RUST_LOG", "warn"), ("SHOAL_LOG_FILTER", "debug")];
    assert_eq!(filter(&both), "debug");
    assert!(
        load(&[], &[("SHOAL_PORT", "tcp://10.0.0.1:80")]).is_ok(),
        "not ours"
    );
}

#[test]
fn a_pong_may_take_two_heartbeats_unless_it_is_said() {
    let pong = |arguments: &[&str]| load(arguments, &[]).unwrap().limits.pong_timeout.as_secs();
    assert_eq!(pong(&[]), 30);
    assert_eq!(pong(&["--heartbeat-seconds", "20"]), 40);
    let said = ["--heartbeat-seconds", "20", "--pong-timeout-seconds", "50"];
    assert_eq!(pong(&said), 50);
}

#[test]
fn what_cannot_be_names_key_place_and_what_is_allowed() {
    let folder = Folder::new("errors");
    for (text, words) in [
        ("conections = 1", "conections: there is no such key"),
        (
            "connections = 0",
            "connections: must be a whole number from 1 to",
        ),
        (
            "connections = 'many'",
            "connections: must be a whole number",
        ),
        (
            "connections = [1, 2]",
            "connections: must be one value, not a list",
        ),
        ("connections = { of = 1 }", "connections: must be a value"),
        (
            "lease-seconds = -1",
            "lease-seconds: must be a number of seconds from 0.01",
        ),
        (
            "lease-seconds = nan",
            "lease-seconds: must be a number of seconds",
        ),
        ("connections", "line 1"),
        ("connections = 1\nconnections = 2", "duplicate key"),
    ] {
        let file = folder.file(text);
        let error = load(&["--config", &file], &[]).unwrap_err();
        assert!(
            error.contains(words) && error.starts_with(&file),
            "{text}: {error}"
        );
    }
    let error = load(&["--config", "/none.toml"], &[]).unwrap_err();
    assert!(error.starts_with("/none.toml: cannot be read"), "{error}");
    for (name, value, words) in [
        (
            "SHOAL_LEASE_SECONDS",
            "soon",
            "from 0.01 to 86400; it is soon",
        ),
        ("SHOAL_IPV6_PREFIX", "129", "from 1 to 128"),
        (
            "SHOAL_TRUSTED_PROXY",
            "10.0.0.0/8,10.0.0.0/33",
            "must be a network",
        ),
        (
            "SHOAL_FORWARDED_HEADER",
            "via",
            "x-forwarded-for or forwarded",
        ),
        ("SHOAL_LOG_FORMAT", "xml", "text or json"),
        ("SHOAL_LOG_FILTER", "loud=quiet", "must be a filter"),
        ("SHOAL_METRICS_LISTEN", "9100", "or main, or none"),
        ("SHOAL_ICE_SERVER", "none,stun:a", "none stands alone"),
        ("SHOAL_HEARTBEAT_SECONDS", "", "must be a number of seconds"),
    ] {
        let error = load(&[], &[(name, value)]).unwrap_err();
        assert!(error.contains(words), "{name}: {error}");
    }
    let flags = ["--heartbeat-seconds", "20", "--pong-timeout-seconds", "10"];
    let error = load(&flags, &[]).unwrap_err();
    let words = "heartbeat-seconds must not be more than pong-timeout-seconds";
    assert_eq!(
        error,
        format!("--heartbeat-seconds, --pong-timeout-seconds: {words}")
    );
    // The default of the other is nowhere.
    let error = load(&[], &[("SHOAL_PONG_TIMEOUT_SECONDS", "10")]).unwrap_err();
    assert_eq!(error, format!("SHOAL_PONG_TIMEOUT_SECONDS: {words}"));
    let file = folder.file("tls-key = 'key.pem'");
    let error = load(&["--config", &file], &[]).unwrap_err();
    assert_eq!(error, format!("{file}: tls-key: needs tls-cert too"));
    let error = load(&["--heartbeat-seconds", "21"], &[]).unwrap_err();
    assert!(
        error.starts_with("--heartbeat-seconds: ") && error.contains("to 20;"),
        "{error}"
    );
    let error = load(&["--catalog-bytes", "40000000"], &[]).unwrap_err();
    let words = "catalog-bytes must not be more than half of catalog-bytes-per-address";
    assert_eq!(error, format!("--catalog-bytes: {words}"));
    assert!(
        load(&["--connections", "-1"], &[])
            .unwrap_err()
            .starts_with("--connections: ")
    );
}

/// As if they were not set, pages of every origin would be let in.
#[cfg(unix)]
#[test]
fn variables_that_are_no_text_are_said() {
    use std::os::unix::ffi::OsStringExt;
    let damaged = |name: &str| {
        let bytes = b"https://site\xff.example".to_vec();
        (name == "SHOAL_ALLOW_ORIGIN").then(|| std::ffi::OsString::from_vec(bytes))
    };
    let error = settings::load(&Default::default(), damaged).unwrap_err();
    assert_eq!(error.to_string(), "SHOAL_ALLOW_ORIGIN: must be UTF-8");
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let folder = Folder::new("print");
    let flags = [
        "--listen",
        "[::]:443",
        "--metrics-listen",
        "127.0.0.1:9100",
        "--ice-server",
        "stun:a",
        "--ice-server",
        "turn:joe:p\"a\\ss@b:1?transport=tcp",
        "--turn-url",
        "turns:turn.example:443?transport=tcp",
        "--turn-secret-file",
        "/run/secrets/turn",
        "--turn-lifetime-seconds",
        "600.5",
        "--allow-origin",
        "https://x",
        "--trusted-proxy",
        "10.0.0.0/8",
        "--trusted-proxy",
        "2001:db8::1",
        "--forwarded-header",
        "forwarded",
        "--identity",
        "/var/lib/shoal/id \u{fc}\n",
        "--tls-cert",
        "c.pem",
        "--tls-key",
        "k.pem",
        "--log-filter",
        "warn,shoal_signaling=debug",
        "--log-format",
        "json",
        "--lease-seconds",
        "0.25",
        "--drain-seconds",
        "0",
        "--peer-joins-per-second",
        "0.125",
    ];
    for arguments in [&[][..], &flags] {
        let settings = load(arguments, &[]).unwrap();
        let text = settings.to_toml();
        for key in SETTINGS
            .iter()
            .map(|it| it.key)
            .chain(LIMITS.iter().map(|it| it.key))
        {
            let names = |line: &str| {
                line.starts_with(&format!("{key} = "))
                    || line == format!("# {key} is not set")
                    || line == format!("# {key} is not shown")
            };
            assert_eq!(text.lines().filter(|line| names(line)).count(), 1, "{key}");
        }
        let again = load(&["--config", &folder.file(&text)], &[]).unwrap();
        assert_eq!(again, settings, "{text}");
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn the_turn_secret_comes_from_the_environment_or_the_file_and_is_never_shown() {
    let folder = Folder::new("secret");
    let file = folder.file("turn-secret = 'hush'");
    let url = ["--turn-url", "turn:a", "--config", &file];
    for settings in [
        load(&url, &[]).unwrap(),
        load(&url[..2], &[("SHOAL_TURN_SECRET", "hush")]).unwrap(),
    ] {
        assert!(settings.turn().unwrap().is_some());
        let shown = settings.to_toml();
        assert!(
            shown.contains("turn:a") && !shown.contains("hush"),
            "{shown}"
        );
        assert!(!format!("{settings:?}").contains("hush"));
    }
    let error = load(
        &["--config", &folder.file("turn-secret = ['hush', 'hush']")],
        &[],
    );
    let error = error.unwrap_err();
    assert!(
        error.contains("turn-secret: must be one value") && !error.contains("hush"),
        "{error}"
    );
    let flag = ["shoal-signaling", "--turn-secret", "hush"];
    let error = settings::invocation(flag.map(Into::into)).unwrap_err();
    assert!(error.to_string().contains("unexpected argument"), "{error}");
}

proptest! {
    /// Each bound takes what it shows, whichever value of those allowed it has.
    #[test]
    fn bounds_read_what_they_show(number in 1u32..1_000_000, at in 0..LIMITS.len()) {
        let limit = &LIMITS[at];
        let mut limits = Settings::default().limits;
        let (before, text) = (limits.clone(), number.to_string());
        if (limit.read)(&mut limits, std::slice::from_ref(&text)).is_ok() {
            let shown = (limit.show)(&limits).unwrap().to_string();
            prop_assert_eq!(&shown, &text, "{}", limit.key);
        } else {
            prop_assert_eq!(limits, before);
        }
    }
}

#[tokio::test]
async fn the_command_prints_its_settings_and_ends() {
    let folder = Folder::new("command");
    let mut printing = command(&["--print-config", "--lease-seconds", "7"]);
    printing.env("SHOAL_CONNECTIONS", "77");
    let ended = timeout(PATIENCE, printing.output()).await.unwrap().unwrap();
    assert!(ended.status.success());
    let text = String::from_utf8(ended.stdout).unwrap();
    let settings = load(&["--config", &folder.file(&text)], &[]).unwrap();
    assert_eq!(settings.limits.lease.as_secs(), 7);
    assert_eq!(settings.limits.connections, 77);

    let mut wrong = command(&[]);
    wrong.env("SHOAL_CONNECTIONS", "all");
    let message = fails(wrong).await;
    assert!(
        message.contains("SHOAL_CONNECTIONS: must be a whole number"),
        "{message}"
    );
}
