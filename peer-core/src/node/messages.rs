//! What neighbours say: control messages and bulk frames of links that are up.

use super::{NeedsProof, Node, Op};
use crate::{
    io::StoreRequest,
    policy,
    seeding::Shown,
    striping::{Measured, Verdict},
    transfers,
    upload::{Part, Wanted},
};
use shoal_protocol::{
    bulk::BulkHeader,
    content::ContentKey,
    control::{ControlMessage, MAX_CHUNKS_PER_REQUEST, RefuseCode},
    id::{LinkId, PeerId},
    signal::Signal,
    signed::Signed,
    sorted::SortedSet,
    time::Timestamp,
};
use std::time::Duration;

/// How long newly stored chunks are collected before neighbours are told. Guess: a few
/// hundred chunks at most, and no source is idle for lack of news.
pub(super) const HAVE_INTERVAL: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn control_message(&mut self, now: Timestamp, link: LinkId, text: &str) {
        let Some(peer) = self.links.peer_of(link) else {
            return;
        };
        let message = match ControlMessage::parse(text) {
            Ok(message) => message,
            Err(error) => return self.links.misbehaved(now, link, error.to_string()),
        };
        let is_life = matches!(
            message,
            ControlMessage::Ping { .. } | ControlMessage::Pong { .. }
        );
        if self.links.is_lane(link) && !is_life {
            let detail = "a message came over a lane".into();
            return self.links.misbehaved(now, link, detail);
        }
        match message {
            ControlMessage::Hello { .. } | ControlMessage::Auth { .. } => {
                self.links
                    .misbehaved(now, link, "a second Hello or Auth".into());
            }
            ControlMessage::ServeKeys { peer, since } => self.serve_keys(now, link, peer, since),
            ControlMessage::Catalog { signed, pages } => {
                self.catalog_received(now, Some(peer), signed, &pages)
            }
            ControlMessage::FetchPeerKeys { key, chunks, .. } if chunks.is_empty() => {
                self.tell_held(now, link, key);
            }
            ControlMessage::FetchPeerKeys {
                id,
                key,
                chunks,
                first,
            } => self.serve_chunks(now, link, id, key, &chunks, first),
            ControlMessage::FetchProof { id, key } => self.serve_proof(now, link, id, key),
            ControlMessage::Have { key, held, chunks } => {
                if let Err(what) = self.transfers.have(peer, key, held, &chunks) {
                    self.drop_liar(now, peer, &what);
                }
            }
            ControlMessage::Cancel { id, chunks } => {
                for (key, index) in self.uploads.cancel(link, id, &chunks) {
                    self.seeding.cancelled(now, key, link, index);
                }
            }
            ControlMessage::Refuse { id, code } => self.transfers.refused(now, peer, id, code),
            ControlMessage::Gone { key, chunks } => self.transfers.gone(now, peer, key, &chunks),
            ControlMessage::Relay { to, signal } => self.relay(now, link, peer, to, signal),
            ControlMessage::Ping { n } => self.send(now, link, ControlMessage::Pong { n }),
            ControlMessage::Pong { n } => self.links.pong(now, link, n),
        }
    }

    pub(super) fn bulk_frame(&mut self, now: Timestamp, link: LinkId, frame: &[u8]) {
        let Some(peer) = self.links.peer_of(link) else {
            return;
        };
        self.links.received(now, link, frame.len());
        match BulkHeader::decode(frame) {
            Ok((header, payload)) => self.transfers.frame(now, peer, header, payload),
            Err(error) => self.links.misbehaved(now, link, error.to_string()),
        }
    }

    /// Says which chunks are held, and remembers whom to tell of more.
    fn tell_held(&mut self, now: Timestamp, link: LinkId, key: ContentKey) {
        let Some(content) = self.contents.get(key) else {
            return self.send(
                now,
                link,
                ControlMessage::Gone {
                    key,
                    chunks: Vec::new(),
                },
            );
        };
        let mut held = content.held.clone();
        let is_alone = || !self.catalogs.holders(key).any(|(_, entry)| entry.complete);
        if !held.is_full() {
            self.subscribers.entry(key).or_default().insert(link);
        } else if is_alone() {
            let shown = self.seeding.subscribe(now, key, link, held.len());
            held = shown.unwrap_or(held);
        }
        self.send(
            now,
            link,
            ControlMessage::Have {
                key,
                held: Some(held),
                chunks: Vec::new(),
            },
        );
    }

    /// Takes note of the chunks that went out.
    pub(super) fn chunks_sent(&mut self, now: Timestamp) {
        while let Some((link, key, index)) = self.uploads.poll_finished() {
            self.seeding.sent(now, key, link, index);
        }
        self.show_chunks(now);
    }

    /// Shows more of what is seeded.
    pub(super) fn show_chunks(&mut self, now: Timestamp) {
        while let Some((link, shown)) = self.seeding.poll() {
            let (key, held, chunks) = match shown {
                Shown::More(key, index) => (key, None, vec![index]),
                Shown::Only(key, held) => (key, Some(held), Vec::new()),
                Shown::All(key) => match self.contents.get(key) {
                    Some(content) => (key, Some(content.held.clone()), Vec::new()),
                    None => continue,
                },
            };
            self.send(now, link, ControlMessage::Have { key, held, chunks });
        }
    }

    /// (6) Answers a peer that asks for chunks.
    fn serve_chunks(
        &mut self,
        now: Timestamp,
        link: LinkId,
        id: u32,
        key: ContentKey,
        chunks: &[u32],
        first: bool,
    ) {
        let Some(content) = self.contents.get(key) else {
            return self.send(
                now,
                link,
                ControlMessage::Gone {
                    key,
                    chunks: Vec::new(),
                },
            );
        };
        let mut named = SortedSet::new();
        let mut exist = |index: &u32| *index < content.held.len() && named.insert(*index);
        if chunks.len() > MAX_CHUNKS_PER_REQUEST
            || !chunks.iter().all(&mut exist)
            || self.uploads.is_asked(link, id)
        {
            return self.send(
                now,
                link,
                ControlMessage::Refuse {
                    id,
                    code: RefuseCode::Invalid,
                },
            );
        }
        let (held, gone): (Vec<u32>, Vec<u32>) = chunks
            .iter()
            .partition(|index| content.held.contains(**index));
        if !gone.is_empty() {
            self.send(now, link, ControlMessage::Gone { key, chunks: gone });
        }
        for index in held {
            let wanted = Wanted {
                request: id,
                key,
                part: Part::Chunk(index),
            };
            if !self.uploads.push(link, wanted, first) {
                return self.send(
                    now,
                    link,
                    ControlMessage::Refuse {
                        id,
                        code: RefuseCode::Busy,
                    },
                );
            }
            self.seeding.asked(now, key, link, index);
        }
    }

    /// (6) Answers a peer that asks for a proof, whatever chunks are held.
    fn serve_proof(&mut self, now: Timestamp, link: LinkId, id: u32, key: ContentKey) {
        let wanted = Wanted {
            request: id,
            key,
            part: Part::Proof,
        };
        let refusal = match self.contents.get(key) {
            None => ControlMessage::Gone {
                key,
                chunks: Vec::new(),
            },
            Some(_) if self.uploads.is_asked(link, id) => ControlMessage::Refuse {
                id,
                code: RefuseCode::Invalid,
            },
            Some(_) if self.uploads.push(link, wanted, false) => return,
            Some(_) => ControlMessage::Refuse {
                id,
                code: RefuseCode::Busy,
            },
        };
        self.send(now, link, refusal);
    }

    /// Has what was asked for read from the store, a little ahead.
    pub(super) fn read_uploads(&mut self) {
        while let Some((link, wanted)) = self.uploads.poll_read() {
            self.with_proof(wanted.key, NeedsProof::Upload(link, wanted));
        }
    }

    /// Gives lanes to links they pay for, and takes them from others.
    pub(super) fn stripe(&mut self, now: Timestamp) {
        // Where many are sent to, this peer's line is what limits.
        self.links.gives_lanes = self.uploads.active() <= policy::LANE_SOURCES;
        for peer in self.transfers.drained(now) {
            self.links.drop_lanes(peer);
        }
        if !self.striping.is_due(now, self.transfers.is_busy()) {
            return;
        }
        let busy = self.transfers.busy_peers();
        for peer in busy.iter() {
            self.count_connections(*peer);
        }
        let links = self.links.up().filter_map(|(peer, _)| {
            let traffic = self.links.traffic(peer)?;
            let measured = Measured {
                received: traffic.received,
                rtt: traffic.least_rtt,
                lanes: traffic.lanes,
                is_busy: busy.contains(&peer),
            };
            Some((peer, measured))
        });
        for (peer, verdict) in self.striping.end_round(now, links) {
            match verdict {
                Verdict::AddLanes => while self.links.add_lane(now, peer) {},
                Verdict::DropLanes => self.transfers.drain(now, peer),
            }
        }
    }

    /// More is asked of whoever sends over more connections.
    pub(super) fn count_connections(&mut self, peer: PeerId) {
        let lanes = self.links.traffic(peer).map_or(0, |traffic| traffic.lanes);
        self.transfers.set_connections(peer, 1 + lanes);
    }

    /// Passes a signal on to a neighbour, one hop; or takes it if it is for this peer.
    fn relay(&mut self, now: Timestamp, link: LinkId, from: PeerId, to: PeerId, signal: Signed) {
        if to == self.peer {
            self.take_signal(now, &signal, Some(link));
        } else if signal.peer == from
            && signal.payload.len() <= <Signal as shoal_protocol::signed::Payload>::MAX_BYTES
        {
            // Only what a neighbour itself signed: nobody can make others carry on for it.
            self.send_to(now, to, ControlMessage::Relay { to, signal });
        }
    }

    /// Tells subscribers of a chunk, soon.
    pub(super) fn chunk_is_fresh(&mut self, now: Timestamp, key: ContentKey, index: u32) {
        if self
            .subscribers
            .get(&key)
            .is_some_and(|links| !links.is_empty())
        {
            self.fresh_chunks
                .entry(key)
                .or_insert((now, Vec::new()))
                .1
                .push(index);
        }
    }

    pub(super) fn flush_have(&mut self, now: Timestamp) {
        let due: Vec<ContentKey> = self
            .fresh_chunks
            .iter()
            .filter(|(_, (since, _))| *since + HAVE_INTERVAL <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some((_, chunks)) = self.fresh_chunks.remove(&key) else {
                continue;
            };
            let links = self.subscribers.get(&key).cloned().unwrap_or_default();
            for link in links {
                self.send(
                    now,
                    link,
                    ControlMessage::Have {
                        key,
                        held: None,
                        chunks: chunks.clone(),
                    },
                );
            }
            if self
                .contents
                .get(key)
                .is_none_or(|content| content.held.is_full())
            {
                self.subscribers.remove(&key);
            }
        }
    }

    /// Takes back what was said about chunks that are no longer held (none named: all).
    pub(super) fn tell_gone(&mut self, now: Timestamp, key: ContentKey, chunks: &[u32]) {
        let links: Vec<LinkId> = self.links.up().map(|(_, link)| link).collect();
        for link in links {
            self.send(
                now,
                link,
                ControlMessage::Gone {
                    key,
                    chunks: chunks.to_vec(),
                },
            );
        }
    }

    pub(super) fn transfer_action(&mut self, now: Timestamp) -> bool {
        let Some(action) = self.transfers.poll() else {
            return false;
        };
        use transfers::Action;
        match action {
            Action::Send { peer, message } => self.send_to(now, peer, message),
            Action::Record { key, proof } => self.record(now, key, &proof),
            Action::Put {
                key,
                slot,
                size,
                chunks,
                from,
            } => {
                self.store(
                    Op::Put { key, from },
                    StoreRequest::PutChunks { slot, size, chunks },
                );
            }
            Action::Stored { key, index, peer } => self.chunk_stored(now, key, index, peer),
            Action::Complete { key } => self.fetch_complete(key),
            Action::Progress { key, progress } => self.report(key, progress),
            Action::Liar { peer, what } => self.drop_liar(now, peer, &what),
        }
        true
    }
}
