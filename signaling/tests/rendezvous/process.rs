//! The command in a process of its own.

use std::{
    net::SocketAddr,
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
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let (_, address) = self.line.trim_end().rsplit_once('/').unwrap();
        address.parse().unwrap()
    }

    /// Bytes of memory that it has, where the system says so.
    pub fn resident(&self) -> Option<usize> {
        let pid = self.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes = line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?;
        Some(kibibytes * 1024)
    }

    /// Ends it as a lack of memory would (SIGKILL).
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

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

pub async fn fails(mut command: Command) -> String {
    let ended = timeout(crate::rig::PATIENCE, command.output());
    let ended = ended.await.unwrap().unwrap();
    assert!(!ended.status.success());
    String::from_utf8(ended.stderr).unwrap()
}
