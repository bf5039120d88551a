//! The command `shoal-signaling`.

use anyhow::{Context, Result};
use shoal_signaling::{
    AppState, Config,
    identity::Identity,
    listen, run, run_metrics,
    settings::{self, LogFormat, MetricsListen, Settings},
    tls::Tls,
};
use std::{
    env,
    io::{self, IsTerminal, Write},
};
use tracing_subscriber::EnvFilter;

fn main() -> Result<()> {
    let invocation = settings::invocation(env::args_os()).unwrap_or_else(|error| error.exit());
    let settings = settings::load(&invocation, |name| env::var_os(name))?;
    if invocation.print_config {
        let written = io::stdout().write_all(settings.to_toml().as_bytes());
        return written.context("cannot write to standard output");
    }
    start_logging(&settings)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(settings))
}

fn start_logging(settings: &Settings) -> Result<()> {
    let logging = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&settings.log_filter)?)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn serve(settings: Settings) -> Result<()> {
    let listener = listen(&settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let metrics = match &settings.metrics_listen {
        MetricsListen::At(place) => Some(
            listen(place)
                .await
                .with_context(|| format!("cannot listen on {place}"))?,
        ),
        MetricsListen::Main | MetricsListen::Nowhere => None,
    };
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
        _ => None,
    };
    let identity = match &settings.identity {
        Some(file) => Identity::load_or_create(file, random()?)?,
        None => Identity::from_seed(random()?),
    };
    let state = AppState::new(Config {
        identity: identity.id(),
        seed: random()?,
        ice_servers: settings.ice_servers(address.ip().is_loopback()),
        turn: settings.turn()?,
        proxies: settings.proxies(),
        metrics: settings.metrics_listen == MetricsListen::Main,
        allowed_origins: settings.allowed_origins,
        limits: settings.limits,
    });

    // Before the line that says so, since who reads it may send the signal at once.
    let ended = end_signal()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut out = io::stdout();
    writeln!(out, "listening on {scheme}://{address}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")?;
    tracing::info!(identity = %identity.id(), "ready");
    if let Some(metrics) = metrics {
        tracing::info!(address = %metrics.local_addr()?, "serving metrics");
        tokio::spawn(run_metrics(metrics, state.clone()));
    }
    run(listener, tls, state, ended).await;
    Ok(())
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system has no randomness")?;
    Ok(bytes)
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
