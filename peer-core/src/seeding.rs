//! Super-seeding: a lone publisher shows each of those that ask a few chunks only, others to
//! everybody, until each chunk has gone out once. What one got the others get from it.
//!
//! Source: John Hoffman, "Superseeding" (BEP 16, 2003). Unlike there, a peer need not be seen
//! to pass a chunk on before it is shown the next one, so that no line stands idle.

use crate::policy;
use shoal_protocol::{
    bits::Bits, content::ContentKey, id::LinkId, sorted::SortedMap, time::Timestamp,
};
use std::{collections::VecDeque, time::Duration};

/// Chunks a peer is shown ahead of those it got. Guess: a round trip at 25 MB/s and 40 ms.
const SHOWN_AHEAD: usize = 4;
/// A peer that asks for nothing for so long is shown everything: it may hold already what it
/// was shown. Guess: some round trips.
const IDLE: Duration = Duration::from_millis(500);
/// A chunk is shown to another when whoever it was shown to did not get it in so many times
/// the turns of all; within these bounds. Guess: above what an honest crowd waits at its start,
/// and what another may lose to a peer that takes nothing.
const PROMISE_TURNS: u32 = 4;
const PROMISE_MIN: Duration = Duration::from_secs(10);
const PROMISE_MAX: Duration = Duration::from_secs(60);
/// Most chunks that are kept for one peer; for the only one, what it may ask for at a time.
const PROMISED_MAX: usize = 2 * SHOWN_AHEAD;
const PROMISED_ALONE: usize = policy::WINDOW_MAX;

/// What a link is to be told to be held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    All(ContentKey),
    More(ContentKey, u32),
    /// No more than these, after it was shown everything.
    Only(ContentKey, Bits),
}

/// What is shown to whom.
#[derive(Debug, Default)]
pub(crate) struct Seeding {
    contents: SortedMap<ContentKey, Seed>,
    news: VecDeque<(LinkId, Shown)>,
}

#[derive(Debug)]
struct Seed {
    /// Chunks that went out.
    sent: Bits,
    /// How many did, to whomever, since when and until when.
    sends: u32,
    since: Timestamp,
    until: Timestamp,
    /// Chunks that are promised, each to one link.
    promised: Bits,
    /// Every chunk below went out or is promised.
    open_from: u32,
    links: SortedMap<LinkId, Viewer>,
}

#[derive(Debug)]
struct Viewer {
    shown: Bits,
    /// Chunks that nobody else is shown until they have gone to this one, and since when, the
    /// oldest first.
    promised: Vec<(u32, Timestamp)>,
    /// When it last asked or got something.
    active: Timestamp,
}

impl Seeding {
    /// What to show a link that asks what is held of a content of which this peer is the only
    /// complete holder; `None`: everything. That is what the first is shown, until there is a
    /// second.
    pub(crate) fn subscribe(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        link: LinkId,
        chunks: u32,
    ) -> Option<Bits> {
        let seed = self.contents.entry(key).or_insert_with(|| Seed {
            sent: Bits::new(chunks),
            sends: 0,
            since: now,
            until: now,
            promised: Bits::new(chunks),
            open_from: 0,
            links: SortedMap::new(),
        });
        if seed.sent.is_full() {
            return None;
        }
        if let Some(viewer) = seed.links.get(&link) {
            return (!viewer.shown.is_full()).then(|| viewer.shown.clone());
        }
        let is_alone = seed.links.is_empty();
        let shown = match is_alone {
            true => Bits::full(chunks),
            false => Bits::new(chunks),
        };
        let viewer = Viewer {
            shown,
            promised: Vec::new(),
            active: now,
        };
        seed.links.insert(link, viewer);
        if is_alone {
            return None;
        }
        // The first was alone. Of several, those that are shown everything have let a promise
        // lapse, and get no other.
        let first = seed.links.keys().copied().find(|other| *other != link);
        if let Some(other) = first.filter(|_| seed.links.len() == 2) {
            let only = seed.limit(now, other);
            self.news
                .extend(only.map(|only| (other, Shown::Only(key, only))));
        }
        for _ in 0..SHOWN_AHEAD {
            seed.give(now, link);
        }
        seed.links.get(&link).map(|viewer| viewer.shown.clone())
    }

    /// A link asked for a chunk.
    pub(crate) fn asked(&mut self, now: Timestamp, key: ContentKey, link: LinkId, index: u32) {
        let Some(seed) = self.contents.get_mut(&key) else {
            return;
        };
        let is_open = seed.is_open(index);
        let is_alone = seed.links.len() == 1;
        let Some(viewer) = seed.links.get_mut(&link) else {
            return;
        };
        // What is asked for before it is heard that there are others. Nobody is promised a
        // chunk twice, so nobody can keep one from others by asking again and again.
        let is_new = is_alone || !viewer.shown.contains(index);
        let most = if is_alone {
            PROMISED_ALONE
        } else {
            PROMISED_MAX
        };
        if is_open && is_new && viewer.promised.len() < most {
            viewer.shown.insert(index);
            viewer.promised.push((index, now));
            seed.promised.insert(index);
        }
        if viewer.promised.iter().any(|(of, _)| *of == index) {
            viewer.active = now;
        }
    }

    /// A link no longer waits for a chunk.
    pub(crate) fn cancelled(&mut self, now: Timestamp, key: ContentKey, link: LinkId, index: u32) {
        let Some(seed) = self.contents.get_mut(&key) else {
            return;
        };
        let Some(viewer) = seed.links.get_mut(&link) else {
            return;
        };
        let before = viewer.promised.len();
        viewer.promised.retain(|(promised, _)| *promised != index);
        if viewer.promised.len() < before {
            seed.promised.remove(index);
            seed.open_from = seed.open_from.min(index);
            seed.give_all(now, key, &mut self.news);
        }
    }

    /// A chunk has gone out whole.
    pub(crate) fn sent(&mut self, now: Timestamp, key: ContentKey, link: LinkId, index: u32) {
        let Some(seed) = self.contents.get_mut(&key) else {
            return;
        };
        seed.sent.insert(index);
        seed.promised.remove(index);
        seed.sends += 1;
        seed.until = now;
        if seed.sent.is_full() {
            for (link, viewer) in std::mem::take(&mut seed.links) {
                if !viewer.shown.is_full() {
                    self.news.push_back((link, Shown::All(key)));
                }
            }
            return;
        }
        for viewer in seed.links.values_mut() {
            viewer.promised.retain(|(promised, _)| *promised != index);
        }
        if let Some(viewer) = seed.links.get_mut(&link) {
            viewer.active = now;
            let more = seed.give(now, link);
            self.news
                .extend(more.map(|index| (link, Shown::More(key, index))));
        }
    }

    pub(crate) fn link_down(&mut self, now: Timestamp, link: LinkId) {
        for (key, seed) in &mut self.contents {
            if let Some(viewer) = seed.links.remove(&link) {
                viewer.promised.iter().for_each(|(index, _)| {
                    seed.promised.remove(*index);
                });
                seed.open_from = 0;
                seed.give_all(now, *key, &mut self.news);
            }
        }
        self.contents.retain(|_, seed| !seed.links.is_empty());
    }

    /// Shows everything of those contents which this peer is no longer alone to hold.
    pub(crate) fn stop(&mut self, is_over: impl Fn(ContentKey) -> bool) {
        let news = &mut self.news;
        self.contents.retain(|key, seed| {
            let ends = is_over(*key);
            let limited = seed
                .links
                .iter()
                .filter(|(_, viewer)| !viewer.shown.is_full());
            news.extend(
                limited
                    .filter(|_| ends)
                    .map(|(link, _)| (*link, Shown::All(*key))),
            );
            !ends
        });
    }

    /// What a link is to be told next.
    pub(crate) fn poll(&mut self) -> Option<(LinkId, Shown)> {
        self.news.pop_front()
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let seeds = self.contents.values();
        let due = seeds.flat_map(|seed| seed.links.values().map(|viewer| seed.due(viewer)));
        due.flatten().min()
    }

    /// Shows to others what those it was shown to do not ask for, or wait for too long.
    /// `is_served`: whether a link waits for chunks of a content, and takes what it is sent.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Timestamp,
        is_served: impl Fn(LinkId, ContentKey) -> bool,
    ) {
        for (key, seed) in &mut self.contents {
            let lifetime = seed.lifetime();
            let mut lapsed = Vec::new();
            for (link, viewer) in &mut seed.links {
                let Some((_, oldest)) = viewer.promised.first() else {
                    continue;
                };
                let is_late = now >= *oldest + lifetime;
                let is_idle = now >= viewer.active + IDLE;
                if !is_late && !is_idle {
                    continue;
                }
                viewer.active = now;
                if !is_late && is_served(*link, *key) {
                    continue;
                }
                lapsed.append(&mut viewer.promised);
                if !viewer.shown.is_full() {
                    viewer.shown = Bits::full(viewer.shown.len());
                    self.news.push_back((*link, Shown::All(*key)));
                }
            }
            if !lapsed.is_empty() {
                lapsed.iter().for_each(|(index, _)| {
                    seed.promised.remove(*index);
                });
                seed.open_from = 0;
                seed.give_all(now, *key, &mut self.news);
            }
        }
    }
}

impl Seed {
    /// Whether a chunk neither went out nor is promised.
    fn is_open(&self, index: u32) -> bool {
        !self.sent.contains(index) && !self.promised.contains(index)
    }

    /// How long a promise holds.
    fn lifetime(&self) -> Duration {
        let each = self.until.since(self.since) / self.sends.max(1);
        let turns = PROMISE_TURNS * (SHOWN_AHEAD * self.links.len()) as u32;
        (each * turns).clamp(PROMISE_MIN, PROMISE_MAX)
    }

    /// When to look after a viewer.
    fn due(&self, viewer: &Viewer) -> Option<Timestamp> {
        let (_, oldest) = *viewer.promised.first()?;
        Some((oldest + self.lifetime()).min(viewer.active + IDLE))
    }

    /// Shows a link the next chunk that nobody was shown.
    fn give(&mut self, now: Timestamp, link: LinkId) -> Option<u32> {
        while self.open_from < self.sent.len() && !self.is_open(self.open_from) {
            self.open_from += 1;
        }
        let shown = &self.links.get(&link)?.shown;
        let mut rest = self.open_from..self.sent.len();
        let index = rest.find(|index| !shown.contains(*index) && self.is_open(*index))?;
        let viewer = self.links.get_mut(&link)?;
        viewer.shown.insert(index);
        viewer.promised.push((index, now));
        self.promised.insert(index);
        Some(index)
    }

    /// Shows chunks that nobody is promised to links that are promised none.
    fn give_all(&mut self, now: Timestamp, key: ContentKey, news: &mut VecDeque<(LinkId, Shown)>) {
        let idle = self.links.iter();
        let idle = idle.filter(|(_, viewer)| viewer.promised.is_empty());
        for link in idle.map(|(link, _)| *link).collect::<Vec<_>>() {
            let more = self.give(now, link);
            news.extend(more.map(|index| (link, Shown::More(key, index))));
        }
    }

    /// Limits a link that was shown everything: to what went out, what it asked for, and a few
    /// more.
    fn limit(&mut self, now: Timestamp, link: LinkId) -> Option<Bits> {
        let viewer = self.links.get_mut(&link)?;
        if !viewer.shown.is_full() {
            return None;
        }
        viewer.shown = self.sent.clone();
        for (index, _) in &viewer.promised {
            viewer.shown.insert(*index);
        }
        for _ in 0..SHOWN_AHEAD {
            self.give(now, link);
        }
        self.links.get(&link).map(|viewer| viewer.shown.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: u32 = 40;
    const START: Timestamp = Timestamp::from_millis(1_000);

    fn key() -> ContentKey {
        let key = "bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4";
        key.parse().expect("a key")
    }

    fn link(n: u8) -> LinkId {
        LinkId([n; 16])
    }

    /// Links that ask for whatever they are shown, at once.
    struct Crowd {
        seeding: Seeding,
        asked: VecDeque<(LinkId, u32)>,
        all: Vec<LinkId>,
    }

    impl Crowd {
        fn new(links: u8) -> Self {
            let mut crowd = Self {
                seeding: Seeding::default(),
                asked: VecDeque::new(),
                all: Vec::new(),
            };
            for n in 0..links {
                let shown = crowd.seeding.subscribe(START, key(), link(n), CHUNKS);
                assert_eq!(
                    shown.is_none(),
                    n == 0,
                    "only the first is shown everything"
                );
                let first = Bits::full(SHOWN_AHEAD as u32);
                crowd.ask(link(n), &shown.unwrap_or(first));
                crowd.hear();
            }
            crowd
        }

        fn ask(&mut self, link: LinkId, shown: &Bits) {
            for index in shown.iter() {
                if !self.asked.contains(&(link, index)) {
                    self.seeding.asked(START, key(), link, index);
                    self.asked.push_back((link, index));
                }
            }
        }

        fn hear(&mut self) {
            while let Some((link, shown)) = self.seeding.poll() {
                match shown {
                    Shown::More(_, index) => {
                        let mut one = Bits::new(CHUNKS);
                        one.insert(index);
                        self.ask(link, &one);
                    }
                    Shown::Only(_, shown) => self.ask(link, &shown),
                    Shown::All(_) => self.all.push(link),
                }
            }
        }

        /// Sends what was asked for first.
        fn send(&mut self) -> u32 {
            let (link, index) = self.asked.pop_front().expect("something is asked for");
            self.seeding.sent(START, key(), link, index);
            self.hear();
            index
        }
    }

    #[test]
    fn each_chunk_goes_out_once_before_any_goes_twice() {
        let mut crowd = Crowd::new(5);
        let mut sent: Vec<u32> = (0..CHUNKS).map(|_| crowd.send()).collect();
        sent.sort_unstable();
        assert_eq!(sent, (0..CHUNKS).collect::<Vec<u32>>());
        assert_eq!(crowd.all.len(), 5, "then everybody is shown everything");
    }

    #[test]
    fn what_is_not_asked_for_is_shown_to_another() {
        let mut crowd = Crowd::new(2);
        let silent = link(9);
        let shown = crowd.seeding.subscribe(START, key(), silent, CHUNKS);
        let shown = shown.expect("a few");
        assert_eq!(shown.count() as usize, SHOWN_AHEAD);
        for _ in 0..CHUNKS as usize - SHOWN_AHEAD {
            assert!(!shown.contains(crowd.send()));
        }
        assert!(crowd.asked.is_empty());
        let later = crowd.seeding.next_timeout().expect("they wait");
        crowd.seeding.handle_timeout(later, |_, _| false);
        crowd.hear();
        assert_eq!(crowd.all, [silent], "it may hold what it was shown");
        let mut sent: Vec<u32> = (0..SHOWN_AHEAD).map(|_| crowd.send()).collect();
        sent.sort_unstable();
        assert_eq!(sent, shown.iter().collect::<Vec<u32>>());
    }

    #[test]
    fn what_waits_for_its_turn_is_not_shown_to_another_but_for_ever() {
        let mut crowd = Crowd::new(2);
        let end = START + PROMISE_MIN;
        loop {
            let now = crowd.seeding.next_timeout().expect("they wait");
            crowd.seeding.handle_timeout(now, |_, _| true);
            if now >= end {
                break;
            }
            assert_eq!(crowd.seeding.poll(), None);
        }
        assert!(crowd.seeding.poll().is_some());
    }

    #[test]
    fn who_let_a_promise_lapse_is_promised_nothing_when_others_come() {
        let mut crowd = Crowd::new(2);
        let silent = link(9);
        crowd.seeding.subscribe(START, key(), silent, CHUNKS);
        let later = crowd.seeding.next_timeout().expect("they wait");
        crowd
            .seeding
            .handle_timeout(later, |link, _| link != silent);
        crowd.hear();
        assert_eq!(crowd.all, [silent]);
        crowd.seeding.subscribe(later, key(), link(10), CHUNKS);
        while let Some((link, _)) = crowd.seeding.poll() {
            assert_ne!(link, silent);
        }
    }

    #[test]
    fn a_promise_lasts_longer_in_a_crowd() {
        let mut crowd = Crowd::new(8);
        let mut now = START;
        for _ in 0..8 {
            now = now + Duration::from_secs(1);
            let (link, index) = crowd.asked.pop_front().expect("something is asked for");
            crowd.seeding.sent(now, key(), link, index);
        }
        // A chunk a second for eight links: each waits half a minute for what it is shown.
        while let Some((_, shown)) = crowd.seeding.poll() {
            assert!(matches!(shown, Shown::More(..)));
        }
        while now < START + Duration::from_secs(40) {
            now = crowd.seeding.next_timeout().expect("they wait");
            crowd.seeding.handle_timeout(now, |_, _| true);
            assert_eq!(crowd.seeding.poll(), None);
        }
    }

    #[test]
    fn what_a_link_was_shown_that_is_gone_is_shown_to_another() {
        let mut crowd = Crowd::new(3);
        crowd.asked.retain(|(of, _)| *of != link(1));
        crowd.seeding.link_down(START, link(1));
        crowd.hear();
        let mut sent: Vec<u32> = (0..CHUNKS).map(|_| crowd.send()).collect();
        sent.sort_unstable();
        assert_eq!(sent, (0..CHUNKS).collect::<Vec<u32>>());
    }
}
