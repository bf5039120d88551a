//! Fetching one content: which chunk to ask of whom, and what came of it.
//!
//! Rarest first with a seeded tie-break, or first what somebody waits to read. A source that
//! has nothing else to send is asked for what is late with others, and the losers are
//! cancelled: nobody waits on the slowest, and no source can keep a chunk by being slow.
//! Sources: BitTorrent's piece selection (Cohen 2003, sections 2.4.1 to 2.4.4); hedged
//! requests (Dean and Barroso, "The Tail at Scale", 2013).

use crate::{
    io::{Code, Priority, Progress, ProgressState, Slot},
    policy,
    random::Random,
    rate::Rate,
    source::{Source, Standing},
};
use shoal_protocol::{
    bits::Bits,
    id::PeerId,
    proof::{Proof, VerifiedChunk},
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// A chunk that was asked for.
#[derive(Debug)]
struct Asked {
    /// Of how many sources.
    copies: u8,
    /// When the last of them was asked, and how long what it is asked for may take.
    since: Timestamp,
    patience: Duration,
}

/// The chunk-wise part of a fetch: begins when the proof is known.
#[derive(Debug)]
pub(crate) struct Chunks {
    pub(crate) proof: Arc<Proof>,
    pub(crate) slot: Slot,
    /// In the store.
    pub(crate) held: Bits,
    /// Neither held, nor being stored, nor asked for.
    free: Bits,
    asked: SortedMap<u32, Asked>,
    /// Verified, waiting for a store transaction.
    pub(crate) ready: Vec<(VerifiedChunk, PeerId)>,
    /// In a store transaction.
    pub(crate) writing: usize,
    /// Number of sources that hold each chunk.
    availability: Vec<u16>,
    /// Chunks somebody waits to read.
    pub(crate) urgent: SortedSet<u32>,
}

impl Chunks {
    pub(crate) fn new(proof: Arc<Proof>, slot: Slot, held: Bits) -> Self {
        let chunks = proof.size().chunks();
        let mut free = Bits::full(chunks);
        held.iter().for_each(|index| {
            free.remove(index);
        });
        Self {
            proof,
            slot,
            held,
            free,
            asked: SortedMap::new(),
            ready: Vec::new(),
            writing: 0,
            availability: vec![0; chunks as usize],
            urgent: SortedSet::new(),
        }
    }

    /// Chunks that take memory: asked for, or waiting to be stored.
    pub(crate) fn in_memory(&self) -> usize {
        self.asked.len() + self.ready.len() + self.writing
    }

    /// Whether a chunk that arrives is still of use.
    pub(crate) fn needs(&self, index: u32) -> bool {
        self.free.contains(index) || self.asked.contains_key(&index)
    }

    /// A source no longer owes a chunk.
    pub(crate) fn release(&mut self, index: u32) {
        if let Some(asked) = self.asked.get_mut(&index) {
            asked.copies -= 1;
            if asked.copies == 0 {
                self.asked.remove(&index);
                self.free.insert(index);
            }
        }
    }

    /// A chunk has verified; nobody is asked for it any more.
    pub(crate) fn arrived(&mut self, chunk: VerifiedChunk, from: PeerId) {
        self.asked.remove(&chunk.index());
        self.free.remove(chunk.index());
        self.ready.push((chunk, from));
    }

    /// A chunk could not be stored.
    pub(crate) fn not_stored(&mut self, index: u32) {
        self.free.insert(index);
    }

    /// A chunk is in the store.
    pub(crate) fn stored(&mut self, index: u32) {
        self.held.insert(index);
        self.free.remove(index);
        self.urgent.remove(&index);
    }

    pub(crate) fn count_source(&mut self, have: &Bits, by: i32) {
        have.iter().for_each(|index| self.count_chunk(index, by));
    }

    pub(crate) fn count_chunk(&mut self, index: u32, by: i32) {
        if let Some(count) = self.availability.get_mut(index as usize) {
            *count = count.saturating_add_signed(by as i16);
        }
    }

    /// Chooses the next chunk to ask of a source, and notes that it is asked for. Without
    /// room in memory only what is asked for already. If there is none, says when there may be.
    fn pick(
        &mut self,
        now: Timestamp,
        source: &Source,
        owes: &SortedSet<u32>,
        has_room: bool,
        random: &mut Random,
    ) -> Result<u32, Option<Timestamp>> {
        let have = source.have.as_ref().ok_or(None)?;
        let wanted = |index: &u32| self.free.contains(*index) && have.contains(*index);
        let urgent = self.urgent.iter().copied().find(wanted);
        let free = match has_room {
            true if urgent.is_some() => urgent,
            true if source.is_late(now) || !self.late_urgent(now, source, owes) => {
                self.rarest(have, random)
            }
            _ => None,
        };
        if let Some(index) = free {
            self.free.remove(index);
            self.ask(now, index, source);
            return Ok(index);
        }
        // Who is late itself is no help.
        if source.is_late(now) {
            return Err(None);
        }
        let asked = self.asked.iter().map(|(index, asked)| (*index, asked));
        let (due, _, index) =
            late(asked, source, owes, &self.urgent, self.free.is_empty()).ok_or(None)?;
        if now < due {
            return Err(Some(due));
        }
        self.ask(now, index, source);
        Ok(index)
    }

    fn ask(&mut self, now: Timestamp, index: u32, source: &Source) {
        let before = self.asked.get(&index).map_or(0, |asked| asked.copies);
        let asked = Asked {
            copies: before.saturating_add(1),
            since: now,
            patience: source.patience(),
        };
        self.asked.insert(index, asked);
    }

    /// Whether somebody waits to read a chunk that is late with another source.
    fn late_urgent(&self, now: Timestamp, source: &Source, owes: &SortedSet<u32>) -> bool {
        let asked = self.urgent.iter();
        let asked = asked.filter_map(|index| Some((*index, self.asked.get(index)?)));
        late(asked, source, owes, &self.urgent, self.free.is_empty())
            .is_some_and(|(due, ..)| due <= now)
    }

    fn rarest(&self, have: &Bits, random: &mut Random) -> Option<u32> {
        let start = random.below(self.free.len());
        let sample = self
            .free
            .common_from(have, start)
            .take(policy::RAREST_SAMPLE);
        let mut best: Option<(u16, u32)> = None;
        let mut ties = 0;
        for index in sample {
            let count = self.availability[index as usize];
            match best {
                Some((least, _)) if count > least => continue,
                Some((least, _)) if count == least => ties += 1,
                _ => ties = 1,
            }
            // Each of the ties is as likely to stay (reservoir sampling, Vitter 1985).
            if random.below(ties) == 0 {
                best = Some((count, index));
            }
        }
        best.map(|(_, index)| index)
    }
}

/// Which of the chunks that others were asked for this source could be asked for first, and
/// when: once it could have answered, later while the fetch does not yet end with them, and
/// later with each source that was asked.
fn late<'a>(
    asked: impl Iterator<Item = (u32, &'a Asked)>,
    source: &Source,
    owes: &SortedSet<u32>,
    urgent: &SortedSet<u32>,
    ends: bool,
) -> Option<(Timestamp, bool, u32)> {
    let have = source.have.as_ref()?;
    let patience = source.patience();
    asked
        .filter(|(index, _)| have.contains(*index) && !owes.contains(index))
        .map(|(index, asked)| {
            let patience = match ends || urgent.contains(&index) {
                true => patience,
                false => patience * policy::HEDGE_EARLY,
            };
            let most = patience * policy::HEDGE_SPREAD;
            let patience = asked.patience.clamp(patience, most);
            let due = asked.since + patience * (1 << asked.copies.saturating_sub(2).min(8));
            (due, !urgent.contains(&index), index)
        })
        .min()
}

/// How a fetch is treated among others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) priority: Priority,
    pub(crate) paused: bool,
}

/// A content that is being fetched.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) terms: Terms,
    /// What it got in relation to its share (stride scheduling, Waldspurger 1995).
    pub(crate) pass: f64,
    /// The source that was asked last.
    turn: Option<PeerId>,
    /// `None` until the proof has come.
    pub(crate) chunks: Option<Chunks>,
    pub(crate) sources: SortedMap<PeerId, Source>,
    /// Sources that failed and went away.
    pub(crate) former: SortedMap<PeerId, Standing>,
    /// When a chunk becomes late for a source that has room.
    pub(crate) late_at: Option<Timestamp>,
    /// Which chunks each source owes.
    pub(crate) owed: SortedMap<PeerId, SortedSet<u32>>,
    /// Whether the record with the proof is in the store.
    pub(crate) recorded: bool,
    /// Whom the proof was asked of last, and when.
    pub(crate) proof_asked: Option<(PeerId, Timestamp)>,
    /// Who was asked in this round, how many rounds there were before, and when something
    /// new of the answer came last.
    pub(crate) proof_tried: SortedSet<PeerId>,
    pub(crate) proof_rounds: u32,
    pub(crate) proof_heard: Option<Timestamp>,
    /// The store does not take chunks, until then.
    pub(crate) store_full: Option<(Code, Timestamp)>,
    /// Whether somebody was asked who holds it, and why there is nobody.
    pub(crate) searched: bool,
    pub(crate) trouble: Code,
    pub(crate) rate: Rate,
    pub(crate) reported: Option<Timestamp>,
    pub(crate) changed: bool,
}

impl Fetch {
    pub(crate) fn new(terms: Terms, pass: f64) -> Self {
        Self {
            terms,
            pass,
            turn: None,
            chunks: None,
            sources: SortedMap::new(),
            former: SortedMap::new(),
            late_at: None,
            owed: SortedMap::new(),
            recorded: false,
            proof_asked: None,
            proof_tried: SortedSet::new(),
            proof_rounds: 0,
            proof_heard: None,
            store_full: None,
            searched: false,
            trouble: Code::NotHeld,
            rate: Rate::default(),
            reported: None,
            changed: true,
        }
    }

    /// Sources that can be asked for the proof now: those that said what they hold, and as
    /// long as none has, all, so that the first is asked without a round trip before.
    pub(crate) fn can_prove(&self, now: Timestamp) -> Vec<PeerId> {
        let willing = |source: &Source| source.rests_until().is_none_or(|until| until <= now);
        let willing = self.sources.iter().filter(|(_, source)| willing(source));
        let (known, others): (Vec<_>, Vec<_>) =
            willing.partition(|(_, source)| source.have.is_some());
        let chosen = if known.is_empty() { others } else { known };
        chosen.into_iter().map(|(peer, _)| *peer).collect()
    }

    /// When another source is asked for the proof, if the one that was asked does not answer:
    /// soon if there is another, for the first may have a long queue.
    pub(crate) fn proof_due(&self, now: Timestamp) -> Option<Timestamp> {
        let (peer, asked) = self.proof_asked?;
        let has_other = self.can_prove(now).iter().any(|other| *other != peer);
        let last = asked + policy::PROOF_TIMEOUT;
        // Longer in each round: who is asked again is last in the queue again.
        let patience = policy::PROOF_HEDGE * (1 << self.proof_rounds.min(8));
        let heard = self.proof_heard.unwrap_or(asked);
        Some(if has_other {
            last.min(heard + patience)
        } else {
            last
        })
    }

    /// Whether chunks may be asked for.
    pub(crate) fn is_open(&self) -> bool {
        self.recorded && self.store_full.is_none() && !self.terms.paused
    }

    /// Chooses a chunk to ask for and the source to ask, none of those that are `draining`,
    /// while fewer than `budget` are in memory.
    pub(crate) fn pick(
        &mut self,
        now: Timestamp,
        budget: usize,
        draining: &SortedMap<PeerId, Timestamp>,
        random: &mut Random,
    ) -> Option<(PeerId, u32)> {
        self.late_at = None;
        let is_open = self.is_open();
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
            let source = self.sources.get_mut(&peer)?;
            if source.room(now) == 0 || draining.contains_key(&peer) {
                return None;
            }
            let owes = self.owed.entry(peer).or_default();
            match chunks.pick(now, source, owes, has_room, random) {
                Ok(index) => {
                    owes.insert(index);
                    source.asked(now, 1);
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

    /// A source no longer owes anything; returns what it owed.
    pub(crate) fn release_all(&mut self, peer: PeerId) -> SortedSet<u32> {
        let owed = self.owed.remove(&peer).unwrap_or_default();
        if let Some(source) = self.sources.get_mut(&peer) {
            source.released(owed.len());
        }
        if let Some(chunks) = &mut self.chunks {
            owed.iter().for_each(|index| chunks.release(*index));
        }
        owed
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.chunks
            .as_ref()
            .is_some_and(|chunks| chunks.held.is_full())
    }

    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        let size = self.chunks.as_ref().map(|chunks| chunks.proof.size());
        let held = self
            .chunks
            .as_ref()
            .map_or(0, |chunks| held_bytes(chunks.proof.size(), &chunks.held));
        let rate = self.rate.get(now);
        let usable = self.sources.values().any(|source| match &self.chunks {
            Some(chunks) => {
                source.in_flight > 0 && !source.is_resting(now)
                    || source
                        .have
                        .as_ref()
                        .is_some_and(|have| chunks.free.common_from(have, 0).next().is_some())
            }
            None => true,
        });
        let busy = self
            .chunks
            .as_ref()
            .is_some_and(|chunks| chunks.in_memory() > 0);
        let (state, reason) = match self.store_full {
            _ if self.is_complete() => (ProgressState::Done, None),
            _ if self.terms.paused => (ProgressState::Paused, None),
            Some((code, _)) => (ProgressState::Waiting, Some(code)),
            None if usable || busy => (ProgressState::Fetching, None),
            None if !self.searched => (ProgressState::Searching, None),
            None => (ProgressState::Waiting, Some(self.trouble)),
        };
        let left = size.map_or(0, |size| size.bytes() - held);
        let sources = self
            .sources
            .iter()
            .filter(|(_, source)| source.bytes > 0 || source.in_flight > 0);
        Progress {
            state,
            reason,
            held,
            size: size.map(|size| size.bytes()),
            rate,
            seconds_left: (rate > 0.0 && left > 0).then(|| left as f64 / rate),
            sources: sources
                .map(|(&peer, source)| source.progress(now, peer, size))
                .collect(),
        }
    }
}

/// Bytes of the chunks in a set.
pub(crate) fn held_bytes(size: shoal_protocol::content::ContentSize, held: &Bits) -> u64 {
    let last = size.chunks() - 1;
    let full = u64::from(held.count()) * shoal_protocol::content::CHUNK_SIZE as u64;
    if !held.contains(last) {
        return full;
    }
    let last_len = size.chunk_len(last).unwrap_or_default() as u64;
    full + last_len - shoal_protocol::content::CHUNK_SIZE as u64
}
