//! All fetches of a node: proofs, chunks, sources, blame.
//!
//! Speaks of peers, not of links; whoever has a link up is told by [`Transfers::add_source`].
//! Wishes come out as [`Action`]s.

use crate::{
    allowance::Allowance,
    assembly::{Added, Assembly},
    fetch::{Chunks, Fetch, Terms},
    io::{Code, Progress, Slot, StoreError},
    policy,
    random::Random,
    source::Source,
};
use shoal_protocol::{
    bits::Bits,
    bulk::{BulkHeader, BulkKind},
    content::{CHUNK_SIZE, ContentKey, ContentSize},
    control::{ControlMessage, MAX_CHUNKS_PER_REQUEST, RefuseCode},
    id::PeerId,
    proof::{MAX_PROOF, Proof, VerifiedChunk},
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// What the fetches want done, or tell.
#[derive(Debug)]
pub(crate) enum Action {
    Send {
        peer: PeerId,
        message: ControlMessage,
    },
    /// A proof came: record the content. Answered by [`Transfers::recorded`].
    Record {
        key: ContentKey,
        proof: Arc<Proof>,
    },
    /// Store chunks. Answered by [`Transfers::stored`].
    Put {
        key: ContentKey,
        slot: Slot,
        chunks: Vec<VerifiedChunk>,
        from: Vec<(u32, PeerId)>,
    },
    /// A chunk is in the store.
    Stored {
        key: ContentKey,
        index: u32,
        peer: PeerId,
    },
    /// All chunks are in the store.
    Complete {
        key: ContentKey,
    },
    Progress {
        key: ContentKey,
        progress: Progress,
    },
    /// A peer sent what no honest peer sends.
    Liar {
        peer: PeerId,
        what: String,
    },
}

struct Request {
    key: ContentKey,
    peer: PeerId,
    asked: Timestamp,
    part: RequestPart,
}

enum RequestPart {
    Proof(Option<Assembly>),
    Chunks(SortedMap<u32, Option<Assembly>>),
}

pub(crate) struct Transfers {
    fetches: SortedMap<ContentKey, Fetch>,
    requests: SortedMap<u32, Request>,
    next_request: u32,
    download: Allowance,
    /// Terms of fetches that have not begun: what is held of them is being looked up.
    terms: SortedMap<ContentKey, Terms>,
    /// Whether there is something to ask for that the limit does not allow yet.
    held_back: bool,
    /// Peers that are not asked for more until they owe nothing, at the longest until then.
    draining: SortedMap<PeerId, Timestamp>,
    /// When the windows of sources are shared out again among fetches.
    next_shares: Option<Timestamp>,
    /// Bytes that each peer was asked for and has not sent, taken back or not: what is under
    /// way when it is taken back is no fault, but nobody may send more than was asked.
    due: SortedMap<PeerId, u64>,
    random: Random,
    actions: VecDeque<Action>,
}

impl Transfers {
    pub(crate) fn new(now: Timestamp, limit: Option<u64>, random: Random) -> Self {
        Self {
            fetches: SortedMap::new(),
            requests: SortedMap::new(),
            next_request: 1,
            download: Allowance::new(now, limit),
            terms: SortedMap::new(),
            held_back: false,
            draining: SortedMap::new(),
            next_shares: None,
            due: SortedMap::new(),
            random,
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Changes how much may be fetched, in bytes a second.
    pub(crate) fn set_limit(&mut self, now: Timestamp, limit: Option<u64>) {
        self.download.set_limit(now, limit);
    }

    /// The terms of a fetch that runs or is about to.
    pub(crate) fn terms(&self, key: ContentKey) -> Option<Terms> {
        let running = self.fetches.get(&key).map(|fetch| fetch.terms);
        running.or_else(|| self.terms.get(&key).copied())
    }

    pub(crate) fn is_paused(&self, key: ContentKey) -> bool {
        self.terms(key).is_some_and(|terms| terms.paused)
    }

    /// Changes the terms of a fetch, or says them before it begins.
    pub(crate) fn set_terms(&mut self, now: Timestamp, key: ContentKey, terms: Terms) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            self.terms.insert(key, terms);
            return;
        };
        let pauses = terms.paused && !fetch.terms.paused;
        fetch.terms = terms;
        fetch.changed = true;
        self.next_shares = Some(now);
        if pauses {
            fetch.proof_asked = None;
            self.take_all_back(key);
        }
    }

    /// The fetch of a content, begun if there is none.
    fn begin(&mut self, key: ContentKey) -> &mut Fetch {
        // Who comes late does not get what others got before.
        let passes = self.fetches.values().map(|fetch| fetch.pass);
        let pass = passes.reduce(f64::min).unwrap_or_default();
        let terms = self.terms.remove(&key).unwrap_or_default();
        let fetch = self.fetches.entry(key);
        fetch.or_insert_with(|| Fetch::new(terms, pass))
    }

    /// Begins a fetch of which nothing is known yet.
    pub(crate) fn start(&mut self, key: ContentKey) {
        self.begin(key);
    }

    /// Begins or goes on with a fetch whose proof is in the store.
    pub(crate) fn resume(&mut self, now: Timestamp, proof: Arc<Proof>, slot: Slot, held: Bits) {
        let key = proof.key();
        let fetch = self.begin(key);
        fetch.chunks = Some(Chunks::new(proof, slot, held));
        fetch.recorded = true;
        self.settle_have(now, key);
    }

    pub(crate) fn is_fetching(&self, key: ContentKey) -> bool {
        self.fetches.contains_key(&key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = ContentKey> + '_ {
        self.fetches.keys().copied()
    }

    /// How many more sources a fetch could use.
    pub(crate) fn sources_wanted(&self, now: Timestamp, key: ContentKey) -> usize {
        let fetch = self.fetches.get(&key);
        let has = fetch.map_or(0, |fetch| match fetch.terms.paused {
            true => usize::MAX,
            false => {
                let sources = fetch.sources.values();
                sources.filter(|source| source.is_of_use(now)).count()
            }
        });
        policy::SOURCES_WANTED.saturating_sub(has)
    }

    /// What to say while there is no source.
    pub(crate) fn set_trouble(&mut self, key: ContentKey, searched: bool, trouble: Code) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.changed |= (fetch.searched, fetch.trouble) != (searched, trouble);
            (fetch.searched, fetch.trouble) = (searched, trouble);
        }
    }

    /// Somebody waits to read a chunk.
    pub(crate) fn set_urgent(&mut self, key: ContentKey, index: u32) {
        if let Some(chunks) = self
            .fetches
            .get_mut(&key)
            .and_then(|fetch| fetch.chunks.as_mut())
        {
            chunks.urgent.insert(index);
        }
    }

    /// Ends a fetch; what is held stays.
    pub(crate) fn stop(&mut self, key: ContentKey) {
        self.terms.remove(&key);
        let Some(fetch) = self.fetches.remove(&key) else {
            return;
        };
        self.requests.retain(|&id, request| {
            if request.key == key && fetch.sources.contains_key(&request.peer) {
                let message = ControlMessage::Cancel {
                    id,
                    chunks: Vec::new(),
                };
                self.actions.push_back(Action::Send {
                    peer: request.peer,
                    message,
                });
            }
            request.key != key
        });
    }

    /// A peer that may hold the content can be asked.
    pub(crate) fn add_source(&mut self, now: Timestamp, key: ContentKey, peer: PeerId) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        if fetch.sources.contains_key(&peer) {
            return;
        }
        let standing = fetch.former.remove(&peer).unwrap_or_default();
        fetch.sources.insert(peer, Source::new(now, standing));
        fetch.changed = true;
        // Names no chunks: asks what the peer holds, and to be told of more.
        let id = self.next_id();
        let message = ControlMessage::FetchPeerKeys {
            id,
            key,
            chunks: Vec::new(),
        };
        self.actions.push_back(Action::Send { peer, message });
    }

    /// Says how many peer connections a peer sends over.
    pub(crate) fn set_connections(&mut self, peer: PeerId, connections: usize) {
        for fetch in self.fetches.values_mut() {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.set_connections(connections);
            }
        }
    }

    /// A peer that could not send for a while can be asked at once.
    pub(crate) fn peer_is_back(&mut self, now: Timestamp, peer: PeerId) {
        for fetch in self.fetches.values_mut() {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.heard(now);
            }
        }
    }

    /// A peer can no longer be asked.
    pub(crate) fn remove_peer(&mut self, now: Timestamp, peer: PeerId) {
        self.due.remove(&peer);
        let keys: Vec<ContentKey> = self.fetches.keys().copied().collect();
        for key in keys {
            self.remove_source(now, key, peer);
        }
    }

    /// Peers that owe something.
    fn owing(&self) -> impl Iterator<Item = PeerId> + '_ {
        let sources = self.fetches.values().flat_map(|fetch| &fetch.sources);
        let owing = sources.filter(|(_, source)| source.in_flight > 0);
        owing.map(|(peer, _)| *peer)
    }

    /// Peers that owe something.
    pub(crate) fn busy_peers(&self) -> SortedSet<PeerId> {
        self.owing().collect()
    }

    /// Asks nothing of a peer until it owes nothing: what is on its way over a lane that is
    /// closed is lost.
    pub(crate) fn drain(&mut self, now: Timestamp, peer: PeerId) {
        self.draining.insert(peer, now + policy::LANE_DRAIN);
    }

    /// Peers that were drained, or have taken too long; they are asked again.
    pub(crate) fn drained(&mut self, now: Timestamp) -> Vec<PeerId> {
        let mut drained: Vec<PeerId> = Vec::new();
        if !self.draining.is_empty() {
            let busy = self.busy_peers();
            self.draining.retain(|peer, until| {
                let stays = now < *until && busy.contains(peer);
                if !stays {
                    drained.push(*peer);
                }
                stays
            });
        }
        drained
    }

    /// Whether anybody owes something.
    pub(crate) fn is_busy(&self) -> bool {
        self.owing().next().is_some()
    }

    /// A lane to a peer is gone, and with it perhaps some of what the peer owes: takes all of
    /// that back, so that it is asked for anew.
    pub(crate) fn lane_down(&mut self, peer: PeerId) {
        for fetch in self.fetches.values_mut() {
            fetch.release_all(peer);
            if fetch.proof_asked.is_some_and(|(asked, _)| asked == peer) {
                fetch.proof_asked = None;
            }
        }
        self.cancel(|request| request.peer == peer);
    }

    fn remove_source(&mut self, now: Timestamp, key: ContentKey, peer: PeerId) {
        self.requests
            .retain(|_, request| (request.key, request.peer) != (key, peer));
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let source = fetch.sources.remove(&peer);
        fetch.release_all(peer);
        let Some(source) = source else {
            return;
        };
        if let (Some(chunks), Some(have)) = (&mut fetch.chunks, &source.have) {
            chunks.count_source(have, -1);
        }
        if fetch.proof_asked.is_some_and(|(asked, _)| asked == peer) {
            fetch.proof_asked = None;
        }
        fetch.changed = true;
        let standing = source.gone(now);
        if !standing.is_clear() {
            fetch.former.insert(peer, standing);
            if fetch.former.len() > policy::FORMER_MAX {
                let first = fetch.former.keys().next().copied();
                first.map(|first| fetch.former.remove(&first));
            }
        }
    }

    /// A `Have`: all a peer holds, or what it holds now besides.
    pub(crate) fn have(
        &mut self,
        peer: PeerId,
        key: ContentKey,
        held: Option<Bits>,
        more: &[u32],
    ) -> Result<(), String> {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return Ok(());
        };
        let Some(source) = fetch.sources.get_mut(&peer) else {
            return Ok(());
        };
        fetch.changed = true;
        if let Some(held) = held {
            if held.len() > ContentSize::MAX.chunks() || held.is_empty() {
                return Err("a peer says it holds more chunks than a content can have".into());
            }
            if let (Some(chunks), Some(old)) = (&mut fetch.chunks, &source.have) {
                chunks.count_source(old, -1);
            }
            source.have = Some(held);
            if let Some(chunks) = &mut fetch.chunks {
                count_or_drop(chunks, source);
            }
        }
        if let Some(have) = &mut source.have {
            for &index in more {
                if index >= have.len() {
                    return Err(format!(
                        "a peer says it holds chunk {index}, which does not exist"
                    ));
                }
                if have.insert(index)
                    && let Some(chunks) = &mut fetch.chunks
                {
                    chunks.count_chunk(index, 1);
                }
            }
        }
        Ok(())
    }

    /// A peer no longer holds some chunks, or (none named) anything of a content.
    pub(crate) fn gone(&mut self, now: Timestamp, peer: PeerId, key: ContentKey, indexes: &[u32]) {
        if indexes.is_empty() {
            return self.remove_source(now, key, peer);
        }
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let Some(source) = fetch.sources.get_mut(&peer) else {
            return;
        };
        let owed = fetch.owed.entry(peer).or_default();
        if indexes.iter().any(|index| owed.contains(index)) {
            source.declined(now);
        }
        for &index in indexes {
            if source.have.as_mut().is_some_and(|have| have.remove(index))
                && let Some(chunks) = &mut fetch.chunks
            {
                chunks.count_chunk(index, -1);
            }
            if owed.remove(&index) {
                source.released(1);
                if let Some(chunks) = &mut fetch.chunks {
                    chunks.release(index);
                }
            }
        }
        self.drop_assemblies(key, peer, |index| indexes.contains(&index));
    }

    /// A peer does not answer a request.
    pub(crate) fn refused(&mut self, now: Timestamp, peer: PeerId, id: u32, code: RefuseCode) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if request.peer != peer {
            self.requests.insert(id, request);
            return;
        }
        let Some(fetch) = self.fetches.get_mut(&request.key) else {
            return;
        };
        match request.part {
            RequestPart::Proof(_) => fetch.proof_asked = None,
            RequestPart::Chunks(parts) => {
                let owed = fetch.owed.entry(peer).or_default();
                for index in parts.keys().filter(|index| owed.remove(index)) {
                    if let Some(chunks) = &mut fetch.chunks {
                        chunks.release(*index);
                    }
                    if let Some(source) = fetch.sources.get_mut(&peer) {
                        source.released(1);
                    }
                }
            }
        }
        if let Some(source) = fetch.sources.get_mut(&peer) {
            match code {
                RefuseCode::Busy => source.declined(now),
                RefuseCode::Invalid | RefuseCode::StoreFailed => source.rest(now),
            }
        }
    }

    /// A bulk frame of a peer.
    pub(crate) fn frame(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        header: BulkHeader,
        payload: &[u8],
    ) {
        if header.request == 0 || header.request >= self.next_request {
            return self.liar(peer, "it sent bytes that nobody asked for");
        }
        let due = self.due.entry(peer).or_default();
        match due.checked_sub(payload.len() as u64) {
            Some(left) => *due = left,
            None => return self.liar(peer, "it sent more than it was asked for"),
        }
        // What was cancelled meanwhile is no fault.
        let Some(request) = self.requests.get_mut(&header.request) else {
            return;
        };
        if request.peer != peer {
            return self.liar(peer, "it answered a request made to another peer");
        }
        let (key, asked) = (request.key, request.asked);
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let (slot, len) = match (&mut request.part, header.kind) {
            (RequestPart::Proof(slot), BulkKind::Proof) => (slot, Some(header.index as usize)),
            (RequestPart::Chunks(parts), BulkKind::Chunk) => {
                let size = fetch.chunks.as_ref().map(|chunks| chunks.proof.size());
                let Some(slot) = parts.get_mut(&header.index) else {
                    return;
                };
                (slot, size.and_then(|size| size.chunk_len(header.index)))
            }
            _ => return self.liar(peer, "it answered with another kind of frame"),
        };
        let Some(len) = len.filter(|len| *len <= MAX_PROOF) else {
            return self.liar(peer, "it announced a proof answer above the limit");
        };
        let assembly = slot.get_or_insert_with(|| Assembly::new(len));
        if assembly.len() != len {
            return self.liar(peer, "its frames disagree about the length of the answer");
        }
        let added = assembly.add(header.offset, payload);
        if matches!(added, Added::Partly | Added::Whole) {
            if let Some(source) = fetch.sources.get_mut(&peer) {
                source.heard(now);
            }
            if header.kind == BulkKind::Proof {
                fetch.proof_heard = Some(now);
            }
        }
        match added {
            Added::Partly | Added::Again => {}
            Added::Misplaced => self.liar(peer, "it sent a frame that has no place in the answer"),
            Added::Whole => {
                let Some(bytes) = slot.take().map(Assembly::into_bytes) else {
                    return;
                };
                match header.kind {
                    BulkKind::Proof => self.proof_arrived(key, peer, header.request, &bytes),
                    BulkKind::Chunk => {
                        self.chunk_arrived(
                            now,
                            key,
                            peer,
                            header.request,
                            header.index,
                            asked,
                            bytes,
                        );
                    }
                }
            }
        }
    }

    fn proof_arrived(&mut self, key: ContentKey, peer: PeerId, request: u32, answer: &[u8]) {
        self.requests.remove(&request);
        let due = self.due.entry(peer).or_default();
        *due = due.saturating_sub((MAX_PROOF - answer.len()) as u64);
        let Some(fetch) = self
            .fetches
            .get_mut(&key)
            .filter(|fetch| fetch.chunks.is_none())
        else {
            return;
        };
        match Proof::from_bytes(key, answer) {
            Ok(proof) => {
                let proof = Arc::new(proof);
                let held = Bits::new(proof.size().chunks());
                fetch.chunks = Some(Chunks::new(proof.clone(), 0, held));
                fetch.changed = true;
                self.actions.push_back(Action::Record { key, proof });
            }
            // Who passes a proof on has verified all of it, so nobody else can be to blame.
            Err(error) => self.liar(peer, &error.to_string()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn chunk_arrived(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        peer: PeerId,
        request: u32,
        index: u32,
        asked: Timestamp,
        bytes: Vec<u8>,
    ) {
        if let Some(Request {
            part: RequestPart::Chunks(parts),
            ..
        }) = self.requests.get_mut(&request)
        {
            parts.remove(&index);
            if parts.is_empty() {
                self.requests.remove(&request);
            }
        }
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let owed = fetch.owed.entry(peer).or_default().remove(&index);
        let Some(chunks) = &mut fetch.chunks else {
            return;
        };
        let len = bytes.len() as u64;
        let chunk = match chunks.proof.verify(index, bytes) {
            Ok(chunk) => chunk,
            Err(error) => {
                if owed {
                    chunks.release(index);
                }
                return self.liar(peer, &error.to_string());
            }
        };
        if let Some(source) = fetch.sources.get_mut(&peer) {
            source.released(usize::from(owed));
            source.answered(now, len, asked);
        }
        fetch.changed = true;
        if !chunks.needs(index) {
            return;
        }
        chunks.arrived(chunk, peer);
        fetch.rate.add(now, len);
        // Whoever else was asked for it need not send it.
        let others: Vec<PeerId> = fetch
            .owed
            .iter()
            .filter(|(_, owes)| owes.contains(&index))
            .map(|(peer, _)| *peer)
            .collect();
        for other in others {
            if let Some(owes) = fetch.owed.get_mut(&other) {
                owes.remove(&index);
            }
            if let Some(source) = fetch.sources.get_mut(&other) {
                source.released(1);
            }
            for (&id, request) in &mut self.requests {
                let RequestPart::Chunks(parts) = &mut request.part else {
                    continue;
                };
                if (request.key, request.peer) == (key, other) && parts.remove(&index).is_some() {
                    let message = ControlMessage::Cancel {
                        id,
                        chunks: vec![index],
                    };
                    self.actions.push_back(Action::Send {
                        peer: other,
                        message,
                    });
                }
            }
        }
        self.requests.retain(
            |_, request| !matches!(&request.part, RequestPart::Chunks(parts) if parts.is_empty()),
        );
        self.write(key);
    }

    /// The content is recorded: `slot` and `held` are what the store has now.
    pub(crate) fn recorded(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        result: Result<(Slot, Bits), StoreError>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        match result {
            Ok((slot, held)) => {
                if let Some(chunks) = fetch.chunks.take() {
                    fetch.chunks = Some(Chunks::new(chunks.proof, slot, held));
                    fetch.recorded = true;
                    self.settle_have(now, key);
                }
            }
            Err(error) => {
                fetch.chunks = None;
                fetch.proof_asked = None;
                fetch.store_full = Some((store_code(&error), now + policy::STORE_RETRY));
                fetch.changed = true;
            }
        }
    }

    /// Counts what sources said they hold before the number of chunks was known.
    fn settle_have(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.changed = true;
        if let Some(chunks) = &mut fetch.chunks {
            for source in fetch.sources.values_mut() {
                count_or_drop(chunks, source);
            }
        }
        self.finish_if_complete(now, key);
    }

    /// A store transaction has ended.
    pub(crate) fn stored(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        from: Vec<(u32, PeerId)>,
        result: Result<(), StoreError>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let Some(chunks) = &mut fetch.chunks else {
            return;
        };
        chunks.writing = chunks.writing.saturating_sub(from.len());
        fetch.changed = true;
        match result {
            Ok(()) => {
                for (index, peer) in from {
                    chunks.stored(index);
                    self.actions.push_back(Action::Stored { key, index, peer });
                }
            }
            Err(error) => {
                for (index, _) in from {
                    chunks.not_stored(index);
                }
                for (chunk, _) in std::mem::take(&mut chunks.ready) {
                    chunks.not_stored(chunk.index());
                }
                fetch.store_full = Some((store_code(&error), now + policy::STORE_RETRY));
                self.take_all_back(key);
            }
        }
        self.write(key);
        self.finish_if_complete(now, key);
    }

    /// A stored chunk turned out damaged and was dropped.
    pub(crate) fn lost(&mut self, key: ContentKey, index: u32) {
        if let Some(chunks) = self
            .fetches
            .get_mut(&key)
            .and_then(|fetch| fetch.chunks.as_mut())
        {
            chunks.held.remove(index);
            chunks.not_stored(index);
        }
    }

    fn finish_if_complete(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get(&key).filter(|fetch| fetch.is_complete()) else {
            return;
        };
        let progress = fetch.progress(now);
        self.stop(key);
        self.actions.push_back(Action::Progress { key, progress });
        self.actions.push_back(Action::Complete { key });
    }

    /// Hands verified chunks to the store, a few transactions at a time.
    fn write(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let Some(chunks) = &mut fetch.chunks else {
            return;
        };
        if chunks.ready.is_empty() || chunks.writing >= policy::WRITES_MAX * 4 {
            return;
        }
        let ready = std::mem::take(&mut chunks.ready);
        chunks.writing += ready.len();
        let from = ready
            .iter()
            .map(|(chunk, peer)| (chunk.index(), *peer))
            .collect();
        let put = ready.into_iter().map(|(chunk, _)| chunk).collect();
        self.actions.push_back(Action::Put {
            key,
            slot: chunks.slot,
            chunks: put,
            from,
        });
    }

    /// Takes back all that is asked for a content.
    fn take_all_back(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let peers: Vec<PeerId> = fetch.sources.keys().copied().collect();
        for peer in peers {
            fetch.release_all(peer);
        }
        self.cancel(|request| request.key == key);
    }

    /// Asks for what can be asked for now. Called after every input.
    pub(crate) fn schedule(&mut self, now: Timestamp) {
        let keys: Vec<ContentKey> = self.fetches.keys().copied().collect();
        for &key in &keys {
            self.ask_proof(now, key);
        }
        self.share_windows(now);
        let weight = |fetch: &Fetch| fetch.terms.priority.weight();
        let open = self.fetches.values().filter(|fetch| fetch.is_open());
        let total: f64 = open.map(weight).sum();
        let mut open = keys;
        open.retain(|key| self.fetches.get(key).is_some_and(Fetch::is_open));
        let mut picks: SortedMap<(ContentKey, PeerId), Vec<u32>> = SortedMap::new();
        while self.download.is_open(now) {
            // Who got least of its share is next.
            let by_pass = |a: &&ContentKey, b: &&ContentKey| self.pass(a).total_cmp(&self.pass(b));
            let Some(&key) = open.iter().min_by(by_pass) else {
                break;
            };
            let Some(fetch) = self.fetches.get_mut(&key) else {
                break;
            };
            let share = policy::IN_FLIGHT_MAX as f64 * weight(fetch) / total;
            let budget = (share as usize).max(1);
            match fetch.pick(now, budget, &self.draining, &mut self.random) {
                Some((peer, index)) => {
                    fetch.pass += 1.0 / weight(fetch);
                    self.download.take(CHUNK_SIZE);
                    picks.entry((key, peer)).or_default().push(index);
                }
                None => open.retain(|other| *other != key),
            }
        }
        self.held_back = !open.is_empty();
        // Who had nothing to take does not save its share up.
        let waiting = open.iter().map(|key| self.pass(key));
        let least = waiting.reduce(f64::min);
        for (key, fetch) in &mut self.fetches {
            if !open.contains(key) {
                fetch.pass = least.map_or(0.0, |least| fetch.pass.max(least));
            }
        }
        for ((key, peer), indexes) in picks {
            for chunks in indexes.chunks(MAX_CHUNKS_PER_REQUEST) {
                self.ask_chunks(now, key, peer, chunks);
            }
        }
    }

    fn pass(&self, key: &ContentKey) -> f64 {
        self.fetches.get(key).map_or(0.0, |fetch| fetch.pass)
    }

    /// Shares the windows of sources of several fetches out among these, now and then. Each
    /// alone would measure what it gets now, and go on with that.
    fn share_windows(&mut self, now: Timestamp) {
        if self.next_shares.is_some_and(|next| now < next) {
            return;
        }
        self.next_shares = Some(now + policy::SHARE_INTERVAL);
        // What comes from each peer for all fetches, their weights, and its fastest answer.
        let mut peers: SortedMap<PeerId, (f64, f64, Duration)> = SortedMap::new();
        for fetch in self.fetches.values() {
            let weight = fetch.terms.priority.weight();
            let sources = fetch.sources.iter();
            for (&peer, source) in sources.filter(|(_, source)| source.in_flight > 0) {
                let unknown = (0.0, 0.0, Duration::MAX);
                let (rate, weights, fastest) = peers.entry(peer).or_insert(unknown);
                *rate += source.rate.get(now);
                *weights += weight;
                *fastest = source.fastest().map_or(*fastest, |own| own.min(*fastest));
            }
        }
        for fetch in self.fetches.values_mut() {
            let weight = fetch.terms.priority.weight();
            for (peer, source) in &mut fetch.sources {
                let share = peers.get(peer).filter(|_| source.in_flight > 0);
                let share = share.filter(|(_, weights, _)| *weights > weight);
                let known = share.filter(|(.., fastest)| *fastest < Duration::MAX);
                let known =
                    known.map(|(rate, weights, fastest)| (rate * weight / weights, *fastest));
                source.set_share(known);
            }
        }
    }

    fn ask_chunks(&mut self, now: Timestamp, key: ContentKey, peer: PeerId, chunks: &[u32]) {
        let id = self.next_id();
        let parts = chunks.iter().map(|index| (*index, None)).collect();
        let request = Request {
            key,
            peer,
            asked: now,
            part: RequestPart::Chunks(parts),
        };
        self.requests.insert(id, request);
        *self.due.entry(peer).or_default() += (chunks.len() * CHUNK_SIZE) as u64;
        let chunks = chunks.to_vec();
        let message = ControlMessage::FetchPeerKeys { id, key, chunks };
        self.actions.push_back(Action::Send { peer, message });
    }

    fn ask_proof(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        if fetch.chunks.is_some()
            || fetch.terms.paused
            || fetch.store_full.is_some()
            || fetch.proof_due(now).is_some_and(|due| now < due)
        {
            return;
        }
        let last = fetch.proof_asked.take().map(|(peer, _)| peer);
        let mut others = fetch.can_prove(now);
        let untried = |fetch: &Fetch, peer: &PeerId| !fetch.proof_tried.contains(peer);
        if !others.is_empty() && !others.iter().any(|peer| untried(fetch, peer)) {
            fetch.proof_tried = last.filter(|_| others.len() > 1).into_iter().collect();
            fetch.proof_rounds += 1;
        }
        others.retain(|peer| untried(fetch, peer));
        if let Some(last) = last {
            self.cancel_proof(key, last);
        }
        let Some(&peer) = others.get(self.random.below(others.len() as u32) as usize) else {
            return;
        };
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.proof_asked = Some((peer, now));
        fetch.proof_tried.insert(peer);
        fetch.proof_heard = None;
        *self.due.entry(peer).or_default() += MAX_PROOF as u64;
        let id = self.next_id();
        self.requests.insert(
            id,
            Request {
                key,
                peer,
                asked: now,
                part: RequestPart::Proof(None),
            },
        );
        self.actions.push_back(Action::Send {
            peer,
            message: ControlMessage::FetchProof { id, key },
        });
    }

    /// Takes requests back, and tells whom they were made to.
    fn cancel(&mut self, which: impl Fn(&Request) -> bool) {
        let actions = &mut self.actions;
        self.requests.retain(|&id, request| {
            let ends = which(request);
            if ends {
                let (peer, chunks) = (request.peer, Vec::new());
                let message = ControlMessage::Cancel { id, chunks };
                actions.push_back(Action::Send { peer, message });
            }
            !ends
        });
    }

    /// Takes back that a peer was asked for a proof.
    fn cancel_proof(&mut self, key: ContentKey, peer: PeerId) {
        self.cancel(|request| {
            (request.key, request.peer) == (key, peer)
                && matches!(request.part, RequestPart::Proof(_))
        });
    }

    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let of_fetch = |fetch: &Fetch| {
            let stalls = fetch.sources.values().filter_map(Source::stalls_at);
            let rests = fetch.sources.values().filter_map(Source::rests_until);
            let late = fetch.late_at;
            let proof = fetch.proof_due(now).filter(|_| fetch.chunks.is_none());
            let store = fetch.store_full.map(|(_, until)| until);
            let report = fetch
                .reported
                .filter(|_| fetch.changed)
                .map(|at| at + policy::PROGRESS_INTERVAL);
            stalls
                .chain(rests)
                .chain(late)
                .chain(proof)
                .chain(store)
                .chain(report)
                .min()
        };
        let limit = self.download.opens_at().filter(|_| self.held_back);
        let fetches = self.fetches.values().filter_map(of_fetch);
        let drained = self.draining.values().copied();
        fetches.chain(limit).chain(drained).min()
    }

    /// Handles stalls and retries, and reports progress where it is time. Called after
    /// every input.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        let keys: Vec<ContentKey> = self.fetches.keys().copied().collect();
        for key in keys {
            let Some(fetch) = self.fetches.get_mut(&key) else {
                continue;
            };
            if fetch.store_full.is_some_and(|(_, until)| until <= now) {
                fetch.store_full = None;
            }
            let mut rested = Vec::new();
            for (&peer, source) in &mut fetch.sources {
                // What it owes is not taken back yet: it may be on its way over a slow line.
                if source.stalls_at().is_some_and(|time| time <= now) {
                    source.rest(now);
                } else if source.rests_until().is_some_and(|until| until <= now) {
                    source.rested(now);
                    rested.push(peer);
                }
            }
            for peer in rested {
                self.take_back(key, peer);
            }
            self.report(now, key);
        }
    }

    /// Takes back what a source owes.
    fn take_back(&mut self, key: ContentKey, peer: PeerId) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.release_all(peer);
        self.cancel(|request| {
            (request.key, request.peer) == (key, peer)
                && matches!(request.part, RequestPart::Chunks(_))
        });
    }

    fn drop_assemblies(&mut self, key: ContentKey, peer: PeerId, which: impl Fn(u32) -> bool) {
        self.requests.retain(|_, request| {
            if (request.key, request.peer) != (key, peer) {
                return true;
            }
            let RequestPart::Chunks(parts) = &mut request.part else {
                return true;
            };
            parts.retain(|index, _| !which(*index));
            !parts.is_empty()
        });
    }

    fn report(&mut self, now: Timestamp, key: ContentKey) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        let due = fetch
            .reported
            .is_none_or(|at| at + policy::PROGRESS_INTERVAL <= now);
        if fetch.changed && due {
            fetch.reported = Some(now);
            // While bytes come the rate changes by itself.
            fetch.changed = fetch.rate.get(now) > 0.0;
            let progress = fetch.progress(now);
            self.actions.push_back(Action::Progress { key, progress });
        }
    }

    fn liar(&mut self, peer: PeerId, what: &str) {
        self.actions.push_back(Action::Liar {
            peer,
            what: what.into(),
        });
    }

    fn next_id(&mut self) -> u32 {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        id
    }
}

/// Counts what a source holds, or forgets it if it is for another number of chunks.
fn count_or_drop(chunks: &mut Chunks, source: &mut Source) {
    match &source.have {
        Some(have) if have.len() == chunks.held.len() => chunks.count_source(have, 1),
        _ => source.have = None,
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Quota => Code::Quota,
        StoreError::Superseded | StoreError::Failed(_) => Code::StoreFailed,
    }
}
