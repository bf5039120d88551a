//! What peers hear of each other: who is shown to whom, and who is told of changes.

use super::{Registry, SessionId, members, session::Session};
use shoal_protocol::{
    id::PeerId,
    namespace::Namespace,
    rendezvous::{MAX_VIEW, PeerSummary, ServerMessage},
};

impl Registry {
    /// A session's view, as it stands.
    pub(super) fn view(&self, id: SessionId) -> Vec<PeerSummary> {
        let shown = self.sessions.get(&id).into_iter();
        shown
            .flat_map(|session| &session.view)
            .filter_map(|other| self.sessions.get(other))
            .map(|other| summary(other))
            .collect()
    }

    /// How things stand with these peers, as far as a session is shown them.
    pub(super) fn changes(&self, id: SessionId, peers: Vec<PeerId>) -> ServerMessage {
        let (mut add, mut drop) = (Vec::new(), Vec::new());
        let members = self
            .sessions
            .get(&id)
            .and_then(|session| Some((session, self.namespaces.get(&session.namespace)?)));
        for peer in peers {
            let shown = members.and_then(|(session, members)| {
                let other = members.session_of(&peer)?;
                session.view.contains(&other).then_some(other)
            });
            match shown.and_then(|other| self.sessions.get(&other)) {
                Some(other) => add.push(summary(other)),
                None => drop.push(peer),
            }
        }
        ServerMessage::Peers { add, drop }
    }

    pub(super) fn tell_watchers(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let peer = session.peer;
        for watcher in session.watchers.clone() {
            self.tell(watcher, peer);
        }
    }

    pub(super) fn tell(&mut self, id: SessionId, about: PeerId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.news.push(about, &self.limits);
            self.woken.extend(session.connection);
        }
    }

    /// Shows a session another peer in place of the one that went.
    pub(super) fn refill(&mut self, id: SessionId, gone: SessionId, namespace: &Namespace) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.view.remove(&gone);
        let Some(members) = self.namespaces.get_mut(namespace) else {
            return;
        };
        match members.draw(id, &session.view, &mut self.rng) {
            None => {
                members.roomy.insert(id);
            }
            Some(other) => {
                session.view.insert(other);
                if let Some(shown) = self.sessions.get_mut(&other) {
                    shown.watchers.insert(id);
                    let peer = shown.peer;
                    self.tell(id, peer);
                }
            }
        }
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

pub(super) fn summary(session: &Session) -> PeerSummary {
    PeerSummary {
        peer: session.peer,
        catalog: session.catalog.as_ref().and_then(|held| held.since()),
    }
}
