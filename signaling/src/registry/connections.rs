//! Connections: what they are answered, who gets in, when to come back; timers and randomness.

use super::{ConnectionId, Registry, SessionId, Timer, members};
use crate::address::Address;
use crate::admission::{Reached, Refusal};
use crate::check::Fault;
use rand_core::Rng;
use shoal_protocol::{
    id::PeerId,
    rendezvous::{ErrorCode, ServerMessage},
    time::Timestamp,
};
use std::time::Duration;

/// Nobody is told to stay away for longer, however many are to return. Guess; peers take no
/// longer time either.
const LONGEST_RETURN: Duration = Duration::from_secs(600);

impl Registry {
    /// Answers a connection. One that lets too many answers wait is closed.
    pub(super) fn reply(&mut self, id: ConnectionId, message: ServerMessage) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.closing {
            return;
        }
        if let ServerMessage::Error { code, .. } = &message {
            self.counts.refused(*code);
        }
        connection.replies.push_back(message);
        if connection.replies.len() > self.limits.replies {
            self.counts.reached("replies");
            connection.replies.clear();
            connection.closing = true;
        }
        self.woken.insert(id);
    }

    /// Says what is wrong. Before the join, and after too many times, the connection ends.
    pub(super) fn fault(&mut self, id: ConnectionId, fault: Fault) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.faults += 1;
        let too_many = connection.faults >= self.limits.faults;
        if too_many {
            self.counts.reached("faults");
        }
        if connection.session.is_none() || too_many {
            return self.refuse(id, fault);
        }
        self.reply(id, error(fault));
    }

    /// Says what is wrong and ends the connection.
    pub(super) fn refuse(&mut self, id: ConnectionId, fault: Fault) {
        self.reply(id, error(fault));
        self.close(id);
    }

    /// Whether one more connection from there is let in.
    pub(super) fn admit(&mut self, now: Timestamp, from: Address) -> Result<(), Reached> {
        if self.admitted >= self.limits.connections {
            return Err(full("connections", "connections"));
        }
        self.admission.connected(now, from)
    }

    /// Whether one more connection from there would be let in.
    pub(super) fn has_room(&self, now: Timestamp, from: Address) -> bool {
        let is_open = !self.closing && self.admitted < self.limits.connections;
        is_open && self.admission.has_room(now, from)
    }

    /// Whether one more session of this peer is let in.
    pub(super) fn admit_session(&mut self, now: Timestamp, peer: PeerId) -> Result<(), Reached> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(full("sessions", "peers"));
        }
        self.admission.session_added(now, peer)
    }

    /// Says when to come back, and ends the connection.
    pub(super) fn turn_away(&mut self, id: ConnectionId, reached: Reached) {
        let refusal = self.busy(reached);
        self.reply(id, refusal);
        self.close(id);
    }

    /// The error of a server that is full.
    pub(super) fn busy(&mut self, reached: Reached) -> ServerMessage {
        let refusal = self.refusal(reached);
        ServerMessage::Error {
            code: ErrorCode::Limit,
            message: format!("this server has as many {} as it takes", reached.what),
            retry_after: Some(millis(refusal.retry_after)),
        }
    }

    /// Counts that a bound was reached, and says when to come back.
    pub(super) fn refusal(&mut self, reached: Reached) -> Refusal {
        self.counts.reached(reached.key);
        let spread = Duration::from_millis(self.retry_after());
        Refusal {
            reached,
            retry_after: reached.wait.saturating_add(spread),
        }
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closing = true;
            self.woken.insert(id);
        }
    }

    /// Sets the one timer of a session.
    pub(super) fn arm(&mut self, id: SessionId, at: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(old) = session.deadline.replace(at) {
            self.timers.remove(&(old, Timer::Session(id)));
        }
        self.timers.insert((at, Timer::Session(id)));
    }

    /// When to come back (ms): not all at once.
    pub(super) fn retry_after(&mut self) -> u64 {
        let least = self.limits.retry_after;
        let all = self.connections.len() + self.admission.http();
        let all = all as f64 / self.limits.returns_per_second;
        let spread = Duration::try_from_secs_f64(all)
            .unwrap_or(LONGEST_RETURN)
            .clamp(least, LONGEST_RETURN.max(least));
        let spread = usize::try_from(spread.as_millis()).unwrap_or(usize::MAX);
        let least = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        least.saturating_add(members::below(spread, &mut self.rng) as u64)
    }

    pub(super) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// There is no room until somebody goes.
pub(super) fn full(key: &'static str, what: &'static str) -> Reached {
    Reached {
        key,
        what,
        wait: Duration::ZERO,
    }
}

pub(super) fn error(fault: Fault) -> ServerMessage {
    ServerMessage::Error {
        code: fault.code,
        message: fault.message,
        retry_after: None,
    }
}
