//! Steps 1 to 5 of the workflow: advertising, discovering peers, their catalogs, and who
//! holds what is missing. They happen when something changes, and again at the configured
//! interval, so that whatever was missed is made up for.

use super::{Node, Op};
use crate::{
    catalogs::{Received, catalog_messages},
    io::{Code, Error, Event, Output, PeerState},
};
use shoal_protocol::{
    catalog::{CatalogError, PageText, Since},
    content::ContentKey,
    control::ControlMessage,
    id::{LinkId, PeerId, Signature},
    rendezvous::{ErrorCode, IceServer, MAX_VIEW, PeerMessage, PeerSummary, ReceiptStatus},
    signed::{Kind, Signed},
    sorted::SortedSet,
    time::Timestamp,
};
use std::time::Duration;

/// Links kept to whoever is there, so that the swarm outlives its rendezvous. Guess: a few
/// random neighbours keep a graph of thousands connected.
const NEIGHBOURS: usize = 4;
/// How often more sources are looked for among the peers that are known. Costs nothing on
/// the wire; keeps up with the back-off of links. Guess.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// How soon those that could not be asked for want of room are looked for again, and how much
/// is asked at once: each fetch asks for a proof, and others queue 256 answers (`upload`).
const SEARCH_SOON: Duration = Duration::from_millis(250);
const ASKED_AT_ONCE: usize = 128;
/// First time between two questions to the rendezvous who holds a content. Doubles up to the
/// interval of synchronisation, since news come by themselves. Guess.
const FIND_INTERVAL: Duration = Duration::from_secs(2);
/// Most peers taken into the view. The server shows fewer; it is not trusted to.
const VIEW_MAX: usize = 4 * MAX_VIEW;
/// Most providers of one content that are remembered. Guess.
const PROVIDERS_MAX: usize = 64;

impl Node {
    /// (1) Advertises: makes and signs a new catalog head if something changed.
    pub(super) fn sign_catalog(&mut self, now: Timestamp) {
        if !self.own_catalog.is_due() {
            return;
        }
        match self.own_catalog.prepare(now, &self.contents.entries()) {
            Some(payload) => self.sign(Op::SignCatalog, Kind::Catalog, payload),
            None => {
                let message = "More contents are shared than a catalog can list; the newest are not offered to others. Remove some.";
                self.event(Event::Error {
                    error: Error::new(Code::Limit, message),
                });
            }
        }
    }

    /// (1) Tells all neighbours of the new catalog; the rendezvous gets it as its socket drains.
    pub(super) fn catalog_signed(&mut self, now: Timestamp, signature: Option<Signature>) {
        if !self.own_catalog.signed(now, signature) {
            return;
        }
        if let Some(signed) = self.own_catalog.head().cloned() {
            self.announce(now, signed, None);
        }
    }

    /// Whether the rendezvous is told of the catalog. That of a private namespace goes over links
    /// alone.
    pub(super) fn tells_rendezvous(&self) -> bool {
        self.session.is_joined() && !self.namespace.is_private()
    }

    /// Tells neighbours of a new head; who wants the pages asks for them.
    fn announce(&mut self, now: Timestamp, signed: Signed, except: Option<PeerId>) {
        let links: Vec<(PeerId, LinkId)> = self.links.up().collect();
        for (peer, link) in links {
            if Some(peer) != except && peer != signed.peer {
                self.send(
                    now,
                    link,
                    ControlMessage::Catalog {
                        signed: signed.clone(),
                        pages: Vec::new(),
                    },
                );
            }
        }
    }

    /// The rendezvous names ICE servers; links that are up use them when they restart.
    pub(super) fn ice_servers_named(&mut self, servers: Vec<IceServer>) {
        if self.has_own_ice_servers || self.ice_servers == servers {
            return;
        }
        self.ice_servers = servers.clone();
        self.outputs.push_back(Output::IceServers(servers));
    }

    /// The rendezvous knows so much of the catalog.
    pub(super) fn joined(&mut self, now: Timestamp, known: Option<Since>) {
        self.own_catalog.joined(known);
        self.links.signals_pass(now);
        self.search_anew(now);
    }

    /// (2) The rendezvous shows who is there.
    pub(super) fn view_replaced(&mut self, now: Timestamp, view: Vec<PeerSummary>) {
        let present: SortedSet<PeerId> = view.iter().map(|summary| summary.peer).collect();
        let gone = self.view.iter().filter(|peer| !present.contains(peer));
        let gone: Vec<PeerId> = gone.copied().collect();
        self.view_changed(now, view, gone);
    }

    /// (2) Peers came, went, or have a new catalog.
    pub(super) fn view_changed(
        &mut self,
        now: Timestamp,
        add: Vec<PeerSummary>,
        drop: Vec<PeerId>,
    ) {
        for peer in drop {
            // A peer may be gone from the server and still be linked.
            if self.view.remove(&peer) && !self.links.has(peer) {
                self.event(Event::PeerLeave { peer });
            }
        }
        for PeerSummary { peer, catalog } in add {
            if peer == self.peer || self.view.len() >= VIEW_MAX {
                continue;
            }
            if self.view.insert(peer) {
                self.links.peer_came(peer);
                if self.links.link_to(peer).is_none() {
                    self.event(Event::PeerJoin { peer });
                }
            }
            if catalog.is_some() && catalog > self.catalogs.since(peer) {
                self.ask_for_catalog(now, peer);
            }
        }
        self.meet_neighbours(now);
        self.seek_all(now);
    }

    /// Opens a link to a peer, if there is room for it.
    fn connect(&mut self, now: Timestamp, peer: PeerId) {
        let (transfers, uploads) = (&self.transfers, &self.uploads);
        let is_used = |peer, link| transfers.uses(now, peer) || uploads.is_sending(now, link);
        self.links.connect(now, peer, &is_used);
    }

    /// Takes a signal of another peer: `over` a link, or from the rendezvous.
    pub(super) fn take_signal(&mut self, now: Timestamp, signed: &Signed, over: Option<LinkId>) {
        let (transfers, uploads) = (&self.transfers, &self.uploads);
        let is_used = |peer, link| transfers.uses(now, peer) || uploads.is_sending(now, link);
        self.links.handle_signal(now, signed, over, &is_used);
    }

    /// Keeps links to a few peers, chosen at random.
    fn meet_neighbours(&mut self, now: Timestamp) {
        let mut strangers: Vec<PeerId> = self
            .view
            .iter()
            .copied()
            .filter(|peer| !self.links.has(*peer))
            .collect();
        while self.links.count() < NEIGHBOURS && !strangers.is_empty() {
            let at = self.random.below(strangers.len() as u32) as usize;
            self.connect(now, strangers.swap_remove(at));
        }
    }

    /// (3) Asks for a peer's keys: the peer itself, or the rendezvous.
    pub(super) fn ask_for_catalog(&mut self, now: Timestamp, peer: PeerId) {
        let since = self.catalogs.since(peer);
        if self.links.link_to(peer).is_some() {
            self.send_to(now, peer, ControlMessage::ServeKeys { peer, since });
        } else if self.namespace.is_private() {
            // The rendezvous has no catalogs: the peer tells itself, or a neighbour does. For that
            // no link gives way.
            self.links.connect(now, peer, &|_, _| true);
            let neighbours: Vec<LinkId> = self.links.up().map(|(_, link)| link).collect();
            for link in neighbours {
                self.send(now, link, ControlMessage::ServeKeys { peer, since });
            }
        } else {
            self.tell_rendezvous(PeerMessage::Get { peer, since });
        }
    }

    /// (3) In a private namespace a new neighbour is asked what it knows of those who are here
    /// and not linked.
    fn ask_about_others(&mut self, now: Timestamp, link: LinkId) {
        if !self.namespace.is_private() {
            return;
        }
        let view = self.view.iter().copied();
        let others: Vec<PeerId> = view
            .filter(|peer| self.links.link_to(*peer).is_none())
            .collect();
        for peer in others {
            let since = self.catalogs.since(peer);
            self.send(now, link, ControlMessage::ServeKeys { peer, since });
        }
    }

    /// (3) Answers a peer that asks for somebody's keys.
    pub(super) fn serve_keys(
        &mut self,
        now: Timestamp,
        link: LinkId,
        peer: PeerId,
        since: Option<Since>,
    ) {
        let answer = if peer == self.peer {
            self.own_catalog
                .since(since)
                .map(|(signed, pages)| catalog_messages(signed, pages))
        } else {
            self.catalogs.catalog(peer).map(|catalog| {
                let known = since >= Some(catalog.head().version());
                let pages = if known {
                    Vec::new()
                } else {
                    catalog.page_texts()
                };
                catalog_messages(catalog.head().signed(), pages)
            })
        };
        for message in answer.into_iter().flatten() {
            self.send(now, link, message);
        }
    }

    /// (4) A catalog, or a part of one, from a neighbour or the rendezvous.
    pub(super) fn catalog_received(
        &mut self,
        now: Timestamp,
        from: Option<PeerId>,
        signed: Signed,
        pages: &[PageText],
    ) {
        let owner = signed.peer;
        // No honest rendezvous has catalogs of a private namespace.
        let strange = from.is_none() && self.namespace.is_private();
        if owner == self.peer || strange || self.links.is_banned(now, owner) {
            return;
        }
        match self
            .catalogs
            .receive(now, &self.namespace, signed.clone(), pages)
        {
            Ok(Received::Known) => self.answer_catalog_calls(owner),
            Ok(Received::Changed) => {
                self.event(Event::Catalog { peer: owner });
                let catalogs = &self.catalogs;
                let is_held = |key| catalogs.holders(key).any(|(_, entry)| entry.complete);
                self.seeding.stop(is_held);
                self.answer_catalog_calls(owner);
                if !self.session.is_joined() || self.namespace.is_private() {
                    // Without a rendezvous that has catalogs, neighbours are how the news gets round.
                    self.announce(now, signed, from);
                }
                self.replicate(now);
                self.seek_all(now);
            }
            Ok(Received::Wanting(since)) if pages.is_empty() => match from {
                Some(from) => {
                    self.send_to(now, from, ControlMessage::ServeKeys { peer: owner, since })
                }
                // The rendezvous told of it, so it has it.
                None => {
                    self.tell_rendezvous(PeerMessage::Get { peer: owner, since });
                }
            },
            Ok(Received::Wanting(_)) => {}
            Err(error) => self.catalog_refused(now, owner, &error),
        }
    }

    fn catalog_refused(&mut self, now: Timestamp, owner: PeerId, error: &CatalogError) {
        if error.is_lie() {
            self.catalogs.forget(owner);
            self.drop_liar(now, owner, &format!("its catalog is not true: {error}"));
        }
        self.answer_catalog_calls(owner);
    }

    /// A peer signed or sent something no honest peer does: it is dropped, and told of.
    pub(super) fn drop_liar(&mut self, now: Timestamp, peer: PeerId, what: &str) {
        self.links.ban(now, peer);
        self.transfers.remove_peer(now, peer);
        let mut error = Error::new(Code::InvalidContent, format!("{peer} was dropped: {what}."));
        error.peer = Some(peer);
        self.event(Event::Error { error });
    }

    /// (5) Finds sources for everything that is being fetched.
    pub(super) fn seek_all(&mut self, now: Timestamp) {
        let keys: Vec<ContentKey> = self.transfers.keys().collect();
        for key in keys {
            self.seek(now, key);
        }
    }

    /// (5) Finds sources for a content: whoever lists it and is linked is asked, others are
    /// linked to, as many as are of use.
    pub(super) fn seek(&mut self, now: Timestamp, key: ContentKey) {
        let mut holders: Vec<(bool, PeerId)> = self
            .catalogs
            .holders(key)
            .map(|(peer, entry)| (!entry.complete, peer))
            .chain(
                self.providers
                    .get(&key)
                    .into_iter()
                    .flatten()
                    .map(|peer| (false, *peer)),
            )
            .filter(|(_, peer)| *peer != self.peer && !self.links.is_banned(now, *peer))
            .collect();
        holders.sort_unstable();
        holders.dedup_by_key(|(_, peer)| *peer);
        for (_, peer) in &holders {
            let Some(link) = self.links.link_to(*peer) else {
                continue;
            };
            let is_source = self.transfers.has_source(key, *peer);
            if !is_source && !self.is_patient(link) {
                self.next_search = self.next_search.min(now + SEARCH_SOON);
                continue;
            }
            let catalog = self.catalogs.catalog(*peer);
            let listed = catalog.and_then(|catalog| catalog.entry(&key));
            let lists_all = listed.is_some_and(|entry| entry.complete);
            if !is_source {
                self.transfers.add_source(now, key, *peer, lists_all);
            } else if lists_all {
                self.transfers.lists_all(key, *peer);
            }
        }
        // Whom everybody would choose nobody would get through to.
        self.random.shuffle(&mut holders);
        let wanted = self.transfers.sources_wanted(self.now, key);
        let reachable = |peer: &PeerId| self.view.contains(peer) || self.session.is_joined();
        let unlinked: Vec<PeerId> = holders
            .iter()
            .map(|(_, peer)| *peer)
            .filter(|peer| self.links.link_to(*peer).is_none() && reachable(peer))
            .take(wanted)
            .collect();
        for peer in &unlinked {
            self.connect(now, *peer);
        }
        let online = self.session.is_joined();
        let asked = match self.namespace.is_private() {
            // Nobody can be asked but neighbours, who say what they hold when they are linked.
            true => online && (self.view.is_empty() || self.links.up().next().is_some()),
            false => self.searched.contains(&key),
        };
        let searched = asked || !online && self.state != PeerState::Connecting;
        let (searched, trouble) = match unlinked.iter().all(|peer| self.links.is_failing(*peer)) {
            _ if holders.is_empty() && !online && self.session.is_configured() => {
                (searched, Code::Rendezvous)
            }
            _ if holders.is_empty() => (searched, Code::NotHeld),
            true if !unlinked.is_empty() => (true, Code::Unreachable),
            _ => (!online, Code::NotHeld),
        };
        self.transfers.set_trouble(key, searched, trouble);
    }

    /// Whether more can be asked over a link now: who fetches thousands of contents must not
    /// ask for all of them at once.
    fn is_patient(&self, link: LinkId) -> bool {
        let queue = self.control.get(&link);
        let waiting = queue.map_or(0, |queue| queue.texts.len());
        waiting + self.transfers.waiting() < ASKED_AT_ONCE
    }

    /// Looks for more sources, and asks the rendezvous for holders now and then.
    pub(super) fn search(&mut self, now: Timestamp) {
        self.next_search = now + SEARCH_INTERVAL;
        if self.next_find <= now && !self.namespace.is_private() {
            self.next_find = now + self.find_wait;
            self.find_wait = (self.find_wait * 2).min(self.sync_interval);
            let open = |key: &ContentKey| self.transfers.sources_wanted(self.now, *key) > 0;
            let keys: Vec<ContentKey> = self.transfers.keys().filter(open).collect();
            for key in keys {
                self.tell_rendezvous(PeerMessage::Find { key });
            }
        }
        self.seek_all(now);
    }

    /// Asks again at once, because something changed.
    pub(super) fn search_anew(&mut self, now: Timestamp) {
        (self.next_search, self.next_find, self.find_wait) = (now, now, FIND_INTERVAL);
    }

    pub(super) fn providers_found(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        mut peers: Vec<PeerId>,
    ) {
        if self.transfers.is_fetching(key) {
            peers.truncate(PROVIDERS_MAX);
            self.searched.insert(key);
            self.providers.insert(key, peers.into_iter().collect());
            self.seek(now, key);
        }
    }

    /// Steps 1 to 5 again, when the interval has passed.
    pub(super) fn synchronise(&mut self, now: Timestamp) {
        if self.next_search <= now && self.transfers.want_sources() {
            self.search(now);
        }
        if now < self.next_sync {
            return;
        }
        self.next_sync = now + self.sync_interval;
        let linked: Vec<PeerId> = self.links.up().map(|(peer, _)| peer).collect();
        for peer in linked {
            self.ask_for_catalog(now, peer);
        }
        self.meet_neighbours(now);
        self.replicate(now);
        self.search_anew(now);
        self.search(now);
    }

    /// Fetches what the replication rule covers and is offered.
    pub(super) fn replicate(&mut self, now: Timestamp) {
        let Some(rule) = self.replicate.clone() else {
            return;
        };
        let covers = |metadata: &shoal_protocol::catalog::Metadata| {
            let filter = &rule.filter;
            let media_type = metadata.media_type.as_deref().unwrap_or_default();
            filter
                .media_type
                .as_deref()
                .is_none_or(|start| media_type.starts_with(start))
                && filter
                    .keywords
                    .iter()
                    .all(|word| metadata.keywords.contains(word))
        };
        let held = self
            .contents
            .iter()
            .filter(|content| covers(&content.metadata));
        let mut spent: u64 = held.map(|content| content.size.bytes()).sum();
        let pending = self
            .replicating
            .iter()
            .filter(|(key, _)| self.contents.get(**key).is_none());
        spent = spent.saturating_add(pending.map(|(_, size)| *size).sum());
        let mut chosen = Vec::new();
        for (peer, catalog) in self.catalogs.all() {
            if rule.filter.peer.is_some_and(|only| only != peer) {
                continue;
            }
            for entry in catalog.entries().filter(|entry| covers(&entry.metadata)) {
                let size = entry.size.bytes();
                let known = self.contents.get(entry.key).is_some()
                    || self.evicted.contains(&entry.key)
                    || self.replicating.contains_key(&entry.key);
                if !known
                    && !self.transfers.is_fetching(entry.key)
                    && spent.saturating_add(size) <= rule.budget
                {
                    spent += size;
                    self.replicating.insert(entry.key, size);
                    chosen.push(entry.key);
                }
            }
        }
        for key in chosen {
            self.begin_fetch(now, key);
        }
    }

    pub(super) fn link_up(&mut self, now: Timestamp, link: LinkId, peer: PeerId) {
        if !self.view.contains(&peer) {
            self.event(Event::PeerJoin { peer });
        }
        let since = self.catalogs.since(peer);
        self.send(now, link, ControlMessage::ServeKeys { peer, since });
        self.ask_about_others(now, link);
        self.seek_all(now);
    }

    pub(super) fn link_down(&mut self, now: Timestamp, peer: PeerId) {
        self.transfers.remove_peer(now, peer);
        self.striping.link_down(peer);
        if !self.view.contains(&peer) {
            self.event(Event::PeerLeave { peer });
        }
        self.seek_all(now);
    }

    /// Sends a signal through the rendezvous, or through a neighbour that may know the peer.
    pub(super) fn send_signal(&mut self, now: Timestamp, to: PeerId, signed: Signed) {
        if self.session.send_signal(to, signed.clone()) {
            return;
        }
        let neighbours: Vec<LinkId> = self.links.up().map(|(_, link)| link).collect();
        for link in neighbours {
            self.send(
                now,
                link,
                ControlMessage::Relay {
                    to,
                    signal: signed.clone(),
                },
            );
        }
    }

    pub(super) fn receipt(&mut self, now: Timestamp, to: PeerId, status: ReceiptStatus) {
        match status {
            ReceiptStatus::Delivered => {}
            ReceiptStatus::Gone | ReceiptStatus::Full | ReceiptStatus::Refused => {
                self.links.peer_gone(now, to)
            }
        }
    }

    pub(super) fn rendezvous_refused(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        message: String,
        retry_after: Option<u64>,
    ) {
        if code == ErrorCode::Catalog || code == ErrorCode::Limit && retry_after.is_some() {
            self.own_catalog.refused(now, retry_after);
        }
        let hint = match code {
            ErrorCode::Superseded => "This identity joined elsewhere",
            _ => "The rendezvous refused a message",
        };
        let error = Error::new(Code::Rendezvous, format!("{hint}: {message}"));
        self.event(Event::Error { error });
    }
}
