//! Signals of other peers: which are believed, which ask for a link or a lane, and which of
//! these are refused.

use super::{Action, IsUsed, Links};
use shoal_protocol::{
    VERSIONS, common_version,
    id::{LinkId, Nonce, PeerId, Signature},
    seal::SealKey,
    signal::{CLOCK_SKEW, Refusal, SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Kind, Payload, Signed},
    sorted::SortedMap,
    time::{Timestamp, UnixMillis},
};

/// Most links remembered against replays, and of one peer. A minute's worth of honest use
/// is far below. Guess.
const MAX_SEEN: usize = 4096;
const MAX_SEEN_OF_PEER: usize = 32;

/// Links that were asked for, against replays, with when they may be forgotten.
#[derive(Default)]
pub(super) struct Seen {
    links: SortedMap<LinkId, (PeerId, UnixMillis)>,
}

impl Seen {
    /// Whether a link is asked for the first time. One peer can ask for so many; where too many
    /// are asked for by all, the one that soonest expires is forgotten of those whose peers have no
    /// link: who makes up identities must not keep others from asking. Sent again such a signal
    /// leads to no handshake; one of a peer with a link would end that.
    fn is_new(
        &mut self,
        now: Timestamp,
        signal: &Signal,
        has_link: impl Fn(PeerId) -> bool,
    ) -> bool {
        let time = now.unix_millis();
        self.links.retain(|_, (_, forget)| *forget > time);
        let peers = self.links.values().map(|(peer, _)| *peer);
        let of_peer = peers.filter(|peer| *peer == signal.from).count();
        let is_new = !self.links.contains_key(&signal.link) && of_peer < MAX_SEEN_OF_PEER;
        if is_new {
            if self.links.len() >= MAX_SEEN {
                let links = self.links.iter();
                let unlinked = links.filter(|(_, (peer, _))| !has_link(*peer));
                let first = unlinked.min_by_key(|(_, (_, forget))| *forget);
                let Some(link) = first.map(|(link, _)| *link) else {
                    return false;
                };
                self.links.remove(&link);
            }
            let forget = signal.expires.plus(CLOCK_SKEW);
            self.links.insert(signal.link, (signal.from, forget));
        }
        is_new
    }
}

impl Links {
    /// Takes a signal; `over` is the link it came over, unless it was the rendezvous that
    /// passed it on. A link that is not used may give way to one that is asked for.
    pub(crate) fn handle_signal(
        &mut self,
        now: Timestamp,
        signed: &Signed,
        over: Option<LinkId>,
        is_used: IsUsed,
    ) {
        #[cfg(feature = "test-hooks")]
        let opened = if self.trust_signals {
            signed.open_unverified()
        } else {
            signed.open()
        };
        #[cfg(not(feature = "test-hooks"))]
        let opened = signed.open();
        // Whatever does not verify says nothing about the peer it names.
        let Ok(signal): Result<Signal, _> = opened else {
            return;
        };
        let time = now.unix_millis();
        let addressed = signal.from == signed.peer
            && signal.to == self.own
            && signal.namespace == *self.membership.namespace();
        let latest = time.plus(SIGNAL_LIFETIME + CLOCK_SKEW);
        let valid = signal.expires.plus(CLOCK_SKEW) > time && signal.expires <= latest;
        if !addressed || !valid || signal.from == self.own {
            return;
        }
        let is_of_member = signed.is_of_member(Kind::Signal, &signal.namespace);
        #[cfg(feature = "test-hooks")]
        let is_of_member = is_of_member || self.trust_signals;
        if !is_of_member {
            return;
        }
        let own_link = over.filter(|link| self.peer_of(*link) == Some(signal.from));
        if let SignalBody::Link(key) = signal.body {
            self.asked(now, &signal, key, own_link, is_used);
        } else if self
            .entries
            .get(&signal.link)
            .is_some_and(|entry| entry.link.peer == signal.from)
        {
            self.with(now, signal.link, |link| {
                link.handle_signal(now, &signal, &signed.payload)
            });
        } else if signal.body == SignalBody::Unsealed && self.is_new(now, &signal) {
            self.refuse(now, &signal, Refusal::Unsealed);
        }
    }

    /// Whether a link is asked for the first time.
    fn is_new(&mut self, now: Timestamp, signal: &Signal) -> bool {
        let by_peer = &self.by_peer;
        let has_link = |peer| by_peer.contains_key(&peer);
        self.seen.is_new(now, signal, has_link)
    }

    /// Another peer asks for a link, or for a lane of the one it asks over.
    fn asked(
        &mut self,
        now: Timestamp,
        signal: &Signal,
        key: SealKey,
        lane_of: Option<LinkId>,
        is_used: IsUsed,
    ) {
        if !self.is_new(now, signal) {
            return;
        }
        if self.is_banned(now, signal.from) {
            return self.refuse(now, signal, Refusal::Banned);
        }
        if common_version(&signal.versions).is_none() {
            return self.refuse(now, signal, Refusal::Version);
        }
        if let Some(link) = lane_of {
            // A lane that is not accepted is not waited for: there is the link.
            if self.gives_lanes && self.can_add_lane(link) {
                let lane = self.accept(now, signal, key);
                self.insert(now, lane, lane_of, false);
            }
            return;
        }
        if let Some(&id) = self.by_peer.get(&signal.from) {
            let asking = self
                .entries
                .get(&id)
                .is_some_and(|entry| entry.link.is_asking());
            if asking && self.own < signal.from {
                // Both asked at once: the smaller id's link is the one; they will accept it.
                return;
            }
            // Theirs is the one, or they lost the link this side still believes in.
            self.ended(now, id);
            self.close(id);
        }
        if self.records.is_dropping(now, signal.from) {
            return self.refuse(now, signal, Refusal::Limit);
        }
        if !self.has_room(now, false, is_used) {
            return self.refuse(now, signal, Refusal::Limit);
        }
        let link = self.accept(now, signal, key);
        self.insert(now, link, None, false);
    }

    fn refuse(&mut self, now: Timestamp, asked: &Signal, why: Refusal) {
        let refusal = Signal {
            from: self.own,
            to: asked.from,
            namespace: asked.namespace.clone(),
            link: asked.link,
            n: 0,
            nonce: Nonce(self.random.bytes()),
            versions: VERSIONS.into(),
            expires: now.unix_millis().plus(SIGNAL_LIFETIME),
            body: SignalBody::Refuse(why),
        };
        self.actions.push_back(Action::SignRefusal {
            to: asked.from,
            payload: refusal.to_payload(),
        });
    }

    pub(crate) fn refusal_signed(
        &mut self,
        to: PeerId,
        payload: String,
        signature: Option<Signature>,
    ) {
        if let Some(sig) = signature {
            self.actions.push_back(Action::SendSignal {
                to,
                signed: self.membership.signed(self.own, Kind::Signal, payload, sig),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_many_links_keeps_nobody_else_from_asking() {
        let now = Timestamp::from_millis(1_000_000);
        let signal = |peer: u32, link: u32| {
            let (mut key, mut id) = ([0; 32], [0; 16]);
            key[..4].copy_from_slice(&peer.to_le_bytes());
            id[..4].copy_from_slice(&peer.to_le_bytes());
            id[4..8].copy_from_slice(&link.to_le_bytes());
            let from = PeerId::from_public_key(key);
            Signal {
                from,
                to: from,
                namespace: Default::default(),
                link: LinkId(id),
                n: 0,
                nonce: Nonce([0; 16]),
                versions: VERSIONS.into(),
                expires: now.unix_millis().plus(SIGNAL_LIFETIME),
                body: SignalBody::Link(SealKey([6; 32])),
            }
        };
        let mut seen = Seen::default();
        let most = MAX_SEEN_OF_PEER as u32;
        for peer in 0..=MAX_SEEN as u32 / most {
            for link in 0..most {
                assert!(seen.is_new(now, &signal(peer, link), |_| false));
                assert!(
                    !seen.is_new(now, &signal(peer, link), |_| false),
                    "a replay"
                );
            }
            assert!(
                !seen.is_new(now, &signal(peer, most), |_| false),
                "one peer too many"
            );
        }
        assert_eq!(seen.links.len(), MAX_SEEN);
        assert!(!seen.is_new(now, &signal(u32::MAX, 0), |_| true));
        assert!(seen.is_new(now, &signal(u32::MAX, 0), |_| false));
    }
}
