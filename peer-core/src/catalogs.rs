//! Who offers what: this peer's own catalog and its copies of others'.

use shoal_protocol::{
    catalog::{
        Catalog, CatalogError, CatalogHead, Entry, HEAD_LIFETIME, Offered, PageText, Replica,
        SignedHead, Since, page_hashes, paginate,
    },
    content::ContentKey,
    control::ControlMessage,
    id::{PeerId, Signature},
    namespace::Namespace,
    signed::{Payload, Signed},
    sorted::SortedMap,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// Most catalogs of others kept. Guess: a few times a full view.
const MAX_CATALOGS: usize = 500;
/// Bytes of pages put into one message beside its head; more come in further messages.
const MESSAGE_PAGES: usize = 64 * 1024;
/// How soon the rendezvous may get another piece, if its socket has not drained before; browsers
/// do not say when it has. Guess: 1 MB a second.
const PIECE_INTERVAL: Duration = Duration::from_millis(50);
/// After what time a refused catalog is told again, where the rendezvous names none, and after
/// what time at most. Guess; the same as for joining.
const RETRY_AFTER: u64 = 600_000;

/// This peer's own catalog.
pub(crate) struct OwnCatalog {
    peer: PeerId,
    namespace: Namespace,
    epoch: u64,
    number: u64,
    pages: Vec<Arc<str>>,
    /// With which number each page got its present text.
    changed: Vec<u64>,
    /// The last page that the rendezvous was sent, with its number in `changed`. Pages go in the
    /// order of these, so all that follow are still to be sent.
    told: (u64, usize),
    /// Whether there are any, or it was not sent the head.
    is_untold: bool,
    /// Until then it takes none.
    refused_until: Timestamp,
    current: Option<(Signed, Timestamp)>,
    signing: Option<Unsigned>,
    /// Whether something changed since the last head was made.
    dirty: bool,
}

struct Unsigned {
    payload: String,
    pages: Vec<Arc<str>>,
}

impl OwnCatalog {
    pub(crate) fn new(peer: PeerId, namespace: Namespace, epoch: u64) -> Self {
        Self {
            peer,
            namespace,
            epoch,
            number: 0,
            pages: Vec::new(),
            changed: Vec::new(),
            told: (0, 0),
            is_untold: false,
            refused_until: Timestamp::default(),
            current: None,
            signing: None,
            dirty: true,
        }
    }

    /// Something that is listed changed.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// When the head must be signed anew so that it does not expire.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.current
            .as_ref()
            .map(|(_, signed_at)| *signed_at + HEAD_LIFETIME / 2)
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self.next_timeout().is_some_and(|time| time <= now) {
            self.dirty = true;
        }
    }

    /// Whether a new head must be made, and can be made now.
    pub(crate) fn is_due(&self) -> bool {
        self.dirty && self.signing.is_none()
    }

    /// Whether the last head that was signed says what is held, or none can.
    pub(crate) fn is_told(&self) -> bool {
        !self.dirty && self.signing.is_none()
    }

    /// Makes the next head and returns its payload for signing.
    pub(crate) fn prepare(&mut self, now: Timestamp, entries: &[Entry]) -> Option<String> {
        self.dirty = false;
        let pages = paginate(entries.iter()).ok()?;
        let issued = now.unix_millis();
        self.number += 1;
        let head = CatalogHead {
            peer: self.peer,
            namespace: self.namespace.clone(),
            epoch: self.epoch,
            number: self.number,
            count: entries.len() as u32,
            pages: page_hashes(&pages),
            issued,
            expires: issued.plus(HEAD_LIFETIME),
        };
        let payload = head.to_payload();
        self.signing = Some(Unsigned {
            payload: payload.clone(),
            pages,
        });
        Some(payload)
    }

    /// Takes the signature of the prepared head; true if there is a new catalog.
    pub(crate) fn signed(&mut self, now: Timestamp, signature: Option<Signature>) -> bool {
        let (Some(Unsigned { payload, pages }), Some(sig)) = (self.signing.take(), signature)
        else {
            return false;
        };
        let same_number = pages.len() == self.pages.len();
        self.changed = (0..pages.len())
            .map(|at| {
                if same_number && pages[at] == self.pages[at] {
                    self.changed[at]
                } else {
                    self.number
                }
            })
            .collect();
        self.is_untold = true;
        let size = |pages: &[Arc<str>]| pages.iter().map(|page| page.len()).sum::<usize>();
        if size(&pages) < size(&self.pages) {
            // There may be room for less.
            self.refused_until = Timestamp::default();
        }
        self.pages = pages;
        self.current = Some((
            Signed {
                peer: self.peer,
                payload,
                sig,
                member: None,
            },
            now,
        ));
        true
    }

    /// The rendezvous has this much of it, and takes the rest.
    pub(crate) fn joined(&mut self, known: Option<Since>) {
        let known = self.number_of(known);
        self.told = (known, usize::MAX);
        self.is_untold = self.current.is_some() && known < self.number;
        self.refused_until = Timestamp::default();
    }

    /// The rendezvous has no room for it; it may have, after so many ms.
    pub(crate) fn refused(&mut self, now: Timestamp, retry_after: Option<u64>) {
        self.joined(None);
        let wait = retry_after.unwrap_or(RETRY_AFTER).min(RETRY_AFTER);
        self.refused_until = now + Duration::from_millis(wait);
    }

    /// Whether the rendezvous is to be sent more of it now.
    pub(crate) fn is_telling(&self, now: Timestamp) -> bool {
        self.is_untold && self.refused_until <= now
    }

    /// When there may be room for another piece, if there is one.
    pub(crate) fn next_piece(&self, now: Timestamp) -> Option<Timestamp> {
        self.is_untold
            .then(|| self.refused_until.max(now + PIECE_INTERVAL))
    }

    /// The next piece for the rendezvous.
    pub(crate) fn poll_piece(&mut self, now: Timestamp) -> Option<(Signed, Vec<PageText>)> {
        if !self.is_telling(now) {
            return None;
        }
        let signed = self.head()?.clone();
        let mut room = MESSAGE_PAGES;
        let mut pages = Vec::new();
        loop {
            let places = self.changed.iter().copied().zip(0..);
            let Some(next) = places.filter(|place| *place > self.told).min() else {
                self.is_untold = false;
                break;
            };
            let text = &self.pages[next.1];
            let len = wire_len(text);
            if len > room && !pages.is_empty() {
                break;
            }
            room = room.saturating_sub(len);
            self.told = next;
            pages.push(PageText {
                page: next.1 as u16,
                text: text.clone(),
            });
        }
        Some((signed, pages))
    }

    /// The signed head, once there is one.
    pub(crate) fn head(&self) -> Option<&Signed> {
        self.current.as_ref().map(|(signed, _)| signed)
    }

    /// The head and the pages changed since.
    pub(crate) fn since(&self, since: Option<Since>) -> Option<(&Signed, Vec<PageText>)> {
        let known = self.number_of(since);
        let changed = (0..)
            .zip(self.pages.iter().zip(&self.changed))
            .filter(|(_, (_, at))| **at > known);
        let pages = changed
            .map(|(page, (text, _))| PageText {
                page,
                text: text.clone(),
            })
            .collect();
        Some((self.head()?, pages))
    }

    /// The number of a version of this catalog; 0 if it is none.
    fn number_of(&self, version: Option<Since>) -> u64 {
        version
            .filter(|version| version.epoch == self.epoch)
            .map_or(0, |version| version.number)
    }
}

/// Bytes of a page in a message: quotes in the text are escaped on the wire. A page of nothing
/// else would double.
fn wire_len(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\'));
    text.len() + escaped.count()
}

/// Divides a catalog into pieces that fit into messages; the first has the head even if
/// there are no pages.
fn pieces(pages: Vec<PageText>) -> Vec<Vec<PageText>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for page in pages {
        let len = wire_len(&page.text);
        if bytes > 0 && bytes + len > MESSAGE_PAGES {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(last) = pieces.last_mut() {
            last.push(page);
        }
    }
    pieces
}

/// The messages that answer `ServeKeys`.
pub(crate) fn catalog_messages(signed: &Signed, pages: Vec<PageText>) -> Vec<ControlMessage> {
    let message = |pages| ControlMessage::Catalog {
        signed: signed.clone(),
        pages,
    };
    pieces(pages).into_iter().map(message).collect()
}

/// What came of a piece of a catalog.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing new.
    Known,
    /// Pages are missing; ask for what came since this.
    Wanting(Option<Since>),
    /// There is a new catalog.
    Changed,
}

/// Copies of other peers' catalogs.
#[derive(Default)]
pub(crate) struct Catalogs {
    replicas: SortedMap<PeerId, Replica>,
}

impl Catalogs {
    /// Takes a head and pages, whoever sent them.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        namespace: &Namespace,
        signed: Signed,
        pages: &[PageText],
    ) -> Result<Received, CatalogError> {
        let peer = signed.peer;
        let head = SignedHead::open(signed, peer, namespace, now.unix_millis())?;
        if self.replicas.len() >= MAX_CATALOGS && !self.replicas.contains_key(&peer) {
            self.forget_expired(now);
            if self.replicas.len() >= MAX_CATALOGS {
                return Ok(Received::Known);
            }
        }
        let version = head.version();
        let replica = self.replicas.entry(peer).or_default();
        let mut offered = replica.offer(head)?;
        if offered == Offered::Wanting && !pages.is_empty() && replica.newest() == Some(version) {
            offered = replica.add_pages(pages)?;
        }
        Ok(match offered {
            Offered::Known => Received::Known,
            Offered::Wanting => Received::Wanting(replica.since()),
            Offered::Complete => Received::Changed,
        })
    }

    fn forget_expired(&mut self, now: Timestamp) {
        let time = now.unix_millis();
        self.replicas.retain(|_, replica| {
            replica
                .catalog()
                .is_some_and(|catalog| catalog.head().head().expires > time)
        });
    }

    /// Forgets a peer that lied.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.replicas.remove(&peer);
    }

    /// The version this side has of a peer's catalog.
    pub(crate) fn since(&self, peer: PeerId) -> Option<Since> {
        self.replicas.get(&peer)?.since()
    }

    pub(crate) fn catalog(&self, peer: PeerId) -> Option<&Catalog> {
        self.replicas.get(&peer)?.catalog()
    }

    /// Peers whose catalog lists a content, with what they say of it.
    pub(crate) fn holders(&self, key: ContentKey) -> impl Iterator<Item = (PeerId, &Entry)> {
        self.all()
            .filter_map(move |(peer, catalog)| Some((peer, catalog.entry(&key)?)))
    }

    /// All complete catalogs.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PeerId, &Catalog)> {
        self.replicas
            .iter()
            .filter_map(|(&peer, replica)| Some((peer, replica.catalog()?)))
    }
}
