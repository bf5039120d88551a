//! The command itself.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    pub line: String,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-signaling"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub async fn start(arguments: &[&str]) -> Running {
    let mut child = command(arguments).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    timeout(crate::rig::PATIENCE, out.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    Running { child, out, line }
}

impl Running {
    /// Ends it with SIGTERM; returns what it wrote to standard error.
    pub async fn terminate(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").arg(&pid).status();
        assert!(kill.await.unwrap().success());
        let ended = timeout(Duration::from_secs(10), self.child.wait_with_output());
        let ended = ended.await.unwrap().unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "", "nothing more on standard output");
        (ended.status, String::from_utf8(ended.stderr).unwrap())
    }
}

#[tokio::test]
async fn the_first_line_says_where_it_listens() {
    let running = start(&["--listen", "127.0.0.1:0"]).await;
    let port = running.line.strip_prefix("listening on http://127.0.0.1:");
    let port: u16 = port.unwrap().trim_end().parse().unwrap();
    assert_ne!(port, 0);
    let (status, log) = running.terminate().await;
    assert!(status.success(), "{status}");
    assert!(log.contains("closing"), "{log}");
    assert!(!log.contains('\x1b'), "no colours into a pipe: {log}");
}

#[tokio::test]
async fn an_identity_lasts_if_it_has_a_file() {
    let folder = std::env::temp_dir().join(format!("shoal-identity-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("identity");
    let path = file.to_str().unwrap();
    let mut ids = Vec::new();
    for arguments in [
        &["--listen", "127.0.0.1:0", "--identity", path][..],
        &["--listen", "127.0.0.1:0", "--identity", path],
        &["--listen", "127.0.0.1:0"],
    ] {
        let (status, log) = start(arguments).await.terminate().await;
        assert!(status.success());
        let at = log.find("12D3KooW").unwrap();
        ids.push(log[at..at + 52].to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    std::fs::write(&file, "no identity").unwrap();
    let failed = command(&["--listen", "127.0.0.1:0", "--identity", path]);
    let message = fails(failed).await;
    assert!(message.contains("does not hold an identity"), "{message}");
    std::fs::remove_dir_all(&folder).unwrap();
}

pub async fn fails(mut command: Command) -> String {
    let ended = timeout(crate::rig::PATIENCE, command.output());
    let ended = ended.await.unwrap().unwrap();
    assert!(!ended.status.success());
    String::from_utf8(ended.stderr).unwrap()
}

#[tokio::test]
async fn what_cannot_be_is_said_at_the_start() {
    for (arguments, words) in [
        (&["--listen", "nowhere"][..], "--listen"),
        // A network for documentation (RFC 5737): no machine's own.
        (&["--listen", "192.0.2.1:1"], "cannot listen on 192.0.2.1:1"),
        (&["--ice-server", "turn:host"], "--ice-server"),
        (&["--allow-origin", "example.org"], "--allow-origin"),
        (&["--lease-seconds", "0"], "--lease-seconds"),
        (&["--heartbeat-seconds", "soon"], "--heartbeat-seconds"),
        (&["--tls-cert", "cert.pem"], "--tls-key"),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--tls-cert",
                "no.pem",
                "--tls-key",
                "no.pem",
            ],
            "no.pem",
        ),
    ] {
        let message = fails(command(arguments)).await;
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}
