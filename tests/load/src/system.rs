//! The servers load is put on, and how one speaks with each.
//!
//! A [`Voice`] is one peer's side of a conversation. What it says is text; what it hears it
//! turns into [`Heard`], and replies as that system's client would.

use crate::signals::{self, number_in, peer_id, sdp, sign, signal};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ed25519_dalek::SigningKey;
use shoal_protocol::{
    VERSIONS,
    id::{Nonce, PeerId},
    namespace::Namespace,
    rendezvous::{
        ACK_DELAY, Join, MAX_UNACKED, PATH, PeerMessage, Presence, Receipt, ServerMessage,
    },
};
use std::time::Duration;
use tokio::time::Instant;

/// For how long a presence is good: as peers sign it.
const PRESENCE_LIFETIME: Duration = Duration::from_secs(3600);
/// The one swarm of the tracker.
const INFO_HASH: &str = "shoal-load-infohash1";

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// This project's rendezvous.
    Shoal,
    /// npm's `peer`.
    Peerjs,
    /// The WebSocket server of npm's `bittorrent-tracker`.
    Tracker,
    /// `matchbox_server` of crates.io.
    Matchbox,
}

/// What a message was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Now the peer can join.
    Welcome,
    /// The peer is in.
    Joined,
    /// The signal with this number came, with receipts perhaps.
    Signal(u32, Vec<Receipt>),
    /// What became of signals of this peer.
    Receipts(Vec<Receipt>),
    /// The server ends; the peer is to come back after so long.
    Closing(Duration),
    /// Something else that belongs to the conversation.
    Other,
}

/// One peer's side of a conversation.
pub struct Voice {
    system: System,
    number: usize,
    key: SigningKey,
    /// By what others name it; matchbox's server gives it when the peer comes.
    address: String,
    challenge: Option<(PeerId, Nonce)>,
    /// The last signal that was not acknowledged, how many were not, and when they are to be.
    unacked: Option<(u64, usize, Instant)>,
}

impl Voice {
    /// The voice of the peer with this number; its key follows from that.
    pub fn new(system: System, number: usize) -> Self {
        let mut seed = *b"shoal-load: the key of peer     ";
        seed[24..].copy_from_slice(&(number as u64).to_le_bytes());
        let key = SigningKey::from_bytes(&seed);
        let address = match system {
            System::Shoal => peer_id(&key).to_string(),
            System::Peerjs => format!("peer-{number:08}"),
            System::Tracker => format!("-SH0000-{number:012}"),
            System::Matchbox => String::new(),
        };
        Self {
            system,
            number,
            key,
            address,
            challenge: None,
            unacked: None,
        }
    }

    /// The peer's number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The voice for another connection of the same peer.
    pub fn anew(&self) -> Self {
        Self::new(self.system, self.number)
    }

    /// By what others name the peer.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Path and query of the WebSocket.
    pub fn path(&self) -> String {
        match self.system {
            System::Shoal => PATH.into(),
            System::Peerjs => {
                format!(
                    "/peerjs?key=peerjs&id={}&token={:x}&version=1.5.5",
                    self.address, self.number
                )
            }
            System::Tracker => "/".into(),
            // Rooms of two: in one room everybody would be told of everybody.
            System::Matchbox => format!("/pair-{}", self.number / 2),
        }
    }

    /// Whether the server speaks first.
    pub fn waits_for_welcome(&self) -> bool {
        self.system != System::Tracker
    }

    /// What to say to join; nothing where being connected is all there is.
    pub fn join(&self) -> Result<Option<String>> {
        Ok(match self.system {
            System::Shoal => {
                let (server, nonce) = self.challenge.context("no challenge came")?;
                let join = Join {
                    server,
                    nonce,
                    namespace: Namespace::default(),
                    versions: VERSIONS.to_vec(),
                };
                let signed = sign(&self.key, &join);
                Some(PeerMessage::Join { signed, resume: None }.to_text())
            }
            System::Tracker => Some(
                serde_json::json!({
                    "action": "announce", "event": "started", "info_hash": INFO_HASH,
                    "peer_id": self.address, "numwant": 0, "uploaded": 0, "downloaded": 0, "left": 1,
                })
                .to_string(),
            ),
            System::Peerjs | System::Matchbox => None,
        })
    }

    /// Takes a message; what is to be said next goes into `replies`.
    pub fn hear(&mut self, text: &str, replies: &mut Vec<String>) -> Result<Heard> {
        match self.system {
            System::Shoal => self.hear_shoal(text, replies),
            System::Peerjs => Ok(match number_in(text) {
                Some(number) => Heard::Signal(number, Vec::new()),
                None if text == r#"{"type":"OPEN"}"# => Heard::Welcome,
                None => bail!("the server said {text}"),
            }),
            System::Tracker => Ok(match number_in(text) {
                Some(number) => Heard::Signal(number, Vec::new()),
                None if text.contains("failure reason") => bail!("the server said {text}"),
                None => Heard::Joined,
            }),
            System::Matchbox => {
                if let Some(number) = number_in(text) {
                    return Ok(Heard::Signal(number, Vec::new()));
                }
                let value: serde_json::Value = serde_json::from_str(text)?;
                if let Some(id) = value.get("IdAssigned").and_then(|id| id.as_str()) {
                    self.address = id.to_owned();
                    return Ok(Heard::Welcome);
                }
                Ok(Heard::Other)
            }
        }
    }

    fn hear_shoal(&mut self, text: &str, replies: &mut Vec<String>) -> Result<Heard> {
        Ok(match ServerMessage::parse(text)? {
            ServerMessage::Challenge { server, nonce, .. } => {
                self.challenge = Some((server, nonce));
                Heard::Welcome
            }
            ServerMessage::Joined { .. } => {
                replies.push(self.presence()?);
                Heard::Joined
            }
            ServerMessage::Signal {
                id,
                signed,
                receipts,
            } => {
                let first = (id, 0, Instant::now() + ACK_DELAY);
                let (last, count, _) = self.unacked.get_or_insert(first);
                (*last, *count) = (id, *count + 1);
                if *count >= MAX_UNACKED {
                    replies.extend(self.ack());
                }
                let number = signal_number(&signed.payload).context("a signal without a number")?;
                Heard::Signal(number, receipts)
            }
            ServerMessage::Receipts { receipts } => Heard::Receipts(receipts),
            ServerMessage::Ping {} => {
                replies.push(PeerMessage::Pong {}.to_text());
                Heard::Other
            }
            ServerMessage::Closing { retry_after } => {
                Heard::Closing(Duration::from_millis(retry_after))
            }
            ServerMessage::Error { code, message, .. } => {
                bail!("the server refused: {}: {message}", code.as_str())
            }
            _ => Heard::Other,
        })
    }

    /// What a peer signs as soon as it has joined.
    fn presence(&self) -> Result<String> {
        let (server, _) = self.challenge.context("no challenge came")?;
        let issued = signals::now();
        let presence = Presence {
            server,
            namespace: Namespace::default(),
            epoch: issued.0,
            issued,
            expires: issued.plus(PRESENCE_LIFETIME),
        };
        let signed = sign(&self.key, &presence);
        Ok(PeerMessage::Presence { signed }.to_text())
    }

    /// When what was heard is to be acknowledged, if nothing is said that does so.
    pub fn ack_due(&self) -> Option<Instant> {
        self.unacked.map(|(_, _, due)| due)
    }

    /// Acknowledges what was heard.
    pub fn ack(&mut self) -> Option<String> {
        let (id, ..) = self.unacked.take()?;
        Some(PeerMessage::Ack { id }.to_text())
    }

    /// A signal as it is said now: with the acknowledgement of what was heard, if one is due.
    pub fn say(&mut self, mut signal: String) -> String {
        if let Some((id, ..)) = self.unacked.take() {
            // The text is an object of JSON, made by this program.
            signal.truncate(signal.len() - 1);
            signal += &format!(r#","ack":{id}}}"#);
        }
        signal
    }

    /// A signal with this number for the peer named `to`.
    pub fn signal(&self, to: &str, number: u32) -> Result<String> {
        Ok(match self.system {
            System::Shoal => {
                let to: PeerId = to.parse()?;
                let signed = signal(&self.key, to, &Namespace::default(), number)?;
                let (id, ack) = (number.into(), None);
                PeerMessage::Signal { id, to, signed, ack }.to_text()
            }
            System::Peerjs => serde_json::json!({
                "type": "OFFER", "dst": to,
                "payload": {
                    "sdp": { "type": "offer", "sdp": sdp(number) },
                    "type": "data", "connectionId": format!("dc_{number:011}"),
                    "label": format!("dc_{number:011}"), "reliable": true, "serialization": "binary",
                },
            })
            .to_string(),
            // Of all the tracker passes on, an answer costs it least: it is for one named peer.
            System::Tracker => serde_json::json!({
                "action": "announce", "info_hash": INFO_HASH, "peer_id": self.address,
                "to_peer_id": to, "offer_id": format!("{number:020}"),
                "answer": { "type": "answer", "sdp": sdp(number) },
            })
            .to_string(),
            System::Matchbox => serde_json::json!({
                "Signal": { "receiver": to, "data": { "Offer": sdp(number) } },
            })
            .to_string(),
        })
    }

    /// What to say before going for good.
    pub fn leave(&self) -> Option<String> {
        (self.system == System::Shoal).then(|| PeerMessage::Leave {}.to_text())
    }
}

/// The number in a signal's payload, which the receiver's peer would parse and verify; that
/// costs the load generator more than it can afford beside the server.
fn signal_number(payload: &str) -> Option<u32> {
    let (_, rest) = payload.split_once("\"n\":")?;
    rest.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::signed::Signed;

    const ALL: [System; 4] = [
        System::Shoal,
        System::Peerjs,
        System::Tracker,
        System::Matchbox,
    ];

    #[test]
    fn what_one_says_the_other_counts() {
        for system in ALL {
            let (one, mut two) = (Voice::new(system, 0), Voice::new(system, 1));
            let to = match system {
                System::Shoal => two.address().to_owned(),
                _ => "two".to_owned(),
            };
            let text = one.signal(&to, 1234).unwrap();
            // The others pass on what they are given, in a wrapping of their own.
            let carried = match PeerMessage::parse(&text) {
                Ok(PeerMessage::Signal { signed, .. }) => signal_to_two(7, signed),
                _ => text,
            };
            let mut replies = Vec::new();
            assert_eq!(
                two.hear(&carried, &mut replies).unwrap(),
                Heard::Signal(1234, Vec::new()),
                "{system:?}"
            );
            assert!(replies.is_empty());
            assert_eq!(two.ack_due().is_some(), system == System::Shoal);
        }
    }

    fn signal_to_two(id: u64, signed: Signed) -> String {
        let receipts = Vec::new();
        ServerMessage::Signal {
            id,
            signed,
            receipts,
        }
        .to_text()
    }

    #[test]
    fn signals_are_acknowledged_by_the_next_or_in_time_or_when_there_are_many() {
        let (one, mut two) = (Voice::new(System::Shoal, 0), Voice::new(System::Shoal, 1));
        let mut replies = Vec::new();
        let mut hear = |two: &mut Voice, id: u64| {
            let text = one.signal(two.address(), 1).unwrap();
            let Ok(PeerMessage::Signal { signed, .. }) = PeerMessage::parse(&text) else {
                panic!("no signal");
            };
            two.hear(&signal_to_two(id, signed), &mut replies).unwrap();
            replies.pop()
        };
        let ack_of = |text: &str| match PeerMessage::parse(text) {
            Ok(PeerMessage::Signal { ack, .. }) => ack,
            Ok(PeerMessage::Ack { id }) => Some(id),
            other => panic!("{other:?}"),
        };
        assert_eq!(hear(&mut two, 1), None);
        assert_eq!(hear(&mut two, 2), None);
        let signal = two.signal(one.address(), 5).unwrap();
        assert_eq!(ack_of(&two.say(signal.clone())), Some(2));
        assert_eq!(ack_of(&two.say(signal)), None, "once is enough");
        assert_eq!(hear(&mut two, 3), None);
        assert!(two.ack_due().unwrap() <= Instant::now() + ACK_DELAY);
        assert_eq!(ack_of(&two.ack().unwrap()), Some(3));
        assert_eq!((two.ack(), two.ack_due()), (None, None));
        let many: Vec<_> = (10..10 + MAX_UNACKED as u64)
            .filter_map(|id| hear(&mut two, id))
            .collect();
        let [ack] = &many[..] else { panic!("{many:?}") };
        assert_eq!(ack_of(ack), Some(9 + MAX_UNACKED as u64));
    }

    #[test]
    fn refusals_are_errors() {
        let mut nothing = Vec::new();
        for (system, text) in [
            (
                System::Shoal,
                r#"{"t":"error","code":"limit","message":"full"}"#,
            ),
            (
                System::Peerjs,
                r#"{"type":"ERROR","payload":{"msg":"full"}}"#,
            ),
            (System::Tracker, r#"{"failure reason":"full"}"#),
        ] {
            let error = Voice::new(system, 0).hear(text, &mut nothing).unwrap_err();
            assert!(error.to_string().contains("full"), "{error}");
        }
    }
}
