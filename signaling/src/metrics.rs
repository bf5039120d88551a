//! What Prometheus is told, in its text format (OpenMetrics 1.0).
//!
//! What the registry holds and has done is read from it when it is asked for; what sockets do
//! is counted here. Names no peers, addresses, namespaces or contents.

use crate::{
    counts::{CLASSES, Counts, Histogram, can_be_reached},
    limits::LIMITS,
    registry::Gauges,
    state::AppState,
};
use core::fmt;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::{Registry, Unit},
};

/// The media type of what `/metrics` answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What sockets have done since the server started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub received: Counter,
    pub received_bytes: Counter,
    pub sent: Counter,
    pub sent_bytes: Counter,
    pub closed: Family<[(&'static str, &'static str); 1], Counter>,
    pub responses: Family<[(&'static str, String); 1], Counter>,
}

/// All metrics.
pub(crate) fn render(state: &AppState) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("shoal");
    let traffic = state.traffic().clone();
    for (name, help, counter) in [
        (
            "received_messages",
            "Messages received from peers",
            traffic.received,
        ),
        ("sent_messages", "Messages sent to peers", traffic.sent),
    ] {
        registry.register(name, help, counter);
    }
    for (name, help, counter) in [
        (
            "received",
            "Bytes received from peers, with the heads of frames",
            traffic.received_bytes,
        ),
        (
            "sent",
            "Bytes of messages sent to peers",
            traffic.sent_bytes,
        ),
    ] {
        registry.register_with_unit(name, help, Unit::Bytes, counter);
    }
    registry.register(
        "connections_closed",
        "Connections of peers that ended, by why",
        traffic.closed,
    );
    registry.register(
        "http_responses",
        "Responses to HTTP requests, by status",
        traffic.responses,
    );
    registry.register_collector(Box::new(state.snapshot()));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The registry at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub gauges: Gauges,
    pub counts: Counts,
    pub ready: bool,
    /// Seconds since 1970.
    pub started: f64,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = Encoder(encoder);
        self.encode_gauges(&mut encoder)?;
        self.encode_counts(&mut encoder)
    }
}

impl Snapshot {
    fn encode_gauges(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let held = &self.gauges;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder.gauges(
            "build_info",
            "Always 1; the label tells the version",
            None,
            [(version, 1)],
        )?;
        encoder.gauge(
            "ready",
            "Whether /readyz says so",
            None,
            usize::from(self.ready),
        )?;
        let help = "When the server started, since 1970";
        let started = ConstGauge::new(self.started);
        let unit = Unit::Seconds;
        let descriptor =
            encoder
                .0
                .encode_descriptor("start_time", help, Some(&unit), MetricType::Gauge)?;
        started.encode(descriptor)?;

        for (name, help, value) in [
            (
                "connections",
                "Connections of peers, those included that are being closed",
                held.connections,
            ),
            (
                "http_connections",
                "HTTP connections",
                held.http_connections,
            ),
            ("namespaces", "Namespaces with a session", held.namespaces),
            (
                "queued_signals",
                "Signals that wait to be acknowledged",
                held.queued_signals,
            ),
            ("catalogs", "Catalogs", held.catalogs),
            (
                "timers",
                "Connections and sessions with something due",
                held.timers,
            ),
        ] {
            encoder.gauge(name, help, None, value)?;
        }
        for (name, help, value) in [
            (
                "queued_signal",
                "Bytes of signals that wait to be acknowledged",
                held.queued_signal_bytes,
            ),
            ("catalog", "Bytes of catalogs", held.catalog_bytes),
        ] {
            encoder.gauge(name, help, Some(&Unit::Bytes), value)?;
        }
        encoder.gauges(
            "sessions",
            "Sessions, by whether the peer is connected or away",
            None,
            [
                ([("state", "connected")], held.sessions),
                ([("state", "away")], held.sessions_away),
            ],
        )?;
        encoder.gauges(
            "accounts",
            "Addresses and peers of which something is held or was lately used",
            None,
            [
                ([("of", "addresses")], held.addresses),
                ([("of", "peers")], held.peers),
            ],
        )
    }

    fn encode_counts(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let counts = &self.counts;
        encoder.counters(
            "joins",
            "Joins, by whether a session went on",
            [
                ([("resumed", "false")], counts.joins),
                ([("resumed", "true")], counts.resumes),
            ],
        )?;
        let labelled = |label| move |(word, count)| ([(label, word)], count);
        encoder.counters(
            "refusals",
            "Errors answered to peers, by code",
            counts.refusals().map(labelled("code")),
        )?;
        encoder.counters(
            "receipts",
            "Receipts for signals, by status",
            counts.receipts().map(labelled("status")),
        )?;
        let times = |key: &'static str| ([("limit", key)], counts.times_reached(key));
        encoder.counters(
            "limits_reached",
            "How often a limit was reached, by its key",
            LIMITS
                .iter()
                .filter(|limit| can_be_reached(limit.key))
                .map(|limit| times(limit.key)),
        )?;
        encoder.histogram(
            "relay",
            "From a signal's coming until the socket of its receiver is to send it",
            &counts.relay,
        )
    }
}

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: usize) -> fmt::Result {
        let descriptor = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(whole(value)).encode(descriptor)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, usize)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(whole(value)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let ends = CLASSES.iter().copied().chain([f64::INFINITY]);
        let classes: Vec<(f64, u64)> = ends.zip(histogram.classes).collect();
        let count = histogram.classes.iter().sum();
        let mut descriptor =
            self.0
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        descriptor.encode_histogram::<NoLabelSet>(histogram.sum, count, &classes, None)
    }
}

fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
