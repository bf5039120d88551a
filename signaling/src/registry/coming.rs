//! Coming and going: joins, leases, heartbeats.

use super::{
    ConnectionId, Registry, SessionId, Timer, connections::millis, session::Session, views::summary,
};
use crate::check::{VerifiedJoin, VerifiedPresence};
use shoal_protocol::{
    id::ResumeToken,
    rendezvous::{ErrorCode, MAX_VIEW, ServerMessage},
    sorted::SortedSet,
    time::Timestamp,
};

impl Registry {
    pub(super) fn join(&mut self, now: Timestamp, connection: ConnectionId, join: &VerifiedJoin) {
        let peer = join.peer();
        if let Err(reached) = self.admission.joined(now, peer) {
            return self.turn_away(connection, reached);
        }
        let known = self
            .namespaces
            .get(join.namespace())
            .and_then(|members| members.session_of(&join.peer()));
        if known.is_none()
            && let Err(reached) = self.admit_session(now, peer)
        {
            return self.turn_away(connection, reached);
        }
        let (id, resumed) = match known {
            None => (self.add_session(join), false),
            Some(id) => {
                self.supersede(id);
                let resumed = join.resume().is_some()
                    && self.sessions.get(&id).map(|session| session.token) == join.resume();
                if !resumed {
                    self.start_anew(now, id);
                }
                (id, resumed)
            }
        };
        if let Some(joining) = self.connections.get_mut(&connection) {
            joining.session = Some(id);
            if let Some(deadline) = joining.deadline.take() {
                self.timers
                    .remove(&(deadline, Timer::Connection(connection)));
            }
        }
        match resumed {
            true => self.counts.resumes += 1,
            false => self.counts.joins += 1,
        }
        let token = ResumeToken(self.random());
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.connection = Some(connection);
        session.token = token;
        session.receipts_due = (!session.receipts.is_empty()).then_some(now);
        self.arm(id, now + self.limits.heartbeat);
        let ice_servers = self.ice_servers_for(now, id);
        let session = self.sessions.get(&id);
        let catalog = session.and_then(|session| summary(session).catalog);
        let joined = ServerMessage::Joined {
            lease: millis(self.limits.lease),
            resume: token,
            resumed,
            catalog,
            ice_servers,
            // Who resumes has a view, and hears what changed in it.
            view: if resumed { Vec::new() } else { self.view(id) },
        };
        self.reply(connection, joined);
    }

    pub(super) fn add_session(&mut self, join: &VerifiedJoin) -> SessionId {
        let id = self.next_session();
        let token = ResumeToken(self.random());
        let mut session = Session::new(join.peer(), join.namespace().clone(), token);

        let members = self.namespaces.entry(join.namespace().clone()).or_default();
        let view = members.sample(MAX_VIEW, &SortedSet::default(), &mut self.rng);
        let watchers = core::mem::take(&mut members.roomy);
        members.insert(join.peer(), id);
        for other in &watchers {
            if let Some(watcher) = self.sessions.get_mut(other) {
                watcher.view.insert(id);
                if watcher.view.len() < MAX_VIEW {
                    members.roomy.insert(*other);
                }
            }
        }
        if view.len() < MAX_VIEW {
            members.roomy.insert(id);
        }
        for other in &view {
            if let Some(shown) = self.sessions.get_mut(other) {
                shown.watchers.insert(id);
            }
        }
        session.view = view.into_iter().collect();
        // A full one stays as large: another comes only in the place of one that goes.
        session.view.shrink_to_fit();
        session.watchers = watchers;
        self.sessions.insert(id, Box::new(session));
        self.tell_watchers(id);
        id
    }

    /// A number that no session has.
    fn next_session(&mut self) -> SessionId {
        loop {
            self.last_session = self.last_session.wrapping_add(1);
            let id = SessionId(self.last_session);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// The peer has joined again without going on: what was under way is over.
    pub(super) fn start_anew(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.incarnation += 1;
        session.presence = None;
        session.receipts.clear();
        session.readings.clear();
        session.news.clear();
        let given_up = session.inbox.drain();
        self.receipts_gone(now, given_up);
        self.tell_watchers(id);
    }

    /// Ends the connection of a session that another one takes over.
    pub(super) fn supersede(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let forgotten = session.rewind(&self.limits);
        self.counts.forgot_receipts(forgotten);
        let connection = session.connection.take();
        self.keep_receipts(id);
        let Some(connection) = connection else {
            return;
        };
        if let Some(old) = self.connections.get_mut(&connection) {
            old.session = None;
        }
        let superseded = ServerMessage::Error {
            code: ErrorCode::Superseded,
            message: "the same peer has joined again on another connection".into(),
            retry_after: Some(millis(self.limits.lease)),
        };
        self.reply(connection, superseded);
        self.close(connection);
    }

    /// The session's connection is lost; its lease begins.
    pub(super) fn detach(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.connection = None;
        let forgotten = session.rewind(&self.limits);
        self.counts.forgot_receipts(forgotten);
        self.keep_receipts(id);
        self.arm(id, now + self.limits.lease);
    }

    pub(super) fn remove_session(&mut self, now: Timestamp, id: SessionId) {
        self.tell_watchers(id);
        self.keep_receipts(id);
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.admission.session_removed(now, session.peer);
        if let Some(deadline) = session.deadline {
            self.timers.remove(&(deadline, Timer::Session(id)));
        }
        if let Some(connection) = session.connection
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            connection.session = None;
        }
        for other in &session.view {
            if let Some(shown) = self.sessions.get_mut(other) {
                shown.watchers.remove(&id);
            }
        }
        let catalog = session.catalog.take().unwrap_or_default();
        self.admission.catalog_removed(now, catalog.charged());
        if let Some(members) = self.namespaces.get_mut(&session.namespace) {
            members.remove(&session.peer, id);
            for key in catalog.keys() {
                members.remove_provider(&key, id);
            }
            if members.is_empty() {
                self.namespaces.remove(&session.namespace);
            }
        }
        for watcher in &session.watchers {
            self.refill(*watcher, id, &session.namespace);
        }
        self.receipts_gone(now, session.inbox.drain());
    }

    pub(super) fn heartbeat(&mut self, now: Timestamp, id: SessionId, connection: ConnectionId) {
        let timeout = self.limits.pong_timeout;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session
            .pings
            .front()
            .is_some_and(|due| *due + timeout <= now)
        {
            if let Some(silent) = self.connections.get_mut(&connection) {
                silent.session = None;
            }
            self.counts.reached("pong-timeout-seconds");
            self.close(connection);
            self.detach(now, id);
            return;
        }
        session.pings.push_back(now);
        let overdue = session.pings.front().map(|due| *due + timeout);
        let next = (now + self.limits.heartbeat).min(overdue.unwrap_or(now));
        self.arm(id, next);
        self.reply(connection, ServerMessage::Ping {});
        self.renew_ice(now, id, connection);
        self.refresh_view(id);
    }

    pub(super) fn pong(&mut self, now: Timestamp, id: SessionId) {
        let heartbeat = self.limits.heartbeat;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // One that nobody asked for says nothing.
        if let Some(sent) = session.pings.pop_front() {
            session.news.confirm();
            if session.pings.is_empty() {
                self.arm(id, (sent + heartbeat).max(now));
            }
        }
    }

    pub(super) fn presence(&mut self, id: SessionId, presence: VerifiedPresence) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.presence < Some(presence) {
            session.presence = Some(presence);
        }
    }
}
