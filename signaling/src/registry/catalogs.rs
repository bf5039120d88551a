//! The catalogs of peers as the server keeps them: to answer what changed since a version,
//! and who holds a content.

use super::{ConnectionId, Registry, SessionId};
use crate::check::Fault;
use shoal_protocol::{
    catalog::{CatalogError, PageText, Replica, SignedHead, Since},
    content::ContentKey,
    id::{Hash, PeerId},
    rendezvous::{ErrorCode, MAX_MESSAGE, ServerMessage},
    signed::Signed,
    time::UnixMillis,
};
use std::collections::BTreeMap;

/// Room in a `catalog` message for all but the texts of head and pages: field names, peer
/// id, signature, page numbers. Counted generously.
const MESSAGE_OVERHEAD: usize = 1024;
/// The same for one page.
const PAGE_OVERHEAD: usize = 32;

/// A peer's catalog, and since which version each page is as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldCatalog {
    replica: Replica,
    /// By page: the version that brought it. Beside its hash, to see what a new head changes.
    pages: Vec<(Hash, Since)>,
    /// The contents listed, in order.
    keys: Vec<ContentKey>,
    /// Bytes of the complete catalog.
    bytes: usize,
    upload: Option<Upload>,
}

/// A head whose pages are still coming.
#[derive(Clone, Debug)]
struct Upload {
    version: Since,
    head: usize,
    /// Bytes of each page that came. What a page is replaced by counts once.
    pages: BTreeMap<u16, usize>,
}

impl Upload {
    fn bytes(&self) -> usize {
        self.head + self.pages.values().sum::<usize>()
    }
}

/// What a new complete catalog changes in the index of providers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyChanges {
    pub added: Vec<ContentKey>,
    pub removed: Vec<ContentKey>,
}

/// Why a catalog was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("a catalog here has at most {0} bytes")]
    TooLarge(usize),
}

/// Where a reader of a catalog is.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub peer: PeerId,
    since: Option<Since>,
    /// The version that is being read, once there is one.
    version: Option<Since>,
    next: usize,
}

impl Reading {
    pub fn new(peer: PeerId, since: Option<Since>) -> Self {
        Self {
            peer,
            since,
            version: None,
            next: 0,
        }
    }

    /// The answer where there is no catalog.
    pub fn nothing(&self) -> ServerMessage {
        ServerMessage::Catalog {
            peer: self.peer,
            signed: None,
            pages: Vec::new(),
        }
    }
}

impl HeldCatalog {
    /// Takes a head and pages of it. Tells what changed in the index once all is there.
    pub fn take(
        &mut self,
        head: SignedHead,
        pages: &[PageText],
        max_bytes: usize,
    ) -> Result<Option<KeyChanges>, NotTaken> {
        let version = head.version();
        let before = self.replica.since();
        let head_bytes = head.signed().payload.len();
        self.replica.offer(head)?;
        if before == Some(version) || self.replica.newest() != Some(version) {
            // Known, or overtaken on the way; its pages too.
            return Ok(None);
        }
        let upload = match &mut self.upload {
            Some(upload) if upload.version == version => upload,
            other => other.insert(Upload {
                version,
                head: head_bytes,
                pages: BTreeMap::new(),
            }),
        };
        upload
            .pages
            .extend(pages.iter().map(|page| (page.page, page.text.len())));
        if upload.bytes() > max_bytes {
            for page in pages {
                upload.pages.remove(&page.page);
            }
            return Err(NotTaken::TooLarge(max_bytes));
        }
        let added = self.replica.add_pages(pages);
        if self.replica.newest() != Some(version) || self.replica.since() == Some(version) {
            // Complete, or given up for a lie.
            self.upload = None;
        }
        added?;
        Ok((self.replica.since() != before).then(|| self.settle(version)))
    }

    /// Brings what is derived from the complete catalog up to date.
    fn settle(&mut self, version: Since) -> KeyChanges {
        let Some(catalog) = self.replica.catalog() else {
            return KeyChanges::default();
        };
        let hashes = &catalog.head().head().pages;
        let same_epoch = |since: &Since| since.epoch == version.epoch;
        self.pages = hashes
            .iter()
            .enumerate()
            .map(|(at, hash)| match self.pages.get(at) {
                Some((old, since)) if old == hash && same_epoch(since) => (*hash, *since),
                _ => (*hash, version),
            })
            .collect();
        let pages = catalog.page_texts();
        self.bytes = catalog.head().signed().payload.len()
            + pages.iter().map(|page| page.text.len()).sum::<usize>();
        // Pages are in the order of their keys, and keys in a page too.
        let keys: Vec<ContentKey> = catalog.entries().map(|entry| entry.key).collect();
        let without = |from: &[ContentKey], other: &[ContentKey]| -> Vec<ContentKey> {
            from.iter()
                .filter(|key| other.binary_search(key).is_err())
                .copied()
                .collect()
        };
        let changes = KeyChanges {
            added: without(&keys, &self.keys),
            removed: without(&self.keys, &keys),
        };
        self.keys = keys;
        changes
    }

    /// Bytes held for this catalog, whether complete or under way.
    pub fn bytes(&self) -> usize {
        self.bytes + self.upload.as_ref().map_or(0, Upload::bytes)
    }

    /// The version of the complete catalog.
    pub fn since(&self) -> Option<Since> {
        self.replica.since()
    }

    /// The contents listed.
    pub fn keys(&self) -> &[ContentKey] {
        &self.keys
    }

    /// Whether the complete catalog's head is still valid.
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.replica
            .catalog()
            .is_some_and(|catalog| catalog.head().head().expires > now)
    }

    /// The next message for a reader, and whether it is the last. A new head in between
    /// starts it anew, which costs the reader nothing but what it already has.
    pub fn read(&self, reading: &mut Reading) -> (ServerMessage, bool) {
        let Some(catalog) = self.replica.catalog() else {
            return (reading.nothing(), true);
        };
        let version = catalog.head().version();
        if reading.version != Some(version) {
            reading.version = Some(version);
            reading.next = 0;
        }
        let signed = catalog.head().signed().clone();
        let mut room = MAX_MESSAGE.saturating_sub(MESSAGE_OVERHEAD + head_length(&signed));
        let mut pages = Vec::new();
        let mut last = true;
        for page in catalog.page_texts().into_iter().skip(reading.next) {
            let at = usize::from(page.page);
            if self.changed_since(at, reading.since, version) {
                let length = json_length(&page.text) + PAGE_OVERHEAD;
                // The protocol's limits let the largest head and page fit together.
                if length > room && !pages.is_empty() {
                    last = false;
                    break;
                }
                room = room.saturating_sub(length);
                pages.push(page);
            }
            reading.next = at + 1;
        }
        let message = ServerMessage::Catalog {
            peer: reading.peer,
            signed: Some(signed),
            pages,
        };
        (message, last)
    }

    fn changed_since(&self, page: usize, since: Option<Since>, version: Since) -> bool {
        match (since, self.pages.get(page)) {
            (Some(since), Some((_, changed))) if since.epoch == version.epoch => *changed > since,
            _ => true,
        }
    }
}

fn head_length(signed: &Signed) -> usize {
    json_length(&signed.payload)
}

/// Bytes of a text as a JSON string.
fn json_length(text: &str) -> usize {
    let escape = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + 2 + text.bytes().map(escape).sum::<usize>()
}

impl Registry {
    pub(super) fn catalog(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        head: SignedHead,
        pages: &[PageText],
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let limit = |message: String| Fault::new(ErrorCode::Limit, message);
        let entries = self.limits.catalog_entries;
        if head.head().count as usize > entries {
            self.counts.reached("catalog-entries");
            let fault = limit(format!("a catalog here has at most {entries} entries"));
            return self.fault(connection, fault);
        }
        let incoming =
            head.signed().payload.len() + pages.iter().map(|page| page.text.len()).sum::<usize>();
        if self.catalog_bytes + incoming > self.limits.all_catalog_bytes {
            self.counts.reached("all-catalog-bytes");
            let fault = limit("this server holds as many catalogs as it can".into());
            return self.fault(connection, fault);
        }

        let held = session.catalog.get_or_insert_default();
        let before = held.bytes();
        let taken = held.take(head, pages, self.limits.catalog_bytes);
        self.catalog_bytes = self.catalog_bytes - before + held.bytes();
        match taken {
            Ok(None) => {}
            Ok(Some(changes)) => {
                if let Some(members) = self.namespaces.get_mut(&session.namespace) {
                    for key in changes.removed {
                        members.remove_provider(&key, id);
                    }
                    for key in changes.added {
                        members.add_provider(key, id);
                    }
                }
                self.tell_watchers(id);
            }
            Err(refused) => {
                if matches!(refused, NotTaken::TooLarge(_)) {
                    self.counts.reached("catalog-bytes");
                }
                self.fault(
                    connection,
                    Fault::new(ErrorCode::Catalog, refused.to_string()),
                );
            }
        }
    }

    pub(super) fn get(&mut self, connection: ConnectionId, id: SessionId, reading: Reading) {
        let max = self.limits.readings;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.readings.len() >= max {
            self.counts.reached("readings");
            let message = format!("at most {max} catalogs can be asked for at once");
            return self.fault(connection, Fault::new(ErrorCode::Limit, message));
        }
        session.readings.push_back(reading);
        self.woken.insert(connection);
    }

    /// The next part of the catalog a session has asked for first.
    pub(super) fn read_catalog(&mut self, id: SessionId) -> Option<ServerMessage> {
        let session = self.sessions.get_mut(&id)?;
        let mut reading = session.readings.pop_front()?;
        let members = self.namespaces.get(&session.namespace);
        let catalog = members
            .and_then(|members| members.session_of(&reading.peer))
            .and_then(|owner| self.sessions.get(&owner)?.catalog.as_ref());
        let (message, last) = match catalog {
            Some(catalog) => catalog.read(&mut reading),
            None => (reading.nothing(), true),
        };
        if !last && let Some(session) = self.sessions.get_mut(&id) {
            session.readings.push_front(reading);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_length_is_what_serde_writes(text: String) {
            prop_assert_eq!(json_length(&text), serde_json::to_string(&text).unwrap().len());
        }
    }
}
