//! The sources of a fetch: who is one, what each says it holds, and what each owes.

use super::Fetch;
use crate::{policy, source::Source};
use shoal_protocol::{
    bits::Bits, bulk::BulkKind, content::ContentSize, control::RefuseCode, id::PeerId,
    sorted::SortedSet, time::Timestamp,
};

impl Fetch {
    /// How many more sources it could use.
    pub(crate) fn sources_wanted(&self, now: Timestamp) -> usize {
        if self.terms.paused {
            return 0;
        }
        let sources = self.sources.values();
        let has = sources.filter(|source| source.is_of_use(now)).count();
        policy::SOURCES_WANTED.saturating_sub(has)
    }

    /// A peer that is no source yet can be asked, and lists all of the content or not.
    pub(crate) fn add_source(&mut self, now: Timestamp, peer: PeerId, lists_all: bool) {
        let standing = self.former.remove(&peer).unwrap_or_default();
        let mut source = Source::new(now, standing);
        source.lists_all = lists_all;
        self.sources.insert(peer, source);
        self.changed = true;
    }

    /// A peer can no longer be asked, or holds nothing any more.
    pub(crate) fn remove_source(&mut self, now: Timestamp, peer: PeerId) {
        let source = self.sources.remove(&peer);
        self.release_all(peer);
        let Some(source) = source else {
            return;
        };
        if let (Some(chunks), Some(have)) = (&mut self.chunks, &source.have) {
            chunks.count_source(have, -1);
        }
        self.proof.take_back_from(peer);
        self.changed = true;
        let standing = source.gone(now);
        if !standing.is_clear() {
            self.former.insert(peer, standing);
            if self.former.len() > policy::FORMER_MAX {
                let first = self.former.keys().next().copied();
                first.map(|first| self.former.remove(&first));
            }
        }
    }

    /// A source says all it holds, or what it holds now besides.
    pub(crate) fn have(
        &mut self,
        peer: PeerId,
        held: Option<Bits>,
        more: &[u32],
    ) -> Result<(), String> {
        let Some(source) = self.sources.get_mut(&peer) else {
            return Ok(());
        };
        self.changed = true;
        if let Some(held) = held {
            if !(1..=ContentSize::MAX.chunks()).contains(&held.len()) {
                return Err("a peer says it holds more chunks than a content can have".into());
            }
            if let (Some(chunks), Some(old)) = (&mut self.chunks, &source.have) {
                chunks.count_source(old, -1);
            }
            source.have = Some(held);
            if let Some(chunks) = &mut self.chunks {
                chunks.count_or_drop(source);
            }
        }
        if let Some(have) = &mut source.have {
            for &index in more {
                if index >= have.len() {
                    return Err(format!(
                        "a peer says it holds chunk {index}, which does not exist"
                    ));
                }
                if have.insert(index)
                    && let Some(chunks) = &mut self.chunks
                {
                    chunks.count_chunk(index, 1);
                }
            }
        }
        Ok(())
    }

    /// Counts what sources said they hold before the number of chunks was known.
    pub(super) fn settle_have(&mut self) {
        self.changed = true;
        if let Some(chunks) = &mut self.chunks {
            for source in self.sources.values_mut() {
                chunks.count_or_drop(source);
            }
        }
    }

    /// A source no longer holds some chunks.
    pub(crate) fn gone(&mut self, now: Timestamp, peer: PeerId, indexes: &[u32]) {
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        let owed = self.owed.get(&peer);
        if owed.is_some_and(|owed| indexes.iter().any(|index| owed.contains(index))) {
            source.declined(now);
        }
        source.lists_all = false;
        for &index in indexes {
            if source.have.as_mut().is_some_and(|have| have.remove(index))
                && let Some(chunks) = &mut self.chunks
            {
                chunks.count_chunk(index, -1);
            }
        }
        self.release(peer, indexes);
    }

    /// A source does not answer what it was asked: for chunks, or (`None`) for the proof.
    pub(crate) fn refused(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        chunks: Option<&[u32]>,
        code: RefuseCode,
    ) {
        match chunks {
            None => self.proof.take_back_from(peer),
            Some(indexes) => self.release(peer, indexes),
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            match code {
                RefuseCode::Busy => source.declined(now),
                RefuseCode::Invalid | RefuseCode::StoreFailed => source.rest(now),
            }
        }
    }

    /// Something new came from a source.
    pub(crate) fn heard(&mut self, now: Timestamp, peer: PeerId, kind: BulkKind) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.heard(now);
        }
        if kind == BulkKind::Proof {
            self.proof.heard(now, peer);
        }
    }

    /// Sources that owe a chunk owe it no longer; returns them.
    pub(super) fn release_everywhere(&mut self, index: u32) -> Vec<PeerId> {
        let mut released = Vec::new();
        for (peer, owes) in &mut self.owed {
            if owes.remove(&index) {
                released.push(*peer);
            }
        }
        for peer in &released {
            if let Some(source) = self.sources.get_mut(peer) {
                source.released(1);
            }
        }
        released
    }

    /// A source no longer owes some chunks.
    fn release(&mut self, peer: PeerId, indexes: &[u32]) {
        let owed = self.owed.entry(peer).or_default();
        for index in indexes.iter().filter(|index| owed.remove(index)) {
            if let Some(chunks) = &mut self.chunks {
                chunks.release(*index);
            }
            if let Some(source) = self.sources.get_mut(&peer) {
                source.released(1);
            }
        }
    }

    /// A source no longer owes any chunks.
    pub(super) fn release_all(&mut self, peer: PeerId) {
        let owed: SortedSet<u32> = self.owed.remove(&peer).unwrap_or_default();
        if let Some(source) = self.sources.get_mut(&peer) {
            source.released(owed.len());
        }
        if let Some(chunks) = &mut self.chunks {
            owed.iter().for_each(|index| chunks.release(*index));
        }
    }

    /// Takes back all that a source was asked for.
    pub(crate) fn take_back(&mut self, peer: PeerId) {
        self.release_all(peer);
        self.proof.take_back_from(peer);
    }

    /// Takes back all chunks that were asked for.
    pub(crate) fn take_all_back(&mut self) {
        let peers: Vec<PeerId> = self.sources.keys().copied().collect();
        for peer in peers {
            self.release_all(peer);
        }
    }
}
