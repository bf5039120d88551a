//! `docs/operating.md` lists what there is: every setting, every metric.
//!
//! With SHOAL_WRITE_DOCS=1 the lists are written anew.

use crate::http::ask;
use crate::rig::{Client, Server};
use shoal_signaling::{
    limits::{LIMITS, Limits},
    setting::Setting,
    settings::{SETTINGS, Settings},
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// One list is written at a time.
static FILE: Mutex<()> = Mutex::new(());

fn check(name: &str, wanted: &str) {
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (head, rest) = text.split_once(&begin).unwrap();
    let (listed, tail) = rest.split_once(&end).unwrap();
    if std::env::var_os("SHOAL_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
    } else {
        assert_eq!(
            listed, wanted,
            "docs/operating.md; SHOAL_WRITE_DOCS=1 writes it"
        );
    }
}

fn row<T>(table: &mut String, setting: &Setting<T>, of: &T) {
    let default = match (setting.show)(of) {
        Some(value) => format!("`{value}`"),
        None => "not set".into(),
    };
    let (meaning, unit) = (setting.meaning(), setting.unit);
    let cells = [
        &format!("`{}`", setting.key),
        &meaning,
        unit,
        &default,
        setting.origin,
    ];
    writeln!(
        table,
        "| {} |",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    )
    .unwrap();
}

#[test]
fn every_setting_is_listed() {
    let mut table = String::from("| key | meaning | unit | default | origin of the default |\n");
    table += "|---|---|---|---|---|\n";
    for setting in SETTINGS {
        row(&mut table, setting, &Settings::default());
    }
    for limit in LIMITS {
        row(&mut table, limit, &Limits::default());
    }
    check("settings", &table);
}

#[tokio::test]
async fn every_metric_is_listed() {
    let server = Server::start().await;
    // What is counted by a label is told of once there is one.
    ask(&server, "GET", "/v1/server", "").await;
    drop(Client::connect(&server, 1).await);
    server.settles(|gauges| gauges.connections == 0).await;
    let answer = ask(&server, "GET", "/metrics", "").await;
    let text = String::from_utf8(answer.bytes).unwrap();
    let mut metrics = BTreeMap::<&str, [&str; 2]>::new();
    for line in text.lines() {
        for (at, prefix) in ["# TYPE ", "# HELP "].iter().enumerate() {
            if let Some((name, said)) = line.strip_prefix(prefix).and_then(|it| it.split_once(' '))
            {
                metrics.entry(name).or_default()[at] = said;
            }
        }
    }
    let mut table = String::from("| metric | type | meaning |\n|---|---|---|\n");
    for (name, [kind, help]) in metrics {
        let help = help.trim_end_matches('.');
        let suffix = if kind == "counter" { "_total" } else { "" };
        writeln!(table, "| `{name}{suffix}` | {kind} | {help} |").unwrap();
    }
    check("metrics", &table);
}
