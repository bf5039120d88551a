//! The lanes of links, and what goes over a link and its lanes together.

use super::{Links, MAX_LINKS};
use crate::{policy, rate::Rate};
use shoal_protocol::{
    id::{LinkId, PeerId},
    time::Timestamp,
};
use std::time::Duration;

/// Links that lanes leave room for. Guess.
const LANE_MARGIN: usize = 16;

/// What went over a link, bulk frames only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// When the last of them went.
    pub(super) last: Timestamp,
    pub(crate) receiving: Rate,
    pub(crate) sending: Rate,
    /// Its newest and its shortest round trip.
    pub(crate) rtt: Option<Duration>,
    pub(crate) least_rtt: Option<Duration>,
    /// Its lanes, besides itself.
    pub(crate) lanes: usize,
}

impl Traffic {
    /// A round trip was measured.
    pub(super) fn round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
        self.least_rtt = Some(self.least_rtt.map_or(rtt, |least| least.min(rtt)));
    }
}

impl Links {
    /// The lanes of a link, those on their way included.
    pub(crate) fn lanes(&self, link: LinkId) -> impl Iterator<Item = LinkId> + '_ {
        let entries = self.entries.iter();
        let lanes = entries.filter(move |(_, entry)| entry.lane_of == Some(link));
        lanes.map(|(lane, _)| *lane)
    }

    /// Whether it is a lane of another link.
    pub(crate) fn is_lane(&self, link: LinkId) -> bool {
        let entry = self.entries.get(&link);
        entry.is_some_and(|entry| entry.lane_of.is_some())
    }

    /// Asks for a further lane to a peer to which a link is up. False if there can be none.
    pub(crate) fn add_lane(&mut self, now: Timestamp, peer: PeerId) -> bool {
        let Some(link) = self.link_to(peer).filter(|link| self.can_add_lane(*link)) else {
            return false;
        };
        let id = LinkId(self.random.bytes());
        let lane = self.ask(now, id, peer);
        self.insert(now, lane, Some(link), true);
        true
    }

    pub(super) fn can_add_lane(&self, link: LinkId) -> bool {
        self.lanes(link).count() < policy::LANES_MAX && self.entries.len() < MAX_LINKS - LANE_MARGIN
    }

    /// Closes the lanes to a peer.
    pub(crate) fn drop_lanes(&mut self, peer: PeerId) {
        let link = self.by_peer.get(&peer).copied();
        let lanes: Vec<LinkId> = link.into_iter().flat_map(|link| self.lanes(link)).collect();
        lanes.into_iter().for_each(|lane| self.close(lane));
    }

    /// Counts a bulk frame that came over a link or a lane.
    pub(crate) fn received(&mut self, now: Timestamp, link: LinkId, bytes: usize) {
        if let Some(traffic) = self.traffic_of(link) {
            traffic.last = now;
            traffic.received += bytes as u64;
            traffic.receiving.add(now, bytes as u64);
        }
    }

    /// Counts a bulk frame that was sent over a link or a lane.
    pub(crate) fn sent(&mut self, now: Timestamp, link: LinkId, bytes: usize) {
        if let Some(traffic) = self.traffic_of(link) {
            traffic.last = now;
            traffic.sent += bytes as u64;
            traffic.sending.add(now, bytes as u64);
        }
    }

    /// The counts of a link, which are those of its lanes too.
    fn traffic_of(&mut self, link: LinkId) -> Option<&mut Traffic> {
        let lane_of = self.entries.get(&link)?.lane_of;
        let entry = self.entries.get_mut(&lane_of.unwrap_or(link))?;
        Some(&mut entry.traffic)
    }

    /// What goes over the link to a peer, if it is up.
    pub(crate) fn traffic(&self, peer: PeerId) -> Option<Traffic> {
        let link = self.link_to(peer)?;
        let traffic = self.entries.get(&link)?.traffic.clone();
        let up = |lane: &LinkId| self.entries.get(lane).is_some_and(|lane| lane.link.is_up());
        let lanes = self.lanes(link).filter(up).count();
        Some(Traffic { lanes, ..traffic })
    }
}
