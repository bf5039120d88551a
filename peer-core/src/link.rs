//! One link: its negotiation by signals, the peer connection below it, and the handshake
//! inside its channels.
//!
//! Whoever wants the link sends `link`; after `accept` the smaller peer id offers. Both state
//! a key that is made for the link, and bodies are sealed to the other side's. When both
//! channels are open each side sends `Hello` and `Auth`; the link is up once the other
//! side's `Auth` has verified against the offer and answer this side knows.
//!
//! When nothing comes through a link that is up, its ICE is restarted by further signals:
//! the offerer offers anew, and the answerer asks it to. Of those descriptions only the ICE
//! credentials are used, and one with another certificate is refused, so what both sides have
//! signed in the channel stays true. [`Restarts`] says when.

use crate::{
    io::{CandidateCounts, Candidates},
    random::Random,
    restart::{Due, GRACE, Restarts},
};
use shoal_protocol::{
    VERSIONS,
    candidate::{Candidate, CandidateKind},
    common_version,
    control::{AuthPayload, ControlMessage, MAX_CONTROL, Role},
    id::{Hash, LinkId, Nonce, PeerId, Signature},
    membership::Membership,
    seal::{SealContext, SealKey, SealSecret},
    signal::{
        Answer, Description, Fingerprint, Opened, Refusal, SIGNAL_LIFETIME, Setup, Signal,
        SignalBody, description_hash, role_of, transcript_hash,
    },
    signed::{Kind, Payload, Signed},
    time::Timestamp,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How long the other side may take to accept. Guess: a round trip through the rendezvous
/// and a busy page.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may take from accept to open channels. Guess: browsers give up
/// checking candidates after some 15 to 30 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `Hello` and `Auth` may take. Guess.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Most candidates of one side. Guess: ten times the usual.
const MAX_CANDIDATES: u16 = 100;

/// What a link wants done, or tells.
#[derive(Debug)]
pub(crate) enum LinkAction {
    Open(Role),
    SetRemote(Description),
    AddCandidate(Option<Candidate>),
    /// Restart ICE with another offer.
    Restart,
    /// Find out whether bytes come through.
    Ping,
    /// Sign `payload` as signal number `n`.
    SignSignal {
        n: u32,
        payload: String,
    },
    SendSignal(Signed),
    SignAuth(String),
    SendControl(ControlMessage),
    Up,
}

/// Why a link ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkFailure {
    /// The other side does not want it.
    Refused(Refusal),
    /// Nothing came for too long, in the named step.
    Timeout(&'static str),
    /// The browser could not connect.
    Connection(String),
    /// The other end is not the peer it claims to be.
    Auth(&'static str),
    /// The other side broke the protocol.
    Protocol(String),
    /// This side could not sign.
    Signing,
    /// A body of the other side is not sealed, or not to the key of this link; or its key is none.
    Unsealed,
}

#[derive(Debug, PartialEq)]
enum State {
    /// This side has sent `link`.
    Asking,
    /// Both agreed; descriptions and candidates travel.
    Connecting,
    /// The channels are open.
    Authenticating {
        hello: bool,
        sent: bool,
        verified: bool,
    },
    Up,
}

/// A signal of this side that waits for its signature.
#[derive(Debug)]
struct Outgoing {
    n: u32,
    payload: String,
    sig: Option<Signature>,
}

pub(crate) struct Link {
    pub(crate) id: LinkId,
    own: PeerId,
    pub(crate) peer: PeerId,
    membership: Arc<Membership>,
    role: Role,
    state: State,
    deadline: Timestamp,
    random: Random,
    nonce: Nonce,
    /// Opens what is sealed to this side; ends with the link.
    secret: SealSecret,
    /// What is said to the other side is sealed to this.
    their_key: Option<SealKey>,
    next_n: u32,
    /// Highest number of a signal of the other side, and its nonce.
    heard: Option<(u32, Nonce)>,
    their_versions: Vec<u16>,
    outgoing: VecDeque<Outgoing>,
    /// [`description_hash`] of the first offer and answer.
    offer: Option<Hash>,
    answer: Option<Hash>,
    remote: Option<Description>,
    auth: Option<String>,
    candidates: Candidates,
    restarts: Restarts,
    actions: VecDeque<LinkAction>,
}

type Outcome = Result<(), LinkFailure>;

impl Link {
    /// Asks `peer` for a link.
    pub(crate) fn ask(
        now: Timestamp,
        id: LinkId,
        own: PeerId,
        peer: PeerId,
        membership: Arc<Membership>,
        random: Random,
    ) -> Self {
        let mut link = Self::new(now, id, own, peer, membership, random);
        link.send_signal(now, SignalBody::Link(link.secret.key()));
        link
    }

    /// Accepts the link that was asked for with a signal and a key.
    pub(crate) fn accept(
        now: Timestamp,
        own: PeerId,
        membership: Arc<Membership>,
        random: Random,
        asked: &Signal,
        key: SealKey,
    ) -> Self {
        let mut link = Self::new(now, asked.link, own, asked.from, membership, random);
        link.their_key = Some(key);
        link.heard = Some((asked.n, asked.nonce));
        link.their_versions = asked.versions.clone();
        link.send_signal(now, SignalBody::Accept(link.secret.key()));
        link.connect(now);
        link
    }

    fn new(
        now: Timestamp,
        id: LinkId,
        own: PeerId,
        peer: PeerId,
        membership: Arc<Membership>,
        mut random: Random,
    ) -> Self {
        Self {
            id,
            own,
            peer,
            membership,
            role: role_of(own, peer),
            state: State::Asking,
            deadline: now + ASK_TIMEOUT,
            nonce: Nonce(random.bytes()),
            secret: SealSecret::new(random.bytes()),
            their_key: None,
            random,
            next_n: 0,
            heard: None,
            their_versions: Vec::new(),
            outgoing: VecDeque::new(),
            offer: None,
            answer: None,
            remote: None,
            auth: None,
            candidates: Candidates::default(),
            restarts: Restarts::default(),
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<LinkAction> {
        self.actions.pop_front()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether this side has asked and heard nothing yet.
    pub(crate) fn is_asking(&self) -> bool {
        self.state == State::Asking
    }

    /// Whether the driver was told to open it.
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Asking
    }

    pub(crate) fn candidates(&self) -> Candidates {
        self.candidates
    }

    /// When [`Link::handle_timeout`] must be called; never while the link is up and well.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.is_up() {
            true => self.restarts.deadline(),
            false => Some(self.deadline),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) -> Outcome {
        if self.is_up() {
            match self.restarts.due(now) {
                Due::Nothing => {}
                Due::Attempt => self.restart(now),
                Due::GiveUp => return Err(LinkFailure::Timeout("no other way was found")),
            }
            return Ok(());
        }
        if now < self.deadline {
            return Ok(());
        }
        Err(LinkFailure::Timeout(match self.state {
            State::Asking => "the peer did not answer",
            State::Connecting => "no connection came about",
            State::Authenticating { .. } | State::Up => "the peer did not identify itself",
        }))
    }

    /// A signal of the other side, whose signature, addresses and expiry were checked.
    pub(crate) fn handle_signal(
        &mut self,
        now: Timestamp,
        signal: &Signal,
        payload: &str,
    ) -> Outcome {
        match self.heard {
            // Signals come in order; an old one is a replay, or a retransmission, and says nothing new.
            Some((n, _)) if signal.n <= n => return Ok(()),
            Some((_, nonce)) if signal.nonce != nonce => {
                return Err(LinkFailure::Auth("the nonce changed within a link"));
            }
            _ => self.heard = Some((signal.n, signal.nonce)),
        }
        if self.their_versions.is_empty() {
            self.their_versions = signal.versions.clone();
        } else if self.their_versions != signal.versions {
            return Err(LinkFailure::Auth("the versions changed within a link"));
        }
        let opened = signal.open_body(&self.secret);
        if let Some((text, opened)) = opened.map_err(|_| LinkFailure::Unsealed)? {
            return self.handle_opened(now, payload, &text, opened);
        }
        match signal.body {
            SignalBody::Accept(key) if self.state == State::Asking => {
                if common_version(&signal.versions).is_none() {
                    return Err(LinkFailure::Refused(Refusal::Version));
                }
                self.their_key = Some(key);
                self.connect(now);
                Ok(())
            }
            SignalBody::Restart if self.role == Role::Offerer => {
                if self.is_up() && !self.restarts.is_begun() && self.restarts.allows(now) {
                    self.restart(now);
                }
                Ok(())
            }
            SignalBody::Refuse(why) if !self.is_up() => Err(LinkFailure::Refused(why)),
            SignalBody::Refuse(_) => Ok(()),
            _ => Err(out_of_order()),
        }
    }

    /// What was sealed to this side: `text`, in a signal with this payload.
    fn handle_opened(
        &mut self,
        now: Timestamp,
        payload: &str,
        text: &str,
        opened: Opened,
    ) -> Outcome {
        match opened {
            Opened::Offer(offer) if self.expects_description(Role::Answerer) => {
                if offer.setup != Setup::Actpass {
                    return Err(LinkFailure::Protocol(
                        "an offer leaves the DTLS role open".into(),
                    ));
                }
                self.offer = Some(description_hash(payload, text));
                self.set_remote(offer);
                Ok(())
            }
            Opened::Answer(Answer { description, offer })
                if self.expects_description(Role::Offerer) =>
            {
                if self.offer != Some(offer) {
                    return Err(LinkFailure::Auth("the answer is for another offer"));
                }
                if description.setup == Setup::Actpass {
                    return Err(LinkFailure::Protocol(
                        "an answer decides the DTLS role".into(),
                    ));
                }
                self.answer = Some(description_hash(payload, text));
                self.set_remote(description);
                Ok(())
            }
            Opened::Candidate(candidate) if self.takes_candidates() => {
                if let Some(candidate) = &candidate {
                    count(&mut self.candidates.remote, candidate.kind())?;
                }
                self.actions.push_back(LinkAction::AddCandidate(candidate));
                Ok(())
            }
            Opened::Offer(offer) if self.is_up() && self.role == Role::Answerer => {
                self.check_certificate(&offer)?;
                if self
                    .restarts
                    .take_offer(now, description_hash(payload, text))
                {
                    self.candidates = Candidates::default();
                    self.set_remote_credentials(&offer);
                }
                Ok(())
            }
            Opened::Answer(Answer { description, offer })
                if self.is_up() && self.role == Role::Offerer =>
            {
                self.check_certificate(&description)?;
                if self.restarts.take_answer(offer) {
                    self.set_remote_credentials(&description);
                    self.actions.push_back(LinkAction::Ping);
                }
                Ok(())
            }
            // The other side's link may be up, and in trouble, before this one is.
            Opened::Offer(_) | Opened::Answer(_)
                if matches!(self.state, State::Authenticating { .. }) =>
            {
                Ok(())
            }
            // Late candidates are of no use and no harm.
            Opened::Candidate(_) if self.state != State::Asking => Ok(()),
            _ => Err(out_of_order()),
        }
    }

    pub(crate) fn signal_signed(&mut self, n: u32, signature: Option<Signature>) -> Outcome {
        let Some(sig) = signature else {
            return Err(LinkFailure::Signing);
        };
        if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.n == n) {
            outgoing.sig = Some(sig);
        }
        // Signatures may be done in any order; signals are sent in theirs.
        while let Some(Outgoing { sig: Some(_), .. }) = self.outgoing.front() {
            if let Some(Outgoing {
                payload,
                sig: Some(sig),
                ..
            }) = self.outgoing.pop_front()
            {
                let signed = self.membership.signed(self.own, Kind::Signal, payload, sig);
                self.actions.push_back(LinkAction::SendSignal(signed));
            }
        }
        Ok(())
    }

    pub(crate) fn local_description(
        &mut self,
        now: Timestamp,
        description: Description,
    ) -> Outcome {
        if self.is_up() {
            return self.describe_restart(now, description);
        }
        if self.state != State::Connecting {
            return Ok(());
        }
        match (self.role, self.offer) {
            (Role::Offerer, None) => {
                self.offer = Some(self.send_sealed(now, &Opened::Offer(description))?);
            }
            (Role::Answerer, Some(offer)) if self.answer.is_none() => {
                let answer = Opened::Answer(Answer { description, offer });
                self.answer = Some(self.send_sealed(now, &answer)?);
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn local_candidate(
        &mut self,
        now: Timestamp,
        candidate: Option<Candidate>,
    ) -> Outcome {
        if self.takes_candidates() {
            if let Some(candidate) = &candidate {
                count(&mut self.candidates.local, candidate.kind())?;
            }
            self.send_sealed(now, &Opened::Candidate(candidate))?;
        }
        Ok(())
    }

    pub(crate) fn remote_fingerprint(&mut self, fingerprint: Fingerprint) -> Outcome {
        match &self.remote {
            Some(remote) if remote.fingerprint == fingerprint => Ok(()),
            _ => Err(LinkFailure::Auth(
                "the connection has another certificate than was signed",
            )),
        }
    }

    /// The browser hears nothing of the other side, which may pass.
    pub(crate) fn disconnected(&mut self, now: Timestamp) -> Outcome {
        if self.is_up() {
            self.restarts.suspect(now, GRACE);
            self.actions.push_back(LinkAction::Ping);
        }
        Ok(())
    }

    /// The browser has no way left to the other side.
    pub(crate) fn unreachable(&mut self, now: Timestamp) -> Outcome {
        if !self.is_up() {
            let detail = "the connection could not be made, or broke";
            return Err(LinkFailure::Connection(detail.into()));
        }
        self.restarts.no_way(now);
        self.handle_timeout(now)
    }

    /// Nothing came, not even the answer to a ping.
    pub(crate) fn silent(&mut self, now: Timestamp) -> Outcome {
        self.restarts.suspect(now, Duration::ZERO);
        self.handle_timeout(now)
    }

    /// Something came over a link that is up. True if that ends a restart.
    pub(crate) fn heard(&mut self) -> bool {
        self.restarts.heard()
    }

    /// Signals can be carried again.
    pub(crate) fn signals_pass(&mut self, now: Timestamp) -> Outcome {
        self.restarts.begin_anew(now);
        self.handle_timeout(now)
    }

    pub(crate) fn opened(&mut self, now: Timestamp) -> Outcome {
        if self.state != State::Connecting {
            return Ok(());
        }
        let Some(auth) = self.auth_payload(self.role) else {
            return Err(LinkFailure::Protocol(
                "the channels opened before offer and answer".into(),
            ));
        };
        self.state = State::Authenticating {
            hello: false,
            sent: false,
            verified: false,
        };
        self.deadline = now + AUTH_TIMEOUT;
        let max_message = MAX_CONTROL as u32;
        self.actions
            .push_back(LinkAction::SendControl(ControlMessage::Hello {
                versions: VERSIONS.into(),
                max_message,
            }));
        let payload = auth.to_payload();
        self.auth = Some(payload.clone());
        self.actions.push_back(LinkAction::SignAuth(payload));
        Ok(())
    }

    pub(crate) fn auth_signed(&mut self, signature: Option<Signature>) -> Outcome {
        let Some(sig) = signature else {
            return Err(LinkFailure::Signing);
        };
        let Some(payload) = self.auth.take() else {
            return Ok(());
        };
        let signed = self.membership.signed(self.own, Kind::Auth, payload, sig);
        self.actions
            .push_back(LinkAction::SendControl(ControlMessage::Auth { signed }));
        if let State::Authenticating { sent, .. } = &mut self.state {
            *sent = true;
        }
        self.check_up();
        Ok(())
    }

    /// A control message before the link is up: `Hello`, then `Auth`, nothing else.
    pub(crate) fn handle_handshake(&mut self, text: &str) -> Outcome {
        let message = ControlMessage::parse(text)
            .map_err(|error| LinkFailure::Protocol(error.to_string()))?;
        let expected = self.auth_payload(self.role.other());
        let State::Authenticating {
            hello, verified, ..
        } = &mut self.state
        else {
            return Err(LinkFailure::Protocol(
                "a message came before the channels opened".into(),
            ));
        };
        match message {
            ControlMessage::Hello { versions, .. } if !*hello => {
                // What the signed signals said; a shorter list here was stripped on the way.
                if versions != self.their_versions {
                    return Err(LinkFailure::Auth("other versions than were signed"));
                }
                *hello = true;
            }
            ControlMessage::Auth { signed } if *hello && !*verified => {
                if signed.peer != self.peer {
                    return Err(LinkFailure::Auth("another peer than was called"));
                }
                let payload: AuthPayload = signed
                    .open()
                    .map_err(|_| LinkFailure::Auth("the signature is not valid"))?;
                if Some(payload) != expected {
                    return Err(LinkFailure::Auth(
                        "the channel is not the one that was negotiated",
                    ));
                }
                if !signed.is_of_member(Kind::Auth, self.membership.namespace()) {
                    return Err(LinkFailure::Auth("it does not have the namespace's secret"));
                }
                *verified = true;
            }
            _ => {
                return Err(LinkFailure::Protocol(
                    "a message came before Hello and Auth".into(),
                ));
            }
        }
        self.check_up();
        Ok(())
    }

    fn check_up(&mut self) {
        if self.state
            == (State::Authenticating {
                hello: true,
                sent: true,
                verified: true,
            })
        {
            self.state = State::Up;
            self.actions.push_back(LinkAction::Up);
        }
    }

    /// What the side in `role` signs in this channel, as this side knows offer and answer.
    fn auth_payload(&self, role: Role) -> Option<AuthPayload> {
        let hash = transcript_hash(self.offer.as_ref()?, self.answer.as_ref()?);
        Some(AuthPayload {
            link: self.id,
            namespace: self.membership.namespace().clone(),
            role,
            hash,
        })
    }

    fn expects_description(&self, role: Role) -> bool {
        self.state == State::Connecting && self.role == role && self.remote.is_none()
    }

    fn connect(&mut self, now: Timestamp) {
        self.state = State::Connecting;
        self.deadline = now + CONNECT_TIMEOUT;
        self.actions.push_back(LinkAction::Open(self.role));
    }

    /// Begins an attempt to find another way.
    fn restart(&mut self, now: Timestamp) {
        match self.role {
            Role::Offerer => {
                if self.restarts.begin(now) {
                    self.candidates = Candidates::default();
                    self.actions.push_back(LinkAction::Restart);
                }
            }
            Role::Answerer => {
                self.restarts.ask(now);
                self.send_signal(now, SignalBody::Restart);
            }
        }
        self.actions.push_back(LinkAction::Ping);
    }

    /// Sends what the driver described for a restart.
    fn describe_restart(&mut self, now: Timestamp, description: Description) -> Outcome {
        match self.role {
            Role::Offerer if self.restarts.described() => {
                let offer = self.send_sealed(now, &Opened::Offer(description))?;
                self.restarts.offered(offer);
            }
            Role::Offerer => {}
            Role::Answerer => {
                if let Some(offer) = self.restarts.answered() {
                    self.send_sealed(now, &Opened::Answer(Answer { description, offer }))?;
                    self.actions.push_back(LinkAction::Ping);
                }
            }
        }
        Ok(())
    }

    /// The channel was opened, and signed for, between two certificates.
    fn check_certificate(&self, description: &Description) -> Outcome {
        match &self.remote {
            Some(remote) if remote.fingerprint == description.fingerprint => Ok(()),
            _ => Err(LinkFailure::Auth("the certificate changed within a link")),
        }
    }

    /// Takes nothing else of a description: the association below the channels stays as it is.
    fn set_remote_credentials(&mut self, Description { ufrag, pwd, .. }: &Description) {
        if let Some(remote) = self.remote.clone() {
            self.set_remote(Description {
                ufrag: ufrag.clone(),
                pwd: pwd.clone(),
                ..remote
            });
        }
    }

    fn takes_candidates(&self) -> bool {
        self.state == State::Connecting || self.is_up() && self.restarts.any()
    }

    fn set_remote(&mut self, description: Description) {
        self.remote = Some(description.clone());
        self.actions.push_back(LinkAction::SetRemote(description));
    }

    /// Seals a body and queues its signal for signing. Returns its [`description_hash`].
    fn send_sealed(&mut self, now: Timestamp, body: &Opened) -> Result<Hash, LinkFailure> {
        let text = body.to_text();
        let context = SealContext {
            from: self.own,
            to: self.peer,
            namespace: self.membership.namespace(),
            link: self.id,
            n: self.next_n,
            kind: body.kind(),
        };
        let key = self.their_key.ok_or(LinkFailure::Unsealed)?;
        let sealed = key.seal(&text, context, self.random.rng());
        let sealed = sealed.map_err(|_| LinkFailure::Unsealed)?;
        let payload = self.send_signal(now, body.sealed(sealed));
        Ok(description_hash(&payload, &text))
    }

    /// Queues a signal for signing and returns its payload.
    fn send_signal(&mut self, now: Timestamp, body: SignalBody) -> String {
        let n = self.next_n;
        let payload = self.next_signal(now, body);
        self.outgoing.push_back(Outgoing {
            n,
            payload: payload.clone(),
            sig: None,
        });
        self.actions.push_back(LinkAction::SignSignal {
            n,
            payload: payload.clone(),
        });
        payload
    }

    /// The payload of a refusal. It is signed and sent apart from the link, which is over.
    pub(crate) fn refusal(&mut self, now: Timestamp, why: Refusal) -> String {
        self.next_signal(now, SignalBody::Refuse(why))
    }

    fn next_signal(&mut self, now: Timestamp, body: SignalBody) -> String {
        let signal = Signal {
            from: self.own,
            to: self.peer,
            namespace: self.membership.namespace().clone(),
            link: self.id,
            n: self.next_n,
            nonce: self.nonce,
            versions: VERSIONS.into(),
            expires: now.unix_millis().plus(SIGNAL_LIFETIME),
            body,
        };
        self.next_n += 1;
        signal.to_payload()
    }
}

fn out_of_order() -> LinkFailure {
    LinkFailure::Protocol("a signal came out of order".into())
}

/// Counts a candidate by its kind; an error if one side has too many.
fn count(counts: &mut CandidateCounts, kind: CandidateKind) -> Outcome {
    let counter = match kind {
        CandidateKind::Host | CandidateKind::Prflx => &mut counts.host,
        CandidateKind::Srflx => &mut counts.srflx,
        CandidateKind::Relay => &mut counts.relay,
    };
    *counter += 1;
    if counts.host + counts.srflx + counts.relay > MAX_CANDIDATES {
        return Err(LinkFailure::Protocol("too many candidates".into()));
    }
    Ok(())
}
