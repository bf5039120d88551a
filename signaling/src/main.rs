//! The command `shoal-signaling`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use shoal_protocol::rendezvous::IceServer;
use shoal_signaling::{
    AppState, Config,
    ice::{self, IceArgument},
    identity::Identity,
    limits::Limits,
    run,
    tls::Tls,
    turn::{SECRET_VARIABLE, TurnArguments},
};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Introduces peers of Shoal to each other, and serves the page and the package.
///
/// The first line on standard output says where it listens. Logs go to standard error and
/// follow RUST_LOG.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address and port to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// ICE server for peers, repeatable: stun:HOST[:PORT],
    /// turn:USER:PASSWORD@HOST[:PORT][?transport=tcp], or none. By default none on loopback,
    /// elsewhere stun:stun.l.google.com:19302.
    #[arg(long, value_name = "URL")]
    ice_server: Vec<IceArgument>,

    #[command(flatten)]
    turn: TurnArguments,

    /// Origin whose pages may connect, as in https://example.org, repeatable; by default all.
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    allow_origin: Vec<String>,

    /// File with the server's identity, made if there is none; by default each start has a
    /// new one.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Certificate chain (PEM) to serve https and wss.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key (PEM) of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// For how long the place of a peer is kept after its connection is lost.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    lease_seconds: Duration,

    /// Time between two heartbeats; a peer silent for two of them is away.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = parse_seconds)]
    heartbeat_seconds: Duration,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    let listener = TcpListener::bind(&arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr()?;
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
        _ => None,
    };
    let identity = match &arguments.identity {
        Some(file) => Identity::load_or_create(file, random()?)?,
        None => Identity::from_seed(random()?),
    };
    let state = AppState::new(Config {
        identity: identity.id(),
        seed: random()?,
        ice_servers: ice_servers(&arguments.ice_server, address.ip().is_loopback())?,
        turn: arguments.turn.load(
            std::env::var(SECRET_VARIABLE).ok(),
            arguments.heartbeat_seconds,
        )?,
        allowed_origins: arguments.allow_origin,
        limits: Limits {
            lease: arguments.lease_seconds,
            heartbeat: arguments.heartbeat_seconds,
            pong_timeout: arguments.heartbeat_seconds * 2,
            ..Limits::default()
        },
    });

    // Before the line that says so, since who reads it may send the signal at once.
    let ended = end_signal()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut out = io::stdout();
    writeln!(out, "listening on {scheme}://{address}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")?;
    tracing::info!(identity = %identity.id(), "ready");
    run(listener, tls, state, ended).await;
    Ok(())
}

fn ice_servers(arguments: &[IceArgument], loopback: bool) -> Result<Vec<IceServer>> {
    let default = [ice::DEFAULT.parse()?];
    let arguments = match arguments {
        [] if loopback => &[],
        [] => &default[..],
        given => given,
    };
    if arguments.len() > 1 && arguments.contains(&IceArgument::None) {
        bail!("--ice-server none stands alone: leave it out, or leave the servers out");
    }
    let server = |argument: &IceArgument| match argument {
        IceArgument::None => None,
        IceArgument::Server(server) => Some(server.clone()),
    };
    Ok(arguments.iter().filter_map(server).collect())
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system has no randomness")?;
    Ok(bytes)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span >= Duration::from_millis(10) => Ok(span),
        _ => Err("must be 0.01 seconds or more".into()),
    }
}

/// An origin as browsers send it: in lower case, without the port that its scheme implies.
fn parse_origin(text: &str) -> Result<String, String> {
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = match origin.split_once("://") {
        Some((scheme, host))
            if !scheme.is_empty()
                && !host.is_empty()
                && !host.starts_with(':')
                && !host.contains(['/', '?', '#', '@']) =>
        {
            (scheme, host)
        }
        _ => {
            return Err(
                "an origin is a scheme, a host and perhaps a port: https://example.org".into(),
            );
        }
    };
    let implied = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.strip_suffix(implied).unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

/// Resolves at SIGTERM or Ctrl-C; both are caught from the moment this returns.
#[cfg(unix)]
fn end_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn end_signal() -> Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            core::future::pending().await
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for (given, sent) in [
            ("https://x", "https://x"),
            ("https://x:443", "https://x"),
            ("HTTPS://Shoal.Example:443/", "https://shoal.example"),
            ("http://x:80", "http://x"),
            ("http://x:443", "http://x:443"),
            ("https://x:4430", "https://x:4430"),
            ("https://[::1]:443", "https://[::1]"),
            ("moz-extension://0f-1", "moz-extension://0f-1"),
        ] {
            assert_eq!(parse_origin(given), Ok(sent.into()), "{given}");
        }
        for text in [
            "",
            "x",
            "https://",
            "://x",
            "https://x/page",
            "https://me@x",
            "https://x?",
            "https://:443",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_ice_servers_and_some_is_a_contradiction() {
        let named = |texts: &[&str]| -> Vec<IceArgument> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let count = |texts: &[&str], loopback| {
            ice_servers(&named(texts), loopback).map(|servers| servers.len())
        };
        assert_eq!(count(&[], true).unwrap(), 0);
        assert_eq!(count(&[], false).unwrap(), 1);
        assert_eq!(count(&["none"], false).unwrap(), 0);
        assert_eq!(count(&["stun:a", "stun:b"], true).unwrap(), 2);
        for texts in [["none", "stun:a"], ["stun:a", "none"], ["none", "none"]] {
            let error = count(&texts, false).unwrap_err();
            assert!(error.to_string().contains("stands alone"), "{texts:?}");
        }
    }
}
