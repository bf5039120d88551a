//! The command itself.

use crate::process::{command, fails, start};

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
        (&["--tls-cert", "cert.pem"], "--tls-cert: needs tls-key"),
        (
            &["--allow-origin", "https://*.example.org"],
            "--allow-origin",
        ),
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
