//! All fetches of a node: what is asked of whom, and what its answers do.
//!
//! Speaks of peers, not of links; whoever has a link up is told by [`Transfers::add_source`].
//! Wishes come out as [`Action`]s. Each [`Fetch`] knows what it lacks and who holds it;
//! [`schedule`] shares out among them, and [`requests`] knows what is waited for.

mod requests;
mod schedule;

use crate::{
    fetch::{Fetch, Terms},
    io::{Code, Progress, Slot, StoreError},
    policy,
    random::Random,
};
use requests::{Cancels, Refused, Requests};
use schedule::{Fetches, Schedule};
use shoal_protocol::{
    bits::Bits,
    bulk::{BulkHeader, BulkKind},
    content::{ContentKey, ContentSize},
    control::{ControlMessage, MAX_CHUNKS_PER_REQUEST, RefuseCode},
    id::PeerId,
    proof::{Proof, VerifiedChunk},
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::{collections::VecDeque, sync::Arc};

/// What the fetches want done, or tell.
#[derive(Debug)]
pub(crate) enum Action {
    Send {
        peer: PeerId,
        message: ControlMessage,
    },
    /// A proof came: record the content. Answered by [`Transfers::recorded`].
    Record {
        key: ContentKey,
        proof: Arc<Proof>,
    },
    /// Store chunks. Answered by [`Transfers::stored`].
    Put {
        key: ContentKey,
        slot: Slot,
        size: ContentSize,
        chunks: Vec<VerifiedChunk>,
        from: Vec<(u32, PeerId)>,
    },
    /// A chunk is in the store.
    Stored {
        key: ContentKey,
        index: u32,
        peer: PeerId,
    },
    /// All chunks are in the store.
    Complete {
        key: ContentKey,
    },
    Progress {
        key: ContentKey,
        progress: Progress,
    },
    /// A peer sent what no honest peer sends.
    Liar {
        peer: PeerId,
        what: String,
    },
}

/// The fetches of a node and what they share.
pub(crate) struct Transfers {
    fetches: Fetches,
    /// Terms of fetches that have not begun: what is held of them is being looked up.
    terms: SortedMap<ContentKey, Terms>,
    requests: Requests,
    schedule: Schedule,
    random: Random,
    actions: VecDeque<Action>,
}

impl Transfers {
    pub(crate) fn new(now: Timestamp, limit: Option<u64>, random: Random) -> Self {
        Self {
            fetches: Fetches::new(),
            terms: SortedMap::new(),
            requests: Requests::new(),
            schedule: Schedule::new(now, limit),
            random,
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Changes how much may be fetched, in bytes a second.
    pub(crate) fn set_limit(&mut self, now: Timestamp, limit: Option<u64>) {
        self.schedule.set_limit(now, limit);
    }

    /// The terms of a fetch that runs or is about to.
    pub(crate) fn terms(&self, key: ContentKey) -> Option<Terms> {
        let running = self.fetches.get(&key).map(|fetch| fetch.terms);
        running.or_else(|| self.terms.get(&key).copied())
    }

    pub(crate) fn is_paused(&self, key: ContentKey) -> bool {
        self.terms(key).is_some_and(|terms| terms.paused)
    }

    /// Changes the terms of a fetch, or says them before it begins.
    pub(crate) fn set_terms(&mut self, now: Timestamp, key: ContentKey, terms: Terms) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            self.terms.insert(key, terms);
            return;
        };
        let pauses = fetch.set_terms(terms);
        self.schedule.share_anew(now);
        if pauses {
            let cancels = self.requests.cancel_content(key);
            self.send(cancels);
        }
    }

    /// The fetch of a content, begun if there is none.
    fn begin(&mut self, key: ContentKey) -> &mut Fetch {
        // Who comes late does not get what others got before.
        let passes = self.fetches.values().map(|fetch| fetch.pass);
        let pass = passes.reduce(f64::min).unwrap_or_default();
        let terms = self.terms.remove(&key).unwrap_or_default();
        let fetch = self.fetches.entry(key);
        fetch.or_insert_with(|| Fetch::new(terms, pass))
    }

    /// Begins a fetch of which nothing is known yet.
    pub(crate) fn start(&mut self, key: ContentKey) {
        self.begin(key);
    }

    /// Begins or goes on with a fetch whose proof is in the store.
    pub(crate) fn resume(&mut self, now: Timestamp, proof: Arc<Proof>, slot: Slot, held: Bits) {
        let key = proof.key();
        self.begin(key).resume(proof, slot, held);
        self.finish_if_complete(now, key);
    }

    /// Ends a fetch; what is held stays.
    pub(crate) fn stop(&mut self, key: ContentKey) {
        self.terms.remove(&key);
        if self.fetches.remove(&key).is_some() {
            let cancels = self.requests.cancel_content(key);
            self.send(cancels);
        }
    }

    pub(crate) fn is_fetching(&self, key: ContentKey) -> bool {
        self.fetches.contains_key(&key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = ContentKey> + '_ {
        self.fetches.keys().copied()
    }

    /// How many more sources a fetch could use.
    pub(crate) fn sources_wanted(&self, now: Timestamp, key: ContentKey) -> usize {
        let fetch = self.fetches.get(&key);
        fetch.map_or(policy::SOURCES_WANTED, |fetch| fetch.sources_wanted(now))
    }

    /// What to say while there is no source.
    pub(crate) fn set_trouble(&mut self, key: ContentKey, searched: bool, trouble: Code) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.set_trouble(searched, trouble);
        }
    }

    /// Somebody waits to read a chunk.
    pub(crate) fn set_urgent(&mut self, key: ContentKey, index: u32) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.set_urgent(index);
        }
    }

    /// A peer that may hold the content can be asked.
    pub(crate) fn add_source(&mut self, now: Timestamp, key: ContentKey, peer: PeerId) {
        if let Some(fetch) = self.fetches.get_mut(&key)
            && fetch.add_source(now, peer)
        {
            let message = self.requests.ask_have(key);
            self.actions.push_back(Action::Send { peer, message });
        }
    }

    /// Says how many peer connections a peer sends over.
    pub(crate) fn set_connections(&mut self, peer: PeerId, connections: usize) {
        for fetch in self.fetches.values_mut() {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.set_connections(connections);
            }
        }
    }

    /// A peer that could not send for a while can be asked at once.
    pub(crate) fn peer_is_back(&mut self, now: Timestamp, peer: PeerId) {
        for fetch in self.fetches.values_mut() {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.heard(now);
            }
        }
    }

    /// A peer can no longer be asked.
    pub(crate) fn remove_peer(&mut self, now: Timestamp, peer: PeerId) {
        self.requests.forget_peer(peer);
        for fetch in self.fetches.values_mut() {
            fetch.remove_source(now, peer);
        }
    }

    /// A lane to a peer is gone, and with it perhaps some of what the peer owes: takes all of
    /// that back, so that it is asked for anew.
    pub(crate) fn lane_down(&mut self, peer: PeerId) {
        for fetch in self.fetches.values_mut() {
            fetch.take_back(peer);
        }
        let cancels = self.requests.cancel_peer(peer);
        self.send(cancels);
    }

    /// Peers that owe something.
    pub(crate) fn busy_peers(&self) -> SortedSet<PeerId> {
        self.fetches.values().flat_map(Fetch::owing).collect()
    }

    /// Whether anybody owes something.
    pub(crate) fn is_busy(&self) -> bool {
        self.fetches
            .values()
            .flat_map(Fetch::owing)
            .next()
            .is_some()
    }

    /// Asks nothing of a peer until it owes nothing: what is on its way over a lane that is
    /// closed is lost.
    pub(crate) fn drain(&mut self, now: Timestamp, peer: PeerId) {
        self.schedule.drain(now, peer);
    }

    /// Peers that were drained, or have taken too long; they are asked again.
    pub(crate) fn drained(&mut self, now: Timestamp) -> Vec<PeerId> {
        self.schedule.drained(now, &self.fetches)
    }

    /// A `Have`: all a peer holds, or what it holds now besides.
    pub(crate) fn have(
        &mut self,
        peer: PeerId,
        key: ContentKey,
        held: Option<Bits>,
        more: &[u32],
    ) -> Result<(), String> {
        match self.fetches.get_mut(&key) {
            Some(fetch) => fetch.have(peer, held, more),
            None => Ok(()),
        }
    }

    /// A peer no longer holds some chunks, or (none named) anything of a content.
    pub(crate) fn gone(&mut self, now: Timestamp, peer: PeerId, key: ContentKey, indexes: &[u32]) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        if indexes.is_empty() {
            self.requests.forget_source(key, peer);
            fetch.remove_source(now, peer);
        } else {
            self.requests.forget_chunks(key, peer, indexes);
            fetch.gone(now, peer, indexes);
        }
    }

    /// A peer does not answer a request.
    pub(crate) fn refused(&mut self, now: Timestamp, peer: PeerId, id: u32, code: RefuseCode) {
        let Some(Refused { key, chunks }) = self.requests.refused(peer, id) else {
            return;
        };
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.refused(now, peer, chunks.as_deref(), code);
        }
    }

    /// A bulk frame of a peer.
    pub(crate) fn frame(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        header: BulkHeader,
        payload: &[u8],
    ) {
        let size = |key| self.fetches.get(&key).and_then(Fetch::size);
        let received = match self.requests.receive(peer, header, payload, size) {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(what) => return self.liar(peer, what),
        };
        let (key, index) = (received.key, header.index);
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.heard(now, peer, header.kind);
        let Some(bytes) = received.whole else {
            return;
        };
        match header.kind {
            BulkKind::Proof => match fetch.proof_arrived(key, &bytes) {
                Ok(Some(proof)) => self.actions.push_back(Action::Record { key, proof }),
                Ok(None) => {}
                // Who passes a proof on has verified all of it, so nobody else can be to blame.
                Err(error) => self.liar(peer, &error.to_string()),
            },
            BulkKind::Chunk => match fetch.chunk_arrived(now, peer, index, received.asked, bytes) {
                Ok(Some(others)) => {
                    let cancels = self.requests.cancel_chunk(key, &others, index);
                    self.send(cancels);
                    self.write(key);
                }
                Ok(None) => {}
                Err(error) => self.liar(peer, &error.to_string()),
            },
        }
    }

    /// The content is recorded: `slot` and `held` are what the store has now.
    pub(crate) fn recorded(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        result: Result<(Slot, Bits), StoreError>,
    ) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.recorded(now, result);
            self.finish_if_complete(now, key);
        }
    }

    /// A store transaction has ended.
    pub(crate) fn stored(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        from: Vec<(u32, PeerId)>,
        result: Result<(), StoreError>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        if !fetch.stored(now, &from, &result) {
            return;
        }
        if result.is_ok() {
            let stored = |(index, peer)| Action::Stored { key, index, peer };
            self.actions.extend(from.into_iter().map(stored));
        } else {
            let cancels = self.requests.cancel_content(key);
            self.send(cancels);
        }
        self.write(key);
        self.finish_if_complete(now, key);
    }

    /// There may be room in the store again: fetches that wait for it go on.
    pub(crate) fn has_room(&mut self) {
        self.fetches.values_mut().for_each(Fetch::has_room);
    }

    /// A stored chunk turned out damaged and was dropped.
    pub(crate) fn lost(&mut self, key: ContentKey, index: u32) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.lost(index);
        }
    }

    fn finish_if_complete(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get(&key).filter(|fetch| fetch.is_complete()) else {
            return;
        };
        let progress = fetch.progress(now);
        self.stop(key);
        self.actions.push_back(Action::Progress { key, progress });
        self.actions.push_back(Action::Complete { key });
    }

    /// Hands verified chunks to the store.
    fn write(&mut self, key: ContentKey) {
        let fetch = self.fetches.get_mut(&key);
        let Some((slot, size, ready)) = fetch.and_then(Fetch::poll_write) else {
            return;
        };
        let of = ready.iter();
        let from = of.map(|(chunk, peer)| (chunk.index(), *peer)).collect();
        let chunks = ready.into_iter().map(|(chunk, _)| chunk).collect();
        self.actions.push_back(Action::Put {
            key,
            slot,
            size,
            chunks,
            from,
        });
    }

    /// Asks for what can be asked for now. Called after every input.
    pub(crate) fn schedule(&mut self, now: Timestamp) {
        let keys: Vec<ContentKey> = self.fetches.keys().copied().collect();
        for key in keys {
            self.ask_proof(now, key);
        }
        let picks = self
            .schedule
            .picks(now, &mut self.fetches, &mut self.random);
        for ((key, peer), indexes) in picks {
            for chunks in indexes.chunks(MAX_CHUNKS_PER_REQUEST) {
                let message = self.requests.ask_chunks(now, key, peer, chunks);
                self.actions.push_back(Action::Send { peer, message });
            }
        }
    }

    fn ask_proof(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let (last, next) = fetch.ask_proof(now, &mut self.random);
        if let Some(last) = last {
            let cancels = self.requests.cancel_proof(key, last);
            self.send(cancels);
        }
        if let Some(peer) = next {
            let message = self.requests.ask_proof(now, key, peer);
            self.actions.push_back(Action::Send { peer, message });
        }
    }

    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let fetches = self.fetches.values();
        let fetches = fetches.filter_map(|fetch| fetch.next_timeout(now));
        fetches.chain(self.schedule.next_timeout()).min()
    }

    /// Handles stalls and retries, and reports progress where it is time. Called after
    /// every input.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        for (&key, fetch) in &mut self.fetches {
            for peer in fetch.handle_timeout(now) {
                for (peer, message) in self.requests.cancel_chunks(key, peer) {
                    self.actions.push_back(Action::Send { peer, message });
                }
            }
            if let Some(progress) = fetch.report(now) {
                self.actions.push_back(Action::Progress { key, progress });
            }
        }
    }

    fn send(&mut self, messages: Cancels) {
        for (peer, message) in messages {
            self.actions.push_back(Action::Send { peer, message });
        }
    }

    fn liar(&mut self, peer: PeerId, what: &str) {
        self.actions.push_back(Action::Liar {
            peer,
            what: what.into(),
        });
    }
}
