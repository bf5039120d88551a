//! Super-seeding: a lone publisher shows each of those that ask a few chunks only, others to
//! everybody, until each chunk has gone out once. What one got the others get from it.
//!
//! Source: John Hoffman, "Superseeding" (BEP 16, 2003). Unlike there, a peer need not be seen
//! to pass a chunk on before it is shown the next one, so that no line stands idle.

use shoal_protocol::{
    bits::Bits, content::ContentKey, id::LinkId, sorted::SortedMap, time::Timestamp,
};
use std::{collections::VecDeque, time::Duration};

/// Chunks a peer is shown ahead of those it got. Guess: a round trip at 25 MB/s and 40 ms.
const SHOWN_AHEAD: usize = 4;
/// A peer that asks for nothing for so long is shown everything: it may hold already what it
/// was shown. Guess: some round trips.
const IDLE: Duration = Duration::from_millis(500);

/// What a link is to be told to be held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    All(ContentKey),
    More(ContentKey, u32),
}

/// What is shown to whom.
#[derive(Debug, Default)]
pub(crate) struct Seeding {
    contents: SortedMap<ContentKey, Seed>,
    news: VecDeque<(LinkId, Shown)>,
}

#[derive(Debug)]
struct Seed {
    /// How often each chunk was shown to somebody.
    given: Vec<u32>,
    /// Chunks that went out.
    sent: Bits,
    links: SortedMap<LinkId, Viewer>,
}

#[derive(Debug)]
struct Viewer {
    shown: Bits,
    /// When it last asked or got something.
    active: Timestamp,
}

impl Seeding {
    /// What to show a link that asks what is held of a content of which this peer is the only
    /// complete holder; `None`: everything.
    pub(crate) fn subscribe(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        link: LinkId,
        chunks: u32,
    ) -> Option<Bits> {
        let seed = self.contents.entry(key).or_insert_with(|| Seed {
            given: vec![0; chunks as usize],
            sent: Bits::new(chunks),
            links: SortedMap::new(),
        });
        let is_first = seed.links.is_empty();
        if seed.sent.is_full() {
            return None;
        }
        let mut shown = match is_first {
            true => Bits::full(chunks),
            false => Bits::new(chunks),
        };
        while !is_first && (shown.count() as usize) < SHOWN_AHEAD {
            match seed.give(&shown) {
                Some(index) => shown.insert(index),
                None => break,
            };
        }
        let answer = (!is_first).then(|| shown.clone());
        seed.links.insert(link, Viewer { shown, active: now });
        answer
    }

    /// A link asked for something.
    pub(crate) fn asked(&mut self, now: Timestamp, key: ContentKey, link: LinkId) {
        let seed = self.contents.get_mut(&key);
        if let Some(viewer) = seed.and_then(|seed| seed.links.get_mut(&link)) {
            viewer.active = now;
        }
    }

    /// A chunk has gone out whole.
    pub(crate) fn sent(&mut self, now: Timestamp, key: ContentKey, link: LinkId, index: u32) {
        let Some(seed) = self.contents.get_mut(&key) else {
            return;
        };
        seed.sent.insert(index);
        if seed.sent.is_full() {
            for (link, viewer) in std::mem::take(&mut seed.links) {
                if !viewer.shown.is_full() {
                    self.news.push_back((link, Shown::All(key)));
                }
            }
            return;
        }
        let Some(mut viewer) = seed.links.remove(&link) else {
            return;
        };
        viewer.active = now;
        if let Some(index) = seed.give(&viewer.shown) {
            viewer.shown.insert(index);
            self.news.push_back((link, Shown::More(key, index)));
        }
        seed.links.insert(link, viewer);
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        for seed in self.contents.values_mut() {
            seed.links.remove(&link);
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
        let viewers = seeds.flat_map(|seed| seed.links.values());
        let limited = viewers.filter(|viewer| !viewer.shown.is_full());
        limited.map(|viewer| viewer.active + IDLE).min()
    }

    /// Shows everything to those that ask for nothing. `is_served`: an answer waits for it.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, is_served: impl Fn(LinkId) -> bool) {
        for (key, seed) in &mut self.contents {
            for (link, viewer) in &mut seed.links {
                if viewer.shown.is_full() || now < viewer.active + IDLE {
                    continue;
                }
                viewer.active = now;
                if !is_served(*link) {
                    viewer.shown = Bits::full(viewer.shown.len());
                    self.news.push_back((*link, Shown::All(*key)));
                }
            }
        }
    }
}

impl Seed {
    /// The chunk that was shown least, of those not shown to this one.
    fn give(&mut self, shown: &Bits) -> Option<u32> {
        let hidden = (0..shown.len()).filter(|index| !shown.contains(*index));
        let index = hidden.min_by_key(|index| self.given[*index as usize])?;
        self.given[index as usize] += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ContentKey {
        let key = "bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4";
        key.parse().expect("a key")
    }

    #[test]
    fn each_chunk_goes_out_once_before_any_goes_twice() {
        let mut seeding = Seeding::default();
        let now = Timestamp::from_millis(1_000);
        let links: Vec<LinkId> = (0..5).map(|n| LinkId([n; 16])).collect();
        assert_eq!(seeding.subscribe(now, key(), links[0], 40), None);
        let mut shown: Vec<u32> = Vec::new();
        let mut waiting: VecDeque<(LinkId, u32)> = VecDeque::new();
        for link in &links[1..] {
            let bits = seeding.subscribe(now, key(), *link, 40).expect("a few");
            let of_link = bits.iter().filter(|index| *index != 39);
            waiting.extend(of_link.map(|index| (*link, index)));
        }
        while let Some((link, index)) = waiting.pop_front() {
            shown.push(index);
            seeding.sent(now, key(), link, index);
            while let Some((link, news)) = seeding.poll() {
                if let Shown::More(_, index) = news {
                    waiting.push_back((link, index));
                }
            }
            if shown.len() == 39 {
                break;
            }
        }
        shown.sort_unstable();
        assert_eq!(shown, (0..39).collect::<Vec<u32>>());
        seeding.sent(now, key(), links[1], 39);
        let all: Vec<_> = std::iter::from_fn(|| seeding.poll()).collect();
        let to_all = all.iter().filter(|(_, news)| *news == Shown::All(key()));
        assert_eq!(
            to_all.count(),
            4,
            "those who were shown a part are shown the rest"
        );
    }

    #[test]
    fn who_asks_for_nothing_is_shown_everything() {
        let mut seeding = Seeding::default();
        let now = Timestamp::from_millis(1_000);
        seeding.subscribe(now, key(), LinkId([0; 16]), 40);
        seeding.subscribe(now, key(), LinkId([1; 16]), 40);
        let later = seeding.next_timeout().expect("one is limited");
        seeding.handle_timeout(later, |_| true);
        assert_eq!(seeding.poll(), None, "it waits for an answer");
        let later = seeding.next_timeout().expect("one is limited");
        seeding.handle_timeout(later, |_| false);
        assert_eq!(seeding.poll(), Some((LinkId([1; 16]), Shown::All(key()))));
        assert_eq!(seeding.next_timeout(), None);
    }
}
