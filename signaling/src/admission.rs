//! Who gets in, and how much of the server one address or one peer may use.
//!
//! Pure, like the [registry](crate::registry) it belongs to: time comes in, and what is
//! refused is said in terms of the [bound](crate::limits) that refuses it.

use crate::{
    accounts::{Accounts, Held, Used},
    address::Address,
    limiter::Rate,
    limits::Limits,
};
use shoal_protocol::{id::PeerId, time::Timestamp};
use std::time::Duration;

/// What a message counts for at least, in bytes, however short. Guess: to take, check and
/// answer it costs as much as to receive 256.
const MESSAGE_COST: u32 = 256;

/// A bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its key, by which it is set and counted.
    pub key: &'static str,
    /// What there is too much of, for a person.
    pub what: &'static str,
    /// When there will be room, if that is known.
    pub wait: Duration,
}

/// What is said of a request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reached: Reached,
    /// When to come back; not all are to at once.
    pub retry_after: Duration,
}

const fn reached(key: &'static str, what: &'static str) -> Reached {
    Reached {
        key,
        what,
        wait: Duration::ZERO,
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    addresses: Accounts<Address>,
    peers: Accounts<PeerId>,
    http: usize,
    catalog_bytes: usize,
}

/// Bytes of a catalog that are held, and on whose account.
pub type Charged = Option<(Address, usize)>;

impl Admission {
    /// Nobody is here.
    pub fn new(limits: &Limits) -> Self {
        let addresses = [
            Rate::new(limits.address_joins_per_second, limits.address_joins_burst),
            Rate::new(
                limits.address_signals_per_second,
                limits.address_signals_burst,
            ),
            Rate::new(limits.address_bytes_per_second, limits.address_bytes_burst),
            Rate::new(
                limits.address_requests_per_second,
                limits.address_requests_burst,
            ),
        ];
        let peers = [
            Rate::new(limits.peer_joins_per_second, limits.peer_joins_burst),
            Rate::new(limits.peer_signals_per_second, limits.peer_signals_burst),
            Rate::new(limits.peer_bytes_per_second, limits.peer_bytes_burst),
            // Nobody says who asks over HTTP.
            Rate::new(1.0, 1),
        ];
        Self {
            limits: limits.clone(),
            addresses: Accounts::new(addresses, limits.idle_accounts),
            peers: Accounts::new(peers, limits.idle_accounts),
            http: 0,
            catalog_bytes: 0,
        }
    }

    /// An HTTP connection was opened; unless it is refused, `http_closed` is to follow.
    /// Proxies have no address of their own.
    pub fn http_opened(&mut self, now: Timestamp, from: Option<Address>) -> Result<(), Reached> {
        if self.http >= self.limits.http_connections {
            return Err(reached("http-connections", "HTTP connections"));
        }
        let most = self.limits.http_connections_per_address;
        if let Some(address) = from
            && !self.addresses.hold(now, address, Held::Http, 1, most)
        {
            let what = "HTTP connections of one address";
            return Err(reached("http-connections-per-address", what));
        }
        self.http += 1;
        Ok(())
    }

    /// It is closed, or has become a WebSocket.
    pub fn http_closed(&mut self, now: Timestamp, from: Option<Address>) {
        self.http = self.http.saturating_sub(1);
        if let Some(address) = from {
            self.addresses.release(now, address, Held::Http, 1);
        }
    }

    /// An HTTP request came.
    pub fn request(&mut self, now: Timestamp, from: Address) -> Result<(), Reached> {
        let taken = self.addresses.take(now, from, Used::Requests);
        taken.map_err(|wait| Reached {
            key: "address-requests-per-second",
            what: "requests of one address",
            wait,
        })
    }

    /// A peer connects, for one join; unless it is refused, `disconnected` is to follow.
    pub fn connected(&mut self, now: Timestamp, from: Address) -> Result<(), Reached> {
        let taken = self.addresses.take(now, from, Used::Joins);
        taken.map_err(|wait| Reached {
            key: "address-joins-per-second",
            what: "joins of one address",
            wait,
        })?;
        let most = self.limits.connections_per_address;
        match self.addresses.hold(now, from, Held::Connections, 1, most) {
            true => Ok(()),
            false => Err(reached(
                "connections-per-address",
                "connections of one address",
            )),
        }
    }

    /// Whether one more connection from there would be let in.
    pub fn has_room(&self, now: Timestamp, from: Address) -> bool {
        let most = self.limits.connections_per_address;
        let what = (Held::Connections, Used::Joins);
        self.addresses.has_room(now, &from, what, most)
    }

    /// A connection that was let in is gone.
    pub fn disconnected(&mut self, now: Timestamp, from: Address) {
        self.addresses.release(now, from, Held::Connections, 1);
    }

    /// A peer joins.
    pub fn joined(&mut self, now: Timestamp, peer: PeerId) -> Result<(), Reached> {
        let taken = self.peers.take(now, peer, Used::Joins);
        taken.map_err(|wait| Reached {
            key: "peer-joins-per-second",
            what: "joins of one peer",
            wait,
        })
    }

    /// A peer gets a session; unless it is refused, `session_removed` is to follow.
    pub fn session_added(&mut self, now: Timestamp, peer: PeerId) -> Result<(), Reached> {
        let most = self.limits.sessions_per_peer;
        match self.peers.hold(now, peer, Held::Sessions, 1, most) {
            true => Ok(()),
            false => Err(reached("sessions-per-peer", "namespaces of one peer")),
        }
    }

    /// A session is over.
    pub fn session_removed(&mut self, now: Timestamp, peer: PeerId) {
        self.peers.release(now, peer, Held::Sessions, 1);
    }

    /// So many bytes of a catalog are to be held in place of those that are, on the account of
    /// `from`, unless that is refused. Fewer on the same account never are.
    pub fn catalog_changed(
        &mut self,
        now: Timestamp,
        charged: &mut Charged,
        from: Address,
        bytes: usize,
    ) -> Result<(), Reached> {
        // A place is free when a peer goes for good, or says that it holds less.
        let full = |key, what| Reached {
            wait: self.limits.lease,
            ..reached(key, what)
        };
        let before = charged.map_or(0, |(_, bytes)| bytes);
        let all = self.catalog_bytes - before + bytes;
        if bytes > before && all > self.limits.all_catalog_bytes {
            return Err(full("all-catalog-bytes", "bytes of catalogs"));
        }
        let key = "catalog-bytes-per-address";
        let refusal = full(key, "bytes of catalogs of one address");
        let most = self.limits.catalog_bytes_per_address;
        let addresses = &mut self.addresses;
        if let Some((of, bytes)) = *charged {
            addresses.release(now, of, Held::Catalogs, bytes);
        }
        if !addresses.hold(now, from, Held::Catalogs, bytes, most) {
            if let Some((of, bytes)) = *charged {
                addresses.hold(now, of, Held::Catalogs, bytes, usize::MAX);
            }
            return Err(refusal);
        }
        self.catalog_bytes = all;
        *charged = Some((from, bytes));
        Ok(())
    }

    /// A catalog is no longer held.
    pub fn catalog_removed(&mut self, now: Timestamp, charged: Charged) {
        if let Some((of, bytes)) = charged {
            self.catalog_bytes -= bytes;
            self.addresses.release(now, of, Held::Catalogs, bytes);
        }
    }

    /// Bytes of all catalogs.
    pub fn catalog_bytes(&self) -> usize {
        self.catalog_bytes
    }

    /// Bytes of catalogs on the account of an address.
    #[cfg(test)]
    pub fn catalog_bytes_of(&self, address: Address) -> usize {
        self.addresses.held(address, Held::Catalogs)
    }

    /// A peer sends a signal.
    pub fn signal(
        &mut self,
        now: Timestamp,
        from: Option<Address>,
        peer: PeerId,
    ) -> Result<(), Reached> {
        let taken = self.peers.take(now, peer, Used::Signals);
        taken.map_err(|wait| Reached {
            key: "peer-signals-per-second",
            what: "signals of one peer",
            wait,
        })?;
        let taken = from.map_or(Ok(()), |from| self.addresses.take(now, from, Used::Signals));
        taken.map_err(|wait| Reached {
            key: "address-signals-per-second",
            what: "signals of one address",
            wait,
        })
    }

    /// A message of so many bytes came: before the next one is read, `wait` is to pass. Never
    /// so long that a peer that is honest could not answer a `ping` in time.
    pub fn message(
        &mut self,
        now: Timestamp,
        from: Option<Address>,
        peer: Option<PeerId>,
        bytes: usize,
    ) -> Result<(), Reached> {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).max(MESSAGE_COST);
        let owed = |wait: Option<Duration>| wait.unwrap_or_default().min(self.limits.heartbeat);
        let peer = owed(peer.map(|peer| self.peers.owe(now, peer, Used::Bytes, cost)));
        let address = owed(from.map(|from| self.addresses.owe(now, from, Used::Bytes, cost)));
        let (key, what) = match peer >= address {
            true => ("peer-bytes-per-second", "bytes of one peer"),
            false => ("address-bytes-per-second", "bytes of one address"),
        };
        match peer.max(address) {
            Duration::ZERO => Ok(()),
            wait => Err(Reached { key, what, wait }),
        }
    }

    /// HTTP connections.
    pub fn http(&self) -> usize {
        self.http
    }

    /// Addresses that are remembered.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Peers that are remembered.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// How many addresses and peers were forgotten early, since there were too many.
    pub fn forgotten(&self) -> u64 {
        self.addresses.forgotten() + self.peers.forgotten()
    }

    /// When [`Admission::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let due = [self.addresses.next_timeout(), self.peers.next_timeout()];
        due.into_iter().flatten().min()
    }

    /// Forgets whom nothing is to be said of any more.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.addresses.handle_timeout(now);
        self.peers.handle_timeout(now);
    }
}
