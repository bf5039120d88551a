//! Who is there, a page at a time; who holds a content.

use super::{ConnectionId, Registry, SessionId, members, views::summary};
use shoal_protocol::{
    content::ContentKey,
    id::PeerId,
    namespace::Namespace,
    rendezvous::{MAX_LISTING, PeerSummary, ServerMessage},
    time::UnixMillis,
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

    /// Some of the peers whose catalogs list a content and are valid at `now`, by the wall clock,
    /// chosen at random, without `asker`.
    pub fn providers(
        &mut self,
        now: UnixMillis,
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
            let is_valid = catalog.is_some_and(|held| held.is_valid(now));
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

    pub(super) fn send_listing(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        after: Option<PeerId>,
        limit: Option<u16>,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Page { peers, next } = self.list(&session.namespace, after, limit, Some(session.peer));
        self.reply(connection, ServerMessage::Listing { peers, next });
    }

    pub(super) fn find(
        &mut self,
        now: UnixMillis,
        connection: ConnectionId,
        id: SessionId,
        key: ContentKey,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (peer, namespace) = (session.peer, session.namespace.clone());
        let peers = self.providers(now, &namespace, &key, Some(peer));
        self.reply(connection, ServerMessage::Providers { key, peers });
    }
}
