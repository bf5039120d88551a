//! What was asked of whom and has not come: the requests that are open, and the answers that
//! are put together from their frames.
//!
//! Whoever answers what nobody asked, or more than was asked, is found out here. Knows
//! nothing of why something is asked.

use crate::assembly::{Added, Assembly};
use shoal_protocol::{
    bulk::{BulkHeader, BulkKind},
    content::{CHUNK_SIZE, ContentKey, ContentSize},
    control::ControlMessage,
    id::PeerId,
    proof::MAX_PROOF,
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};

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

impl Request {
    fn is_for_chunks(&self) -> bool {
        matches!(self.part, RequestPart::Chunks(_))
    }
}

/// A frame that brought something new.
pub(super) struct Received {
    pub(super) key: ContentKey,
    /// When it was asked for.
    pub(super) asked: Timestamp,
    /// The whole proof or chunk, if this was its last frame.
    pub(super) whole: Option<Vec<u8>>,
}

/// A request that is refused.
pub(super) struct Refused {
    pub(super) key: ContentKey,
    /// The chunks that were asked for and have not come; `None`: the proof.
    pub(super) chunks: Option<Vec<u32>>,
}

/// Messages that tell peers what they need not send.
pub(super) type Cancels = Vec<(PeerId, ControlMessage)>;

/// The open requests of a node.
pub(super) struct Requests {
    open: SortedMap<u32, Request>,
    /// The same by content and peer: there may be thousands.
    of: SortedSet<(ContentKey, PeerId, u32)>,
    next: u32,
    /// Bytes that each peer was asked for and has not sent, taken back or not: what is under
    /// way when it is taken back is no fault, but nobody may send more than was asked.
    due: SortedMap<PeerId, u64>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            open: SortedMap::new(),
            of: SortedSet::new(),
            next: 1,
            due: SortedMap::new(),
        }
    }

    /// Asks what a peer holds, and to be told of more. Nothing is waited for.
    pub(super) fn ask_have(&mut self, key: ContentKey) -> ControlMessage {
        ControlMessage::FetchPeerKeys {
            id: self.next_id(),
            key,
            chunks: Vec::new(),
            first: false,
        }
    }

    pub(super) fn ask_proof(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        peer: PeerId,
    ) -> ControlMessage {
        let id = self.insert(now, key, peer, RequestPart::Proof(None), MAX_PROOF);
        ControlMessage::FetchProof { id, key }
    }

    pub(super) fn ask_chunks(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        peer: PeerId,
        chunks: &[u32],
        first: bool,
    ) -> ControlMessage {
        let parts = chunks.iter().map(|index| (*index, None)).collect();
        let bytes = chunks.len() * CHUNK_SIZE;
        let id = self.insert(now, key, peer, RequestPart::Chunks(parts), bytes);
        let chunks = chunks.to_vec();
        ControlMessage::FetchPeerKeys {
            id,
            key,
            chunks,
            first,
        }
    }

    fn insert(
        &mut self,
        asked: Timestamp,
        key: ContentKey,
        peer: PeerId,
        part: RequestPart,
        bytes: usize,
    ) -> u32 {
        let id = self.next_id();
        let request = Request {
            key,
            peer,
            asked,
            part,
        };
        self.open.insert(id, request);
        self.of.insert((key, peer, id));
        *self.due.entry(peer).or_default() += bytes as u64;
        id
    }

    fn remove(&mut self, id: u32) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.of.remove(&(request.key, request.peer, id));
        Some(request)
    }

    /// The requests for a content that were made to one peer, or to all.
    fn ids(&self, key: ContentKey, peer: Option<PeerId>) -> Vec<u32> {
        let first = peer.unwrap_or(PeerId::from_public_key([0; 32]));
        let from = self.of.from(&(key, first, 0)).iter();
        let of = from.take_while(|(of, to, _)| *of == key && peer.is_none_or(|peer| *to == peer));
        of.map(|(.., id)| *id).collect()
    }

    /// Peers that owe chunks, and how many: some of them several times.
    pub(super) fn owing(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.open
            .values()
            .filter_map(|request| match &request.part {
                RequestPart::Proof(_) => None,
                RequestPart::Chunks(parts) => Some((request.peer, parts.len())),
            })
    }

    /// How many chunks each peer owes.
    pub(super) fn owed(&self) -> SortedMap<PeerId, usize> {
        let mut owed = SortedMap::new();
        for (peer, chunks) in self.owing() {
            *owed.entry(peer).or_default() += chunks;
        }
        owed
    }

    fn next_id(&mut self) -> u32 {
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        id
    }

    /// Takes a bulk frame; `size` says how large a content is. Gives what was new, or what no
    /// honest peer does.
    pub(super) fn receive(
        &mut self,
        peer: PeerId,
        header: BulkHeader,
        payload: &[u8],
        size: impl FnOnce(ContentKey) -> Option<ContentSize>,
    ) -> Result<Option<Received>, &'static str> {
        if header.request == 0 || header.request >= self.next {
            return Err("it sent bytes that nobody asked for");
        }
        let due = self.due.entry(peer).or_default();
        match due.checked_sub(payload.len() as u64) {
            Some(left) => *due = left,
            None => return Err("it sent more than it was asked for"),
        }
        // What was cancelled meanwhile is no fault.
        let Some(request) = self.open.get_mut(&header.request) else {
            return Ok(None);
        };
        if request.peer != peer {
            return Err("it answered a request made to another peer");
        }
        let (key, asked) = (request.key, request.asked);
        let (slot, len) = match (&mut request.part, header.kind) {
            (RequestPart::Proof(slot), BulkKind::Proof) => (slot, Some(header.index as usize)),
            (RequestPart::Chunks(parts), BulkKind::Chunk) => {
                let Some(slot) = parts.get_mut(&header.index) else {
                    return Ok(None);
                };
                (
                    slot,
                    size(key).and_then(|size| size.chunk_len(header.index)),
                )
            }
            _ => return Err("it answered with another kind of frame"),
        };
        let Some(len) = len.filter(|len| *len <= MAX_PROOF) else {
            return Err("it announced an answer above the limit");
        };
        let assembly = slot.get_or_insert_with(|| Assembly::new(len));
        if assembly.len() != len {
            return Err("its frames disagree about the length of the answer");
        }
        let whole = match assembly.add(header.offset, payload) {
            Added::Partly => None,
            Added::Again => return Ok(None),
            Added::Misplaced => return Err("it sent a frame that has no place in the answer"),
            Added::Whole => {
                let bytes = slot.take().map(Assembly::into_bytes);
                self.answered(&header, bytes.as_ref().map_or(0, Vec::len));
                bytes
            }
        };
        Ok(Some(Received { key, asked, whole }))
    }

    /// A proof or chunk has come whole: it is no longer waited for.
    fn answered(&mut self, header: &BulkHeader, len: usize) {
        let Some(request) = self.open.get_mut(&header.request) else {
            return;
        };
        match &mut request.part {
            RequestPart::Proof(_) => {
                let peer = request.peer;
                self.less_due(peer, len);
            }
            RequestPart::Chunks(parts) => {
                parts.remove(&header.index);
                if !parts.is_empty() {
                    return;
                }
            }
        }
        self.remove(header.request);
    }

    /// A peer does not answer a request.
    pub(super) fn refused(&mut self, peer: PeerId, id: u32) -> Option<Refused> {
        if self.open.get(&id)?.peer != peer {
            return None;
        }
        let request = self.remove(id)?;
        let chunks = match request.part {
            RequestPart::Proof(_) => None,
            RequestPart::Chunks(parts) => Some(parts.keys().copied().collect()),
        };
        Some(Refused {
            key: request.key,
            chunks,
        })
    }

    /// Takes back all that was asked for a content.
    pub(super) fn cancel_content(&mut self, key: ContentKey) -> Cancels {
        self.cancel(self.ids(key, None), &|_| true)
    }

    /// Takes back all that a peer was asked for.
    pub(super) fn cancel_peer(&mut self, peer: PeerId) -> Cancels {
        let all = self.open.keys().copied().collect();
        self.cancel(all, &|request| request.peer == peer)
    }

    /// Takes back that a peer was asked for the proof of a content.
    pub(super) fn cancel_proof(&mut self, key: ContentKey, peer: PeerId) -> Cancels {
        let all = self.ids(key, Some(peer));
        self.cancel(all, &|request| !request.is_for_chunks())
    }

    /// The proof of a content has come, so long: others that were asked for it need not send
    /// it, and may not send more.
    pub(super) fn proven(&mut self, key: ContentKey, len: usize) -> Cancels {
        let all = self.ids(key, None);
        let cancels = self.cancel(all, &|request| !request.is_for_chunks());
        for (peer, _) in &cancels {
            self.less_due(*peer, len);
        }
        cancels
    }

    /// How long a proof is was not known when it was asked for.
    fn less_due(&mut self, peer: PeerId, len: usize) {
        let due = self.due.entry(peer).or_default();
        *due = due.saturating_sub((MAX_PROOF - len) as u64);
    }

    /// Takes back that a peer was asked for chunks of a content.
    pub(super) fn cancel_chunks(&mut self, key: ContentKey, peer: PeerId) -> Cancels {
        self.cancel(self.ids(key, Some(peer)), &Request::is_for_chunks)
    }

    /// Takes requests back, whether those they were made to are told or not.
    fn cancel(&mut self, ids: Vec<u32>, which: &dyn Fn(&Request) -> bool) -> Cancels {
        let mut cancels = Vec::new();
        for id in ids {
            if self.open.get(&id).is_some_and(which)
                && let Some(request) = self.remove(id)
            {
                let chunks = Vec::new();
                cancels.push((request.peer, ControlMessage::Cancel { id, chunks }));
            }
        }
        cancels
    }

    /// Whether some of a chunk that was asked for has come.
    pub(super) fn has_begun(&self, key: ContentKey, index: u32) -> bool {
        self.open.values().any(|request| match &request.part {
            RequestPart::Chunks(parts) if request.key == key => {
                parts.get(&index).is_some_and(Option::is_some)
            }
            _ => false,
        })
    }

    /// Takes one chunk back that some peers were asked for.
    pub(super) fn cancel_chunk(
        &mut self,
        key: ContentKey,
        peers: &[PeerId],
        index: u32,
    ) -> Cancels {
        let mut cancels = Vec::new();
        for &peer in peers {
            for id in self.drop_chunks(key, peer, &[index]) {
                let chunks = vec![index];
                cancels.push((peer, ControlMessage::Cancel { id, chunks }));
            }
        }
        cancels
    }

    /// A peer does not hold some chunks any more: it knows that it need not send them.
    pub(super) fn forget_chunks(&mut self, key: ContentKey, peer: PeerId, indexes: &[u32]) {
        self.drop_chunks(key, peer, indexes);
    }

    /// Waits no longer for some chunks of a peer; gives the requests that were for them.
    fn drop_chunks(&mut self, key: ContentKey, peer: PeerId, indexes: &[u32]) -> Vec<u32> {
        let mut ids = self.ids(key, Some(peer));
        ids.retain(|&id| {
            let Some(RequestPart::Chunks(parts)) =
                self.open.get_mut(&id).map(|request| &mut request.part)
            else {
                return false;
            };
            let before = parts.len();
            for index in indexes {
                parts.remove(index);
            }
            let (dropped, is_empty) = (parts.len() < before, parts.is_empty());
            if is_empty {
                self.remove(id);
            }
            dropped
        });
        ids
    }

    /// A peer is no source of a content any more: it need not be told.
    pub(super) fn forget_source(&mut self, key: ContentKey, peer: PeerId) {
        self.cancel(self.ids(key, Some(peer)), &|_| true);
    }

    /// A peer is gone, and what it was asked for.
    pub(super) fn forget_peer(&mut self, peer: PeerId) {
        self.due.remove(&peer);
        self.cancel_peer(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ContentKey = ContentKey::from_hash([7; 32]);
    const ASKED: PeerId = PeerId::from_public_key([1; 32]);
    const OTHER: PeerId = PeerId::from_public_key([2; 32]);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const LEN: usize = 100;

    /// Requests with one that is open, for the only chunk of a content.
    fn one_chunk() -> (Requests, BulkHeader) {
        let mut requests = Requests::new();
        requests.ask_chunks(NOW, KEY, ASKED, &[0], false);
        let header = BulkHeader {
            kind: BulkKind::Chunk,
            request: 1,
            index: 0,
            offset: 0,
        };
        (requests, header)
    }

    fn receive(requests: &mut Requests, peer: PeerId, header: BulkHeader) -> Result<bool, &str> {
        let size = |_| ContentSize::try_from(LEN as u64).ok();
        let received = requests.receive(peer, header, &[0; LEN], size)?;
        Ok(received.is_some_and(|received| received.whole.is_some()))
    }

    #[test]
    fn only_who_was_asked_may_send_and_only_what_was_asked_for() {
        let (mut requests, header) = one_chunk();
        let unknown = BulkHeader {
            request: 2,
            ..header
        };
        assert!(receive(&mut requests, ASKED, unknown).is_err());
        assert!(receive(&mut requests, OTHER, header).is_err());
        let proof = BulkHeader {
            kind: BulkKind::Proof,
            ..header
        };
        assert!(receive(&mut requests, ASKED, proof).is_err());
        assert_eq!(receive(&mut requests, ASKED, header), Ok(true));
    }

    #[test]
    fn what_was_taken_back_may_still_come_but_no_more_than_that() {
        let (mut requests, header) = one_chunk();
        assert_eq!(requests.cancel_content(KEY).len(), 1);
        assert_eq!(requests.cancel_content(KEY).len(), 0);
        for _ in 0..CHUNK_SIZE / LEN {
            assert_eq!(receive(&mut requests, ASKED, header), Ok(false));
        }
        assert!(receive(&mut requests, ASKED, header).is_err());
    }

    #[test]
    fn a_request_ends_with_its_last_chunk() {
        let mut requests = Requests::new();
        requests.ask_chunks(NOW, KEY, ASKED, &[3, 4], false);
        requests.ask_chunks(NOW, KEY, OTHER, &[4], false);
        let cancels = requests.cancel_chunk(KEY, &[OTHER], 4);
        assert!(matches!(&cancels[..], [(OTHER, _)]));
        assert!(requests.refused(OTHER, 2).is_none());
        requests.forget_chunks(KEY, ASKED, &[3]);
        let refused = requests.refused(ASKED, 1).expect("it is open");
        assert_eq!(refused.chunks, Some(vec![4]));
    }
}
