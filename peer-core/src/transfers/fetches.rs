//! The fetches of a node, and which of them are to be looked at.
//!
//! There may be thousands, nearly all of which wait for something, and thousands of inputs a
//! second. So a fetch is looked at when something happened to it or its time has come. For all
//! others an input costs a glance at a list of times.

use crate::{fetch::Fetch, policy, source::Source};
use shoal_protocol::{content::ContentKey, id::PeerId, sorted::SortedMap, time::Timestamp};

/// When a fetch is to be looked at, and what it was like when it was.
#[derive(Debug, Default)]
struct Plan {
    /// The beginning of time if something has happened to it; `None`: when something does.
    due: Option<Timestamp>,
    /// Whether it may have something to ask for.
    is_ready: bool,
    /// Its share, against others; none while nothing may be asked for.
    weight: f64,
    /// Chunks it may have in memory.
    budget: usize,
    wants_sources: bool,
}

/// The fetches of a node.
#[derive(Default)]
pub(super) struct Fetches {
    all: SortedMap<ContentKey, Box<Fetch>>,
    /// One for each of them.
    plans: SortedMap<ContentKey, Plan>,
    /// Whether the weights are others than those the budgets are made of.
    weighed_anew: bool,
    /// What a fetch that had nothing to ask for is taken to have got: who has nothing to take
    /// does not save its share up, and who comes late does not get what others got before.
    pub(super) floor: u64,
}

impl Fetches {
    pub(super) fn contains_key(&self, key: &ContentKey) -> bool {
        self.all.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ContentKey> {
        self.all.keys()
    }

    pub(super) fn get(&self, key: &ContentKey) -> Option<&Fetch> {
        self.all.get(key).map(|fetch| &**fetch)
    }

    /// A fetch to which something happens.
    pub(super) fn get_mut(&mut self, key: &ContentKey) -> Option<&mut Fetch> {
        self.plans.get_mut(key)?.due = Some(Timestamp::default());
        self.look(key)
    }

    /// A fetch that is looked at.
    pub(super) fn look(&mut self, key: &ContentKey) -> Option<&mut Fetch> {
        self.all.get_mut(key).map(|fetch| &mut **fetch)
    }

    /// All fetches, to be looked at only.
    pub(super) fn look_at_all(&mut self) -> impl Iterator<Item = &mut Fetch> {
        self.all.values_mut().map(|fetch| &mut **fetch)
    }

    /// A peer as a source, of each fetch it is one of.
    pub(super) fn sources(&self, peer: PeerId) -> impl Iterator<Item = &Source> {
        let all = self.all.values();
        all.filter_map(move |fetch| fetch.sources.get(&peer))
    }

    /// The fetches of which a peer is a source, and to which something happens.
    pub(super) fn of(&mut self, peer: PeerId) -> impl Iterator<Item = &mut Fetch> {
        let all = self.all.values_mut().zip(self.plans.values_mut());
        all.filter_map(move |(fetch, plan)| {
            fetch.sources.contains_key(&peer).then(|| {
                plan.due = Some(Timestamp::default());
                &mut **fetch
            })
        })
    }

    pub(super) fn insert(&mut self, key: ContentKey, fetch: Fetch) {
        self.all.insert(key, Box::new(fetch));
        let due = Some(Timestamp::default());
        let plan = Plan {
            due,
            ..Plan::default()
        };
        self.plans.insert(key, plan);
    }

    /// Takes a fetch out; false if there is none.
    pub(super) fn remove(&mut self, key: &ContentKey) -> bool {
        let plan = self.plans.remove(key);
        self.weighed_anew |= plan.is_some_and(|plan| plan.weight > 0.0);
        self.all.remove(key).is_some()
    }

    /// Fetches to which something happened since they were looked at, or whose time has come.
    pub(super) fn due(&self, now: Timestamp) -> Vec<ContentKey> {
        let is_due = |plan: &Plan| plan.due.is_some_and(|due| due <= now);
        let due = self.plans.iter().filter(|(_, plan)| is_due(plan));
        due.map(|(key, _)| *key).collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.plans.values().filter_map(|plan| plan.due).min()
    }

    /// Whether some fetch could use more sources.
    pub(super) fn want_sources(&self) -> bool {
        self.plans.values().any(|plan| plan.wants_sources)
    }

    /// Finds out whether a fetch that is looked at may have something to ask for.
    pub(super) fn wake(&mut self, key: &ContentKey) {
        let (Some(fetch), Some(plan)) = (self.all.get_mut(key), self.plans.get_mut(key)) else {
            return;
        };
        let weight = match fetch.is_open() {
            true => fetch.terms.priority.weight(),
            false => 0.0,
        };
        self.weighed_anew |= weight != plan.weight;
        plan.weight = weight;
        if !plan.is_ready {
            fetch.pass = fetch.pass.max(self.floor);
        }
        plan.is_ready = weight > 0.0;
    }

    /// Shares the memory out among the fetches that may ask for something, if these are others
    /// than they were. Who may have more in memory than before may have something to ask for.
    pub(super) fn share_memory(&mut self) {
        if !std::mem::take(&mut self.weighed_anew) {
            return;
        }
        let total: f64 = self.plans.values().map(|plan| plan.weight).sum();
        for (fetch, plan) in self.all.values_mut().zip(self.plans.values_mut()) {
            let share = policy::IN_FLIGHT_MAX as f64 * plan.weight / total;
            let budget = (share as usize).max(1);
            if budget > plan.budget && plan.weight > 0.0 && !plan.is_ready {
                fetch.pass = fetch.pass.max(self.floor);
                plan.is_ready = true;
            }
            plan.budget = budget;
        }
    }

    /// Fetches that may have something to ask for, and what each got.
    pub(super) fn ready(&self) -> impl Iterator<Item = (u64, ContentKey)> {
        let all = self.all.values().zip(&self.plans);
        let ready = all.filter(|(_, (_, plan))| plan.is_ready);
        ready.map(|(fetch, (key, _))| (fetch.pass, *key))
    }

    /// How many chunks a fetch may have in memory.
    pub(super) fn budget(&self, key: &ContentKey) -> usize {
        self.plans.get(key).map_or(0, |plan| plan.budget)
    }

    /// A fetch has nothing to ask for, until something happens to it.
    pub(super) fn rest(&mut self, key: &ContentKey) {
        if let Some(plan) = self.plans.get_mut(key) {
            plan.is_ready = false;
        }
    }

    /// A fetch was looked at.
    pub(super) fn looked_at(&mut self, now: Timestamp, key: &ContentKey) {
        if let (Some(fetch), Some(plan)) = (self.all.get(key), self.plans.get_mut(key)) {
            plan.due = fetch.next_timeout(now);
            plan.wants_sources = fetch.sources_wanted(now) > 0;
        }
    }
}
