//! What an operator sets, and how it comes together: flag before environment variable before
//! file before default.

mod command;
mod layers;
mod origin;
mod table;

pub use command::{Invocation, invocation};
pub use layers::{SettingsError, load};
pub use table::SETTINGS;

use crate::{
    address::{ForwardedHeader, Proxies},
    ice::{self, IceArgument},
    limits::{LIMITS, Limits},
    turn::{Turn, TurnError, TurnSettings},
};
use ipnet::IpNet;
use shoal_protocol::rendezvous::IceServer;
use std::{fmt::Write, path::PathBuf};

/// Where `/metrics` is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// With everything else.
    Main,
    /// Nowhere.
    Nowhere,
    /// At this address and port alone.
    At(String),
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address and port to listen on.
    pub listen: String,
    /// Where `/metrics` is served.
    pub metrics_listen: MetricsListen,
    /// ICE servers for peers; none set: the default.
    pub ice_servers: Vec<IceArgument>,
    /// TURN servers at which each peer has an account of its own.
    pub turn: TurnSettings,
    /// Origins whose pages may connect; empty: all. In the form browsers send.
    pub allowed_origins: Vec<String>,
    /// Networks of proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it.
    pub forwarded_header: ForwardedHeader,
    /// File with the server's identity.
    pub identity: Option<PathBuf>,
    /// Certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// What is logged, as tracing-subscriber's `EnvFilter` has it.
    pub log_filter: String,
    /// How.
    pub log_format: LogFormat,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            metrics_listen: MetricsListen::Main,
            ice_servers: Vec::new(),
            turn: TurnSettings::default(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            identity: None,
            tls_cert: None,
            tls_key: None,
            log_filter: "info".into(),
            log_format: LogFormat::Text,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Whose word on addresses is taken.
    pub fn proxies(&self) -> Proxies {
        Proxies {
            trusted: self.trusted_proxies.clone(),
            header: self.forwarded_header,
        }
    }

    /// What peers get as ICE servers from a server that listens on loopback or elsewhere.
    pub fn ice_servers(&self, loopback: bool) -> Vec<IceServer> {
        let default = ice::DEFAULT.parse().into_iter().collect();
        let arguments: Vec<IceArgument> = match &self.ice_servers[..] {
            [] if loopback => Vec::new(),
            [] => default,
            given => given.to_vec(),
        };
        let server = |argument| match argument {
            IceArgument::None => None,
            IceArgument::Server(server) => Some(server),
        };
        arguments.into_iter().filter_map(server).collect()
    }

    /// What makes accounts of TURN servers, if there are any; reads the secret's file.
    pub fn turn(&self) -> Result<Option<Turn>, TurnError> {
        self.turn.load(self.limits.heartbeat)
    }

    /// All of it as a file that can be read back, but for secrets. Holds passwords of
    /// `ice-server`.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            describe(&mut text, setting, self);
        }
        for limit in LIMITS {
            describe(&mut text, limit, &self.limits);
        }
        text
    }

    /// What no single key can tell.
    fn check(&self) -> Result<(), Conflict> {
        let limits = &self.limits;
        let conflict = |keys: &[&'static str], words: &str| {
            Err(Conflict {
                keys: keys.to_vec(),
                words: words.into(),
            })
        };
        if self.ice_servers.len() > 1 && self.ice_servers.contains(&IceArgument::None) {
            let words = "none stands alone: leave it out, or leave the servers out";
            return conflict(&["ice-server"], words);
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => return conflict(&["tls-cert"], "needs tls-key too"),
            (None, Some(_)) => return conflict(&["tls-key"], "needs tls-cert too"),
            _ => {}
        }
        for (less, part_of, more, fits) in [
            (
                "heartbeat-seconds",
                "",
                "pong-timeout-seconds",
                limits.heartbeat <= limits.pong_timeout,
            ),
            (
                "queued-per-sender",
                "",
                "queued-signals",
                limits.queued_per_sender <= limits.queued_signals,
            ),
            (
                "catalog-bytes",
                // What is there is held too while another comes.
                "half of ",
                "all-catalog-bytes",
                limits.catalog_bytes <= limits.all_catalog_bytes / 2,
            ),
            (
                "catalog-bytes",
                "half of ",
                "catalog-bytes-per-address",
                limits.catalog_bytes <= limits.catalog_bytes_per_address / 2,
            ),
        ] {
            if !fits {
                return conflict(
                    &[less, more],
                    &format!("{less} must not be more than {part_of}{more}"),
                );
            }
        }
        Ok(())
    }
}

/// Settings that cannot be together.
#[derive(Debug)]
struct Conflict {
    keys: Vec<&'static str>,
    words: String,
}

fn describe<T>(text: &mut String, setting: &crate::setting::Setting<T>, of: &T) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# {} {}", setting.meaning(), setting.origin);
    let _ = match (setting.show)(of) {
        _ if setting.secret => write!(text, "\n# {} is not shown\n\n", setting.key),
        Some(value) => write!(text, "\n{} = {value}\n\n", setting.key),
        None => write!(text, "\n# {} is not set\n\n", setting.key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_those_named_or_the_default() {
        let count = |texts: &[&str], loopback| {
            let settings = Settings {
                ice_servers: texts.iter().map(|text| text.parse().unwrap()).collect(),
                ..Settings::default()
            };
            settings.check().unwrap();
            settings.ice_servers(loopback).len()
        };
        assert_eq!(count(&[], true), 0);
        assert_eq!(count(&[], false), 1);
        assert_eq!(count(&["none"], false), 0);
        assert_eq!(count(&["stun:a", "stun:b"], true), 2);
    }

    #[test]
    fn keys_are_spelled_alike_and_once() {
        let mut keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        keys.extend(LIMITS.iter().map(|limit| limit.key));
        for key in &keys {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(key.bytes().all(|byte| plain(byte) || byte == b'-'), "{key}");
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
