//! Catalogs are bounded by what is held of them: counted here by the texts that were sent and are
//! not yet freed, and not by what the registry says.

use super::*;
use shoal_protocol::catalog::SignedHead;
use std::sync::Weak;

const KIB: usize = 1024;

fn limits() -> Limits {
    Limits {
        catalog_bytes: 64 * KIB,
        catalog_bytes_per_address: 256 * KIB,
        all_catalog_bytes: 1024 * KIB,
        ..Limits::default()
    }
}

/// A page without entries, which differs from others by its length.
fn page(bytes: usize) -> Arc<str> {
    ("[]".to_owned() + &" ".repeat(bytes - 2)).into()
}

fn head(peer: PeerId, number: u64, pages: &[Arc<str>]) -> CatalogHead {
    CatalogHead {
        peer,
        namespace: Namespace::default(),
        epoch: 1,
        number,
        count: 0,
        pages: page_hashes(pages),
        issued: START.unix_millis(),
        expires: START.unix_millis().plus(HEAD_LIFETIME),
    }
}

/// The pages at these places, in copies of their own.
fn some(pages: &[Arc<str>], which: impl IntoIterator<Item = usize>) -> Vec<PageText> {
    let copy = |at: usize| PageText {
        page: at as u16,
        text: Arc::from(&*pages[at]),
    };
    which.into_iter().map(copy).collect()
}

struct Rig {
    world: World,
    sent: Vec<Weak<str>>,
}

impl Rig {
    /// A client from each of these addresses.
    fn new(addresses: &[u32], limits: Limits) -> Self {
        let mut world = World::new(addresses.len(), limits);
        for (n, from) in addresses.iter().enumerate() {
            world.clients[n].from = address(*from);
            world.join(n, false);
        }
        world.settle();
        let sent = Vec::new();
        Self { world, sent }
    }

    /// Has a client send a head that names `pages`, and with it `with`.
    fn send(&mut self, n: usize, number: u64, pages: &[Arc<str>], with: Vec<PageText>) {
        let world = &mut self.world;
        let client = &world.clients[n];
        let signed = client.sign(&head(client.id(), number, pages));
        // Whatever the registry keeps of the texts keeps them alive; they are not copied.
        let texts = with.iter().map(|page| Arc::downgrade(&page.text));
        self.sent.extend(texts);
        let time = world.now.unix_millis();
        let head = SignedHead::open(signed, client.id(), &Namespace::default(), time).unwrap();
        let request = match head.read_pages(&with) {
            Ok(pages) => Request::Catalog { head, pages },
            Err(why) => Request::Fault(Fault::new(ErrorCode::Catalog, why.to_string())),
        };
        let (connection, _) = client.connection.as_ref().unwrap();
        world
            .registry
            .handle_request(world.now, *connection, request);
        drop(with);
        world.settle();
    }

    /// Bytes of pages that are held.
    fn held(&mut self) -> usize {
        self.sent.retain(|text| text.strong_count() > 0);
        let texts = self.sent.iter().filter_map(Weak::upgrade);
        texts.map(|text| text.len()).sum()
    }

    fn check(&mut self) {
        let held = self.held();
        let limits = &self.world.registry.limits;
        let each = 2 * limits.catalog_bytes * self.world.clients.len();
        assert!(held <= each.min(limits.all_catalog_bytes), "{held} bytes");
        let said = self.world.registry.admission.catalog_bytes();
        assert!(held <= said, "{held} bytes are held, {said} counted");
        self.world.check();
    }

    fn since(&self, n: usize) -> Option<u64> {
        let members = &self.world.registry.namespaces[&Namespace::default()];
        let id = members.session_of(&self.world.id(n))?;
        let held = self.world.registry.sessions[&id].catalog.as_ref()?;
        held.since().map(|since| since.number)
    }

    /// What is the last thing a client was refused, and when it is to try again.
    fn refusal(&mut self, n: usize) -> Option<(ErrorCode, Option<u64>)> {
        let client = &mut self.world.clients[n];
        let code = client.errors.pop()?;
        client.errors.clear();
        Some((code, client.retry_after))
    }
}

#[test]
fn heads_that_only_count_up_hold_no_more_pages() {
    let mut rig = Rig::new(&[1], limits());
    let pages: Vec<Arc<str>> = (0..256).map(|n| page(4 * KIB + n)).collect();
    let mut refused = 0u64;
    for (number, at) in (1..).zip(0..pages.len()) {
        rig.send(0, number, &pages, some(&pages, [at]));
        rig.check();
        refused += u64::from(rig.refusal(0) == Some((ErrorCode::Catalog, None)));
    }
    // Each time that there was no room it was said, and begun anew.
    assert!((15..25).contains(&refused), "{refused} times");
    let reached = |key| rig.world.registry.counts().times_reached(key);
    assert_eq!(reached("catalog-bytes"), refused);
    assert_eq!(reached("faults"), 0, "it may be an honest peer");
}

#[test]
fn pages_that_are_not_those_named_uncount_nothing() {
    let mut rig = Rig::new(
        &[1],
        Limits {
            faults: 1000,
            ..limits()
        },
    );
    for number in 1..40 {
        let pages: Vec<Arc<str>> = (0..16)
            .map(|n| page(3 * KIB + 16 * number as usize + n))
            .collect();
        rig.send(0, number, &pages, some(&pages, 0..15));
        rig.check();
        let lies = (0..16).map(|page| PageText {
            page,
            text: "".into(),
        });
        rig.send(0, number, &pages, lies.collect());
        assert_eq!(rig.refusal(0), Some((ErrorCode::Catalog, None)));
        rig.check();
    }
}

#[test]
fn what_grows_little_by_little_is_no_larger_in_the_end() {
    let mut rig = Rig::new(&[1], limits());
    let mut pages: Vec<Arc<str>> = (0..32).map(|n| page(10 + n)).collect();
    rig.send(0, 1, &pages, some(&pages, 0..32));
    assert_eq!(rig.since(0), Some(1));
    let mut number = 1;
    for at in 0..32 {
        let before = core::mem::replace(&mut pages[at], page(4 * KIB + at));
        rig.send(0, number + 1, &pages, some(&pages, [at]));
        rig.check();
        match rig.refusal(0) {
            None => number += 1,
            refusal => {
                assert_eq!(refusal, Some((ErrorCode::Catalog, None)));
                pages[at] = before;
            }
        }
        assert_eq!(rig.since(0), Some(number), "what was there stays");
    }
    assert!((10..17).contains(&number), "{number} fit");

    // Where it shrinks again it is taken.
    let pages: Vec<Arc<str>> = (0..32).map(|n| page(11 + n)).collect();
    rig.send(0, 100, &pages, some(&pages, 0..32));
    rig.check();
    assert_eq!((rig.refusal(0), rig.since(0)), (None, Some(100)));
}

#[test]
fn one_address_has_a_share_and_no_more() {
    let limits = Limits {
        catalog_bytes_per_address: 128 * KIB,
        ..limits()
    };
    let (lease, faults) = (limits.lease.as_millis() as u64, limits.faults);
    let mut rig = Rig::new(&[1, 1, 1, 2], limits);
    let pages: Vec<Arc<str>> = (0..16).map(|n| page(3 * KIB + 512 + n)).collect();
    for n in [0, 1] {
        rig.send(n, 1, &pages, some(&pages, 0..16));
        assert_eq!((rig.refusal(n), rig.since(n)), (None, Some(1)));
    }

    // It is nobody's fault, so nobody is sent away for it, and it is said when to try again.
    for _ in 0..2 * faults {
        rig.send(2, 1, &pages, some(&pages, 0..16));
        let Some((ErrorCode::Limit, Some(wait))) = rig.refusal(2) else {
            panic!("no refusal");
        };
        assert!(wait >= lease);
        rig.check();
    }
    assert!(rig.world.clients[2].connection.is_some());
    let reached = |rig: &Rig, key| rig.world.registry.counts().times_reached(key);
    let key = "catalog-bytes-per-address";
    assert_eq!(reached(&rig, key), u64::from(2 * faults));
    assert_eq!(reached(&rig, "faults"), 0);
    rig.send(3, 1, &pages, some(&pages, 0..16));
    assert_eq!(
        (rig.refusal(3), rig.since(3)),
        (None, Some(1)),
        "others can"
    );

    // Who has gone leaves its place.
    rig.world.send(0, PeerMessage::Leave {});
    rig.world.settle();
    rig.send(2, 1, &pages, some(&pages, 0..16));
    assert_eq!((rig.refusal(2), rig.since(2)), (None, Some(1)));

    // Who comes back from elsewhere answers for it there, once it sends another.
    rig.world.cut(1, 0);
    rig.world.clients[1].from = address(3);
    rig.world.join(1, true);
    rig.world.settle();
    let of = |rig: &Rig, n| rig.world.registry.admission.catalog_bytes_of(address(n));
    assert!(of(&rig, 1) > 0 && of(&rig, 3) == 0);
    let (one, before) = (of(&rig, 1), of(&rig, 2));
    rig.send(1, 2, &pages, Vec::new());
    assert_eq!((rig.refusal(1), rig.since(1)), (None, Some(2)));
    assert_eq!((of(&rig, 1), of(&rig, 2)), (one / 2, before));
    assert_eq!(of(&rig, 3), before);
    rig.check();
}

#[test]
fn a_server_without_room_for_a_catalog_says_so_where_it_is_asked() {
    let limits = Limits {
        all_catalog_bytes: 600 * KIB,
        ..limits()
    };
    let addresses: Vec<u32> = (0..12).collect();
    let mut rig = Rig::new(&addresses, limits);
    let pages: Vec<Arc<str>> = (0..16).map(|n| page(3 * KIB + 900 + n)).collect();
    let mut taken = 0;
    for n in 0..12 {
        let ready = rig.world.registry.unready();
        rig.send(n, 1, &pages, some(&pages, 0..16));
        match rig.refusal(n) {
            None => {
                assert_eq!(ready, None);
                taken += 1;
            }
            Some((code, wait)) => {
                assert_eq!((code, wait.is_some()), (ErrorCode::Limit, true));
                assert_eq!(ready, Some("all-catalog-bytes"));
            }
        }
        rig.check();
    }
    assert_eq!(taken, 9);
}

#[test]
fn who_goes_on_with_a_session_hears_what_there_is_of_its_catalog() {
    let mut rig = Rig::new(&[1], limits());
    let pages: Vec<Arc<str>> = (0..2).map(|n| page(100 + n)).collect();
    let resumes = |rig: &mut Rig| {
        rig.world.cut(0, 0);
        rig.world.join(0, true);
        let (connection, _) = rig.world.clients[0].connection.as_ref().unwrap();
        let now = rig.world.now;
        let challenge = rig.world.registry.poll_transmit(now, *connection);
        let joined = rig.world.registry.poll_transmit(now, *connection);
        let (Transmit::Message(_), Transmit::Message(joined)) = (challenge, joined) else {
            panic!("nothing is said");
        };
        let ServerMessage::Joined {
            resumed, catalog, ..
        } = joined.clone()
        else {
            panic!("{joined:?}");
        };
        rig.world.take(0, joined);
        (resumed, catalog.map(|since| since.number))
    };
    assert_eq!(resumes(&mut rig), (true, None));
    rig.send(0, 1, &pages, some(&pages, 0..1));
    assert_eq!(resumes(&mut rig), (true, None), "half of it is nothing");
    rig.send(0, 1, &pages, some(&pages, 1..2));
    assert_eq!(resumes(&mut rig), (true, Some(1)));
}

/// A catalog that somebody sends a part of.
#[derive(Clone, Debug)]
struct Part {
    who: usize,
    number: u64,
    /// Two to the power of this are its pages.
    pages: u32,
    bytes: usize,
    from: usize,
    count: usize,
    lie: bool,
}

fn part() -> impl Strategy<Value = Part> {
    let numbers = (0..4usize, 1..60u64, 0..7u32, 2..8 * KIB);
    let place = (0..64usize, 0..64usize, prop::bool::weighted(0.1));
    (numbers, place).prop_map(|((who, number, pages, bytes), (from, count, lie))| Part {
        who,
        number,
        pages,
        bytes,
        from,
        count,
        lie,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_no_more_is_held_than_counted(parts in prop::collection::vec(part(), 1..80)) {
        let mut rig = Rig::new(&[1, 1, 2, 3], Limits { faults: 1000, ..limits() });
        for part in parts {
            let pages: Vec<Arc<str>> = (0..1 << part.pages)
                .map(|n| page(part.bytes + n % 5))
                .collect();
            let end = (part.from + part.count).min(pages.len());
            let mut with = some(&pages, part.from.min(end)..end);
            if let (true, Some(last)) = (part.lie, with.last_mut()) {
                last.text = "[ ]".into();
            }
            rig.send(part.who, part.number, &pages, with);
            drop(pages);
            rig.check();
        }
        for n in 0..4 {
            rig.world.send(n, PeerMessage::Leave {});
        }
        prop_assert_eq!(rig.held(), 0);
        prop_assert_eq!(rig.world.registry.admission.catalog_bytes(), 0);
    }
}
