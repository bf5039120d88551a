//! ICE servers for each peer, with TURN accounts that are renewed before they end.

use super::{ConnectionId, Registry, SessionId};
use shoal_protocol::{
    rendezvous::{IceServer, ServerMessage},
    time::Timestamp,
};

impl Registry {
    /// The ICE servers of a peer from now on.
    pub(super) fn ice_servers_for(&mut self, now: Timestamp, id: SessionId) -> Vec<IceServer> {
        let mut servers = self.ice_servers.clone();
        if let (Some(turn), Some(session)) = (&self.turn, self.sessions.get_mut(&id)) {
            // It ends by the clock of the TURN server.
            servers.push(turn.account(session.peer, self.time.shown(now)));
            session.renew_ice = Some(turn.renewal(now));
        }
        servers
    }

    /// Gives a peer a new TURN account if it is time.
    pub(super) fn renew_ice(&mut self, now: Timestamp, id: SessionId, connection: ConnectionId) {
        let session = self.sessions.get(&id);
        let due = session.and_then(|session| session.renew_ice);
        if due.is_some_and(|due| due <= now) {
            let ice_servers = self.ice_servers_for(now, id);
            self.reply(connection, ServerMessage::Ice { ice_servers });
        }
    }
}
