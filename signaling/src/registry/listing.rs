//! Who is there, a page at a time; who holds a content; and views that change with time.

use super::{Registry, SessionId, members, summary};
use shoal_protocol::{
    content::ContentKey,
    id::PeerId,
    namespace::Namespace,
    rendezvous::{MAX_LISTING, MAX_VIEW, PeerSummary},
    time::Timestamp,
};

/// A page of the list of a namespace's peers, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The peers.
    pub peers: Vec<PeerSummary>,
    /// The last of them, if others follow.
    pub next: Option<PeerId>,
}

impl Registry {
    /// The peers that follow `after`, at most `limit` of them or [`MAX_LISTING`], and at least
    /// one, without `asker`. Who is there from the first page to the last is on one of them,
    /// whoever comes and goes meanwhile.
    pub fn list(
        &self,
        namespace: &Namespace,
        after: Option<PeerId>,
        limit: Option<u16>,
        asker: Option<PeerId>,
    ) -> Page {
        let Some(members) = self.namespaces.get(namespace) else {
            return Page::default();
        };
        let limit = limit.map_or(MAX_LISTING, usize::from);
        let limit = limit.clamp(1, MAX_LISTING);
        let mut sessions = members
            .after(after)
            .filter(|(peer, _)| asker != Some(**peer))
            .filter_map(|(_, id)| self.sessions.get(&id).map(Box::as_ref));
        let peers: Vec<PeerSummary> = sessions.by_ref().take(limit).map(summary).collect();
        let more = sessions.next().is_some();
        let next = peers.last().filter(|_| more).map(|last| last.peer);
        Page { peers, next }
    }

    /// Some of the peers whose valid catalogs list a content, chosen at random, without `asker`.
    pub fn providers(
        &mut self,
        now: Timestamp,
        namespace: &Namespace,
        key: &ContentKey,
        asker: Option<PeerId>,
    ) -> Vec<PeerId> {
        let members = self.namespaces.get(namespace).into_iter();
        let mut peers = Vec::new();
        let mut seen = 0;
        for provider in members.flat_map(|members| members.providers(key)) {
            let Some(session) = self.sessions.get(&provider) else {
                continue;
            };
            let catalog = session.catalog.as_ref();
            let is_valid = catalog.is_some_and(|held| held.is_valid(now.unix_millis()));
            if asker == Some(session.peer) || !is_valid {
                continue;
            }
            // Reservoir sampling (Vitter's algorithm R, 1985).
            seen += 1;
            if peers.len() < self.limits.providers {
                peers.push(session.peer);
            } else {
                let at = members::below(seen, &mut self.rng);
                if let Some(place) = peers.get_mut(at) {
                    *place = session.peer;
                }
            }
        }
        peers
    }

    /// Shows others to a session in place of some of those it is shown, if there are others: so
    /// a crowd gets to know each other, at a price that is the same for each peer of it.
    pub(super) fn refresh_view(&mut self, id: SessionId) {
        for _ in 0..self.limits.view_refresh {
            let Some(session) = self.sessions.get(&id) else {
                return;
            };
            let Some(members) = self.namespaces.get(&session.namespace) else {
                return;
            };
            if session.view.len() < MAX_VIEW || members.len() <= MAX_VIEW + 1 {
                return;
            }
            let at = members::below(session.view.len(), &mut self.rng);
            let old = session.view.iter().nth(at).copied();
            let new = members.draw(id, &session.view, &mut self.rng);
            if let (Some(old), Some(new)) = (old, new) {
                self.exchange(id, old, new);
            }
        }
    }

    fn exchange(&mut self, id: SessionId, old: SessionId, new: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.view.remove(&old);
            session.view.insert(new);
        }
        let mut concerned = Vec::new();
        if let Some(other) = self.sessions.get_mut(&old) {
            other.watchers.remove(&id);
            concerned.push(other.peer);
        }
        if let Some(other) = self.sessions.get_mut(&new) {
            other.watchers.insert(id);
            concerned.push(other.peer);
        }
        for peer in concerned {
            self.tell(id, peer);
        }
    }
}
