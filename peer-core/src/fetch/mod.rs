//! Fetching one content: its proof, its chunks, its sources, and what came of them.
//!
//! [`proof`] says of whom the proof is asked, [`chunks`] which chunk is asked of a source,
//! [`sources`] what each source holds and owes, [`reading`] what comes first because somebody
//! waits to read it, [`progress`] what is told of it all.

mod chunks;
mod progress;
mod proof;
mod reading;
mod sources;

pub(crate) use progress::held_bytes;

use crate::{
    io::{Code, Priority, Slot, StoreError},
    policy,
    random::Random,
    rate::Rate,
    source::{Source, Standing},
};
use chunks::{Asker, Chunks};
use proof::ProofRounds;
use reading::Reading;
use shoal_protocol::{
    bits::Bits,
    content::{ContentKey, ContentSize},
    id::PeerId,
    proof::{Proof, ProofError, VerifiedChunk},
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::sync::Arc;

/// How a fetch is treated among others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) priority: Priority,
    pub(crate) paused: bool,
    /// Whether only what is read is fetched.
    pub(crate) on_demand: bool,
}

impl Terms {
    /// Whether it is to go on until all is held, and after a restart.
    pub(crate) fn wants_all(self) -> bool {
        !self.paused && !self.on_demand
    }
}

/// Chunks that have verified, and who sent them.
pub(crate) type Ready = Vec<(VerifiedChunk, PeerId)>;

/// A content that is being fetched.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) terms: Terms,
    /// What it got in relation to its share (stride scheduling, Waldspurger 1995).
    pub(crate) pass: u64,
    pub(crate) sources: SortedMap<PeerId, Source>,
    /// Sources that failed and went away.
    former: SortedMap<PeerId, Standing>,
    /// Which chunks each source owes.
    owed: SortedMap<PeerId, SortedSet<u32>>,
    /// The source that was asked last.
    turn: Option<PeerId>,
    proof: ProofRounds,
    /// A proof that the store had no room for.
    unrecorded: Option<Arc<Proof>>,
    /// `None` until the proof has come.
    chunks: Option<Chunks>,
    /// What somebody waits to read.
    reading: Reading,
    /// Whether the record with the proof is in the store.
    recorded: bool,
    /// When a chunk becomes late for a source that has room.
    late_at: Option<Timestamp>,
    /// The store does not take chunks, until then.
    store_full: Option<(Code, Timestamp)>,
    /// Whether somebody was asked who holds it, and why there is nobody.
    searched: bool,
    trouble: Code,
    rate: Rate,
    reported: Option<Timestamp>,
    /// Whether there is something to report.
    changed: bool,
}

impl Fetch {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            pass: 0,
            sources: SortedMap::new(),
            former: SortedMap::new(),
            owed: SortedMap::new(),
            turn: None,
            proof: ProofRounds::default(),
            unrecorded: None,
            chunks: None,
            reading: Reading::default(),
            recorded: false,
            late_at: None,
            store_full: None,
            searched: false,
            trouble: Code::NotHeld,
            rate: Rate::default(),
            reported: None,
            changed: true,
        }
    }

    /// Changes how it is treated; what was asked for is taken back when it pauses. Whether it
    /// does.
    pub(crate) fn set_terms(&mut self, terms: Terms) -> bool {
        let pauses = terms.paused && !self.terms.paused;
        self.terms = terms;
        self.changed = true;
        if pauses {
            self.proof.take_back();
            self.take_all_back();
        }
        pauses
    }

    /// Whether somebody was asked who holds it, and why there is nobody.
    pub(crate) fn trouble(&self) -> (bool, Code) {
        (self.searched, self.trouble)
    }

    /// Says what the trouble is while there is no source.
    pub(crate) fn set_trouble(&mut self, searched: bool, trouble: Code) {
        self.changed = true;
        (self.searched, self.trouble) = (searched, trouble);
    }

    /// Says which chunks somebody waits to read. Gives what is taken back, and of whom: what was
    /// asked for where nobody reads any more, and what is read and was asked for among others,
    /// unless it `has_begun` to come; it is asked for anew, before them.
    pub(crate) fn set_reading(
        &mut self,
        at: SortedSet<u32>,
        has_begun: impl Fn(u32) -> bool,
    ) -> Vec<(u32, Vec<PeerId>)> {
        self.changed = true;
        self.reading.at = at;
        let mut back = self.reading.take_stale();
        let behind = |index: &&u32| !self.reading.asked.contains(*index) && !has_begun(**index);
        back.extend(self.reading.at.iter().filter(behind));
        let back = back.into_iter().map(|index| {
            let peers = self.release_everywhere(index);
            if let Some(chunks) = &mut self.chunks {
                peers.iter().for_each(|_| chunks.release(index));
            }
            (index, peers)
        });
        back.collect()
    }

    /// Whether somebody waits to read a chunk.
    pub(crate) fn is_read(&self, index: u32) -> bool {
        self.reading.at.contains(&index)
    }

    /// A proof that could not be recorded and may be now.
    pub(crate) fn record_again(&mut self) -> Option<Arc<Proof>> {
        if self.chunks.is_some() || self.terms.paused || self.store_full.is_some() {
            return None;
        }
        let proof = self.unrecorded.take()?;
        self.proven(proof.clone());
        Some(proof)
    }

    fn proven(&mut self, proof: Arc<Proof>) {
        let held = Bits::new(proof.size().chunks());
        self.chunks = Some(Chunks::new(proof, 0, held));
        self.proof.take_back();
        self.changed = true;
    }

    /// Goes on from a proof and chunks that are in the store.
    pub(crate) fn resume(&mut self, proof: Arc<Proof>, slot: Slot, held: Bits) {
        self.unrecorded = None;
        self.chunks = Some(Chunks::new(proof, slot, held));
        self.recorded = true;
        self.settle_have();
    }

    /// The size of the content, once the proof says it.
    pub(crate) fn size(&self) -> Option<ContentSize> {
        self.chunks.as_ref().map(|chunks| chunks.proof.size())
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.chunks
            .as_ref()
            .is_some_and(|chunks| chunks.held.is_full())
    }

    /// Whether chunks may be asked for.
    pub(crate) fn is_open(&self) -> bool {
        self.recorded && self.store_full.is_none() && !self.terms.paused
    }

    /// Sources that can be asked for the proof now: those that said what they hold, and as
    /// long as none has, all, so that the first is asked without a round trip before.
    fn can_prove(&self, now: Timestamp) -> Vec<PeerId> {
        let willing = |source: &Source| source.rests_until().is_none_or(|until| until <= now);
        let willing = self.sources.iter().filter(|(_, source)| willing(source));
        let (known, others): (Vec<_>, Vec<_>) =
            willing.partition(|(_, source)| source.have.is_some());
        let chosen = if known.is_empty() { others } else { known };
        chosen.into_iter().map(|(peer, _)| *peer).collect()
    }

    /// When the proof is asked of another source, as long as there is none.
    fn proof_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.proof.due(&self.can_prove(now))
    }

    /// Goes on with asking for the proof, if it is time. Gives who need not answer any more,
    /// and who is to be asked.
    pub(crate) fn ask_proof(
        &mut self,
        now: Timestamp,
        random: &mut Random,
    ) -> (Option<PeerId>, Option<PeerId>) {
        if self.chunks.is_some()
            || self.unrecorded.is_some()
            || self.terms.paused
            || self.store_full.is_some()
            || self.proof_due(now).is_some_and(|due| now < due)
        {
            return (None, None);
        }
        let can_prove = self.can_prove(now);
        self.proof.next(now, can_prove, random)
    }

    /// A proof came. Gives it if it was missing.
    pub(crate) fn proof_arrived(
        &mut self,
        key: ContentKey,
        answer: Vec<u8>,
    ) -> Result<Option<Arc<Proof>>, ProofError> {
        if self.chunks.is_some() {
            return Ok(None);
        }
        let proof = Arc::new(Proof::from_bytes(key, answer)?);
        self.proven(proof.clone());
        Ok(Some(proof))
    }

    /// The content is recorded: the slot and the chunks held are what the store has now.
    pub(crate) fn recorded(&mut self, now: Timestamp, result: Result<(Slot, Bits), StoreError>) {
        match result {
            Ok((slot, held)) => {
                if let Some(chunks) = self.chunks.take() {
                    self.resume(chunks.proof, slot, held);
                }
            }
            Err(error) => {
                self.unrecorded = self.chunks.take().map(|chunks| chunks.proof);
                self.store_fails(now, &error);
            }
        }
    }

    /// Chooses a chunk to ask for and the source to ask, none of those that are full, while
    /// fewer than `budget` are in memory.
    pub(crate) fn pick(
        &mut self,
        now: Timestamp,
        budget: usize,
        is_full: &dyn Fn(&PeerId) -> bool,
        random: &mut Random,
    ) -> Option<(PeerId, u32)> {
        self.late_at = None;
        let is_open = self.is_open();
        self.reading.follow(self.rate.get(now));
        let reading = &mut self.reading;
        let on_demand = self.terms.on_demand;
        let chunks = self.chunks.as_mut().filter(|_| is_open)?;
        // What somebody owes who sends nothing must not keep others from sending.
        let resting = self
            .sources
            .values()
            .filter(|source| source.is_resting(now));
        let budget = budget + resting.map(|source| source.in_flight).sum::<usize>();
        // Sources take turns, so that a budget that is short is shared.
        let mut turns: Vec<PeerId> = self.sources.keys().copied().collect();
        let had = turns.partition_point(|peer| Some(*peer) <= self.turn);
        turns.rotate_left(had);
        let has_room = chunks.in_memory() < budget;
        turns.into_iter().find_map(|peer| {
            let sources = &self.sources;
            let source = sources.get(&peer)?;
            if is_full(&peer) {
                return None;
            }
            let owes = self.owed.entry(peer).or_default();
            let asker = Asker {
                peer,
                source,
                sources,
                owes,
            };
            let choice = match source.room(now) > 0 {
                true => chunks.pick(now, &asker, has_room, reading, on_demand, random),
                false if source.room_to_read(now) > 0 => {
                    chunks.pick_read(now, &asker, reading).ok_or(None)
                }
                false => Err(None),
            };
            match choice {
                Ok(index) => {
                    if reading.covers(index) {
                        reading.asked.insert(index);
                    }
                    owes.insert(index);
                    if let Some(source) = self.sources.get_mut(&peer) {
                        source.asked(now, 1);
                    }
                    self.turn = Some(peer);
                    Some((peer, index))
                }
                Err(later) => {
                    self.late_at = self.late_at.into_iter().chain(later).min();
                    None
                }
            }
        })
    }

    /// The bytes of a chunk came. Gives who else was asked for it and need not send it, if it
    /// was missing.
    pub(crate) fn chunk_arrived(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        index: u32,
        asked: Timestamp,
        bytes: Vec<u8>,
    ) -> Result<Option<Vec<PeerId>>, ProofError> {
        let owed = self.owed.entry(peer).or_default().remove(&index);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.released(usize::from(owed));
        }
        let Some(chunks) = &mut self.chunks else {
            return Ok(None);
        };
        let len = bytes.len() as u64;
        let chunk = match chunks.proof.verify(index, bytes) {
            Ok(chunk) => chunk,
            Err(error) => {
                if owed {
                    chunks.release(index);
                }
                return Err(error);
            }
        };
        if let Some(source) = self.sources.get_mut(&peer) {
            source.answered(now, len, asked);
        }
        self.changed = true;
        if !chunks.needs(index) {
            return Ok(None);
        }
        chunks.arrived(chunk, peer);
        self.reading.asked.remove(&index);
        self.rate.add(now, len);
        Ok(Some(self.release_everywhere(index)))
    }

    /// Chunks for the store, their slot and the size of it all, a few transactions at a time.
    pub(crate) fn poll_write(&mut self) -> Option<(Slot, ContentSize, Ready)> {
        let chunks = self.chunks.as_mut()?;
        Some((chunks.slot, chunks.proof.size(), chunks.poll_write()?))
    }

    /// A store transaction has ended. False if it was none of this fetch.
    pub(crate) fn stored(
        &mut self,
        now: Timestamp,
        from: &[(u32, PeerId)],
        result: &Result<(), StoreError>,
    ) -> bool {
        let Some(chunks) = &mut self.chunks else {
            return false;
        };
        chunks.written(from.len());
        self.changed = true;
        let indexes = from.iter().map(|(index, _)| *index);
        match result {
            Ok(()) => indexes.for_each(|index| chunks.stored(index)),
            Err(error) => {
                indexes.for_each(|index| chunks.not_stored(index));
                chunks.drop_ready();
                self.store_fails(now, error);
                self.take_all_back();
            }
        }
        true
    }

    /// A stored chunk turned out damaged and was dropped.
    pub(crate) fn lost(&mut self, index: u32) {
        if let Some(chunks) = &mut self.chunks {
            chunks.lost(index);
        }
    }

    /// The store is left alone for a while.
    fn store_fails(&mut self, now: Timestamp, error: &StoreError) {
        let code = match error {
            StoreError::Quota => Code::Quota,
            StoreError::Superseded | StoreError::Failed(_) => Code::StoreFailed,
        };
        self.store_full = Some((code, now + policy::STORE_RETRY));
        self.changed = true;
    }

    /// There may be room in the store again.
    pub(crate) fn has_room(&mut self) {
        self.store_full = None;
        self.changed = true;
    }

    /// Whether it waits until there is room in the store.
    pub(crate) fn waits_for_room(&self) -> bool {
        matches!(self.store_full, Some((Code::Quota, _)))
    }

    /// When [`Fetch::handle_timeout`] is to be called.
    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let stalls = self.sources.values().filter_map(Source::stalls_at);
        let rests = self.sources.values().filter_map(Source::rests_until);
        let proof = self.proof_due(now).filter(|_| self.chunks.is_none());
        let store = self.store_full.map(|(_, until)| until);
        // When a source loses its place another one is looked for.
        let places = self.sources.values().filter(|source| source.is_of_use(now));
        stalls
            .chain(rests)
            .chain(places.map(Source::place_until))
            .chain(self.late_at)
            .chain(proof)
            .chain(store)
            .chain(self.report_due())
            .min()
    }

    /// Handles stalls and retries. Gives the sources from which chunks were taken back.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) -> Vec<PeerId> {
        if self.store_full.is_some_and(|(_, until)| until <= now) {
            self.store_full = None;
        }
        let mut rested = Vec::new();
        for (&peer, source) in &mut self.sources {
            // What it owes is not taken back yet: it may be on its way over a slow line.
            if source.stalls_at().is_some_and(|time| time <= now) {
                source.rest(now);
            } else if source.rests_until().is_some_and(|until| until <= now) {
                source.rested(now);
                rested.push(peer);
            }
        }
        for peer in &rested {
            self.release_all(*peer);
        }
        rested
    }
}
