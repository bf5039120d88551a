//! A peer's session at the rendezvous, on virtual time.

use super::*;
use shoal_protocol::{
    id::{LinkId, Nonce},
    namespace::Namespace,
    rendezvous::MAX_RECEIPTS,
};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const TOKEN: ResumeToken = ResumeToken([2; 16]);

fn other() -> PeerId {
    PeerId::from_public_key([8; 32])
}

fn signed() -> Signed {
    Signed {
        peer: other(),
        payload: format!("{:?}", LinkId([1; 16])),
        sig: Signature([0; 64]),
        member: None,
    }
}

/// A session that is connecting, and what it said.
struct Peer {
    session: Session,
    now: Timestamp,
    said: Vec<PeerMessage>,
    receipts: Vec<ReceiptStatus>,
    signals: usize,
}

impl Peer {
    fn new() -> Self {
        let membership = Arc::new(Membership::public(Namespace::default()));
        let peer = PeerId::from_public_key([7; 32]);
        let random = Random::new([1; 32]);
        let session = Session::new(START, peer, membership, 1, true, random);
        let mut peer = Self {
            session,
            now: START,
            said: Vec::new(),
            receipts: Vec::new(),
            signals: 0,
        };
        peer.act();
        peer
    }

    fn joined() -> Self {
        let mut peer = Self::new();
        peer.join(false);
        peer
    }

    /// Does what the session wants done; whatever is to be signed is.
    fn act(&mut self) {
        while let Some(action) = self.session.poll() {
            match action {
                Action::Send(message) => self.said.push(message),
                Action::Sign(tag, ..) => {
                    self.session.signed(self.now, tag, Some(Signature([0; 64])));
                }
                Action::Receipt { status, .. } => self.receipts.push(status),
                Action::Signal(_) => self.signals += 1,
                _ => {}
            }
        }
    }

    fn hear(&mut self, message: &ServerMessage) {
        self.session.handle_message(self.now, &message.to_text());
        self.act();
    }

    /// Hears the challenge; returns the token with which it joins.
    fn challenged(&mut self) -> Option<ResumeToken> {
        self.hear(&ServerMessage::Challenge {
            versions: VERSIONS.to_vec(),
            server: PeerId::from_public_key([9; 32]),
            nonce: Nonce([3; 16]),
        });
        match self.said.drain(..).next_back() {
            Some(PeerMessage::Join { resume, .. }) => resume,
            other => panic!("no join: {other:?}"),
        }
    }

    fn join(&mut self, resumed: bool) -> Option<ResumeToken> {
        let token = self.challenged();
        self.hear(&ServerMessage::Joined {
            lease: 60_000,
            resume: TOKEN,
            resumed,
            catalog: None,
            ice_servers: Vec::new(),
            view: Vec::new(),
        });
        assert!(matches!(self.said[..], [PeerMessage::Presence { .. }]));
        self.said.clear();
        token
    }

    fn signal(&mut self, id: u64, receipts: Vec<Receipt>) {
        let signed = signed();
        self.hear(&ServerMessage::Signal {
            id,
            signed,
            receipts,
        });
    }

    fn send_signal(&mut self) {
        assert!(self.session.send_signal(other(), signed()));
        self.act();
    }

    /// The connection breaks, and the next attempt begins.
    fn reconnect(&mut self) {
        self.session.closed(self.now);
        self.wait();
    }

    /// Time passes until something is due.
    fn wait(&mut self) {
        self.now = self.session.next_timeout().unwrap();
        self.session.handle_timeout(self.now);
        self.act();
    }

    /// The numbers acknowledged, and whether each went with a signal.
    fn acks(&mut self) -> Vec<(u64, bool)> {
        let acks = self.said.drain(..).filter_map(|message| match message {
            PeerMessage::Ack { id } => Some((id, false)),
            PeerMessage::Signal { ack, .. } => Some((ack?, true)),
            _ => None,
        });
        acks.collect()
    }
}

#[test]
fn a_signal_is_acknowledged_by_the_one_that_answers_it() {
    let mut peer = Peer::joined();
    peer.signal(4, Vec::new());
    peer.signal(5, Vec::new());
    assert_eq!((peer.signals, peer.acks()), (2, vec![]));
    peer.send_signal();
    peer.send_signal();
    assert_eq!(peer.acks(), [(5, true)], "once");
}

#[test]
fn a_signal_nobody_answers_is_acknowledged_in_time() {
    let mut peer = Peer::joined();
    peer.signal(4, Vec::new());
    peer.signal(5, Vec::new());
    peer.wait();
    assert_eq!(peer.now, START + ACK_DELAY);
    assert_eq!(peer.acks(), [(5, false)]);
    assert!(peer.session.next_timeout() > Some(START + ACK_DELAY));
}

#[test]
fn many_signals_are_acknowledged_at_once_and_all_before_it_leaves() {
    let mut peer = Peer::joined();
    let many = MAX_UNACKED as u64;
    for id in 1..=many + 1 {
        peer.signal(id, Vec::new());
    }
    assert_eq!(peer.acks(), [(many, false)]);
    peer.session.leave();
    peer.act();
    assert_eq!(
        peer.said,
        [PeerMessage::Ack { id: many + 1 }, PeerMessage::Leave {}]
    );
}

#[test]
fn what_came_on_a_lost_connection_is_acknowledged_when_it_comes_again() {
    let mut peer = Peer::joined();
    peer.signal(4, Vec::new());
    peer.reconnect();
    assert_eq!(peer.join(true), Some(TOKEN));
    assert_eq!(peer.acks(), []);
    peer.signal(4, Vec::new());
    peer.send_signal();
    assert_eq!(peer.acks(), [(4, true)]);
}

#[test]
fn receipts_are_heard_with_signals_alone_and_after_a_resumed_session() {
    let mut peer = Peer::joined();
    for _ in 0..4 {
        peer.send_signal();
    }
    let receipt = |id, status| Receipt { id, status };
    let [delivered, gone] = [ReceiptStatus::Delivered, ReceiptStatus::Gone];
    peer.signal(1, vec![receipt(0, delivered), receipt(1, gone)]);
    peer.hear(&ServerMessage::Receipts {
        receipts: vec![receipt(2, gone)],
    });
    peer.reconnect();
    peer.join(true);
    // One that was heard comes again, and one that is nobody's.
    let mut last = vec![receipt(2, gone), receipt(3, gone)];
    last.resize(MAX_RECEIPTS, receipt(99, gone));
    peer.hear(&ServerMessage::Receipts { receipts: last });
    assert_eq!(peer.receipts, [delivered, gone, gone, gone]);

    // A session that begins anew has nothing to do with signals of the one before.
    peer.send_signal();
    peer.reconnect();
    peer.join(false);
    peer.hear(&ServerMessage::Receipts {
        receipts: vec![receipt(4, gone)],
    });
    assert_eq!(peer.receipts.len(), 4);
}

#[test]
fn who_is_sent_away_for_a_while_comes_back_to_its_session() {
    let mut peer = Peer::joined();
    let error = |code| ServerMessage::Error {
        code,
        message: "not now".into(),
        retry_after: Some(500),
    };
    peer.reconnect();
    assert_eq!(peer.challenged(), Some(TOKEN));
    peer.hear(&error(ErrorCode::Limit));
    peer.wait();
    assert_eq!(peer.join(true), Some(TOKEN));

    // Unless another holder of its identity has taken that over.
    peer.hear(&error(ErrorCode::Superseded));
    peer.wait();
    assert_eq!(peer.challenged(), None);
}
