//! The rendezvous protocol as it is written down: a sample of each message, in
//! `golden/rendezvous`, and `docs/rendezvous.md`. The samples were made by another program, so
//! they show that what is read and signed here is what is described.

use serde_json::{Map, Value, json};
use shoal_protocol::{
    candidate::Candidate,
    catalog::{self, CatalogHead, Entry, Metadata, Replica, SignedHead},
    id::Hash,
    json::from_str,
    membership::{Membership, NamespaceSecret},
    rendezvous::{
        ACK_DELAY, ErrorCode, Join, MAX_LISTING, MAX_MESSAGE, MAX_RECEIPTS, MAX_UNACKED, MAX_VIEW,
        PeerMessage, Presence, ReceiptStatus, ServerMessage,
    },
    signal::{Answer, CLOCK_SKEW, Description, SIGNAL_LIFETIME, Setup, Signal},
    signed::{Kind, Payload, Signed},
    time::UnixMillis,
};
use std::{collections::BTreeSet, fs, path::Path};

/// A join of the private namespace whose secret is 32 bytes 3.
const PRIVATE_JOIN: &str = include_str!("../golden/rendezvous/private-join.json");
const DOCUMENT: &str = include_str!("../../docs/rendezvous.md");

/// Names every variant, so that a new one does not compile before it is named here.
macro_rules! kinds {
    ($all:ident, $kind:ident, $message:ident { $($variant:ident = $name:literal,)+ }) => {
        const $all: &[&str] = &[$($name,)+];
        fn $kind(message: &$message) -> &'static str {
            match message {
                $($message::$variant { .. } => $name,)+
            }
        }
    };
}

kinds!(SERVER, server_kind, ServerMessage {
    Challenge = "challenge",
    Joined = "joined",
    Peers = "peers",
    Signal = "signal",
    Receipts = "receipts",
    Providers = "providers",
    Listing = "listing",
    Ice = "ice",
    Catalog = "catalog",
    Resync = "resync",
    Ping = "ping",
    Error = "error",
    Closing = "closing",
});

kinds!(PEER, peer_kind, PeerMessage {
    Join = "join",
    Presence = "presence",
    Pong = "pong",
    Catalog = "catalog",
    Get = "get",
    Find = "find",
    List = "list",
    Signal = "signal",
    Ack = "ack",
    Leave = "leave",
});

/// Reads a message of a side, and says which it is and how it is written.
fn read(side: &str, text: &str) -> Result<(&'static str, String), String> {
    match side {
        "server" => ServerMessage::parse(text).map(|read| (server_kind(&read), read.to_text())),
        _ => PeerMessage::parse(text).map(|read| (peer_kind(&read), read.to_text())),
    }
    .map_err(|error| error.to_string())
}

/// All kinds of messages, with the sample of each.
fn samples() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let of = |side: &'static str, kinds: &'static [&'static str]| {
        kinds
            .iter()
            .map(move |kind| (side, *kind, sample(side, kind)))
    };
    of("server", SERVER).chain(of("peer", PEER))
}

fn sample(side: &str, kind: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/rendezvous");
    let file = folder.join(side).join(format!("{kind}.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    text.trim_end().to_owned()
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn samples_are_read_and_written_as_they_are() {
    for (side, kind, text) in samples() {
        assert_eq!(read(side, &text), Ok((kind, text.clone())));
    }
}

#[test]
fn fields_that_are_not_known_pass_and_kinds_do_not() {
    for (side, kind, text) in samples() {
        let mut message = object(&text);
        message.insert("later".into(), json!({ "deep": [1.5, null] }));
        let more = Value::Object(message).to_string();
        assert_eq!(read(side, &more), Ok((kind, text)));
        assert!(read(side, r#"{"t":"later"}"#).is_err());
    }
}

#[test]
fn a_field_may_be_missing_where_the_document_says_so() {
    for (side, kind, text) in samples() {
        let message = object(&text);
        let section = section(side, kind);
        for field in message.keys() {
            let mut less = message.clone();
            less.remove(field);
            let row = format!("| `{field}` |");
            let may_be_missing = section
                .lines()
                .any(|line| line.starts_with(&row) && line.contains("missing"));
            let is_read = read(side, &Value::Object(less).to_string()).is_ok();
            assert_eq!(is_read, may_be_missing, "{side} {kind} without {field}");
        }
    }
}

#[test]
fn the_join_of_a_private_namespace_is_proven_as_described() {
    let Ok(PeerMessage::Join { signed, .. }) = PeerMessage::parse(PRIVATE_JOIN) else {
        panic!("no join");
    };
    assert_eq!(
        signed.open::<Join>().unwrap().namespace,
        *Membership::private(&NamespaceSecret([3; 32])).namespace()
    );
    let namespace = signed.open::<Join>().unwrap().namespace;
    assert!(signed.is_of_member(Kind::Join, &namespace));
    assert!(!signed.is_of_member(Kind::Signal, &namespace));
}

#[test]
fn signatures_of_samples_verify() {
    fn open<T: Payload>(side: &str, kind: &str) -> T {
        let signed = object(&sample(side, kind))["signed"].to_string();
        from_str::<Signed>(&signed).unwrap().open().unwrap()
    }
    let join: Join = open("peer", "join");
    let Ok(ServerMessage::Challenge { server, nonce, .. }) =
        ServerMessage::parse(&sample("server", "challenge"))
    else {
        panic!("no challenge");
    };
    assert_eq!((join.server, join.nonce), (server, nonce));
    assert_eq!(open::<Presence>("peer", "presence").server, server);
    assert_eq!(open::<Signal>("peer", "signal"), open("server", "signal"));
    assert_eq!(open::<CatalogHead>("server", "catalog").count, 1);

    let Ok(PeerMessage::Catalog { signed, pages }) = PeerMessage::parse(&sample("peer", "catalog"))
    else {
        panic!("no catalog");
    };
    let head: CatalogHead = signed.open().unwrap();
    let now = UnixMillis(head.issued.0 + 1);
    let owner = signed.peer;
    let head = SignedHead::open(signed, owner, &head.namespace, now).unwrap();
    let mut replica = Replica::default();
    replica.offer(head).unwrap();
    replica.add_pages(&pages).unwrap();
    let entries = replica.catalog().unwrap().entries();
    let names: Vec<_> = entries.map(|entry| entry.metadata.name.clone()).collect();
    assert_eq!(names, [Some("hello.txt".to_owned())]);
}

/// What the document says of a message, or of a shape.
fn section(side: &str, title: &str) -> String {
    let (chapter, heading) = match side {
        "server" => ("## What a server says\n", format!("### `{title}`\n")),
        "peer" => ("## What a peer says\n", format!("### `{title}`\n")),
        _ => ("## Shapes\n", format!("### {title}\n")),
    };
    let chapter = DOCUMENT.split_once(chapter).unwrap().1;
    let chapter = chapter.split("\n## ").next().unwrap();
    let Some((_, text)) = chapter.split_once(&heading) else {
        panic!("docs/rendezvous.md has no section {title} ({side})");
    };
    text.split("\n### ").next().unwrap().to_owned()
}

/// The first column of the first table of a text.
fn fields(text: &str) -> BTreeSet<String> {
    let rows = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_document_has_every_message_and_field_and_no_others() {
    for (side, kind, text) in samples() {
        let section = section(side, kind);
        let link = format!("(../protocol/golden/rendezvous/{side}/{kind}.json)");
        assert!(section.contains(&link), "{side} {kind} has no sample");
        let mut said = fields(&section);
        said.insert("t".into());
        assert_eq!(said, names(&object(&text).into()), "{side} {kind}");
    }
    assert_eq!(DOCUMENT.matches("\n### `").count(), samples().count());

    let joined = object(&sample("server", "joined"));
    let signed = |kind: &str| object(&sample("peer", kind))["signed"].clone();
    let payload = |kind: &str| -> Value {
        let signed = signed(kind);
        serde_json::from_str(signed["payload"].as_str().unwrap()).unwrap()
    };
    let private: Value = serde_json::from_str(PRIVATE_JOIN).unwrap();
    let Ok(ServerMessage::Catalog {
        signed: Some(head),
        pages,
        ..
    }) = ServerMessage::parse(&sample("server", "catalog"))
    else {
        panic!("no catalog");
    };
    let some = || Some(String::new());
    let entries: Vec<Entry> = from_str(&pages[0].text).unwrap();
    let entry = Entry {
        metadata: Metadata {
            name: some(),
            media_type: some(),
            title: some(),
            description: some(),
            keywords: vec![String::new()],
            language: some(),
            date: some(),
        },
        collection: Some(entries[0].key),
        ..entries[0].clone()
    };
    let candidate: Candidate =
        "candidate:1 1 tcp 1 192.0.2.1 9 typ srflx raddr 192.0.2.2 rport 9 tcptype active"
            .parse()
            .unwrap();
    let answer = Answer {
        description: Description {
            ufrag: "abcd".parse().unwrap(),
            pwd: "abcdabcdabcdabcdabcdab".parse().unwrap(),
            fingerprint: ["AB"; 32].join(":").parse().unwrap(),
            setup: Setup::Active,
            max_message_size: 0,
        },
        offer: Hash([0; 32]),
    };
    let json = |value: String| -> Value { serde_json::from_str(&value).unwrap() };
    for (shape, known) in [
        ("signed", &private["signed"]),
        ("peer summary", &joined["view"][0]),
        ("version", &joined["view"][0]["catalog"]),
        ("ICE server", &joined["iceServers"][1]),
        (
            "receipt",
            &object(&sample("server", "signal"))["receipts"][0],
        ),
        ("page", &object(&sample("peer", "catalog"))["pages"][0]),
        ("join payload", &payload("join")),
        ("presence payload", &payload("presence")),
        ("signal payload", &payload("signal")),
        ("catalog head payload", &json(head.payload)),
        ("entry", &json(serde_json::to_string(&entry).unwrap())),
        (
            "description",
            &json(serde_json::to_string(&answer).unwrap()),
        ),
        (
            "candidate",
            &json(serde_json::to_string(&candidate).unwrap()),
        ),
    ] {
        assert_eq!(fields(&section("shape", shape)), names(known), "{shape}");
    }
}

#[test]
fn the_document_has_every_code_and_status() {
    let second_table = |side: &str, title: &str| {
        let section = section(side, title);
        let (_, second) = section.split_once("|\n\n|").unwrap();
        fields(&format!("|{second}"))
    };
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned());
    assert_eq!(second_table("server", "error"), codes.collect());
    let statuses = ReceiptStatus::ALL
        .iter()
        .map(|status| status.as_str().to_owned());
    assert_eq!(second_table("shape", "receipt"), statuses.collect());
}

#[test]
fn the_document_has_the_limits_of_the_protocol() {
    assert_eq!(
        (MAX_VIEW, Join::MAX_BYTES),
        (MAX_LISTING, Presence::MAX_BYTES)
    );
    for row in [
        format!("| a message, either way | {MAX_MESSAGE} |"),
        format!("of a `listing` | {MAX_VIEW} peers |"),
        format!("| receipts of a message | {MAX_RECEIPTS} receipts |"),
        format!(
            "| time an `ack` or `delivered` waits | {} s |",
            ACK_DELAY.as_secs()
        ),
        format!("| signals or receipts that wait so | {} |", MAX_UNACKED - 1),
        format!("| payload of a join or a presence | {} |", Join::MAX_BYTES),
        format!("| payload of a signal | {} |", Signal::MAX_BYTES),
        format!(
            "| payload of the head of a catalog | {} |",
            CatalogHead::MAX_BYTES
        ),
        format!("| a page of a catalog | {} |", catalog::MAX_PAGE),
        format!("| pages of a catalog | {} pages |", catalog::MAX_PAGES),
        format!(
            "| entries of a catalog | {} entries |",
            catalog::MAX_ENTRIES
        ),
        format!(
            "| time for which a signal is good | {} s |",
            SIGNAL_LIFETIME.as_secs()
        ),
        format!(
            "| difference of clocks that is allowed for | {} s |",
            CLOCK_SKEW.as_secs()
        ),
    ] {
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
