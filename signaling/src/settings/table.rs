//! The settings that are not bounds.

use super::{LogFormat, MetricsListen, Settings};
use crate::{
    address::ForwardedHeader,
    ice::IceArgument,
    setting::{Setting, Shown, Value, one, read},
    settings::origin::parse_origin,
    turn::{LIFETIME, Secret},
};
use std::path::PathBuf;

/// A setting that is no number and takes one value.
const TEXT: Setting<Settings> = Setting {
    key: "",
    unit: "",
    meaning: &[],
    origin: "",
    many: false,
    also: None,
    secret: false,
    read: |_, _| Ok(()),
    show: |_| None,
};

/// All settings that are not bounds, in the order in which they are shown.
pub const SETTINGS: &[Setting<Settings>] = &[
    Setting {
        key: "listen",
        unit: "ADDRESS:PORT",
        meaning: &["Address and port to listen on; port 0 picks a free one."],
        origin: "Nobody outside of this machine gets in unasked.",
        read: |settings, texts| {
            settings.listen = place(one(texts)?)?;
            Ok(())
        },
        show: |settings| Some(Shown::Text(settings.listen.clone())),
        ..TEXT
    },
    Setting {
        key: "metrics-listen",
        unit: "ADDRESS:PORT",
        meaning: &[
            "Address and port for `/metrics`, which is then served nowhere else; `main`: with \
             everything else; `none`: nowhere.",
        ],
        origin: "One port is the simplest. They hold counts alone, yet who is on the internet \
                 rarely wants them public.",
        read: |settings, texts| {
            settings.metrics_listen = match one(texts)? {
                "main" => MetricsListen::Main,
                "none" => MetricsListen::Nowhere,
                text => MetricsListen::At(
                    place(text).map_err(|words| format!("{words}, or main, or none"))?,
                ),
            };
            Ok(())
        },
        show: |settings| {
            Some(Shown::Text(match &settings.metrics_listen {
                MetricsListen::Main => "main".into(),
                MetricsListen::Nowhere => "none".into(),
                MetricsListen::At(place) => place.clone(),
            }))
        },
        ..TEXT
    },
    Setting {
        key: "ice-server",
        unit: "URL",
        many: true,
        meaning: &["ICE server for peers, repeatable: stun:HOST[:PORT], \
             turn:USER:PASSWORD@HOST[:PORT][?transport=tcp], or none. By default none on \
             loopback, elsewhere stun:stun.l.google.com:19302."],
        origin: "Without STUN, peers behind different NATs never meet.",
        read: |settings, texts| {
            settings.ice_servers = each(texts, |text| {
                text.parse()
                    .map_err(|error: crate::ice::InvalidIceServer| error.to_string())
            })?;
            Ok(())
        },
        show: |settings| shown(&settings.ice_servers, IceArgument::to_string),
        ..TEXT
    },
    Setting {
        key: "turn-url",
        unit: "URL",
        many: true,
        meaning: &[
            "TURN server that takes accounts that end (coturn with use-auth-secret), repeatable: \
             turn:HOST[:PORT][?transport=udp|tcp] or turns:…. Each peer gets accounts of its own.",
        ],
        origin: "A TURN server is the operator's own.",
        read: |settings, texts| {
            settings.turn.urls = each(texts, |text| {
                text.parse()
                    .map_err(|error: crate::turn::InvalidTurnUrl| error.to_string())
            })?;
            Ok(())
        },
        show: |settings| shown(&settings.turn.urls, ToString::to_string),
        ..TEXT
    },
    Setting {
        key: "turn-secret",
        unit: "SECRET",
        secret: true,
        meaning: &[
            "The secret of the TURN servers, coturn's static-auth-secret: in the environment or \
             the file, or in a file of its own.",
        ],
        origin: "Goes with turn-url.",
        read: |settings, texts| {
            settings.turn.secret = Some(Secret::new(one(texts)?));
            Ok(())
        },
        ..TEXT
    },
    Setting {
        key: "turn-secret-file",
        unit: "FILE",
        meaning: &["File with this secret alone."],
        origin: "Goes with turn-url.",
        read: |settings, texts| {
            settings.turn.secret_file = Some(file(texts)?);
            Ok(())
        },
        show: |settings| path(settings.turn.secret_file.as_ref()),
        ..TEXT
    },
    Setting {
        key: "turn-lifetime-seconds",
        unit: "seconds",
        meaning: &[
            "For how long such an account is good; it is renewed at half of this. At least four \
             heartbeats.",
        ],
        origin: "Guess: a browser that keeps an account for itself has it for no longer.",
        read: |settings, texts| {
            settings.turn.lifetime = read(texts, LIFETIME)?;
            Ok(())
        },
        show: |settings| Some(settings.turn.lifetime.show()),
        ..TEXT
    },
    Setting {
        key: "allow-origin",
        unit: "ORIGIN",
        many: true,
        meaning: &[
            "Origin whose pages may connect, as in https://example.org, repeatable; by default \
             all.",
        ],
        origin: "The package is for pages of any origin.",
        read: |settings, texts| {
            settings.allowed_origins = each(texts, parse_origin)?;
            Ok(())
        },
        show: |settings| shown(&settings.allowed_origins, String::clone),
        ..TEXT
    },
    Setting {
        key: "trusted-proxy",
        unit: "NETWORK",
        many: true,
        meaning: &[
            "Network of proxies, as in 10.0.0.0/8, repeatable: what they say of a client's \
             address is believed. By default none is.",
        ],
        origin: "Anybody can send the header.",
        read: |settings, texts| {
            settings.trusted_proxies = each(texts, |text| {
                let lone = || text.parse::<std::net::IpAddr>().map(Into::into);
                text.parse().or_else(|_| lone()).map_err(|_| {
                    "must be a network, as in 10.0.0.0/8 or 2001:db8::/32, or an address".into()
                })
            })?;
            Ok(())
        },
        show: |settings| shown(&settings.trusted_proxies, ToString::to_string),
        ..TEXT
    },
    Setting {
        key: "forwarded-header",
        unit: "",
        meaning: &[
            "The header in which trusted proxies say it: x-forwarded-for, or forwarded (RFC \
             7239). Only this one is read, since a proxy passes on the others as they came.",
        ],
        origin: "What most proxies send.",
        read: |settings, texts| {
            settings.forwarded_header = match one(texts)? {
                "x-forwarded-for" => ForwardedHeader::XForwardedFor,
                "forwarded" => ForwardedHeader::Forwarded,
                _ => return Err("must be x-forwarded-for or forwarded".into()),
            };
            Ok(())
        },
        show: |settings| {
            let name = settings.forwarded_header.name();
            Some(Shown::Text(name.as_str().into()))
        },
        ..TEXT
    },
    Setting {
        key: "identity",
        unit: "FILE",
        meaning: &[
            "File with the server's identity, made if there is none; by default each start has \
             a new one.",
        ],
        origin: "A trial leaves no files.",
        read: |settings, texts| {
            settings.identity = Some(file(texts)?);
            Ok(())
        },
        show: |settings| path(settings.identity.as_ref()),
        ..TEXT
    },
    Setting {
        key: "tls-cert",
        unit: "FILE",
        meaning: &["Certificate chain (PEM) to serve https and wss."],
        origin: "Most servers on the internet have a proxy for it.",
        read: |settings, texts| {
            settings.tls_cert = Some(file(texts)?);
            Ok(())
        },
        show: |settings| path(settings.tls_cert.as_ref()),
        ..TEXT
    },
    Setting {
        key: "tls-key",
        unit: "FILE",
        meaning: &["Private key (PEM) of the certificate."],
        origin: "Goes with tls-cert.",
        read: |settings, texts| {
            settings.tls_key = Some(file(texts)?);
            Ok(())
        },
        show: |settings| path(settings.tls_key.as_ref()),
        ..TEXT
    },
    Setting {
        key: "log-filter",
        unit: "FILTER",
        also: Some("RUST_LOG"),
        meaning: &[
            "What is logged to standard error: off, error, warn, info, debug, trace, or \
             directives of tracing-subscriber's EnvFilter. From debug on, logs name addresses.",
        ],
        origin: "Tells the operator what to look at, and nothing of anybody else.",
        read: |settings, texts| {
            let text = one(texts)?;
            tracing_subscriber::EnvFilter::try_new(text)
                .map_err(|error| format!("must be a filter such as info: {error}"))?;
            settings.log_filter = text.into();
            Ok(())
        },
        show: |settings| Some(Shown::Text(settings.log_filter.clone())),
        ..TEXT
    },
    Setting {
        key: "log-format",
        unit: "",
        meaning: &["How it is logged: text, or json, an object a line."],
        origin: "People read it first.",
        read: |settings, texts| {
            settings.log_format = match one(texts)? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err("must be text or json".into()),
            };
            Ok(())
        },
        show: |settings| {
            Some(Shown::Text(match settings.log_format {
                LogFormat::Text => "text".into(),
                LogFormat::Json => "json".into(),
            }))
        },
        ..TEXT
    },
];

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parse(text.trim())).collect()
}

/// A host or address with a port. Whether it can be listened on is seen when that is tried.
fn place(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        (!host.is_empty()).then_some(port)
    });
    match port {
        Some(_) => Ok(text.into()),
        None => Err("must be an address and a port, as in 127.0.0.1:8080 or [::]:8080".into()),
    }
}

fn file(texts: &[String]) -> Result<PathBuf, String> {
    match one(texts)? {
        "" => Err("must be the path of a file".into()),
        text => Ok(text.into()),
    }
}

fn path(path: Option<&PathBuf>) -> Option<Shown> {
    // It was read from text, so it is text.
    path.map(|path| Shown::Text(path.to_string_lossy().into_owned()))
}

fn shown<T>(values: &[T], text: impl Fn(&T) -> String) -> Option<Shown> {
    (!values.is_empty()).then(|| Shown::List(values.iter().map(text).collect()))
}
