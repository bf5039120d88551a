//! ICE candidates as structured fields.
//!
//! A candidate travels as fields that are each checked, and is written out from a
//! template on the other side, so that no text of a peer reaches a browser's SDP parser.
//! Source of the form: RFC 8839, section 5.1; host names of mDNS candidates: RFC 8828.

use crate::{
    json::{Object, from_object},
    words::words,
};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Longest candidate line taken from a browser, in bytes. Guess: three times the usual.
pub const MAX_LINE: usize = 512;

/// A transport address a peer may be reached at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Candidate(Fields);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Object")]
struct Fields {
    foundation: String,
    protocol: Protocol,
    priority: u32,
    address: String,
    port: u16,
    #[serde(rename = "type")]
    kind: CandidateKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    related_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    related_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_type: Option<TcpType>,
}

from_object!(Fields {
    get foundation,
    get protocol,
    get priority,
    get address,
    get port,
    get kind as "type",
    find related_address as "relatedAddress",
    find related_port as "relatedPort",
    find tcp_type as "tcpType",
});

words! {
    /// Where a candidate's address comes from.
    pub enum CandidateKind as "a type of candidate" {
        /// An address of the machine itself.
        Host = "host",
        /// As a STUN server sees it.
        Srflx = "srflx",
        /// As the other peer sees it.
        Prflx = "prflx",
        /// An address on a TURN server.
        Relay = "relay",
    }
}

words! {
    enum Protocol as "a transport" {
        Udp = "udp",
        Tcp = "tcp",
    }
}

words! {
    enum TcpType as "a type of TCP candidate" {
        Active = "active",
        Passive = "passive",
        So = "so",
    }
}

/// A candidate with a field that is malformed or out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed ICE candidate: {0}")]
pub struct InvalidCandidate(&'static str);

impl Candidate {
    /// Where the address comes from.
    pub fn kind(&self) -> CandidateKind {
        self.0.kind
    }
}

impl TryFrom<Fields> for Candidate {
    type Error = InvalidCandidate;
    fn try_from(fields: Fields) -> Result<Self, InvalidCandidate> {
        let ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if !(1..=32).contains(&fields.foundation.len()) || !fields.foundation.bytes().all(ice_char)
        {
            return Err(InvalidCandidate("foundation"));
        }
        if !is_address(&fields.address) {
            return Err(InvalidCandidate("address"));
        }
        if fields
            .related_address
            .as_deref()
            .is_some_and(|address| !is_address(address))
        {
            return Err(InvalidCandidate("related address"));
        }
        Ok(Self(fields))
    }
}

impl From<Candidate> for Fields {
    fn from(candidate: Candidate) -> Fields {
        candidate.0
    }
}

/// An IP address, or the mDNS name a browser puts in its place.
fn is_address(text: &str) -> bool {
    if text.parse::<core::net::IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix(".local").unwrap_or_default();
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Reads the `candidate` attribute of this side's own browser. Extensions it does not know
/// (generation, network-id, …) are left out: they mean nothing to the other side.
impl FromStr for Candidate {
    type Err = InvalidCandidate;
    fn from_str(line: &str) -> Result<Self, InvalidCandidate> {
        if line.len() > MAX_LINE {
            return Err(InvalidCandidate("too long"));
        }
        let line = line
            .strip_prefix("candidate:")
            .ok_or(InvalidCandidate("prefix"))?;
        let mut words = line.split_ascii_whitespace();
        let mut next = |name| words.next().ok_or(InvalidCandidate(name));
        let foundation = next("foundation")?.to_owned();
        if next("component")? != "1" {
            return Err(InvalidCandidate("component"));
        }
        let protocol = next("protocol")?.to_ascii_lowercase();
        let protocol = protocol.parse().map_err(|_| InvalidCandidate("protocol"))?;
        let priority = next("priority")?
            .parse()
            .map_err(|_| InvalidCandidate("priority"))?;
        let address = next("address")?.to_owned();
        let port = next("port")?
            .parse()
            .map_err(|_| InvalidCandidate("port"))?;
        if next("typ")? != "typ" {
            return Err(InvalidCandidate("typ"));
        }
        let kind = next("type")?
            .parse()
            .map_err(|_| InvalidCandidate("type"))?;
        let (mut related_address, mut related_port, mut tcp_type) = (None, None, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "raddr" => related_address = Some(value.to_owned()),
                "rport" => {
                    related_port = Some(
                        value
                            .parse()
                            .map_err(|_| InvalidCandidate("related port"))?,
                    );
                }
                "tcptype" => {
                    tcp_type = Some(value.parse().map_err(|_| InvalidCandidate("tcptype"))?);
                }
                _ => {}
            }
        }
        Fields {
            foundation,
            protocol,
            priority,
            address,
            port,
            kind,
            related_address,
            related_port,
            tcp_type,
        }
        .try_into()
    }
}

/// The `candidate` attribute, for this side's own browser.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fields {
            foundation,
            priority,
            address,
            port,
            ..
        } = &self.0;
        let (protocol, kind) = (self.0.protocol.as_str(), self.0.kind.as_str());
        write!(
            f,
            "candidate:{foundation} 1 {protocol} {priority} {address} {port} typ {kind}"
        )?;
        if let Some(address) = &self.0.related_address {
            write!(f, " raddr {address}")?;
        }
        if let Some(port) = self.0.related_port {
            write!(f, " rport {port}")?;
        }
        if let Some(tcp_type) = self.0.tcp_type {
            write!(f, " tcptype {}", tcp_type.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn candidates_of_browsers_pass() {
        for (line, written) in [
            (
                "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 192.0.2.4 rport 46154 generation 0 ufrag k+Ul network-cost 999",
                "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 192.0.2.4 rport 46154",
            ),
            (
                "candidate:0 1 UDP 2122252543 4d96cd2c-3a6c-4b5a-9a2a-5fd6ae6f1d0c.local 53121 typ host",
                "candidate:0 1 udp 2122252543 4d96cd2c-3a6c-4b5a-9a2a-5fd6ae6f1d0c.local 53121 typ host",
            ),
            (
                "candidate:2 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active",
                "candidate:2 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active",
            ),
        ] {
            let candidate: Candidate = line.parse().unwrap();
            assert_eq!(candidate.to_string(), written);
            let json = serde_json::to_string(&candidate).unwrap();
            assert_eq!(
                crate::json::from_str::<Candidate>(&json).unwrap(),
                candidate
            );
        }
    }

    #[test]
    fn nothing_but_fields_gets_through() {
        let good = r#"{"foundation":"1","protocol":"udp","priority":1,"address":"192.0.2.1","port":9,"type":"host"}"#;
        assert!(crate::json::from_str::<Candidate>(good).is_ok());
        for (from, to) in [
            ("192.0.2.1", "192.0.2.1\\r\\na=fingerprint:x"),
            ("192.0.2.1", "evil.example"),
            (r#":"1""#, r#":"1 1 udp""#),
            (r#":"1""#, r#":"""#),
            ("udp", "sctp"),
            (":9,", ":99999,"),
            ("host", "any"),
        ] {
            let bad = good.replace(from, to);
            assert!(crate::json::from_str::<Candidate>(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line: String) {
            let _ = line.parse::<Candidate>();
            let _ = format!("candidate:{line}").parse::<Candidate>();
        }
    }
}
