//! The session at the rendezvous: joining, presence, coming back, and the messages that go
//! through it.
//!
//! Knows nothing of links or catalogs: what the server says comes out as [`Action`]s.

use crate::{io::PeerState, random::Random};
use shoal_protocol::{
    VERSIONS,
    catalog::{PageText, Since},
    common_version,
    content::ContentKey,
    id::{PeerId, ResumeToken, Signature},
    membership::Membership,
    rendezvous::{
        ACK_DELAY, ErrorCode, IceServer, Join, MAX_UNACKED, PeerMessage, PeerSummary, Presence,
        Receipt, ReceiptStatus, SILENCE, ServerMessage,
    },
    signed::{Kind, Payload, Signed},
    time::Timestamp,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// First wait before a new attempt. Guess.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// Longest wait between attempts. Guess: a restarted server has its peers back soon.
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// How long a session must last for the next attempt to begin without a wait: a server that
/// drops its peers as they join is not asked ever faster. Guess.
const STEADY: Duration = Duration::from_secs(30);
/// How long opening and joining may take. Guess.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a presence is good for; renewed with each join and at half of it. Guess.
const PRESENCE_LIFETIME: Duration = Duration::from_secs(3600);

/// What the session wants done, or tells.
#[derive(Debug)]
pub(crate) enum Action {
    Connect,
    Send(PeerMessage),
    Disconnect,
    Sign(SignTag, Kind, String),
    State(PeerState),
    /// The server has this of the peer's catalog, as far as it is known.
    Joined(Option<Since>),
    /// ICE servers to use from here on.
    Ice(Vec<IceServer>),
    /// The view begins anew.
    View(Vec<PeerSummary>),
    Peers {
        add: Vec<PeerSummary>,
        drop: Vec<PeerId>,
    },
    Signal(Signed),
    Receipt {
        to: PeerId,
        status: ReceiptStatus,
    },
    Providers {
        key: ContentKey,
        peers: Vec<PeerId>,
    },
    Catalog {
        peer: PeerId,
        signed: Option<Signed>,
        pages: Vec<PageText>,
    },
    /// The server refused something.
    Refused {
        code: ErrorCode,
        message: String,
        /// When to try again, in ms.
        retry_after: Option<u64>,
    },
}

/// What is being signed for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignTag {
    Join,
    Presence,
}

#[derive(Debug, PartialEq)]
enum State {
    /// There is no rendezvous.
    Off,
    /// Not connected until then.
    Waiting(Timestamp),
    /// Connecting or joining until then.
    Joining(Timestamp),
    Joined {
        since: Timestamp,
    },
}

pub(crate) struct Session {
    peer: PeerId,
    membership: Arc<Membership>,
    epoch: u64,
    state: State,
    shown: Option<PeerState>,
    failures: u32,
    server: Option<PeerId>,
    resume: Option<ResumeToken>,
    /// The payload that is being signed, by tag.
    signing: Option<(SignTag, String)>,
    last_heard: Timestamp,
    renew_presence: Timestamp,
    next_signal: u64,
    unacked: Option<Unacked>,
    /// Receivers of signals whose receipt is due, oldest first.
    unconfirmed: VecDeque<(u64, PeerId)>,
    random: Random,
    actions: VecDeque<Action>,
}

/// Signals that were taken, and of which the server does not know that yet.
struct Unacked {
    /// The server's number of the last.
    last: u64,
    count: usize,
    due: Timestamp,
}

/// Most signals whose receipts are waited for. Guess; older ones are forgotten.
const MAX_UNCONFIRMED: usize = 256;

impl Session {
    pub(crate) fn new(
        now: Timestamp,
        peer: PeerId,
        membership: Arc<Membership>,
        epoch: u64,
        on: bool,
        random: Random,
    ) -> Self {
        let mut session = Self {
            peer,
            membership,
            epoch,
            state: State::Off,
            shown: None,
            failures: 0,
            server: None,
            resume: None,
            signing: None,
            last_heard: now,
            renew_presence: now,
            next_signal: 0,
            unacked: None,
            unconfirmed: VecDeque::new(),
            random,
            actions: VecDeque::new(),
        };
        if on {
            session.show(PeerState::Connecting);
            session.connect(now);
        } else {
            session.show(PeerState::Offline);
        }
        session
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Whether there is a rendezvous at all.
    pub(crate) fn is_configured(&self) -> bool {
        self.state != State::Off
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Off => None,
            State::Waiting(until) | State::Joining(until) => Some(until),
            State::Joined { .. } => {
                let next = self.renew_presence.min(self.last_heard + SILENCE);
                let ack = self.unacked.as_ref().map(|unacked| unacked.due);
                Some(ack.map_or(next, |due| next.min(due)))
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        match self.state {
            State::Waiting(until) if until <= now => self.connect(now),
            State::Joining(until) if until <= now => self.disconnect(now),
            State::Joined { .. } if self.last_heard + SILENCE <= now => self.disconnect(now),
            State::Joined { .. } if self.renew_presence <= now => self.sign_presence(now),
            State::Joined { .. } if self.unacked.as_ref().is_some_and(|acks| acks.due <= now) => {
                self.acknowledge();
            }
            _ => {}
        }
    }

    /// Does not wait out a back-off.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        if matches!(self.state, State::Waiting(_)) {
            self.failures = 0;
            self.connect(now);
        }
    }

    /// Sends a message if joined; false if it was not sent.
    pub(crate) fn send(&mut self, message: PeerMessage) -> bool {
        if self.is_joined() {
            self.actions.push_back(Action::Send(message));
        }
        self.is_joined()
    }

    /// Sends a signal if joined; false if it was not sent.
    pub(crate) fn send_signal(&mut self, to: PeerId, signed: Signed) -> bool {
        if !self.is_joined() {
            return false;
        }
        let id = self.next_signal;
        let ack = self.unacked.take().map(|unacked| unacked.last);
        self.send(PeerMessage::Signal {
            id,
            to,
            signed,
            ack,
        });
        self.next_signal += 1;
        if self.unconfirmed.len() == MAX_UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back((id, to));
        true
    }

    /// Says that all signals that came were taken, if the server does not know.
    fn acknowledge(&mut self) {
        if let Some(Unacked { last: id, .. }) = self.unacked.take() {
            self.send(PeerMessage::Ack { id });
        }
    }

    pub(crate) fn leave(&mut self) {
        self.acknowledge();
        if self.send(PeerMessage::Leave {}) || matches!(self.state, State::Joining(_)) {
            self.actions.push_back(Action::Disconnect);
        }
        self.state = State::Off;
    }

    pub(crate) fn opened(&mut self, now: Timestamp) {
        self.last_heard = now;
    }

    pub(crate) fn closed(&mut self, now: Timestamp) {
        if matches!(self.state, State::Joining(_) | State::Joined { .. }) {
            let wait = self.next_wait(now);
            self.lost(now + wait);
        }
    }

    pub(crate) fn signed(&mut self, now: Timestamp, tag: SignTag, signature: Option<Signature>) {
        let Some((_, payload)) = self.signing.take_if(|(signing, _)| *signing == tag) else {
            return;
        };
        let Some(sig) = signature else {
            return self.disconnect(now);
        };
        let kind = match tag {
            SignTag::Join => Kind::Join,
            SignTag::Presence => Kind::Presence,
        };
        let signed = self.membership.signed(self.peer, kind, payload, sig);
        match tag {
            SignTag::Join => {
                let resume = self.resume;
                self.actions
                    .push_back(Action::Send(PeerMessage::Join { signed, resume }));
            }
            SignTag::Presence => {
                self.send(PeerMessage::Presence { signed });
            }
        }
    }

    pub(crate) fn handle_message(&mut self, now: Timestamp, text: &str) {
        let joining = matches!(self.state, State::Joining(_));
        if !joining && !self.is_joined() {
            return;
        }
        self.last_heard = now;
        let message = match ServerMessage::parse(text) {
            Ok(message) => message,
            Err(error) => {
                let message = format!("the rendezvous sent a message that cannot be read: {error}");
                self.actions.push_back(Action::Refused {
                    code: ErrorCode::Malformed,
                    message,
                    retry_after: None,
                });
                return self.disconnect(now);
            }
        };
        match message {
            ServerMessage::Challenge {
                versions,
                server,
                nonce,
            } if joining => {
                if common_version(&versions).is_none() {
                    let list = |versions: &[u16]| {
                        let versions: Vec<_> = versions.iter().map(u16::to_string).collect();
                        versions.join(", ")
                    };
                    let message = format!(
                        "the rendezvous speaks versions {} of the protocol, this peer {}",
                        list(&versions),
                        list(VERSIONS)
                    );
                    self.actions.push_back(Action::Refused {
                        code: ErrorCode::Version,
                        message,
                        retry_after: None,
                    });
                    return self.disconnect(now);
                }
                if self.server != Some(server) {
                    // Another server, or the same one after a restart: it knows no session.
                    self.resume = None;
                }
                self.server = Some(server);
                let join = Join {
                    server,
                    nonce,
                    namespace: self.membership.namespace().clone(),
                    versions: VERSIONS.into(),
                };
                self.sign(SignTag::Join, Kind::Join, join.to_payload());
            }
            ServerMessage::Joined {
                resume,
                resumed,
                catalog,
                ice_servers,
                view,
                ..
            } if joining => {
                self.state = State::Joined { since: now };
                self.resume = Some(resume);
                self.show(PeerState::Online);
                self.actions.push_back(Action::Ice(ice_servers));
                let known = catalog.filter(|_| resumed);
                self.actions.push_back(Action::Joined(known));
                if !resumed {
                    self.unconfirmed.clear();
                    self.actions.push_back(Action::View(view));
                }
                self.sign_presence(now);
            }
            ServerMessage::Error {
                code,
                message,
                retry_after,
            } => {
                self.actions.push_back(Action::Refused {
                    code,
                    message,
                    retry_after,
                });
                if code == ErrorCode::Superseded {
                    self.resume = None;
                }
                if joining || code == ErrorCode::Superseded {
                    self.refused(now, retry_after);
                }
            }
            ServerMessage::Closing { retry_after } => self.refused(now, Some(retry_after)),
            ServerMessage::Ping {} => self.actions.push_back(Action::Send(PeerMessage::Pong {})),
            _ if joining => self.disconnect(now),
            ServerMessage::Peers { add, drop } => {
                self.actions.push_back(Action::Peers { add, drop })
            }
            ServerMessage::Ice { ice_servers } => self.actions.push_back(Action::Ice(ice_servers)),
            ServerMessage::Resync { view } => self.actions.push_back(Action::View(view)),
            ServerMessage::Signal {
                id,
                signed,
                receipts,
            } => {
                self.take_receipts(receipts);
                let unacked = self.unacked.get_or_insert(Unacked {
                    last: id,
                    count: 0,
                    due: now + ACK_DELAY,
                });
                unacked.last = id;
                unacked.count += 1;
                if unacked.count >= MAX_UNACKED {
                    self.acknowledge();
                }
                self.actions.push_back(Action::Signal(signed));
            }
            ServerMessage::Receipts { receipts } => self.take_receipts(receipts),
            ServerMessage::Providers { key, peers } => {
                self.actions.push_back(Action::Providers { key, peers });
            }
            // Nothing here asks for it.
            ServerMessage::Listing { .. } => {}
            ServerMessage::Catalog {
                peer,
                signed,
                pages,
            } => {
                self.actions.push_back(Action::Catalog {
                    peer,
                    signed,
                    pages,
                });
            }
            ServerMessage::Challenge { .. } | ServerMessage::Joined { .. } => self.disconnect(now),
        }
    }

    fn take_receipts(&mut self, receipts: Vec<Receipt>) {
        for Receipt { id, status } in receipts {
            if let Some(at) = self.unconfirmed.iter().position(|(sent, _)| *sent == id)
                && let Some((_, to)) = self.unconfirmed.remove(at)
            {
                self.actions.push_back(Action::Receipt { to, status });
            }
        }
    }

    fn connect(&mut self, now: Timestamp) {
        self.state = State::Joining(now + JOIN_TIMEOUT);
        self.signing = None;
        self.actions.push_back(Action::Connect);
    }

    /// Gives the connection up and tries again after a back-off.
    fn disconnect(&mut self, now: Timestamp) {
        self.actions.push_back(Action::Disconnect);
        self.closed(now);
    }

    /// The server wants the peer away for some time (ms), at least.
    fn refused(&mut self, now: Timestamp, retry_after: Option<u64>) {
        self.actions.push_back(Action::Disconnect);
        let least = Duration::from_millis(retry_after.unwrap_or(0).min(600_000));
        let wait = self.next_wait(now);
        self.lost(now + least + wait);
    }

    /// How long to wait after this failure.
    fn next_wait(&mut self, now: Timestamp) -> Duration {
        if let State::Joined { since } = self.state
            && since + STEADY <= now
        {
            self.failures = 0;
        }
        let wait = self
            .random
            .backoff(BACKOFF_BASE, self.failures, BACKOFF_MAX);
        self.failures += 1;
        wait
    }

    fn lost(&mut self, until: Timestamp) {
        self.state = State::Waiting(until);
        self.signing = None;
        self.unacked = None;
        self.show(PeerState::Offline);
    }

    fn sign_presence(&mut self, now: Timestamp) {
        self.renew_presence = now + PRESENCE_LIFETIME / 2;
        let Some(server) = self.server else { return };
        let issued = now.unix_millis();
        let presence = Presence {
            server,
            namespace: self.membership.namespace().clone(),
            epoch: self.epoch,
            issued,
            expires: issued.plus(PRESENCE_LIFETIME),
        };
        self.sign(SignTag::Presence, Kind::Presence, presence.to_payload());
    }

    fn sign(&mut self, tag: SignTag, kind: Kind, payload: String) {
        self.signing = Some((tag, payload.clone()));
        self.actions.push_back(Action::Sign(tag, kind, payload));
    }

    fn show(&mut self, state: PeerState) {
        if self.shown.replace(state) != Some(state) {
            self.actions.push_back(Action::State(state));
        }
    }
}

#[cfg(test)]
mod tests;
