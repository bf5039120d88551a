//! The catalogs of peers as the server keeps them: to answer what changed since a version,
//! and who holds a content.

use super::{ConnectionId, Registry, SessionId, connections::error};
use crate::{
    admission::{Charged, Reached},
    check::Fault,
    limits::Limits,
};
use shoal_protocol::{
    catalog::{CatalogError, CatalogOf, Pages, ReplicaOf, SignedHead, Since},
    content::ContentKey,
    id::{Hash, PeerId},
    rendezvous::{ErrorCode, MAX_MESSAGE, ServerMessage},
    signed::Signed,
    time::{Timestamp, UnixMillis},
};

/// Room in a `catalog` message for all but the texts of head and pages: field names, peer
/// id, signature, page numbers. Counted generously.
const MESSAGE_OVERHEAD: usize = 1024;
/// The same for one page.
const PAGE_OVERHEAD: usize = 32;

/// A copy that knows of each entry no more than which content it is.
type Replica = ReplicaOf<ContentKey>;

/// A peer's catalog, and since which version each page is as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldCatalog {
    replica: Replica,
    /// By page: the version that brought it. Beside its hash, to see what a new head changes.
    pages: Vec<(Hash, Since)>,
    /// The bytes of the replica, and who answers for them.
    charged: Charged,
}

/// What a new complete catalog changes in the index of providers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyChanges {
    pub added: Vec<ContentKey>,
    pub removed: Vec<ContentKey>,
}

/// Why a catalog was not taken.
#[derive(Debug)]
enum NotTaken {
    /// The peer is at fault.
    Wrong(CatalogError),
    /// There will never be room for it: the key of a bound, and what it allows.
    TooLarge(&'static str, String),
    /// There is no room now.
    Full(Reached),
}

impl From<CatalogError> for NotTaken {
    fn from(error: CatalogError) -> Self {
        Self::Wrong(error)
    }
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
    /// What is to be held once this head and pages of it are taken; none if it is what is held.
    fn with(
        &self,
        head: SignedHead,
        pages: Pages<ContentKey>,
        limits: &Limits,
    ) -> Result<Option<Replica>, NotTaken> {
        let most = limits.catalog_entries;
        if head.head().count as usize > most {
            return Err(NotTaken::TooLarge(
                "catalog-entries",
                format!("a catalog here has at most {most} entries"),
            ));
        }
        let version = head.version();
        let mut replica = self.replica.clone();
        replica.offer(head)?;
        if self.replica.since() == Some(version) || replica.newest() != Some(version) {
            // Known, or overtaken on the way; its pages too.
            return Ok(None);
        }
        replica.add(pages)?;
        let most = limits.catalog_bytes;
        if replica.newest_bytes() > most {
            return Err(NotTaken::TooLarge(
                "catalog-bytes",
                format!("a catalog here has at most {most} bytes"),
            ));
        }
        Ok(Some(replica))
    }

    /// Brings what is derived from the complete catalog up to date.
    fn settle(&mut self, before: &Replica) -> KeyChanges {
        let Some(catalog) = self.replica.catalog() else {
            return KeyChanges::default();
        };
        let version = catalog.head().version();
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
        let before = before.catalog();
        if before.is_some_and(|before| before.head().head().pages == *hashes) {
            return KeyChanges::default();
        }
        KeyChanges {
            added: without(keys(Some(catalog)), keys(before)),
            removed: without(keys(before), keys(Some(catalog))),
        }
    }

    /// The version of the complete catalog.
    pub fn since(&self) -> Option<Since> {
        self.replica.since()
    }

    /// The contents listed, in order.
    pub fn keys(&self) -> impl Iterator<Item = ContentKey> {
        keys(self.replica.catalog())
    }

    /// Who answers for its bytes.
    pub fn charged(&self) -> Charged {
        self.charged
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.replica.bytes()
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

/// The contents that a catalog lists, in order.
fn keys(catalog: Option<&CatalogOf<ContentKey>>) -> impl Iterator<Item = ContentKey> {
    catalog.into_iter().flat_map(CatalogOf::entries).copied()
}

/// What is in one and not in the other; both are in order.
fn without(
    one: impl Iterator<Item = ContentKey>,
    other: impl Iterator<Item = ContentKey>,
) -> Vec<ContentKey> {
    let mut other = other.peekable();
    one.filter(|key| {
        while other.next_if(|other| other < key).is_some() {}
        other.peek() != Some(key)
    })
    .collect()
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
        now: Timestamp,
        connection: ConnectionId,
        id: SessionId,
        head: SignedHead,
        pages: Pages<ContentKey>,
    ) {
        let from = self.connections.get(&connection).map(|held| held.from);
        let (Some(session), Some(from)) = (self.sessions.get_mut(&id), from) else {
            return;
        };
        let held = session.catalog.get_or_insert_default();
        let admission = &mut self.admission;
        let taken = held.with(head, pages, &self.limits).and_then(|replica| {
            if let Some(replica) = &replica {
                let bytes = replica.bytes();
                let charged = admission.catalog_changed(now, &mut held.charged, from, bytes);
                charged.map_err(NotTaken::Full)?;
            }
            Ok(replica)
        });
        match taken {
            Ok(None) => {}
            Ok(Some(replica)) => {
                let before = core::mem::replace(&mut held.replica, replica);
                if held.since() != before.since() {
                    let changes = held.settle(&before);
                    self.catalog_completed(id, changes);
                }
            }
            Err(refused) => {
                // What is there of it must not take the room of others.
                held.replica.give_up();
                if let Some((of, _)) = held.charged {
                    let bytes = held.replica.bytes();
                    // It is less than before, so there is room.
                    let _ = admission.catalog_changed(now, &mut held.charged, of, bytes);
                }
                self.catalog_refused(connection, refused);
            }
        }
    }

    fn catalog_completed(&mut self, id: SessionId, changes: KeyChanges) {
        let session = self.sessions.get(&id);
        let members = session.and_then(|session| self.namespaces.get_mut(&session.namespace));
        if let Some(members) = members {
            for key in changes.removed {
                members.remove_provider(&key, id);
            }
            for key in changes.added {
                members.add_provider(key, id);
            }
        }
        self.tell_watchers(id);
    }

    /// Says why, and what the peer is to do. Only what is its fault counts as one.
    fn catalog_refused(&mut self, connection: ConnectionId, refused: NotTaken) {
        match refused {
            NotTaken::Wrong(why) => {
                self.fault(connection, Fault::new(ErrorCode::Catalog, why.to_string()));
            }
            NotTaken::TooLarge(key, why) => {
                self.counts.reached(key);
                self.reply(connection, error(Fault::new(ErrorCode::Catalog, why)));
            }
            NotTaken::Full(reached) => {
                let busy = self.busy(reached);
                self.reply(connection, busy);
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
