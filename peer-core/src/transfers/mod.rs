//! All fetches of a node: what is asked of whom, and what its answers do.
//!
//! Speaks of peers, not of links; whoever has a link up is told by [`Transfers::add_source`].
//! Wishes come out as [`Action`]s. Each [`Fetch`] knows what it lacks and who holds it;
//! [`fetches`] says which of them to look at, [`schedule`] shares out among them, and
//! [`requests`] knows what is waited for.

mod fetches;
mod requests;
mod schedule;

use crate::{
    fetch::{Fetch, Terms},
    io::{Code, Progress, Slot, StoreError},
    policy,
    random::Random,
};
use fetches::Fetches;
use requests::{Cancels, Refused, Requests};
use schedule::Schedule;
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
            fetches: Fetches::default(),
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

    /// Whether a fetch that is to begin or runs is to go on until all is held.
    pub(crate) fn wants_all(&self, key: ContentKey) -> bool {
        self.terms(key).unwrap_or_default().wants_all()
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

    /// Begins a fetch of which nothing is known yet, if there is none.
    pub(crate) fn start(&mut self, key: ContentKey) {
        if !self.fetches.contains_key(&key) {
            let terms = self.terms.remove(&key).unwrap_or_default();
            self.fetches.insert(key, Fetch::new(terms));
        }
    }

    /// Begins or goes on with a fetch whose proof is in the store.
    pub(crate) fn resume(&mut self, now: Timestamp, proof: Arc<Proof>, slot: Slot, held: Bits) {
        let key = proof.key();
        self.start(key);
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.resume(proof, slot, held);
        }
        self.finish_if_complete(now, key);
    }

    /// Ends a fetch; what is held stays.
    pub(crate) fn stop(&mut self, key: ContentKey) {
        self.terms.remove(&key);
        if self.fetches.remove(&key) {
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

    /// Whether some fetch could use more sources.
    pub(crate) fn want_sources(&self) -> bool {
        self.fetches.want_sources()
    }

    /// How many more sources a fetch could use.
    pub(crate) fn sources_wanted(&self, now: Timestamp, key: ContentKey) -> usize {
        let fetch = self.fetches.get(&key);
        fetch.map_or(policy::SOURCES_WANTED, |fetch| fetch.sources_wanted(now))
    }

    /// What to say while there is no source.
    pub(crate) fn set_trouble(&mut self, key: ContentKey, searched: bool, trouble: Code) {
        let fetch = self.fetches.get(&key);
        if fetch.is_some_and(|fetch| fetch.trouble() != (searched, trouble))
            && let Some(fetch) = self.fetches.get_mut(&key)
        {
            fetch.set_trouble(searched, trouble);
        }
    }

    /// Says which chunks of a content somebody waits to read.
    pub(crate) fn set_reading(&mut self, key: ContentKey, at: SortedSet<u32>) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let requests = &self.requests;
        for (index, peers) in fetch.set_reading(at, |index| requests.has_begun(key, index)) {
            let cancels = self.requests.cancel_chunk(key, &peers, index);
            self.send(cancels);
        }
    }

    /// How many messages and other actions have not been taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.actions.len()
    }

    /// Whether a peer is asked about a content, or need not be.
    pub(crate) fn has_source(&self, key: ContentKey, peer: PeerId) -> bool {
        let fetch = self.fetches.get(&key);
        fetch.is_none_or(|fetch| fetch.sources.contains_key(&peer))
    }

    /// A source lists all of the content.
    pub(crate) fn lists_all(&mut self, key: ContentKey, peer: PeerId) {
        let source = self.fetches.look(&key);
        let source = source.and_then(|fetch| fetch.sources.get_mut(&peer));
        if let Some(source) = source {
            source.lists_all = true;
        }
    }

    /// A peer that may hold the content, and is no source of it, can be asked; whether it lists
    /// all of it.
    pub(crate) fn add_source(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        peer: PeerId,
        lists_all: bool,
    ) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.add_source(now, peer, lists_all);
            let message = self.requests.ask_have(key);
            self.actions.push_back(Action::Send { peer, message });
        }
    }

    /// Says how many peer connections a peer sends over.
    pub(crate) fn set_connections(&mut self, peer: PeerId, connections: usize) {
        for fetch in self.fetches.of(peer) {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.set_connections(connections);
            }
        }
    }

    /// A peer that could not send for a while can be asked at once.
    pub(crate) fn peer_is_back(&mut self, now: Timestamp, peer: PeerId) {
        for fetch in self.fetches.of(peer) {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.heard(now);
            }
        }
    }

    /// A peer can no longer be asked.
    pub(crate) fn remove_peer(&mut self, now: Timestamp, peer: PeerId) {
        self.requests.forget_peer(peer);
        for fetch in self.fetches.of(peer) {
            fetch.remove_source(now, peer);
        }
    }

    /// A lane to a peer is gone, and with it perhaps some of what the peer owes: takes all of
    /// that back, so that it is asked for anew.
    pub(crate) fn lane_down(&mut self, peer: PeerId) {
        for fetch in self.fetches.of(peer) {
            fetch.take_back(peer);
        }
        let cancels = self.requests.cancel_peer(peer);
        self.send(cancels);
    }

    /// Peers that owe something.
    pub(crate) fn busy_peers(&self) -> SortedSet<PeerId> {
        self.requests.owing().map(|(peer, _)| peer).collect()
    }

    /// Whether a peer is of use to some fetch.
    pub(crate) fn uses(&self, now: Timestamp, peer: PeerId) -> bool {
        let mut sources = self.fetches.sources(peer);
        sources.any(|source| source.is_of_use(now))
    }

    /// Whether anybody owes something.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.owing().next().is_some()
    }

    /// Asks nothing of a peer until it owes nothing: what is on its way over a lane that is
    /// closed is lost.
    pub(crate) fn drain(&mut self, now: Timestamp, peer: PeerId) {
        self.schedule.drain(now, peer);
    }

    /// Peers that were drained, or have taken too long; they are asked again.
    pub(crate) fn drained(&mut self, now: Timestamp) -> Vec<PeerId> {
        let drained = self.schedule.drained(now, &self.requests);
        for peer in &drained {
            self.fetches.of(*peer).for_each(drop);
        }
        drained
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
        let len = bytes.len();
        match header.kind {
            BulkKind::Proof => match fetch.proof_arrived(key, bytes) {
                Ok(Some(proof)) => {
                    let cancels = self.requests.proven(key, len);
                    self.send(cancels);
                    self.actions.push_back(Action::Record { key, proof });
                }
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
        let waits = |key: &&ContentKey| self.fetches.get(key).is_some_and(Fetch::waits_for_room);
        let waiting: Vec<ContentKey> = self.fetches.keys().filter(waits).copied().collect();
        for key in waiting {
            if let Some(fetch) = self.fetches.get_mut(&key) {
                fetch.has_room();
            }
        }
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
        for peer in self.schedule.have_room(&self.requests) {
            self.fetches.of(peer).for_each(drop);
        }
        let due = self.fetches.due(now);
        for key in &due {
            self.ask_proof(now, *key);
            self.fetches.wake(key);
        }
        let (fetches, requests) = (&mut self.fetches, &self.requests);
        let picks = self
            .schedule
            .picks(now, fetches, requests, &mut self.random);
        for ((key, peer), indexes) in picks {
            let is_read = |index: &u32| self.fetches.get(&key).is_some_and(|f| f.is_read(*index));
            let (first, rest): (Vec<u32>, Vec<u32>) = indexes.into_iter().partition(is_read);
            for (indexes, first) in [(first, true), (rest, false)] {
                for chunks in indexes.chunks(MAX_CHUNKS_PER_REQUEST) {
                    let message = self.requests.ask_chunks(now, key, peer, chunks, first);
                    self.actions.push_back(Action::Send { peer, message });
                }
            }
        }
        for key in self.fetches.due(now) {
            self.fetches.looked_at(now, &key);
        }
    }

    fn ask_proof(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.look(&key) else {
            return;
        };
        if let Some(proof) = fetch.record_again() {
            return self.actions.push_back(Action::Record { key, proof });
        }
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

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let fetches = self.fetches.next_timeout().into_iter();
        fetches.chain(self.schedule.next_timeout()).min()
    }

    /// Handles stalls and retries, and reports progress where it is time. Called after
    /// every input.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        for key in self.fetches.due(now) {
            let Some(fetch) = self.fetches.look(&key) else {
                continue;
            };
            let rested = fetch.handle_timeout(now);
            if let Some(progress) = fetch.report(now) {
                self.actions.push_back(Action::Progress { key, progress });
            }
            for peer in rested {
                let cancels = self.requests.cancel_chunks(key, peer);
                self.send(cancels);
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

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::{content::ContentSize, proof::Publication};
    use std::time::Duration;

    const START: Timestamp = Timestamp::from_millis(1_000_000);
    const SOURCE: PeerId = PeerId::from_public_key([1; 32]);

    /// A content of one chunk.
    fn content(number: usize) -> Arc<Proof> {
        let size = ContentSize::try_from(8).expect("a size");
        let mut publication = Publication::new(size);
        let bytes = (number as u64).to_le_bytes().to_vec();
        publication.add(0, bytes).expect("it is as long");
        Arc::new(publication.finish().expect("it is whole"))
    }

    /// What a node does after each input, as far as fetches are concerned.
    fn settle(transfers: &mut Transfers, now: Timestamp) {
        transfers.handle_timeout(now);
        transfers.drained(now);
        transfers.is_busy();
        transfers.want_sources();
        transfers.schedule(now);
        while transfers.poll().is_some() {}
        transfers.next_timeout();
    }

    /// How long some inputs take that are about one of so many fetches. Of those each third one
    /// waits for a source, one for its only chunk, and one for what its source does not hold.
    #[expect(clippy::disallowed_methods, reason = "what takes time is measured")]
    fn time_of_inputs(fetches: usize) -> Duration {
        let mut transfers = Transfers::new(START, None, Random::new([7; 32]));
        let contents: Vec<Arc<Proof>> = (0..fetches).map(content).collect();
        for (number, proof) in contents.iter().enumerate() {
            let key = proof.key();
            transfers.resume(START, proof.clone(), number as u64, Bits::new(1));
            if number % 3 > 0 {
                transfers.add_source(START, key, SOURCE, false);
                let held = if number % 3 == 1 {
                    Bits::full(1)
                } else {
                    Bits::new(1)
                };
                transfers
                    .have(SOURCE, key, Some(held), &[])
                    .expect("a chunk");
            }
        }
        settle(&mut transfers, START);
        let key = contents[2].key();
        let mut round = |_| {
            let before = std::time::Instant::now();
            for input in 0..30 {
                let now = START + Duration::from_micros(input);
                transfers.have(SOURCE, key, None, &[]).expect("nothing");
                settle(&mut transfers, now);
            }
            before.elapsed()
        };
        (0..5).map(&mut round).min().expect("some rounds")
    }

    #[test]
    fn what_an_input_costs_grows_no_faster_than_the_number_of_fetches() {
        let (few, many) = (time_of_inputs(200), time_of_inputs(2000));
        assert!(many < few * 25, "{few:?} {many:?}");
    }
}
