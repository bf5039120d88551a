//! The chunks of a fetch: which are held, asked for or on their way into the store, and which
//! is asked of a source next.
//!
//! Rarest first with a seeded tie-break, or first what somebody waits to read. A source that
//! has nothing else to send is asked for what is late with others, and the losers are
//! cancelled: nobody waits on the slowest, and no source can keep a chunk by being slow.
//! Sources: BitTorrent's piece selection (Cohen 2003, sections 2.4.1 to 2.4.4); hedged
//! requests (Dean and Barroso, "The Tail at Scale", 2013).

use super::reading::Reading;
use crate::{io::Slot, policy, random::Random, source::Source};
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
    by: PeerId,
}

/// What a choice of a chunk depends on besides the chunks: the sources of the fetch, of which
/// one is asked, and what it owes.
pub(super) struct Asker<'a> {
    pub(super) peer: PeerId,
    pub(super) source: &'a Source,
    pub(super) sources: &'a SortedMap<PeerId, Source>,
    pub(super) owes: &'a SortedSet<u32>,
}

/// The chunk-wise part of a fetch: begins when the proof is known.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) proof: Arc<Proof>,
    pub(super) slot: Slot,
    /// In the store.
    pub(super) held: Bits,
    /// Neither held, nor being stored, nor asked for.
    pub(super) free: Bits,
    asked: SortedMap<u32, Asked>,
    /// Verified, waiting for a store transaction.
    ready: Vec<(VerifiedChunk, PeerId)>,
    /// In a store transaction.
    writing: usize,
    /// Number of sources that hold each chunk.
    availability: Vec<u16>,
}

impl Chunks {
    pub(super) fn new(proof: Arc<Proof>, slot: Slot, held: Bits) -> Self {
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
        }
    }

    /// Chunks that take memory: asked for, or waiting to be stored.
    pub(super) fn in_memory(&self) -> usize {
        self.asked.len() + self.ready.len() + self.writing
    }

    /// Whether a chunk that arrives is still of use.
    pub(super) fn needs(&self, index: u32) -> bool {
        self.free.contains(index) || self.asked.contains_key(&index)
    }

    /// A source no longer owes a chunk.
    pub(super) fn release(&mut self, index: u32) {
        if let Some(asked) = self.asked.get_mut(&index) {
            asked.copies -= 1;
            if asked.copies == 0 {
                self.asked.remove(&index);
                self.free.insert(index);
            }
        }
    }

    /// A chunk has verified; nobody is asked for it any more.
    pub(super) fn arrived(&mut self, chunk: VerifiedChunk, from: PeerId) {
        self.asked.remove(&chunk.index());
        self.free.remove(chunk.index());
        self.ready.push((chunk, from));
    }

    /// A chunk could not be stored.
    pub(super) fn not_stored(&mut self, index: u32) {
        self.free.insert(index);
    }

    /// A chunk is in the store.
    pub(super) fn stored(&mut self, index: u32) {
        self.held.insert(index);
        self.free.remove(index);
    }

    /// The chunks of the next store transaction, a few transactions at a time.
    pub(super) fn poll_write(&mut self) -> Option<Vec<(VerifiedChunk, PeerId)>> {
        if self.ready.is_empty() || self.writing >= policy::WRITING_MAX {
            return None;
        }
        let ready = std::mem::take(&mut self.ready);
        self.writing += ready.len();
        Some(ready)
    }

    /// So many chunks are no longer in a store transaction.
    pub(super) fn written(&mut self, chunks: usize) {
        self.writing = self.writing.saturating_sub(chunks);
    }

    /// Nothing is stored for now: what waits for it is fetched again.
    pub(super) fn drop_ready(&mut self) {
        for (chunk, _) in std::mem::take(&mut self.ready) {
            self.not_stored(chunk.index());
        }
    }

    /// A stored chunk was dropped.
    pub(super) fn lost(&mut self, index: u32) {
        self.held.remove(index);
        self.not_stored(index);
    }

    /// Counts what a source holds, or forgets it if it is for another number of chunks.
    pub(super) fn count_or_drop(&mut self, source: &mut Source) {
        match &source.have {
            Some(have) if have.len() == self.held.len() => self.count_source(have, 1),
            _ => source.have = None,
        }
    }

    pub(super) fn count_source(&mut self, have: &Bits, by: i32) {
        have.iter().for_each(|index| self.count_chunk(index, by));
    }

    pub(super) fn count_chunk(&mut self, index: u32, by: i32) {
        if let Some(count) = self.availability.get_mut(index as usize) {
            *count = count.saturating_add_signed(by as i16);
        }
    }

    /// Chooses the next chunk to ask of a source, and notes that it is asked for: what is read
    /// first, and then, unless it is fetched on demand, all others. Without room in memory only
    /// what is asked for already. If there is none, says when there may be.
    pub(super) fn pick(
        &mut self,
        now: Timestamp,
        asker: &Asker,
        has_room: bool,
        reading: &Reading,
        on_demand: bool,
        random: &mut Random,
    ) -> Result<u32, Option<Timestamp>> {
        let source = asker.source;
        let have = source.have.as_ref().ok_or(None)?;
        let soon = self.soon(source, reading.soon());
        let ends = on_demand || self.free.is_empty();
        let free = match has_room {
            true if soon.is_some() => soon,
            true if on_demand => None,
            true if source.is_late(now) || !self.late_read(now, asker, reading, ends) => {
                self.rarest(have, random)
            }
            _ => None,
        };
        if let Some(index) = free {
            self.free.remove(index);
            self.ask(now, index, asker);
            return Ok(index);
        }
        // Who is late itself is no help.
        if source.is_slow(now) {
            return Err(None);
        }
        let asked = self.asked.iter().map(|(index, asked)| (*index, asked));
        let (due, _, index) = late(asked, asker, reading, ends).ok_or(None)?;
        if now < due {
            return Err(Some(due));
        }
        self.ask(now, index, asker);
        Ok(index)
    }

    /// Chooses a chunk that somebody waits to read, for a source that has no room for others.
    pub(super) fn pick_read(
        &mut self,
        now: Timestamp,
        asker: &Asker,
        reading: &Reading,
    ) -> Option<u32> {
        let index = self.soon(asker.source, reading.at.iter().copied())?;
        self.free.remove(index);
        self.ask(now, index, asker);
        Some(index)
    }

    /// The first of these that nobody was asked for and the source can send.
    fn soon(&self, source: &Source, mut indexes: impl Iterator<Item = u32>) -> Option<u32> {
        let have = source.have.as_ref()?;
        let has = |index| source.lists_all || have.contains(index);
        indexes.find(|index| self.free.contains(*index) && has(*index))
    }

    fn ask(&mut self, now: Timestamp, index: u32, asker: &Asker) {
        let before = self.asked.get(&index).map_or(0, |asked| asked.copies);
        let asked = Asked {
            copies: before.saturating_add(1),
            since: now,
            patience: asker.source.patience(),
            by: asker.peer,
        };
        self.asked.insert(index, asked);
    }

    /// Whether somebody waits to read a chunk that is late with another source.
    fn late_read(&self, now: Timestamp, asker: &Asker, reading: &Reading, ends: bool) -> bool {
        let asked = reading.at.iter();
        let asked = asked.filter_map(|index| Some((*index, self.asked.get(index)?)));
        late(asked, asker, reading, ends).is_some_and(|(due, ..)| due <= now)
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
/// later with each source that was asked; at once when the one that was asked is silent.
fn late<'a>(
    asked: impl Iterator<Item = (u32, &'a Asked)>,
    asker: &Asker,
    reading: &Reading,
    ends: bool,
) -> Option<(Timestamp, bool, u32)> {
    let Asker { source, owes, .. } = asker;
    let have = source.have.as_ref()?;
    let patience = source.patience();
    asked
        .filter(|(index, _)| have.contains(*index) && !owes.contains(index))
        .map(|(index, asked)| {
            let patience = match ends || reading.at.contains(&index) {
                true => patience,
                false => patience * policy::HEDGE_EARLY,
            };
            let most = patience * policy::HEDGE_SPREAD;
            let patience = asked.patience.clamp(patience, most);
            let due = asked.since + patience * (1 << asked.copies.saturating_sub(2).min(8));
            let owner = asker.sources.get(&asked.by).filter(|_| asked.copies == 1);
            let silent = owner.and_then(Source::silent_at);
            let due = silent.map_or(due, |at| due.min(at.max(asked.since + policy::HEDGE_MIN)));
            (due, !reading.at.contains(&index), index)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Standing;
    use shoal_protocol::{
        content::{CHUNK_SIZE, ContentSize},
        proof::Publication,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const PEER: PeerId = PeerId::from_public_key([1; 32]);
    const COUNT: u32 = 8;

    fn chunks() -> Chunks {
        let size = COUNT as usize * CHUNK_SIZE;
        let mut publication = Publication::new(ContentSize::try_from(size as u64).expect("a size"));
        for index in 0..COUNT {
            let bytes = vec![index as u8; CHUNK_SIZE];
            publication.add(index, bytes).expect("it is as long");
        }
        let proof = publication.finish().expect("it is whole");
        Chunks::new(Arc::new(proof), 0, Bits::new(COUNT))
    }

    /// All chunks, in the order in which a source that holds all is asked for them.
    fn order(mut chunks: Chunks, seed: u8) -> Vec<u32> {
        let mut source = Source::new(NOW, Standing::default());
        source.have = Some(Bits::full(COUNT));
        let (sources, owes) = (SortedMap::new(), SortedSet::new());
        let asker = Asker {
            peer: PEER,
            source: &source,
            sources: &sources,
            owes: &owes,
        };
        let (reading, mut random) = (Reading::default(), Random::new([seed; 32]));
        let mut pick = |_| chunks.pick(NOW, &asker, true, &reading, false, &mut random);
        (0..COUNT)
            .map(|each| pick(each).expect("one is free"))
            .collect()
    }

    #[test]
    fn what_fewest_hold_is_asked_for_first() {
        for seed in 0..20 {
            let mut chunks = chunks();
            for lacks in [&[][..], &[5], &[5, 2]] {
                let mut held = Bits::full(COUNT);
                lacks.iter().for_each(|index| {
                    held.remove(*index);
                });
                chunks.count_source(&held, 1);
            }
            assert_eq!(order(chunks, seed)[..2], [5, 2]);
        }
    }

    #[test]
    fn of_those_as_rare_any_is_asked_for_first_as_the_seed_says() {
        let orders: Vec<Vec<u32>> = (0..20).map(|seed| order(chunks(), seed)).collect();
        assert_eq!(order(chunks(), 7), orders[7]);
        for index in 0..COUNT {
            assert!(
                orders.iter().any(|order| order[0] == index),
                "{index} was never first"
            );
        }
    }
}
