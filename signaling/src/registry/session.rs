//! One peer in one namespace: what waits for it, and what it has not yet confirmed.

use super::{ConnectionId, SessionId, catalogs::HeldCatalog, catalogs::Reading};
use crate::check::VerifiedPresence;
use crate::limits::Limits;
use shoal_protocol::{
    id::{PeerId, ResumeToken},
    namespace::Namespace,
    rendezvous::Receipt,
    signed::Signed,
    sorted::SortedSet,
    time::Timestamp,
};
use std::collections::{BTreeSet, VecDeque};

/// A peer in a namespace, from its join until it leaves or its lease ends.
#[derive(Debug)]
pub(super) struct Session {
    pub peer: PeerId,
    pub namespace: Namespace,
    pub token: ResumeToken,
    /// Rises when the peer joins anew instead of resuming: its numbers then start again.
    pub incarnation: u32,
    /// None while the peer is away.
    pub connection: Option<ConnectionId>,
    pub presence: Option<VerifiedPresence>,
    pub catalog: Option<Box<HeldCatalog>>,
    /// Peers it is shown, and those it is shown to.
    pub view: SortedSet<SessionId>,
    pub watchers: SortedSet<SessionId>,
    pub inbox: Inbox,
    pub receipts: VecDeque<Receipt>,
    /// Until when they wait for a signal to travel with, if any do.
    pub receipts_due: Option<Timestamp>,
    pub news: News,
    pub readings: VecDeque<Reading>,
    /// When its TURN account is to be renewed, if it has one.
    pub renew_ice: Option<Timestamp>,
    /// When its next heartbeat is due, or, while it is away, when its lease ends.
    pub deadline: Option<Timestamp>,
    /// When pings that are not answered yet were due, oldest first.
    pub pings: VecDeque<Timestamp>,
}

/// Who sent a signal, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub session: SessionId,
    pub incarnation: u32,
    pub id: u64,
}

impl Session {
    pub fn new(peer: PeerId, namespace: Namespace, token: ResumeToken) -> Self {
        Self {
            peer,
            namespace,
            token,
            incarnation: 0,
            connection: None,
            presence: None,
            catalog: None,
            view: SortedSet::default(),
            watchers: SortedSet::default(),
            inbox: Inbox::default(),
            receipts: VecDeque::new(),
            receipts_due: None,
            news: News::default(),
            readings: VecDeque::new(),
            renew_ice: None,
            deadline: None,
            pings: VecDeque::new(),
        }
    }

    /// Keeps a receipt for the peer; the oldest gives way where there are too many. Returns how
    /// many are forgotten.
    pub fn push_receipt(&mut self, receipt: Receipt, limits: &Limits) -> usize {
        let full = self.receipts.len() >= limits.receipts;
        if full {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
        usize::from(full)
    }

    /// What was sent on a connection that is lost counts as not heard. Returns how many receipts
    /// are forgotten.
    pub fn rewind(&mut self, limits: &Limits) -> usize {
        self.pings.clear();
        self.readings.clear();
        self.inbox.rewind();
        let (heard_late, forgotten) = self.news.rewind(limits);
        let waiting = core::mem::take(&mut self.receipts);
        let all = heard_late.into_iter().chain(waiting);
        all.fold(forgotten, |forgotten, receipt| {
            forgotten + self.push_receipt(receipt, limits)
        })
    }
}

/// Signals for a peer, kept until it acknowledges them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    signals: VecDeque<Waiting>,
    bytes: usize,
    /// How many of the first were sent on this connection.
    sent: usize,
    last_id: u64,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    origin: Origin,
    signed: Signed,
    /// When it came, until it is sent for the first time.
    came: Option<Timestamp>,
}

impl Inbox {
    /// Adds a signal, or says that there is no room.
    pub fn push(
        &mut self,
        now: Timestamp,
        origin: Origin,
        signed: Signed,
        limits: &Limits,
    ) -> Result<(), Full> {
        let of_sender = |waiting: &&Waiting| waiting.origin.session == origin.session;
        let bytes = self.bytes + signed.payload.len();
        if self.signals.len() >= limits.queued_signals {
            return Err(Full("queued-signals"));
        }
        if bytes > limits.queued_signal_bytes {
            return Err(Full("queued-signal-bytes"));
        }
        if self.signals.iter().filter(of_sender).count() >= limits.queued_per_sender {
            return Err(Full("queued-per-sender"));
        }
        self.last_id += 1;
        self.bytes = bytes;
        self.signals.push_back(Waiting {
            id: self.last_id,
            origin,
            signed,
            came: Some(now),
        });
        Ok(())
    }

    /// The next signal to send, with its number, and when it came if it was never sent.
    pub fn next(&mut self) -> Option<(u64, Signed, Option<Timestamp>)> {
        let waiting = self.signals.get_mut(self.sent)?;
        self.sent += 1;
        Some((waiting.id, waiting.signed.clone(), waiting.came.take()))
    }

    /// How many wait, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.signals.len(), self.bytes)
    }

    /// Forgets the oldest signal if it was sent and is acknowledged by this number.
    pub fn acknowledge(&mut self, id: u64) -> Option<Origin> {
        let is_taken = |waiting: &mut Waiting| self.sent > 0 && waiting.id <= id;
        let waiting = self.signals.pop_front_if(is_taken)?;
        self.sent -= 1;
        self.bytes -= waiting.signed.payload.len();
        if self.signals.is_empty() {
            // The room for a few of them is more than most peers ever need again.
            self.signals = VecDeque::new();
        }
        Some(waiting.origin)
    }

    /// All are to be sent again.
    fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Gives up all signals. Numbers go on, so that a late `ack` means nothing.
    pub fn drain(&mut self) -> Vec<Origin> {
        self.sent = 0;
        self.bytes = 0;
        self.signals
            .drain(..)
            .map(|waiting| waiting.origin)
            .collect()
    }

    #[cfg(test)]
    pub fn holds(&self, origin: Origin) -> bool {
        self.signals.iter().any(|waiting| waiting.origin == origin)
    }
}

/// There is no room in the queue: the key of the bound that is reached.
#[derive(Debug)]
pub(super) struct Full(pub &'static str);

/// Changes of which a peer is still to hear.
///
/// Only names are kept; what is said of a peer is how it stands when it is said. What was
/// sent since the last answered `ping` may have been lost with the connection, and is kept
/// until the next is answered. Where that is too much, the peer gets its view anew.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: BTreeSet<PeerId>,
    /// Sent and not confirmed; a part for each ping that is not answered, and one since.
    sent: VecDeque<Sent>,
    resync: bool,
}

#[derive(Debug, Default)]
struct Sent {
    peers: BTreeSet<PeerId>,
    receipts: Vec<Receipt>,
    /// Receipts that are not kept, since there are too many.
    forgotten: usize,
    resync: bool,
}

impl News {
    /// Something changed about a peer.
    pub fn push(&mut self, peer: PeerId, limits: &Limits) {
        if self.resync {
            return;
        }
        self.waiting.insert(peer);
        if self.waiting.len() > limits.news {
            self.lose();
        }
    }

    /// Gives up on telling what changed.
    fn lose(&mut self) {
        self.waiting.clear();
        self.resync = true;
    }

    /// Whether the peer is to get its view anew.
    pub fn take_resync(&mut self) -> bool {
        let resync = core::mem::take(&mut self.resync);
        if resync {
            let sent = self.current();
            sent.resync = true;
            sent.peers.clear();
        }
        resync
    }

    /// Up to `max` peers to tell about now.
    pub fn take(&mut self, max: usize, limits: &Limits) -> Vec<PeerId> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(peer) = self.waiting.pop_first()
        {
            taken.push(peer);
        }
        let unconfirmed: usize = self.sent.iter().map(|sent| sent.peers.len()).sum();
        let sent = self.current();
        if unconfirmed + taken.len() > limits.news {
            sent.resync = true;
            sent.peers.clear();
        }
        if !sent.resync {
            sent.peers.extend(&taken);
        }
        taken
    }

    /// A receipt was sent.
    pub fn sent_receipt(&mut self, receipt: Receipt, limits: &Limits) {
        let sent = self.current();
        if sent.receipts.len() < limits.receipts {
            sent.receipts.push(receipt);
        } else {
            sent.forgotten += 1;
        }
    }

    /// A ping was sent: its answer will confirm all before it.
    pub fn sent_ping(&mut self) {
        self.sent.push_back(Sent::default());
    }

    /// The oldest ping that was not answered is now.
    pub fn confirm(&mut self) {
        if self.sent.len() > 1 {
            self.sent.pop_front();
        }
    }

    fn current(&mut self) -> &mut Sent {
        if self.sent.is_empty() {
            self.sent.push_back(Sent::default());
        }
        let last = self.sent.len() - 1;
        &mut self.sent[last]
    }

    /// What is not confirmed is to be told again; returns the receipts among it, and how many of
    /// them are not kept.
    fn rewind(&mut self, limits: &Limits) -> (Vec<Receipt>, usize) {
        let (mut receipts, mut forgotten) = (Vec::new(), 0);
        for sent in self.sent.drain(..) {
            self.resync |= sent.resync;
            self.waiting.extend(sent.peers);
            receipts.extend(sent.receipts);
            forgotten += sent.forgotten;
        }
        if self.resync || self.waiting.len() > limits.news {
            self.lose();
        }
        (receipts, forgotten)
    }

    /// Forgets all: the peer starts from a view of its own.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
