//! ICE restarts of one link: when to try, how often, and when the link is given up.
//!
//! A link that is up is in *trouble* from the first sign that nothing comes through until
//! something does. Within that time it tries to find another way: the offerer offers anew, the
//! answerer asks for that. Any byte that comes after both descriptions were exchanged ends the
//! trouble; a time without one ends the link. Knows nothing of signals, which are the link's.
//!
//! What the other side can cause is bounded: offers and asks beyond a budget say nothing.

use shoal_protocol::{id::Hash, time::Timestamp};
use std::{collections::VecDeque, time::Duration};

/// How long a link may be in trouble before it is closed: as long as one may take to be made.
const TROUBLE_MAX: Duration = Duration::from_secs(30);
/// How long the browser may call a connection disconnected before a restart: it calls it so
/// after some five seconds, and it may pass. Guess.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long the other side's description may take before another attempt, since a rendezvous
/// that is away loses signals. Guess: some round trips, and a busy page.
const RETRY: Duration = Duration::from_secs(5);
/// Most restarts of a link within [`BUDGET_TIME`], whoever causes them. Two troubles of the
/// longest kind need as many.
const BUDGET: usize = 12;
const BUDGET_TIME: Duration = Duration::from_secs(60);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Offer anew, or ask for it.
    Attempt,
    /// Close the link.
    GiveUp,
}

#[derive(Debug, Default)]
pub(crate) struct Restarts {
    trouble: Option<Trouble>,
    /// When the latest restarts began, oldest first.
    begun: VecDeque<Timestamp>,
    /// Descriptions for offers that the driver owes. Only the last one is of use.
    describing: u32,
    /// This side's offer, until it is answered.
    offered: Option<Hash>,
    /// The other side's offers for which the driver owes a description, oldest first.
    unanswered: VecDeque<Hash>,
}

#[derive(Debug)]
struct Trouble {
    step: Step,
    /// When the next attempt is due.
    next: Timestamp,
    deadline: Timestamp,
    /// Whether something came since the latest attempt began.
    heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It may pass.
    Suspected,
    /// A description or two are due.
    Begun,
    /// Both sides look for a way.
    Exchanged,
}

impl Restarts {
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let trouble = self.trouble.as_ref()?;
        Some(trouble.next.min(trouble.deadline))
    }

    /// Whether there has been one: candidates are of use then.
    pub(crate) fn any(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Nothing seems to come through, which may pass within `grace`.
    pub(crate) fn suspect(&mut self, now: Timestamp, grace: Duration) {
        let trouble = self.trouble(now);
        if trouble.step == Step::Suspected {
            trouble.next = trouble.next.min(now + grace);
        }
    }

    /// The browser has no way left to try.
    pub(crate) fn no_way(&mut self, now: Timestamp) {
        let trouble = self.trouble(now);
        if trouble.step != Step::Begun {
            (trouble.step, trouble.next) = (Step::Suspected, now);
        }
    }

    /// Signals of the attempt that is under way may have been lost.
    pub(crate) fn begin_anew(&mut self, now: Timestamp) {
        if let Some(trouble) = &mut self.trouble
            && trouble.step != Step::Suspected
        {
            trouble.next = now;
        }
    }

    /// Something came. True if that ends a restart.
    pub(crate) fn heard(&mut self) -> bool {
        let Some(trouble) = &mut self.trouble else {
            return false;
        };
        trouble.heard = true;
        let step = trouble.step;
        if step != Step::Begun {
            self.trouble = None;
        }
        step == Step::Exchanged
    }

    pub(crate) fn due(&mut self, now: Timestamp) -> Due {
        let Some(trouble) = &self.trouble else {
            return Due::Nothing;
        };
        if now < trouble.next.min(trouble.deadline) {
            return Due::Nothing;
        }
        if trouble.heard {
            // The old way is there again; a late answer is still taken.
            self.trouble = None;
            return Due::Nothing;
        }
        if trouble.deadline <= now {
            return Due::GiveUp;
        }
        Due::Attempt
    }

    /// Whether the other side's description is waited for.
    pub(crate) fn is_begun(&self) -> bool {
        matches!(&self.trouble, Some(trouble) if trouble.step == Step::Begun)
    }

    /// Whether the budget has room for another restart.
    pub(crate) fn allows(&mut self, now: Timestamp) -> bool {
        while self.frees().is_some_and(|time| time <= now) {
            self.begun.pop_front();
        }
        self.begun.len() < BUDGET
    }

    /// The offerer begins an attempt. False if it has to wait.
    pub(crate) fn begin(&mut self, now: Timestamp) -> bool {
        if !self.allows(now) {
            let frees = self.frees().unwrap_or(now);
            self.trouble(now).next = frees;
            return false;
        }
        self.begun.push_back(now);
        self.describing += 1;
        self.offered = None;
        self.attempt(now);
        true
    }

    /// The answerer asks for an offer.
    pub(crate) fn ask(&mut self, now: Timestamp) {
        self.attempt(now);
    }

    /// The other side offered. False if that is more than it may.
    pub(crate) fn take_offer(&mut self, now: Timestamp, offer: Hash) -> bool {
        if !self.allows(now) || self.unanswered.len() >= BUDGET {
            return false;
        }
        self.begun.push_back(now);
        self.unanswered.push_back(offer);
        self.attempt(now);
        true
    }

    /// The driver described the offerer's side. False if another description is to come.
    pub(crate) fn described(&mut self) -> bool {
        let owed = self.describing;
        self.describing = owed.saturating_sub(1);
        owed == 1
    }

    /// The offerer's offer is out.
    pub(crate) fn offered(&mut self, offer: Hash) {
        self.offered = Some(offer);
    }

    /// An answer came. False if it is for another offer than the latest.
    pub(crate) fn take_answer(&mut self, offer: Hash) -> bool {
        let expected = self.offered.take_if(|expected| *expected == offer);
        if expected.is_some() {
            self.exchanged();
        }
        expected.is_some()
    }

    /// The driver described the answerer's side: the offer that is answered with it.
    pub(crate) fn answered(&mut self) -> Option<Hash> {
        let offer = self.unanswered.pop_front()?;
        if self.unanswered.is_empty() {
            self.exchanged();
        }
        Some(offer)
    }

    fn exchanged(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            // From here the browser says if it finds no way.
            (trouble.step, trouble.next) = (Step::Exchanged, trouble.deadline);
            trouble.heard = false;
        }
    }

    fn attempt(&mut self, now: Timestamp) {
        let trouble = self.trouble(now);
        (trouble.step, trouble.next) = (Step::Begun, now + RETRY);
        trouble.heard = false;
    }

    fn trouble(&mut self, now: Timestamp) -> &mut Trouble {
        self.trouble.get_or_insert(Trouble {
            step: Step::Suspected,
            next: now + GRACE,
            deadline: now + TROUBLE_MAX,
            heard: false,
        })
    }

    /// When the oldest restart no longer counts.
    fn frees(&self) -> Option<Timestamp> {
        self.begun.front().map(|time| *time + BUDGET_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        link::{Link, LinkAction, LinkFailure},
        random::Random,
    };
    use ed25519_dalek::{Signer, SigningKey};
    use shoal_protocol::{
        control::{ControlMessage, Role},
        id::{LinkId, PeerId, Signature},
        membership::Membership,
        namespace::Namespace,
        signal::{Description, Fingerprint, Setup, Signal, SignalBody},
        signed::{Kind, Signed},
    };
    use std::sync::Arc;

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const OFFERER: usize = 0;
    const ANSWERER: usize = 1;

    struct Side {
        link: Link,
        key: SigningKey,
        role: Role,
        fingerprint: Fingerprint,
        /// How many times this side was described.
        descriptions: u64,
        /// What the browser was told of the other side.
        remotes: Vec<Description>,
        failure: Option<LinkFailure>,
    }

    /// Both ends of a link, and what is between them.
    struct Pair {
        now: Timestamp,
        sides: [Side; 2],
        /// Whether signals are carried.
        carries: bool,
        /// Whether bytes come through.
        has_way: bool,
        passed: Vec<(usize, Signed)>,
    }

    impl Pair {
        /// A link that is up.
        fn up() -> Self {
            let mut keys = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
            let id = |key: &SigningKey| PeerId::from_public_key(key.verifying_key().to_bytes());
            keys.sort_by_key(id);
            let [own, other] = [id(&keys[0]), id(&keys[1])];
            let membership = Arc::new(Membership::public(Namespace::default()));
            let mut first = Link::ask(
                START,
                LinkId([7; 16]),
                own,
                other,
                Arc::clone(&membership),
                Random::new([1; 32]),
            );
            let asked: Signal = match first.poll() {
                Some(LinkAction::SignSignal { payload, .. }) => {
                    first.signal_signed(0, Some(Signature([0; 64]))).unwrap();
                    first.poll();
                    shoal_protocol::json::from_str(&payload).unwrap()
                }
                other => panic!("{other:?}"),
            };
            let SignalBody::Link(key) = asked.body else {
                panic!("{asked:?}");
            };
            let random = Random::new([2; 32]);
            let second = Link::accept(START, other, membership, random, &asked, key);
            let mut certificate = 0;
            let mut links = [first, second].into_iter();
            let sides = keys.map(|key| {
                certificate += 1;
                Side {
                    link: links.next().unwrap(),
                    key,
                    role: [Role::Offerer, Role::Answerer][certificate as usize - 1],
                    fingerprint: Fingerprint([certificate; 32]),
                    descriptions: 0,
                    remotes: Vec::new(),
                    failure: None,
                }
            });
            let mut pair = Self {
                now: START,
                sides,
                carries: true,
                has_way: true,
                passed: Vec::new(),
            };
            pair.settle();
            for side in [OFFERER, ANSWERER] {
                pair.act(side, |link, now| link.opened(now));
            }
            assert!(pair.sides.iter().all(|side| side.link.is_up()));
            pair.passed.clear();
            pair
        }

        fn act(
            &mut self,
            side: usize,
            act: impl FnOnce(&mut Link, Timestamp) -> Result<(), LinkFailure>,
        ) {
            self.only(side, act);
            self.settle();
        }

        /// As `act`, before the other side knows of it.
        fn only(
            &mut self,
            side: usize,
            act: impl FnOnce(&mut Link, Timestamp) -> Result<(), LinkFailure>,
        ) {
            if let Err(failure) = act(&mut self.sides[side].link, self.now) {
                self.sides[side].failure.get_or_insert(failure);
            }
        }

        fn settle(&mut self) {
            while let Some((side, action)) = [OFFERER, ANSWERER]
                .into_iter()
                .find_map(|side| Some((side, self.sides[side].link.poll()?)))
            {
                self.perform(side, action);
            }
        }

        fn perform(&mut self, at: usize, action: LinkAction) {
            let side = &mut self.sides[at];
            let sign = |kind: Kind, payload: &str| {
                Some(Signature(side.key.sign(&kind.message(payload)).to_bytes()))
            };
            match action {
                LinkAction::Open(Role::Offerer) | LinkAction::Restart => self.describe(at),
                LinkAction::SetRemote(remote) => {
                    side.remotes.push(remote);
                    if side.role == Role::Answerer {
                        self.describe(at);
                    }
                }
                LinkAction::SignSignal { n, payload } => {
                    let signature = sign(Kind::Signal, &payload);
                    side.link.signal_signed(n, signature).unwrap();
                }
                LinkAction::SignAuth(payload) => {
                    let signature = sign(Kind::Auth, &payload);
                    side.link.auth_signed(signature).unwrap();
                }
                LinkAction::SendSignal(signed) => {
                    self.passed.push((1 - at, signed.clone()));
                    if self.carries {
                        self.deliver(1 - at, &signed);
                    }
                }
                LinkAction::SendControl(message @ ControlMessage::Hello { .. })
                | LinkAction::SendControl(message @ ControlMessage::Auth { .. }) => {
                    let text = message.to_text();
                    self.only(1 - at, |link, now| {
                        if link.deadline().is_some() {
                            link.opened(now)?;
                        }
                        link.handle_handshake(&text)
                    });
                }
                LinkAction::Ping if self.has_way => {
                    self.sides[1 - at].link.heard();
                    self.sides[at].link.heard();
                }
                _ => {}
            }
        }

        fn describe(&mut self, at: usize) {
            let side = &mut self.sides[at];
            side.descriptions += 1;
            let description = Description {
                ufrag: format!("frag{at}{}", side.descriptions).parse().unwrap(),
                pwd: "0123456789abcdef012345".parse().unwrap(),
                fingerprint: side.fingerprint,
                setup: match side.role {
                    Role::Offerer => Setup::Actpass,
                    Role::Answerer => Setup::Active,
                },
                max_message_size: 262_144,
            };
            self.only(at, |link, now| link.local_description(now, description));
        }

        fn deliver(&mut self, to: usize, signed: &Signed) {
            let signal: Signal = shoal_protocol::json::from_str(&signed.payload).unwrap();
            self.only(to, |link, now| {
                link.handle_signal(now, &signal, &signed.payload)
            });
        }

        /// Lets time pass, with the timers that fall into it.
        fn pass(&mut self, span: Duration) {
            let end = self.now + span;
            loop {
                let due = |side: &Side| side.link.deadline().filter(|_| side.failure.is_none());
                let next = self.sides.iter().filter_map(due).min();
                let Some(next) = next.filter(|next| *next <= end) else {
                    break;
                };
                self.now = self.now.max(next);
                for side in [OFFERER, ANSWERER] {
                    self.act(side, |link, now| link.handle_timeout(now));
                }
            }
            self.now = end;
        }

        fn lose_way(&mut self) {
            self.has_way = false;
        }

        /// The names under which both sides now look for each other.
        fn assert_met(&self) {
            for (at, side) in self.sides.iter().enumerate() {
                assert_eq!(side.failure, None);
                let other = &self.sides[1 - at];
                let expected = format!("frag{}{}", 1 - at, other.descriptions);
                assert_eq!(side.remotes.last().unwrap().ufrag.as_str(), expected);
            }
        }

        fn assert_well(&mut self) {
            self.assert_met();
            for side in &mut self.sides {
                side.link.heard();
                assert_eq!(side.link.deadline(), None, "the trouble is over");
            }
        }

        fn restarts(&self) -> u64 {
            self.sides[OFFERER].descriptions - 1
        }
    }

    #[test]
    fn either_side_has_a_link_find_another_way() {
        for finder in [OFFERER, ANSWERER] {
            let mut pair = Pair::up();
            let before = [OFFERER, ANSWERER].map(|side| pair.sides[side].remotes[0].clone());
            pair.lose_way();
            pair.act(finder, |link, now| link.disconnected(now));
            assert_eq!(pair.restarts(), 0, "it may pass");
            pair.pass(GRACE);
            assert_eq!(pair.restarts(), 1);
            for (side, before) in pair.sides.iter().zip(before) {
                let [_, again] = &side.remotes[..] else {
                    panic!("{:?}", side.remotes)
                };
                assert_ne!(again.ufrag, before.ufrag);
                let same = Description {
                    ufrag: before.ufrag.clone(),
                    ..again.clone()
                };
                assert_eq!(same, before, "all else stays");
            }
            pair.assert_well();
        }
    }

    #[test]
    fn what_passes_by_itself_restarts_nothing() {
        let mut pair = Pair::up();
        pair.act(OFFERER, |link, now| link.disconnected(now));
        pair.pass(2 * TROUBLE_MAX);
        assert_eq!(pair.restarts(), 0);
        pair.assert_well();
    }

    #[test]
    fn both_sides_at_once_restart_once() {
        let mut pair = Pair::up();
        pair.lose_way();
        for side in [OFFERER, ANSWERER] {
            pair.only(side, |link, now| link.unreachable(now));
        }
        pair.settle();
        pair.assert_well();
        assert_eq!(pair.restarts(), 1);
    }

    #[test]
    fn candidates_pass_once_there_was_a_restart() {
        let mut pair = Pair::up();
        let line = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
        let candidate = |pair: &mut Pair| {
            pair.passed.clear();
            pair.act(OFFERER, |link, now| {
                link.local_candidate(now, Some(line.parse().unwrap()))
            });
            pair.passed.len()
        };
        assert_eq!(candidate(&mut pair), 0);
        pair.act(ANSWERER, |link, now| link.silent(now));
        // The old way works, so the trouble was over at once; the browsers go on looking.
        assert_eq!(candidate(&mut pair), 1);
        pair.assert_well();
    }

    #[test]
    fn another_certificate_is_refused() {
        for (victim, keeps) in [(ANSWERER, "offer"), (OFFERER, "answer")] {
            let mut pair = Pair::up();
            pair.sides[1 - victim].fingerprint = Fingerprint([9; 32]);
            pair.lose_way();
            pair.carries = false;
            pair.act(OFFERER, |link, now| link.silent(now));
            if victim == OFFERER {
                let (_, offer) = pair.passed.pop().unwrap();
                pair.deliver(ANSWERER, &offer);
                pair.settle();
            }
            let (to, signed) = pair.passed.pop().unwrap();
            assert!(to == victim && signed.payload.contains(keeps));
            let told = pair.sides[victim].remotes.len();
            pair.deliver(victim, &signed);
            pair.settle();
            let failure = LinkFailure::Auth("the certificate changed within a link");
            assert_eq!(pair.sides[victim].failure, Some(failure));
            assert_eq!(
                pair.sides[victim].remotes.len(),
                told,
                "the browser is not told"
            );
        }
    }

    #[test]
    fn what_is_replayed_does_nothing() {
        let mut pair = Pair::up();
        pair.act(ANSWERER, |link, now| link.silent(now));
        pair.assert_well();
        let passed = pair.passed.clone();
        assert_eq!(passed.len(), 3, "ask, offer, answer");
        for (to, signed) in passed {
            pair.deliver(to, &signed);
            pair.settle();
        }
        assert_eq!(pair.restarts(), 1);
        assert!(pair.sides.iter().all(|side| side.remotes.len() == 2));
        pair.assert_well();
    }

    #[test]
    fn an_answer_to_an_offer_that_was_made_anew_is_not_taken() {
        let mut pair = Pair::up();
        pair.lose_way();
        pair.carries = false;
        pair.act(OFFERER, |link, now| link.silent(now));
        let (_, offer) = pair.passed.pop().unwrap();
        pair.deliver(ANSWERER, &offer);
        pair.settle();
        let (_, late) = pair.passed.pop().unwrap();
        pair.pass(RETRY);
        pair.deliver(OFFERER, &late);
        assert_eq!(pair.sides[OFFERER].remotes.len(), 1);
        pair.carries = true;
        pair.pass(RETRY);
        pair.assert_well();
    }

    #[test]
    fn a_link_waits_for_signals_to_be_carried() {
        for finder in [OFFERER, ANSWERER] {
            let mut pair = Pair::up();
            pair.lose_way();
            pair.carries = false;
            pair.act(finder, |link, now| link.unreachable(now));
            pair.pass(TROUBLE_MAX / 2);
            pair.carries = true;
            pair.act(finder, |link, now| link.signals_pass(now));
            pair.assert_well();
        }
    }

    #[test]
    fn a_link_without_a_way_is_given_up_in_time() {
        for carries in [true, false] {
            let mut pair = Pair::up();
            pair.lose_way();
            pair.carries = carries;
            for side in [OFFERER, ANSWERER] {
                pair.act(side, |link, now| link.unreachable(now));
            }
            pair.pass(TROUBLE_MAX - Duration::from_secs(1));
            assert!(pair.sides.iter().all(|side| side.failure.is_none()));
            pair.pass(Duration::from_secs(1));
            for side in &pair.sides {
                let failure = LinkFailure::Timeout("no other way was found");
                assert_eq!(side.failure, Some(failure));
            }
        }
    }

    #[test]
    fn a_link_that_still_works_survives_a_restart_nobody_answers() {
        let mut pair = Pair::up();
        pair.carries = false;
        pair.act(OFFERER, |link, now| link.silent(now));
        pair.pass(2 * TROUBLE_MAX);
        assert_eq!(pair.sides[OFFERER].failure, None);
        assert_eq!(pair.sides[OFFERER].link.deadline(), None);
    }

    #[test]
    fn what_the_other_side_can_cause_is_bounded() {
        let ask: fn(&mut Pair) = |pair| {
            pair.act(ANSWERER, |link, now| {
                link.silent(now)?;
                link.unreachable(now)
            })
        };
        let offer: fn(&mut Pair) = |pair| {
            pair.act(OFFERER, |link, now| {
                link.silent(now)?;
                link.unreachable(now)
            })
        };
        for cause in [ask, offer] {
            let mut pair = Pair::up();
            for _ in 0..10 * BUDGET {
                cause(&mut pair);
            }
            for side in &pair.sides {
                assert_eq!(side.remotes.len(), 1 + BUDGET);
            }
            pair.pass(BUDGET_TIME);
            cause(&mut pair);
            assert_eq!(pair.restarts(), 1 + BUDGET as u64);
            pair.assert_well();
        }
    }
}
