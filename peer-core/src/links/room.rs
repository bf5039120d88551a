//! Room for links where the budget is spent: those of no use give way to those somebody wants.
//!
//! Of no use is a link over which no chunks went for some time and of whose peer nothing is
//! wanted, and one that does not come up. Who asks for a link takes the place of others that
//! asked, never of those this side chose, so that nobody surrounds it with strangers (Heilman
//! et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network", 2015); and some places are for
//! links this side asks for only, so that its fetches wait for nobody.

use super::{Entry, Links, MAX_LINKS};
use shoal_protocol::{
    id::{LinkId, PeerId},
    time::Timestamp,
};
use std::time::Duration;

/// Most links that others asked for, lanes included. Guess: the rest are some more than a fetch
/// wants (`policy::SOURCES_WANTED`).
const ASKED_FOR_MAX: usize = MAX_LINKS - 12;
/// A link over which no chunk went for so long may give way, and one that is not up after so
/// long. Guess: some times what an honest one takes to be asked for something, or to come up.
const IDLE: Duration = Duration::from_secs(10);
/// At most one link gives way in this time, so that a crowd that asks does not turn all of them
/// over. Guess.
const EVERY: Duration = Duration::from_millis(250);

/// Whether something is wanted of or sent to the peer of a link.
pub(crate) type IsUsed<'a> = &'a dyn Fn(PeerId, LinkId) -> bool;

impl Entry {
    /// Since when it has been of no use, as far as is known here.
    fn idle_since(&self) -> Timestamp {
        match self.up_since {
            Some(up) if self.link.is_up() => self.traffic.last.max(up),
            _ => self.begun,
        }
    }
}

impl Links {
    /// Whether there is room for one more link, or another gives way to it.
    pub(super) fn has_room(&mut self, now: Timestamp, is_own: bool, is_used: IsUsed) -> bool {
        let asked_for = self.entries.values().filter(|entry| !entry.is_own).count();
        let has_place = is_own || asked_for < ASKED_FOR_MAX;
        if self.entries.len() < MAX_LINKS && has_place {
            return true;
        }
        if now < self.next_room {
            return false;
        }
        // Lanes end with their links, or by themselves.
        let links = self.entries.iter();
        let idle = links
            .filter(|(_, entry)| entry.lane_of.is_none() && (is_own || !entry.is_own))
            .filter(|(_, entry)| entry.idle_since() + IDLE <= now)
            .filter(|(id, entry)| !entry.link.is_up() || !is_used(entry.link.peer, **id));
        let Some(id) = idle
            .min_by_key(|(_, entry)| entry.idle_since())
            .map(|(id, _)| *id)
        else {
            return false;
        };
        self.next_room = now + EVERY;
        self.ended(now, id);
        self.close(id);
        true
    }
}
