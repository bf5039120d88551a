//! How much a store may hold, and what goes when there is no room.
//!
//! One store serves the nodes of all namespaces of an origin, so this is beside them: a
//! driver asks it before each write ([`Space::admit`]) and tells it what came of every
//! request ([`Space::done`]). Where room is needed the contents go that were used least
//! recently (read here, served, fetched or published), whatever their namespaces, whether
//! a node runs in those or not. Never goes what is pinned, what a node says is in use,
//! what was used just now, or what is being published.
//!
//! A content goes as a whole, and only for a content that then fits as a whole: nothing is
//! lost for the sake of what stops half-way all the same. Its nodes withdraw it first
//! ([`Input::Withdraw`]), then it is deleted.
//!
//! Counts bytes of chunks. What the browser needs besides (records, proofs, gaps in
//! files) is its own affair, and one reason to stay well below its quota.
//!
//! [`Input::Withdraw`]: crate::io::Input::Withdraw

use crate::{
    fetch::held_bytes,
    io::{Slot, Storage, StoreAnswer, StoreError, StoreRequest, StoredContent},
};
use shoal_protocol::{
    content::{ContentKey, ContentSize},
    namespace::Namespace,
    sorted::{SortedMap, SortedSet},
    time::UnixMillis,
};

/// For so long after its last use, in ms, a content is in use. Guess: between two reads of a
/// film that is watched.
const IN_USE: u64 = 30_000;
/// How old a noted use, in ms, is noted anew. What a crash forgets is no more than that.
const NOTE_STEP: u64 = 10 * 60_000;
/// How often uses are noted at most, in ms: together, by one transaction.
const NOTE_INTERVAL: u64 = 60_000;
/// The part of the limit that is freed at a time, so that many small contents go together
/// and with one catalog. Guess.
const BATCH: u64 = 64;
/// The part of the limit by which what is held must change to be told. Guess: what a meter
/// shows.
const TOLD_STEP: u64 = 128;

/// Whether a request can be handed to the store.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It can; tell [`Space::done`] what came of it.
    Now,
    /// Ask again when something has gone, after these were sent on their way: see
    /// [`Space::gone`].
    Wait(Vec<ContentKey>),
    /// There is no room, and nothing that may go would make it.
    Full,
}

/// What a request changes, for when it is done.
#[derive(Debug)]
pub enum Change {
    /// Chunks of so many bytes come.
    Put(Slot, u64),
    /// A chunk goes.
    DropChunk(Slot, u32),
    /// A content has its record, for which this slot was meant.
    Content(Slot),
    /// A content is pinned, or is not.
    Pinned(ContentKey, bool),
    /// A content leaves a namespace.
    Remove(ContentKey),
    /// What is in a slot goes.
    DropSlot(Slot),
    /// A chunk was read.
    Read(Slot),
    /// Nothing that counts.
    Nothing,
}

impl Change {
    /// Of a request.
    pub fn of(request: &StoreRequest) -> Self {
        match request {
            StoreRequest::PutChunks { slot, chunks, .. } => {
                let bytes = chunks.iter().map(|chunk| chunk.bytes().len() as u64);
                Self::Put(*slot, bytes.sum())
            }
            StoreRequest::DropChunk { slot, index } => Self::DropChunk(*slot, *index),
            StoreRequest::PutContent { content, .. } => Self::Content(content.slot),
            StoreRequest::SetPinned { key, pinned } => Self::Pinned(*key, *pinned),
            StoreRequest::RemoveContent { key } => Self::Remove(*key),
            StoreRequest::DropSlot { slot } => Self::DropSlot(*slot),
            StoreRequest::GetChunk { slot, .. } => Self::Read(*slot),
            _ => Self::Nothing,
        }
    }
}

/// What lies in a slot.
#[derive(Debug, Default)]
struct Item {
    /// `None` while it is being published.
    key: Option<ContentKey>,
    size: Option<ContentSize>,
    namespaces: SortedSet<Namespace>,
    /// In the store.
    bytes: u64,
    /// On their way into it.
    coming: u64,
    is_pinned: bool,
    used: UnixMillis,
    /// Its last use as the store has it.
    noted: UnixMillis,
    /// It is being withdrawn and deleted.
    is_leaving: bool,
}

impl Item {
    fn held(&self) -> u64 {
        self.bytes + self.coming
    }
}

/// The budget of a store.
#[derive(Debug)]
pub struct Space {
    limit: u64,
    items: SortedMap<Slot, Item>,
    noted: UnixMillis,
    told: Storage,
}

impl Space {
    /// Of what a store holds, with the namespaces of each content. Nothing is limited until
    /// [`Space::set_limit`].
    pub fn new(now: UnixMillis, held: Vec<(StoredContent, SortedSet<Namespace>)>) -> Self {
        let items = held.into_iter().map(|(content, namespaces)| {
            // A clock that was wrong once must not keep a content for ever.
            let used = content.used.min(now);
            let item = Item {
                key: Some(content.key),
                size: Some(content.size),
                namespaces,
                bytes: held_bytes(content.size, &content.held),
                is_pinned: content.pinned,
                used,
                noted: used,
                ..Item::default()
            };
            (content.slot, item)
        });
        Self {
            limit: u64::MAX,
            items: items.collect(),
            noted: UnixMillis::default(),
            told: Storage { held: 0, limit: 0 },
        }
    }

    /// What is held and may be held.
    pub fn storage(&self) -> Storage {
        Storage {
            held: self.items.values().map(Item::held).sum(),
            limit: self.limit,
        }
    }

    /// As [`Space::storage`], if it is news.
    pub fn poll_news(&mut self) -> Option<Storage> {
        let storage = self.storage();
        let change = storage.held.abs_diff(self.told.held);
        if storage.limit == self.told.limit && change <= storage.limit / TOLD_STEP {
            return None;
        }
        self.told = storage;
        Some(storage)
    }

    /// Changes how many bytes may be held. What is over it goes with [`Space::trim`], or
    /// when room is needed.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Chooses what goes to come down to the limit.
    pub fn trim(&mut self, now: UnixMillis, in_use: &SortedSet<ContentKey>) -> Vec<ContentKey> {
        let over = self.staying().saturating_sub(self.limit);
        self.send_away(not_just_now(now), in_use, over)
    }

    /// Chooses all that may go, also if it was used just now: for a person who says so.
    pub fn clear(&mut self, in_use: &SortedSet<ContentKey>) -> Vec<ContentKey> {
        self.send_away(UnixMillis(u64::MAX), in_use, u64::MAX)
    }

    /// Whether a request can be handed to the store, asked for the first time or `again`.
    /// `in_use` is asked for what nodes use where room is needed.
    pub fn admit(
        &mut self,
        now: UnixMillis,
        request: &StoreRequest,
        again: bool,
        in_use: impl FnOnce() -> SortedSet<ContentKey>,
    ) -> Admission {
        let (slot, size, need) = match request {
            StoreRequest::PutChunks { slot, size, chunks } => {
                let bytes = chunks.iter().map(|chunk| chunk.bytes().len() as u64);
                (*slot, *size, bytes.sum::<u64>())
            }
            StoreRequest::FindContent { key } => return take_up(now, self.find(*key), false),
            StoreRequest::PutContent { content, .. } => {
                return take_up(now, self.find(content.key), content.pinned);
            }
            StoreRequest::SetPinned { key, pinned: true } => {
                return take_up(now, self.find(*key), true);
            }
            StoreRequest::GetChunk { slot, .. } => {
                return take_up(now, self.items.get_mut(slot), false);
            }
            _ => return Admission::Now,
        };
        // Of what was given up while its chunks waited nothing is kept.
        if again && !self.items.contains_key(&slot) {
            return Admission::Full;
        }
        let item = self.items.entry(slot).or_default();
        item.size = Some(size);
        if item.is_leaving {
            return Admission::Full;
        }
        let held = item.held();
        let key = item.key;
        let all = self.storage().held;
        if all + need <= self.limit {
            if let Some(item) = self.items.get_mut(&slot) {
                item.coming += need;
            }
            return Admission::Now;
        }
        let staying = self.staying();
        if staying + need <= self.limit {
            return Admission::Wait(Vec::new());
        }
        let before = not_just_now(now);
        let mut in_use = in_use();
        in_use.extend(key);
        let free: u64 = self
            .may_go(before, &in_use)
            .map(|(_, _, item)| item.bytes)
            .sum();
        let whole = size.bytes().saturating_sub(held).max(need);
        if staying - free + whole > self.limit {
            return Admission::Full;
        }
        let over = staying + need - self.limit;
        Admission::Wait(self.send_away(before, &in_use, over + self.limit / BATCH))
    }

    /// A request has ended that was let through. Whether there is more room than before.
    pub fn done(
        &mut self,
        now: UnixMillis,
        namespace: &Namespace,
        change: Change,
        result: &Result<StoreAnswer, StoreError>,
    ) -> bool {
        if let Change::Put(slot, bytes) = change
            && let Some(item) = self.items.get_mut(&slot)
        {
            item.coming -= bytes.min(item.coming);
            if result.is_ok() {
                item.bytes += bytes;
                item.used = now;
            }
            return false;
        }
        let Ok(answer) = result else {
            return false;
        };
        match change {
            Change::Content(slot) => {
                if let StoreAnswer::Content(Some(content)) = answer {
                    self.recorded(now, namespace, slot, content);
                }
                return true;
            }
            Change::DropChunk(slot, index) => {
                if let Some(item) = self.items.get_mut(&slot) {
                    let len = item.size.and_then(|size| size.chunk_len(index));
                    item.bytes -= (len.unwrap_or_default() as u64).min(item.bytes);
                }
            }
            Change::Pinned(key, pinned) => {
                if let Some(item) = self.find(key) {
                    item.is_pinned = pinned;
                }
            }
            Change::Remove(key) => {
                if let Some(item) = self.find(key) {
                    item.namespaces.remove(namespace);
                    if item.namespaces.is_empty() {
                        self.forget(key);
                    }
                }
            }
            Change::DropSlot(slot) => {
                self.items.remove(&slot);
            }
            Change::Read(slot) => {
                if let Some(item) = self.items.get_mut(&slot) {
                    item.used = now;
                }
                return false;
            }
            Change::Put(..) | Change::Nothing => return false,
        }
        true
    }

    /// What was sent on its way has been deleted, or could not be: then it is let alone for
    /// a while.
    pub fn gone(&mut self, now: UnixMillis, key: ContentKey, is_deleted: bool) {
        if is_deleted {
            self.forget(key);
        } else if let Some(item) = self.find(key) {
            item.is_leaving = false;
            item.used = now;
        }
    }

    /// Uses to be noted in the store, if it is time.
    pub fn poll_uses(&mut self, now: UnixMillis) -> Vec<(ContentKey, UnixMillis)> {
        if now.0 < self.noted.0.saturating_add(NOTE_INTERVAL) {
            return Vec::new();
        }
        self.noted = now;
        self.uses(NOTE_STEP)
    }

    /// All uses that the store does not know of, for when it is closed.
    pub fn last_uses(&mut self) -> Vec<(ContentKey, UnixMillis)> {
        self.uses(1)
    }

    fn uses(&mut self, step: u64) -> Vec<(ContentKey, UnixMillis)> {
        let due = |item: &&mut Item| item.used.0 >= item.noted.0.saturating_add(step);
        let items = self.items.values_mut().filter(due);
        items
            .filter_map(|item| {
                item.noted = item.used;
                Some((item.key?, item.used))
            })
            .collect()
    }

    fn recorded(
        &mut self,
        now: UnixMillis,
        namespace: &Namespace,
        meant: Slot,
        content: &StoredContent,
    ) {
        let slot = content.slot;
        self.items
            .retain(|of, item| *of == slot || *of != meant && item.key != Some(content.key));
        let item = self.items.entry(slot).or_default();
        item.key = Some(content.key);
        item.size = Some(content.size);
        item.is_pinned = content.pinned;
        item.namespaces.insert(namespace.clone());
        item.used = now;
        item.noted = content.used;
    }

    fn find(&mut self, key: ContentKey) -> Option<&mut Item> {
        let mut items = self.items.values_mut();
        items.find(|item| item.key == Some(key))
    }

    fn forget(&mut self, key: ContentKey) {
        self.items.retain(|_, item| item.key != Some(key));
    }

    /// Bytes of what is not on its way out.
    fn staying(&self) -> u64 {
        let staying = self.items.values().filter(|item| !item.is_leaving);
        staying.map(Item::held).sum()
    }

    /// What may go, if it was last used before a time.
    fn may_go(
        &self,
        before: UnixMillis,
        in_use: &SortedSet<ContentKey>,
    ) -> impl Iterator<Item = (ContentKey, Slot, &Item)> {
        self.items.iter().filter_map(move |(slot, item)| {
            let goes = !item.is_pinned
                && !item.is_leaving
                && item.used <= before
                && item.coming == 0
                && item.bytes > 0;
            let key = item.key.filter(|key| goes && !in_use.contains(key))?;
            Some((key, *slot, item))
        })
    }

    /// Sends of what may go as much on its way as it takes to free so many bytes, least
    /// recently used first.
    fn send_away(
        &mut self,
        before: UnixMillis,
        in_use: &SortedSet<ContentKey>,
        mut bytes: u64,
    ) -> Vec<ContentKey> {
        let mut sent = Vec::new();
        while bytes > 0 {
            let may_go = self.may_go(before, in_use);
            let first = may_go.min_by_key(|(key, _, item)| (item.used, *key));
            let Some((key, slot, _)) = first else {
                break;
            };
            if let Some(item) = self.items.get_mut(&slot) {
                item.is_leaving = true;
                bytes = bytes.saturating_sub(item.bytes);
            }
            sent.push(key);
        }
        sent
    }
}

/// Whether a request can be handed to the store that finds a content, reads of it, pins it or
/// gives it a record. What is on its way out is not taken up half-way; what is taken up, or is to
/// be pinned, does not go while the store is at it. A pin that the store then refuses counts
/// until the store is opened again.
fn take_up(now: UnixMillis, item: Option<&mut Item>, pins: bool) -> Admission {
    if let Some(item) = item {
        if item.is_leaving {
            return Admission::Wait(Vec::new());
        }
        item.used = now;
        item.is_pinned |= pins;
    }
    Admission::Now
}

/// Until when something was last used that is not in use now.
fn not_just_now(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(IN_USE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use shoal_protocol::{
        bits::Bits,
        catalog::Metadata,
        content::CHUNK_SIZE,
        proof::{Publication, VerifiedChunk},
    };

    const CHUNK: u64 = CHUNK_SIZE as u64;
    const LATER: u64 = 1_000_000_000;

    fn key(number: u8) -> ContentKey {
        ContentKey::from_hash([number; 32])
    }

    fn size(chunks: u64) -> ContentSize {
        ContentSize::try_from(chunks * CHUNK).unwrap()
    }

    /// A content of so many chunks, all held, in the slot of its number.
    fn content(number: u8, chunks: u64, pinned: bool, used: u64) -> StoredContent {
        StoredContent {
            key: key(number),
            slot: number.into(),
            size: size(chunks),
            metadata: Metadata::default(),
            held: Bits::full(chunks as u32),
            wanted: false,
            pinned,
            used: UnixMillis(used),
        }
    }

    fn space(limit: u64, held: &[StoredContent]) -> Space {
        let namespaces = || [Namespace::default()].into_iter().collect();
        let held = held.iter().map(|content| (content.clone(), namespaces()));
        let mut space = Space::new(UnixMillis(LATER), held.collect());
        space.set_limit(limit * CHUNK);
        space
    }

    fn chunk() -> VerifiedChunk {
        let mut publication = Publication::new(size(1));
        publication.add(0, vec![0; CHUNK_SIZE]).unwrap()
    }

    /// Chunks for a content of so many.
    fn put(slot: Slot, of: u64, chunks: usize) -> StoreRequest {
        StoreRequest::PutChunks {
            slot,
            size: size(of),
            chunks: (0..chunks).map(|_| chunk()).collect(),
        }
    }

    fn admit(space: &mut Space, request: &StoreRequest, in_use: &[u8]) -> Admission {
        let in_use = || in_use.iter().map(|number| key(*number)).collect();
        space.admit(UnixMillis(LATER), request, false, in_use)
    }

    fn done(space: &mut Space, request: &StoreRequest) -> bool {
        let (namespace, change) = (Namespace::default(), Change::of(request));
        space.done(
            UnixMillis(LATER),
            &namespace,
            change,
            &Ok(StoreAnswer::Done),
        )
    }

    fn read(number: u8) -> StoreRequest {
        let slot = number.into();
        StoreRequest::GetChunk { slot, index: 0 }
    }

    fn pin(number: u8) -> StoreRequest {
        let (key, pinned) = (key(number), true);
        StoreRequest::SetPinned { key, pinned }
    }

    /// The record of a publication of what is held already, in a slot of its own.
    fn publish(number: u8) -> StoreRequest {
        StoreRequest::PutContent {
            content: StoredContent {
                slot: 100,
                ..content(number, 4, true, LATER)
            },
            proof: Default::default(),
        }
    }

    fn sent(keys: &[u8]) -> Admission {
        Admission::Wait(keys.iter().map(|number| key(*number)).collect())
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_no_more_than_needed() {
        let held = [
            content(1, 4, false, 300),
            content(2, 4, false, 100),
            content(3, 4, false, 200),
        ];
        let mut space = space(12, &held);
        let request = put(9, 6, 2);
        assert_eq!(admit(&mut space, &request, &[]), sent(&[2]));
        // Until it has gone there is no room, and nothing else goes for the same.
        assert_eq!(admit(&mut space, &request, &[]), sent(&[]));
        space.gone(UnixMillis(LATER), key(2), true);
        assert_eq!(admit(&mut space, &request, &[]), Admission::Now);
        assert_eq!(space.storage().held, 10 * CHUNK);
    }

    #[test]
    fn what_is_pinned_in_use_or_was_used_just_now_stays() {
        let held = [
            content(1, 2, true, 1),
            content(2, 2, false, 2),
            content(3, 2, false, LATER - 1),
            content(4, 2, false, 4),
        ];
        let mut space = space(8, &held);
        assert_eq!(admit(&mut space, &put(9, 2, 1), &[2]), sent(&[4]));
        assert_eq!(admit(&mut space, &put(8, 2, 2), &[2]), sent(&[]));
        space.gone(UnixMillis(LATER), key(4), true);
        assert_eq!(admit(&mut space, &put(9, 2, 2), &[2]), Admission::Now);
        assert_eq!(admit(&mut space, &put(8, 2, 2), &[2]), Admission::Full);
    }

    #[test]
    fn what_is_being_read_pinned_or_published_does_not_go_before_that_is_done() {
        let held = |number| [content(number, 4, false, 1)];
        for (number, request) in [(1, read(1)), (2, pin(2)), (3, publish(3))] {
            let mut space = space(4, &held(number));
            assert_eq!(admit(&mut space, &request, &[]), Admission::Now);
            let full = admit(&mut space, &put(9, 4, 1), &[]);
            assert_eq!(full, Admission::Full, "{request:?}");
            // Who clears means what was used just now too, but nothing that is to be pinned.
            let cleared = space.clear(&SortedSet::new());
            let may_go: &[_] = if number == 1 { &[key(1)] } else { &[] };
            assert_eq!(cleared, may_go, "{request:?}");
        }
    }

    #[test]
    fn nothing_goes_for_what_does_not_fit_as_a_whole() {
        let mut space = space(8, &[content(1, 4, false, 1), content(2, 4, true, 1)]);
        assert_eq!(admit(&mut space, &put(9, 5, 1), &[]), Admission::Full);
        assert_eq!(admit(&mut space, &put(9, 4, 1), &[]), sent(&[1]));
    }

    #[test]
    fn a_publication_that_is_asked_for_again_has_the_room_that_was_found_meanwhile() {
        let mut space = space(4, &[]);
        let request = put(9, 5, 5);
        assert_eq!(admit(&mut space, &request, &[]), Admission::Full);
        space.set_limit(5 * CHUNK);
        let again = space.admit(UnixMillis(LATER), &request, true, SortedSet::new);
        assert_eq!((again, space.storage().held), (Admission::Now, 5 * CHUNK));
        // Given up, it leaves nothing.
        done(&mut space, &StoreRequest::DropSlot { slot: 9 });
        assert_eq!(space.storage().held, 0);
    }

    #[test]
    fn what_is_put_into_a_content_that_leaves_is_refused_and_it_is_found_when_it_has_gone() {
        let mut space = space(4, &[content(1, 4, false, 1)]);
        assert_eq!(space.clear(&SortedSet::new()), [key(1)]);
        assert_eq!(admit(&mut space, &put(1, 4, 1), &[]), Admission::Full);
        let find = StoreRequest::FindContent { key: key(1) };
        assert_eq!(admit(&mut space, &find, &[]), sent(&[]));
        space.gone(UnixMillis(LATER), key(1), true);
        assert_eq!(admit(&mut space, &find, &[]), Admission::Now);
        // So it is for who would read, pin or publish it.
        for (number, request) in [read(2), pin(3), publish(4)].iter().enumerate() {
            let number = number as u8 + 2;
            let mut space = self::space(4, &[content(number, 4, false, 1)]);
            space.clear(&SortedSet::new());
            assert_eq!(admit(&mut space, request, &[]), sent(&[]), "{request:?}");
            space.gone(UnixMillis(LATER), key(number), true);
            assert_eq!(admit(&mut space, request, &[]), Admission::Now);
        }
        // A publication that was given up while its chunks waited leaves nothing behind.
        let given_up = space.admit(UnixMillis(LATER), &put(7, 1, 1), true, SortedSet::new);
        assert_eq!((given_up, space.storage().held), (Admission::Full, 0));
    }

    #[test]
    fn a_lower_limit_has_contents_go_and_a_pin_or_a_removal_counts_at_once() {
        let mut space = space(
            9,
            &[
                content(1, 3, false, 1),
                content(2, 3, false, 2),
                content(3, 3, true, 3),
            ],
        );
        space.set_limit(7 * CHUNK);
        assert_eq!(space.trim(UnixMillis(LATER), &SortedSet::new()), [key(1)]);
        space.gone(UnixMillis(LATER), key(1), true);
        assert_eq!(admit(&mut space, &put(9, 7, 2), &[]), Admission::Full);
        let unpin = StoreRequest::SetPinned {
            key: key(3),
            pinned: false,
        };
        assert!(done(&mut space, &unpin), "there is more room than before");
        assert_eq!(admit(&mut space, &put(9, 7, 2), &[]), sent(&[2]));
        assert!(done(
            &mut space,
            &StoreRequest::RemoveContent { key: key(3) }
        ));
        assert_eq!(space.storage().held, 3 * CHUNK);
    }

    #[test]
    fn uses_are_noted_rarely_and_all_of_them_at_the_end() {
        let mut space = space(9, &[content(1, 1, false, 1), content(2, 1, false, 2)]);
        done(&mut space, &read(1));
        let noted = space.poll_uses(UnixMillis(LATER));
        assert_eq!(noted, [(key(1), UnixMillis(LATER))]);
        done(&mut space, &read(2));
        assert_eq!(space.poll_uses(UnixMillis(LATER + NOTE_INTERVAL - 1)), []);
        assert_eq!(space.poll_uses(UnixMillis(LATER + NOTE_INTERVAL)).len(), 1);
        let again = UnixMillis(LATER + NOTE_STEP / 2);
        let change = Change::of(&read(1));
        space.done(again, &Namespace::default(), change, &Ok(StoreAnswer::Done));
        assert_eq!(space.poll_uses(again), []);
        assert_eq!(space.last_uses(), [(key(1), again)]);
    }

    proptest! {
        /// Whatever is put, read, pinned and removed: the limit holds, what goes is the least
        /// recently used of what may, and it is enough.
        #[test]
        fn the_limit_holds_and_nothing_goes_that_must_not(
            limit in 1_u64..40,
            steps in vec((0_u8..6, 0_u8..12, 1_u64..12), 1..80),
        ) {
            let mut space = space(limit, &[]);
            let namespace = Namespace::default();
            let mut now = LATER;
            // What there should be: chunks, whether it is pinned, and when it was used.
            let mut held: SortedMap<u8, (u64, bool, u64)> = SortedMap::new();
            for (step, number, chunks) in steps {
                now += IN_USE / 3;
                let at = UnixMillis(now);
                let slot = Slot::from(number);
                match step {
                    // A content is published, as far as there is room.
                    0..=2 if !held.contains_key(&number) => {
                        let busy: SortedSet<_> = [key(number ^ 1)].into_iter().collect();
                        let request = put(slot, chunks, chunks as usize);
                        let mut admission = space.admit(at, &request, false, || busy.clone());
                        if let Admission::Wait(keys) = &admission {
                            let may_go = |number: &u8, (_, pinned, used): &(u64, bool, u64)| {
                                !pinned && now - used >= IN_USE && *number != (slot as u8 ^ 1)
                            };
                            let mut order: Vec<_> = held.iter()
                                .filter(|(number, state)| may_go(number, state))
                                .map(|(number, (_, _, used))| (*used, key(*number)))
                                .collect();
                            order.sort_unstable();
                            let first: Vec<_> = order.iter().take(keys.len()).map(|(_, key)| *key).collect();
                            prop_assert_eq!(keys, &first);
                            for gone in keys.clone() {
                                space.gone(at, gone, true);
                                held.retain(|number, _| key(*number) != gone);
                            }
                            admission = space.admit(at, &request, true, SortedSet::new);
                            prop_assert_eq!(&admission, &Admission::Now);
                        }
                        if admission == Admission::Now {
                            space.done(at, &namespace, Change::of(&request), &Ok(StoreAnswer::Done));
                            let content = content(number, chunks, chunks == 1, now);
                            let record = StoreRequest::PutContent { content: content.clone(), proof: Default::default() };
                            space.done(at, &namespace, Change::of(&record), &Ok(StoreAnswer::Content(Some(content))));
                            held.insert(number, (chunks, chunks == 1, now));
                        }
                    }
                    3 => {
                        let read = StoreRequest::GetChunk { slot, index: 0 };
                        space.done(at, &namespace, Change::of(&read), &Ok(StoreAnswer::Done));
                        if let Some((_, _, used)) = held.get_mut(&number) {
                            *used = now;
                        }
                    }
                    4 => {
                        let pinned = chunks % 2 == 0;
                        let pin = StoreRequest::SetPinned { key: key(number), pinned };
                        space.done(at, &namespace, Change::of(&pin), &Ok(StoreAnswer::Done));
                        if let Some((_, is_pinned, _)) = held.get_mut(&number) {
                            *is_pinned = pinned;
                        }
                    }
                    _ => {
                        let remove = StoreRequest::RemoveContent { key: key(number) };
                        space.done(at, &namespace, Change::of(&remove), &Ok(StoreAnswer::Done));
                        held.remove(&number);
                    }
                }
                let sum: u64 = held.values().map(|(chunks, ..)| chunks * CHUNK).sum();
                prop_assert_eq!(space.storage().held, sum);
                prop_assert!(sum <= limit * CHUNK);
            }
        }
    }
}
