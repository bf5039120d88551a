//! What happens where browsers are missing: root gets them installed, everybody else is told
//! the command. The machine is made of a few scripts on a search path of their own.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A search path on which nothing but these scripts is found.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, scripts: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("shoal-xtask-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        for (program, script) in scripts {
            let path = folder.join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    /// Asks for the tests in browsers, which cannot run here; returns what is said.
    fn asks_for_browsers(&self) -> String {
        self.asks_for("browser")
    }

    fn asks_for(&self, parts: &str) -> String {
        let ended = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["test", "--part", parts])
            .env("PATH", &self.0)
            .output()
            .unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    }

    /// How apt-get was called, if it was.
    fn calls(&self) -> Option<String> {
        fs::read_to_string(self.0.join("calls")).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const APT: (&str, &str) = ("apt-get", "echo \"$@\" >> \"$PATH/calls\"");

#[test]
fn without_root_the_command_is_printed_and_nothing_is_installed() {
    let sudo = ("sudo", "exit 1");
    let machine = Machine::new("user", &[("id", "echo 1000"), sudo, APT]);
    let said = machine.asks_for_browsers();
    let command = "\n    sudo apt-get update && \
                   sudo apt-get install -y --no-install-recommends chromium firefox-esr";
    assert!(said.contains(command), "{said}");
    assert_eq!(machine.calls(), None);
    // One command for all, or there would be another to run after it.
    let said = machine.asks_for("browser,fuzz");
    let all = said.lines().find(|line| line.contains("sudo")).unwrap();
    assert!(all.ends_with(" g++"), "{said}");

    let machine = Machine::new("no-sudo", &[("id", "echo 1000"), APT]);
    let said = machine.asks_for_browsers();
    let command = "\n    su - -c 'apt-get update && \
                   apt-get install -y --no-install-recommends chromium firefox-esr";
    assert!(said.contains(command), "{said}");
    assert_eq!(machine.calls(), None);
}

#[test]
fn root_gets_them_installed() {
    let machine = Machine::new("root", &[("id", "echo 0"), APT]);
    let said = machine.asks_for_browsers();
    let calls = machine.calls().expect(&said);
    let wanted = "-qq update\n-qq install -y --no-install-recommends chromium firefox-esr";
    assert!(calls.starts_with(wanted), "{calls}");
    // It goes on to what comes after them.
    assert!(said.contains("Install Node 20 or later"), "{said}");
}

#[test]
fn an_installation_that_fails_is_told() {
    let apt = ("apt-get", "echo no network >&2; exit 100");
    let said = Machine::new("failing", &[("id", "echo 0"), apt]).asks_for_browsers();
    assert!(said.contains("no network"), "{said}");
    assert!(said.contains("`apt-get -qq update` ended with"), "{said}");
}
