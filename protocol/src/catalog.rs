//! Catalogs: what a peer says it holds.
//!
//! A catalog is a list of entries in pages, bucketed by content key, under a signed head
//! that names the hash of every page. Pages are JSON texts and are hashed as they are, so
//! anyone may pass them on, and a receiver that has some of them asks only for the rest.
//! [`Replica`] follows another peer's catalog and takes a change whole or not at all. A page
//! is read once, and kept as long as a head names it.

use crate::{
    content::{ContentKey, ContentSize},
    id::{Hash, PeerId},
    json::{self, Object, from_object},
    namespace::Namespace,
    signed::{Kind, Payload, Signed, SignedError},
    sorted::SortedMap,
    time::UnixMillis,
};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most pages of a catalog: its head stays under 24 KiB.
pub const MAX_PAGES: usize = 512;
/// Longest page, in bytes: with the largest head it fits into a control message.
pub const MAX_PAGE: usize = 48 * 1024;
/// Most entries of a catalog. Guess: 20 a page in the largest catalog.
pub const MAX_ENTRIES: usize = 10_000;
/// Entries wanted in a page when a catalog is divided. Guess: some 8 KiB of JSON.
const PAGE_ENTRIES: usize = 32;
/// How long a head is valid after it was issued. Guess: a peer that is away for a day is
/// not counted on.
pub const HEAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A page as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct PageText {
    /// Number of the page.
    pub page: u16,
    /// JSON list of [`Entry`], ordered by key.
    pub text: Arc<str>,
}

from_object!(PageText {
    get page,
    get text,
});

/// What is said of a content besides its key and size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Metadata {
    /// File name, without a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Media type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Keywords.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Language, as a BCP 47 tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Date, as ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

impl TryFrom<&Object> for Metadata {
    type Error = json::Error;
    fn try_from(object: &Object) -> Result<Self, json::Error> {
        Ok(Self {
            name: object.find("name")?,
            media_type: object.find("type")?,
            title: object.find("title")?,
            description: object.find("description")?,
            keywords: object.find("keywords")?.unwrap_or_default(),
            language: object.find("language")?,
            date: object.find("date")?,
        })
    }
}

impl TryFrom<Object> for Metadata {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Self::try_from(&object)
    }
}

/// Metadata with a field that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is longer than {max} {unit}")]
pub struct MetadataError {
    /// The field.
    pub field: &'static str,
    /// Its limit.
    pub max: usize,
    /// What the limit counts.
    pub unit: &'static str,
}

impl Metadata {
    /// Longest file name, in bytes: what file systems take.
    pub const MAX_NAME: usize = 255;
    /// Longest media type, in bytes (RFC 6838: twice 127 and a slash).
    pub const MAX_TYPE: usize = 255;
    /// Longest title, in bytes. Guess.
    pub const MAX_TITLE: usize = 512;
    /// Longest description, in bytes. Guess: a paragraph.
    pub const MAX_DESCRIPTION: usize = 2048;
    /// Most keywords. Guess.
    pub const MAX_KEYWORDS: usize = 16;
    /// Longest keyword, in bytes. Guess.
    pub const MAX_KEYWORD: usize = 64;
    /// Longest language tag and date, in bytes. Guess: RFC 5646 recommends 35.
    pub const MAX_SHORT: usize = 35;

    /// Checks every limit.
    pub fn check(&self) -> Result<(), MetadataError> {
        let bytes = |field, text: &Option<String>, max| match text {
            Some(text) if text.len() > max => Err(MetadataError {
                field,
                max,
                unit: "bytes",
            }),
            _ => Ok(()),
        };
        bytes("the name", &self.name, Self::MAX_NAME)?;
        bytes("the type", &self.media_type, Self::MAX_TYPE)?;
        bytes("the title", &self.title, Self::MAX_TITLE)?;
        bytes("the description", &self.description, Self::MAX_DESCRIPTION)?;
        bytes("the language", &self.language, Self::MAX_SHORT)?;
        bytes("the date", &self.date, Self::MAX_SHORT)?;
        if self.keywords.len() > Self::MAX_KEYWORDS {
            return Err(MetadataError {
                field: "the list of keywords",
                max: Self::MAX_KEYWORDS,
                unit: "words",
            });
        }
        if self
            .keywords
            .iter()
            .any(|word| word.len() > Self::MAX_KEYWORD)
        {
            return Err(MetadataError {
                field: "a keyword",
                max: Self::MAX_KEYWORD,
                unit: "bytes",
            });
        }
        Ok(())
    }
}

/// One content in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Entry {
    /// The content.
    pub key: ContentKey,
    /// Its size, as the peer says.
    pub size: ContentSize,
    /// Whether the peer holds all of it.
    pub complete: bool,
    /// What the peer says of it.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// The collection it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<ContentKey>,
}

impl TryFrom<Object> for Entry {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(Self {
            key: object.get("key")?,
            size: object.get("size")?,
            complete: object.get("complete")?,
            metadata: Metadata::try_from(&object)?,
            collection: object.find("collection")?,
        })
    }
}

/// The head of a catalog: its version, and the hash of every page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct CatalogHead {
    /// Whose catalog it is.
    pub peer: PeerId,
    /// In which namespace.
    pub namespace: Namespace,
    /// Rises whenever the peer starts from unknown state.
    pub epoch: u64,
    /// Rises by one with every head of an epoch.
    pub number: u64,
    /// Number of entries in all pages.
    pub count: u32,
    /// BLAKE3 of the text of each page; a power of two of them.
    pub pages: Vec<Hash>,
    /// When it was signed.
    pub issued: UnixMillis,
    /// When it loses its meaning.
    pub expires: UnixMillis,
}

from_object!(CatalogHead {
    get peer,
    get namespace,
    get epoch,
    get number,
    get count,
    get pages,
    get issued,
    get expires,
});

impl Payload for CatalogHead {
    const KIND: Kind = Kind::Catalog;
    const MAX_BYTES: usize = 24 * 1024 + 1024;
}

/// A version of a catalog: heads are ordered by epoch, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Since {
    /// Epoch of the head.
    pub epoch: u64,
    /// Number of the head.
    pub number: u64,
}

from_object!(Since {
    get epoch,
    get number,
});

/// A head whose signature and limits were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: CatalogHead,
    signed: Signed,
}

/// Why a catalog, or a part of one, was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The head's signature or form.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// The head is for another peer or namespace.
    #[error("the catalog head is for another peer or namespace")]
    Misplaced,
    /// The head is past its expiry, or further in the future than clocks differ.
    #[error("the catalog head is not valid at this time")]
    Expired,
    /// The head states impossible numbers.
    #[error("the catalog head is malformed: {0}")]
    Head(&'static str),
    /// Two different heads with one epoch and number: the peer lies.
    #[error("two different catalog heads with one epoch and number")]
    Conflict,
    /// A page that the head does not name.
    #[error("page {0} does not match the catalog head")]
    PageHash(u16),
    /// A page that the head names, but that is no page: the peer lies.
    #[error("page {0} is malformed: {1}")]
    Page(u16, String),
    /// The pages hold another number of entries than the head states: the peer lies.
    #[error("the catalog states {stated} entries and has {found}")]
    Count {
        /// What the head says.
        stated: u32,
        /// What the pages hold.
        found: u32,
    },
}

impl CatalogError {
    /// Whether the maker of the head signed something untrue. What anybody may have
    /// changed on the way is not blamed on it.
    pub fn is_lie(&self) -> bool {
        match self {
            Self::Head(_) | Self::Conflict | Self::Page(..) | Self::Count { .. } => true,
            Self::Signed(_) | Self::Misplaced | Self::Expired | Self::PageHash(_) => false,
        }
    }
}

impl SignedHead {
    /// Checks a head: signature, peer, namespace, time and numbers.
    pub fn open(
        signed: Signed,
        peer: PeerId,
        namespace: &Namespace,
        now: UnixMillis,
    ) -> Result<Self, CatalogError> {
        if signed.peer != peer {
            return Err(CatalogError::Misplaced);
        }
        let head: CatalogHead = signed.open()?;
        if head.peer != peer || head.namespace != *namespace {
            return Err(CatalogError::Misplaced);
        }
        let latest = now.plus(crate::signal::CLOCK_SKEW);
        let longest = head.issued.plus(HEAD_LIFETIME);
        if head.expires <= now || head.issued > latest || head.expires > longest {
            return Err(CatalogError::Expired);
        }
        if !head.pages.len().is_power_of_two() || head.pages.len() > MAX_PAGES {
            return Err(CatalogError::Head("number of pages"));
        }
        if head.count as usize > MAX_ENTRIES {
            return Err(CatalogError::Head("number of entries"));
        }
        Ok(Self { head, signed })
    }

    /// The head's fields.
    pub fn head(&self) -> &CatalogHead {
        &self.head
    }

    /// The head as it travels.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// The version.
    pub fn version(&self) -> Since {
        Since {
            epoch: self.head.epoch,
            number: self.head.number,
        }
    }

    /// Reads pages of this catalog. If there is one among them that the head does not name,
    /// none is taken.
    pub fn read_pages<E: Kept>(&self, texts: &[PageText]) -> Result<Pages<E>, CatalogError> {
        let read = |text: &PageText| Ok((text.page, self.read_page(text)?));
        texts.iter().map(read).collect::<Result<_, _>>().map(Pages)
    }

    fn read_page<E: Kept>(&self, text: &PageText) -> Result<Arc<Page<E>>, CatalogError> {
        let &PageText { page: at, ref text } = text;
        let hash = self.head.pages.get(usize::from(at)).copied();
        let hash = hash.ok_or(CatalogError::PageHash(at))?;
        if text.len() > MAX_PAGE || page_hash(text) != hash {
            return Err(CatalogError::PageHash(at));
        }
        Ok(Arc::new(Page::read(text.clone(), hash, at)?))
    }
}

/// The page in which `key` belongs when there are `pages` of them, a power of two.
fn page_of(key: &ContentKey, pages: usize) -> usize {
    let [first, second, ..] = *key.hash();
    let prefix = usize::from(u16::from_be_bytes([first, second]));
    prefix >> (16 - pages.trailing_zeros())
}

/// What is kept of the entries of a catalog.
pub trait Kept: Sized {
    /// Keeps that of these.
    fn of(entries: Vec<Entry>) -> Vec<Self>;
    /// The content.
    fn key(&self) -> ContentKey;
}

impl Kept for Entry {
    fn of(entries: Vec<Entry>) -> Vec<Self> {
        entries
    }

    fn key(&self) -> ContentKey {
        self.key
    }
}

/// For who passes catalogs on, and looks in them for holders.
impl Kept for ContentKey {
    fn of(entries: Vec<Entry>) -> Vec<Self> {
        entries.iter().map(|entry| entry.key).collect()
    }

    fn key(&self) -> ContentKey {
        *self
    }
}

/// A page: a text, its hash, and what is kept of what it says.
#[derive(Debug, PartialEq, Eq)]
struct Page<E> {
    text: Arc<str>,
    hash: Hash,
    entries: Vec<E>,
}

/// Pages that were read, with their places.
#[derive(Clone, Debug)]
pub struct Pages<E>(Vec<(u16, Arc<Page<E>>)>);

fn page_hash(text: &str) -> Hash {
    Hash(*blake3::hash(text.as_bytes()).as_bytes())
}

impl<E: Kept> Page<E> {
    /// Reads page `at`, whose hash was checked.
    fn read(text: Arc<str>, hash: Hash, at: u16) -> Result<Self, CatalogError> {
        let entries: Vec<Entry> =
            json::from_str(&text).map_err(|error| CatalogError::Page(at, error.to_string()))?;
        if entries.windows(2).any(|pair| pair[0].key >= pair[1].key) {
            return Err(CatalogError::Page(at, "entries are not in order".into()));
        }
        for entry in &entries {
            entry
                .metadata
                .check()
                .map_err(|error| CatalogError::Page(at, error.to_string()))?;
        }
        Ok(Self {
            text,
            hash,
            entries: E::of(entries),
        })
    }

    /// Checks that it may be page `at` of `pages`.
    fn check_place(&self, at: u16, pages: usize) -> Result<(), CatalogError> {
        let is_here = |entry: &E| page_of(&entry.key(), pages) == usize::from(at);
        match self.entries.iter().all(is_here) {
            true => Ok(()),
            false => Err(CatalogError::Page(
                at,
                "an entry belongs to another page".into(),
            )),
        }
    }
}

/// More was to be listed than a catalog can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a catalog lists at most {MAX_ENTRIES} contents")]
pub struct CatalogFull;

/// Divides a peer's own entries into the pages of its catalog.
pub fn paginate<'a>(
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Vec<Arc<str>>, CatalogFull> {
    let entries: SortedMap<&ContentKey, &Entry> =
        entries.map(|entry| (&entry.key, entry)).collect();
    if entries.len() > MAX_ENTRIES {
        return Err(CatalogFull);
    }
    let mut pages = entries.len().div_ceil(PAGE_ENTRIES).next_power_of_two();
    while pages <= MAX_PAGES {
        let mut buckets: Vec<Vec<&Entry>> = vec![Vec::new(); pages];
        for (key, entry) in &entries {
            buckets[page_of(key, pages)].push(entry);
        }
        let texts: Vec<String> = buckets
            .iter()
            .map(|bucket| serde_json::to_string(bucket).unwrap_or_default())
            .collect();
        if texts.iter().all(|text| text.len() <= MAX_PAGE) {
            return Ok(texts.into_iter().map(Arc::from).collect());
        }
        pages *= 2;
    }
    Err(CatalogFull)
}

/// The hashes a head names for these pages.
pub fn page_hashes(pages: &[Arc<str>]) -> Vec<Hash> {
    pages.iter().map(|page| page_hash(page)).collect()
}

/// A whole catalog: a checked head and all its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogOf<E> {
    head: SignedHead,
    pages: Vec<Arc<Page<E>>>,
}

/// A catalog with all that is said of its entries.
pub type Catalog = CatalogOf<Entry>;

impl<E: Kept> CatalogOf<E> {
    /// The head.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// All entries, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = &E> {
        self.pages.iter().flat_map(|page| &page.entries)
    }

    /// The entry for a content.
    pub fn entry(&self, key: &ContentKey) -> Option<&E> {
        let page = &self.pages[page_of(key, self.pages.len())];
        let at = page.entries.binary_search_by_key(key, E::key).ok()?;
        page.entries.get(at)
    }

    /// All pages, to pass them on.
    pub fn page_texts(&self) -> Vec<PageText> {
        (0..)
            .zip(&self.pages)
            .map(|(page, held)| PageText {
                page,
                text: held.text.clone(),
            })
            .collect()
    }
}

/// What offering a head to a replica led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The replica has this head or a newer one.
    Known,
    /// The head is new and pages are missing.
    Wanting,
    /// The head is new and the catalog is complete with the pages already there.
    Complete,
}

/// This side's copy of another peer's catalog.
///
/// Keeps the newest complete catalog and, beside it, the newest head it works towards.
#[derive(Clone, Debug)]
pub struct ReplicaOf<E> {
    complete: Option<CatalogOf<E>>,
    pending: Option<Pending<E>>,
}

/// A copy with all that is said of the entries.
pub type Replica = ReplicaOf<Entry>;

#[derive(Clone, Debug)]
struct Pending<E> {
    head: SignedHead,
    pages: Vec<Option<Arc<Page<E>>>>,
}

impl<E> Default for ReplicaOf<E> {
    fn default() -> Self {
        Self {
            complete: None,
            pending: None,
        }
    }
}

impl<E: Kept> ReplicaOf<E> {
    /// The newest complete catalog.
    pub fn catalog(&self) -> Option<&CatalogOf<E>> {
        self.complete.as_ref()
    }

    /// The version of the newest complete catalog, to ask for what came since.
    pub fn since(&self) -> Option<Since> {
        self.complete.as_ref().map(|catalog| catalog.head.version())
    }

    /// The version of the newest head, complete or not.
    pub fn newest(&self) -> Option<Since> {
        let pending = self.pending.as_ref().map(|pending| pending.head.version());
        pending.max(self.since())
    }

    /// Offers a head. An older one is no error: messages overtake each other.
    pub fn offer(&mut self, head: SignedHead) -> Result<Offered, CatalogError> {
        let known = self
            .pending
            .iter()
            .map(|p| &p.head)
            .chain(self.complete.iter().map(|c| &c.head));
        for other in known {
            if other.version() == head.version() && other.head != head.head {
                return Err(CatalogError::Conflict);
            }
        }
        if self.newest().is_some_and(|newest| newest >= head.version()) {
            let complete = self.since() >= Some(head.version());
            return Ok(if complete {
                Offered::Known
            } else {
                Offered::Wanting
            });
        }
        let pending = self.pending.iter().flat_map(|pending| &pending.pages);
        let had: SortedMap<Hash, &Arc<Page<E>>> = self
            .complete
            .iter()
            .flat_map(|catalog| &catalog.pages)
            .chain(pending.flatten())
            .map(|page| (page.hash, page))
            .collect();
        let number = head.head.pages.len();
        let mut pages = Vec::with_capacity(number);
        for (at, hash) in (0..).zip(&head.head.pages) {
            let page = had.get(hash).copied();
            if let Some(page) = page {
                // It may have stood elsewhere before.
                page.check_place(at, number)?;
            }
            pages.push(page.cloned());
        }
        self.pending = Some(Pending { head, pages });
        self.settle()
    }

    /// Adds pages for the newest head. Pages the head does not name are refused; those
    /// before them stay.
    pub fn add_pages(&mut self, texts: &[PageText]) -> Result<Offered, CatalogError> {
        let Some(pending) = &mut self.pending else {
            return Ok(Offered::Known);
        };
        for text in texts {
            let page = pending.head.read_page(text)?;
            pending.put(text.page, page)?;
        }
        self.settle()
    }

    /// Adds pages that were read. Those of another head are passed over.
    pub fn add(&mut self, pages: Pages<E>) -> Result<Offered, CatalogError> {
        let Some(pending) = &mut self.pending else {
            return Ok(Offered::Known);
        };
        for (at, page) in pages.0 {
            pending.put(at, page)?;
        }
        self.settle()
    }

    /// Makes the pending catalog the complete one if nothing is missing.
    fn settle(&mut self) -> Result<Offered, CatalogError> {
        let Some(pending) = self
            .pending
            .take_if(|pending| pending.pages.iter().all(Option::is_some))
        else {
            return Ok(Offered::Wanting);
        };
        let pages: Vec<Arc<Page<E>>> = pending.pages.into_iter().flatten().collect();
        let found = pages.iter().map(|page| page.entries.len() as u32).sum();
        let stated = pending.head.head.count;
        if found != stated {
            return Err(CatalogError::Count { stated, found });
        }
        self.complete = Some(CatalogOf {
            head: pending.head,
            pages,
        });
        Ok(Offered::Complete)
    }

    /// Gives up the head it works towards, and the pages that only this one names.
    pub fn give_up(&mut self) {
        self.pending = None;
    }

    /// Bytes of the texts it keeps: those of heads, and of pages whether complete or under way.
    /// Never less than that: a page that is at one place of the complete catalog and is to be at
    /// another counts twice.
    pub fn bytes(&self) -> usize {
        let complete = self.complete.as_ref();
        let Some(pending) = &self.pending else {
            return complete.map_or(0, CatalogOf::bytes);
        };
        let stays = |(at, page): &(usize, &Arc<Page<E>>)| {
            let here = complete.and_then(|catalog| catalog.pages.get(*at));
            here.is_some_and(|here| Arc::ptr_eq(here, page))
        };
        let shared = pending
            .held()
            .filter(stays)
            .map(|(_, page)| page.text.len());
        complete.map_or(0, CatalogOf::bytes) + pending.bytes() - shared.sum::<usize>()
    }

    /// Bytes of the texts of the newest head and of its pages that are there.
    pub fn newest_bytes(&self) -> usize {
        let complete = self.complete.as_ref().map_or(0, CatalogOf::bytes);
        self.pending.as_ref().map_or(complete, Pending::bytes)
    }
}

impl<E> CatalogOf<E> {
    fn bytes(&self) -> usize {
        let pages = self.pages.iter().map(|page| page.text.len());
        self.head.signed.payload.len() + pages.sum::<usize>()
    }
}

impl<E: Kept> Pending<E> {
    /// Puts a page at its place, if it is missing there.
    fn put(&mut self, at: u16, page: Arc<Page<E>>) -> Result<(), CatalogError> {
        let named = &self.head.head.pages;
        let place = usize::from(at);
        if named.get(place) == Some(&page.hash) && self.pages[place].is_none() {
            page.check_place(at, named.len())?;
            self.pages[place] = Some(page);
        }
        Ok(())
    }

    /// Its pages that are there, with their places.
    fn held(&self) -> impl Iterator<Item = (usize, &Arc<Page<E>>)> {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(|(at, page)| Some((at, page.as_ref()?)))
    }

    fn bytes(&self) -> usize {
        let pages = self.held().map(|(_, page)| page.text.len());
        self.head.signed.payload.len() + pages.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Signature;
    use ed25519_dalek::{Signer, SigningKey};

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn entry(n: u32) -> Entry {
        Entry {
            key: ContentKey::from_hash(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            size: ContentSize::try_from(u64::from(n)).unwrap(),
            complete: true,
            metadata: Metadata {
                name: Some(format!("file {n}")),
                ..Metadata::default()
            },
            collection: None,
        }
    }

    fn signing_key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn owner() -> PeerId {
        PeerId::from_public_key(signing_key().verifying_key().to_bytes())
    }

    fn head(number: u64, count: u32, pages: &[Arc<str>]) -> CatalogHead {
        CatalogHead {
            peer: owner(),
            namespace: Namespace::default(),
            epoch: 1,
            number,
            count,
            pages: page_hashes(pages),
            issued: NOW,
            expires: NOW.plus(HEAD_LIFETIME),
        }
    }

    fn open(head: &CatalogHead) -> Result<SignedHead, CatalogError> {
        let payload = head.to_payload();
        let sig = Signature(
            signing_key()
                .sign(&Kind::Catalog.message(&payload))
                .to_bytes(),
        );
        SignedHead::open(
            Signed {
                peer: owner(),
                payload,
                sig,
                member: None,
            },
            owner(),
            &Namespace::default(),
            NOW,
        )
    }

    fn texts(pages: &[Arc<str>]) -> Vec<PageText> {
        (0..)
            .zip(pages)
            .map(|(page, text)| PageText {
                page,
                text: text.clone(),
            })
            .collect()
    }

    fn catalog(number: u64, numbers: core::ops::Range<u32>) -> (SignedHead, Vec<PageText>) {
        let entries: Vec<Entry> = numbers.map(entry).collect();
        let pages = paginate(entries.iter()).unwrap();
        (
            open(&head(number, entries.len() as u32, &pages)).unwrap(),
            texts(&pages),
        )
    }

    #[test]
    fn a_catalog_travels_page_by_page_in_any_order() {
        for count in [0, 1, 33, 1000] {
            let (head, mut pages) = catalog(1, 0..count);
            pages.reverse();
            let mut replica = Replica::default();
            assert_eq!(replica.offer(head.clone()), Ok(Offered::Wanting));
            for page in &pages[1..] {
                assert_eq!(
                    replica.add_pages(core::slice::from_ref(page)),
                    Ok(Offered::Wanting)
                );
            }
            assert_eq!(replica.add_pages(&pages[..1]), Ok(Offered::Complete));
            let catalog = replica.catalog().unwrap();
            assert_eq!(catalog.entries().count() as u32, count);
            for n in 0..count {
                assert_eq!(catalog.entry(&entry(n).key), Some(&entry(n)));
            }
            assert_eq!(catalog.entry(&entry(count).key), None);
            assert_eq!(replica.offer(head), Ok(Offered::Known));
        }
    }

    #[test]
    fn a_change_needs_only_the_pages_it_changed() {
        let (first, pages) = catalog(1, 0..100);
        let (second, changed) = catalog(2, 0..101);
        let mut replica = Replica::default();
        replica.offer(first.clone()).unwrap();
        replica.add_pages(&pages).unwrap();
        let delta: Vec<PageText> = changed
            .into_iter()
            .filter(|page| !pages.contains(page))
            .collect();
        assert_eq!(delta.len(), 1);
        assert_eq!(replica.offer(second), Ok(Offered::Wanting));
        // Until the delta is there the former catalog holds.
        assert_eq!(replica.catalog().unwrap().entries().count(), 100);
        assert_eq!(replica.add_pages(&delta), Ok(Offered::Complete));
        assert_eq!(replica.catalog().unwrap().entries().count(), 101);
        assert_eq!(
            replica.offer(first),
            Ok(Offered::Known),
            "an older head changes nothing"
        );
    }

    #[test]
    fn a_page_is_read_once_however_many_heads_name_it() {
        let (first, pages) = catalog(1, 0..1000);
        let mut replica = Replica::default();
        replica.offer(first).unwrap();
        replica.add_pages(&pages).unwrap();
        let kept = |replica: &Replica| -> Vec<*const Page<Entry>> {
            let catalog = replica.catalog().unwrap();
            catalog.pages.iter().map(Arc::as_ptr).collect()
        };
        let read = kept(&replica);

        // Only the number rises.
        assert_eq!(replica.offer(catalog(2, 0..1000).0), Ok(Offered::Complete));
        assert_eq!(kept(&replica), read);

        // One page is another, and comes twice.
        let (third, changed) = catalog(3, 0..1001);
        let is_new = |(_, (old, new)): &(usize, (&PageText, &PageText))| old != new;
        let (at, (_, new)) = (0..).zip(pages.iter().zip(&changed)).find(is_new).unwrap();
        assert_eq!(replica.offer(third), Ok(Offered::Wanting));
        let sent = [new.clone(), pages[usize::from(at == 0)].clone()];
        assert_eq!(replica.add_pages(&sent), Ok(Offered::Complete));
        let now = kept(&replica);
        let stay = now.iter().zip(&read).filter(|(one, other)| one == other);
        assert_eq!(stay.count(), pages.len() - 1);

        // What stood elsewhere is not read anew either, but must be at its place.
        let mut swapped: Vec<Arc<str>> = changed.iter().map(|page| page.text.clone()).collect();
        swapped.swap(0, 1);
        let lie = replica.offer(open(&head(4, 1001, &swapped)).unwrap());
        assert!(lie.unwrap_err().is_lie());
        assert_eq!(kept(&replica), now);
    }

    #[test]
    fn the_bytes_of_a_replica_are_those_of_its_texts() {
        let size = |head: &SignedHead, pages: &[PageText]| {
            let pages = pages.iter().map(|page| page.text.len());
            head.signed().payload.len() + pages.sum::<usize>()
        };
        let mut replica = Replica::default();
        assert_eq!((replica.bytes(), replica.newest_bytes()), (0, 0));
        let (first, pages) = catalog(1, 0..100);
        replica.offer(first.clone()).unwrap();
        replica.add_pages(&pages[..2]).unwrap();
        let half = size(&first, &pages[..2]);
        assert_eq!((replica.bytes(), replica.newest_bytes()), (half, half));
        replica.add_pages(&pages).unwrap();
        let whole = size(&first, &pages);
        assert_eq!((replica.bytes(), replica.newest_bytes()), (whole, whole));

        // Pages that stay count once; the former head and what goes count until all is there.
        let (second, changed) = catalog(2, 0..101);
        replica.offer(second.clone()).unwrap();
        let stay: Vec<PageText> = changed
            .iter()
            .filter(|page| pages.contains(page))
            .cloned()
            .collect();
        assert_eq!(replica.bytes(), whole + size(&second, &[]));
        assert_eq!(replica.newest_bytes(), size(&second, &stay));
        let mut other = replica.clone();
        replica.add_pages(&changed).unwrap();
        let whole_again = size(&second, &changed);
        assert_eq!(replica.bytes(), whole_again);
        other.give_up();
        assert_eq!((other.bytes(), other.newest_bytes()), (whole, whole));
        assert_eq!(other.newest(), Some(first.version()));
    }

    #[test]
    fn lies_are_told_from_damage() {
        let (good, pages) = catalog(1, 0..3);
        let accept = |head: SignedHead, pages: &[PageText]| {
            let mut replica = Replica::default();
            replica.offer(head)?;
            replica.add_pages(pages)
        };
        let signed_page = |count, text: &str| {
            let pages = [Arc::from(text)];
            accept(open(&head(1, count, &pages)).unwrap(), &texts(&pages))
        };

        let other = PageText {
            page: 0,
            text: "[]".into(),
        };
        let damage = accept(good.clone(), &[other]).unwrap_err();
        assert_eq!(
            (damage.is_lie(), damage),
            (false, CatalogError::PageHash(0))
        );
        let none = PageText {
            page: 9,
            ..pages[0].clone()
        };
        assert_eq!(
            accept(good.clone(), &[none]),
            Err(CatalogError::PageHash(9))
        );

        let key = entry(1).key;
        for text in [
            "no json".to_owned(),
            r#"[{"key":"nonsense","size":1,"complete":true}]"#.to_owned(),
            format!(r#"[{{"key":"{key}","size":-1,"complete":true}}]"#),
            format!(r#"[{{"key":"{key}","size":{},"complete":true}}]"#, u64::MAX),
            format!(
                r#"[{{"key":"{key}","size":1,"complete":true,"name":"{}"}}]"#,
                "x".repeat(256)
            ),
            format!(
                r#"[{{"key":"{key}","size":1,"complete":true}},{{"key":"{key}","size":2,"complete":true}}]"#
            ),
        ] {
            let lie = signed_page(1, &text).unwrap_err();
            assert!(
                lie.is_lie() && matches!(lie, CatalogError::Page(0, _)),
                "{text:.80}: {lie:?}"
            );
        }
        let long = format!(
            r#"[{{"key":"{key}","size":1,"complete":true,"name":"{}"}}]"#,
            "x".repeat(10_000_000)
        );
        assert_eq!(
            signed_page(1, &long),
            Err(CatalogError::PageHash(0)),
            "too long to be hashed"
        );
        assert_eq!(
            signed_page(7, "[]"),
            Err(CatalogError::Count {
                stated: 7,
                found: 0
            })
        );

        let mut replica = Replica::default();
        replica.offer(good).unwrap();
        assert_eq!(
            replica.offer(catalog(1, 0..4).0),
            Err(CatalogError::Conflict)
        );
    }

    #[test]
    fn heads_are_for_one_peer_namespace_and_time() {
        let pages = [Arc::from("[]")];
        let good = head(1, 0, &pages);
        assert!(open(&good).is_ok());
        let refused = |change: fn(&mut CatalogHead)| {
            let mut bad = good.clone();
            change(&mut bad);
            open(&bad).unwrap_err()
        };
        assert_eq!(
            refused(|head| head.peer = PeerId::from_public_key([1; 32])),
            CatalogError::Misplaced
        );
        assert_eq!(
            refused(|head| head.namespace = "other".parse().unwrap()),
            CatalogError::Misplaced
        );
        assert_eq!(refused(|head| head.expires = NOW), CatalogError::Expired);
        assert_eq!(refused(|head| head.expires.0 += 1), CatalogError::Expired);
        assert_eq!(
            refused(|head| head.issued.0 += 400_000),
            CatalogError::Expired
        );
        assert_eq!(
            refused(|head| head.pages.clear()),
            CatalogError::Head("number of pages")
        );
        assert_eq!(
            refused(|head| head.pages = vec![head.pages[0]; 3]),
            CatalogError::Head("number of pages")
        );
        assert_eq!(
            refused(|head| head.count = 10_001),
            CatalogError::Head("number of entries")
        );
        assert!(matches!(
            refused(|head| head.pages = vec![head.pages[0]; 1024]),
            CatalogError::Signed(_)
        ));
    }
}
