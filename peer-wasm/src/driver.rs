//! Drives one [`Node`]: brings it what the edges report, does what it says.
//!
//! Everything that happens becomes an [`Input`] in a queue, and one pump takes them out:
//! it drains the outputs after each input, then asks for frames while channels have room,
//! until nothing is left. What the pump does may call back into the driver at any point;
//! that only lengthens the queue, so nothing is borrowed twice.

use crate::{
    broker::{FromBroker, ToBroker},
    budget::Budget,
    calls::AttachOptions,
    channels::{ChannelEvent, Channels},
    clock::{Alarm, Clock},
    identity::Identity,
    rendezvous::{Socket, SocketEvent},
    source::Source,
};
use shoal_peer_core::{
    Node,
    io::{
        Answer, CallId, Channel, Command, Config, Error, Event, Frame, Input, LinkInput, OpId,
        Output, PeerState, StoreError,
    },
};
use shoal_protocol::{
    content::ContentKey,
    id::{LinkId, Signature},
    namespace::Namespace,
    rendezvous::IceServer,
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
};
use tokio::sync::oneshot;
use wasm_bindgen_futures::spawn_local;

/// What a driver has for others.
pub enum Outward {
    /// For the broker.
    Broker(ToBroker),
    /// For whoever made the call.
    Answer(CallId, Result<Answer, Error>),
    /// For all clients.
    Event(Event),
}

/// What all drivers of an engine share.
pub struct Shared {
    /// Tells the time.
    pub clock: Rc<Clock>,
    /// Holds the contents.
    pub budget: Budget,
    /// Signs.
    pub identity: Identity,
}

/// One node and what it has of the browser.
pub struct Driver {
    me: Weak<Driver>,
    namespace: Namespace,
    url: Option<String>,
    /// Whether links go through TURN servers only.
    relay_only: bool,
    shared: Rc<Shared>,
    outward: Box<dyn Fn(Outward)>,
    /// `None` until what the store holds is known, and after the end.
    node: RefCell<Option<Node>>,
    inputs: RefCell<VecDeque<Input>>,
    is_pumping: Cell<bool>,
    is_shut: Cell<bool>,
    alarm: Alarm,
    socket: RefCell<Option<Socket>>,
    /// The links the node has told to open; with their channels, once these are there.
    links: RefCell<SortedMap<LinkId, Option<Rc<Channels>>>>,
    sources: RefCell<SortedMap<CallId, Source>>,
    state: Cell<PeerState>,
    /// Who waits for contents to be withdrawn.
    withdrawing: RefCell<Vec<(ContentKey, oneshot::Sender<()>)>>,
}

impl Driver {
    /// A driver whose node does not run yet; what it is fed waits for [`Driver::start`].
    pub fn new(
        options: &AttachOptions,
        shared: Rc<Shared>,
        outward: impl Fn(Outward) + 'static,
    ) -> Rc<Self> {
        let state = match options.rendezvous {
            Some(_) => PeerState::Connecting,
            None => PeerState::Offline,
        };
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            namespace: options.membership.namespace().clone(),
            url: options.rendezvous.clone(),
            relay_only: options.relay_only,
            shared,
            outward: Box::new(outward),
            node: RefCell::default(),
            inputs: RefCell::default(),
            is_pumping: Cell::new(false),
            is_shut: Cell::new(false),
            alarm: Alarm::default(),
            socket: RefCell::default(),
            links: RefCell::default(),
            sources: RefCell::default(),
            state: Cell::new(state),
            withdrawing: RefCell::default(),
        })
    }

    /// Reads what the store holds and lets the node run.
    pub async fn start(&self, options: AttachOptions, seed: [u8; 32]) -> Result<(), StoreError> {
        let now = self.now().unix_millis();
        // Before the contents are read: of what goes meanwhile it is told.
        self.shared.budget.add(self.me.clone());
        let store = &self.shared.budget.store;
        let epoch = store.claim_epoch(now).await?;
        let contents = store.contents(Some(&self.namespace)).await?;
        if self.is_shut.get() {
            return Ok(());
        }
        let config = Config {
            peer: self.shared.identity.peer(),
            membership: options.membership,
            epoch,
            seed,
            rendezvous: self.url.is_some(),
            ice_servers: options.ice_servers,
            sync_interval: options.sync_interval,
            replicate: options.replicate,
            limits: options.limits,
            contents: contents.into_iter().map(|(content, _)| content).collect(),
        };
        *self.node.borrow_mut() = Some(Node::new(self.now(), config));
        #[cfg(feature = "test-hooks")]
        self.with_node(|node, _| node.trust_signals());
        self.pump();
        Ok(())
    }

    /// State of the connection to the rendezvous.
    pub fn state(&self) -> PeerState {
        self.state.get()
    }

    /// Gives the node a call, and what it publishes.
    pub fn call(&self, call: CallId, command: Command, source: Option<Source>) {
        if let Some(source) = source {
            self.sources.borrow_mut().insert(call, source);
        }
        self.feed(Input::Command(call, command));
    }

    /// Takes a call back.
    pub fn abort(&self, call: CallId) {
        self.sources.borrow_mut().remove(&call);
        self.feed(Input::Abort(call));
    }

    /// Takes what the broker says of a link. What is said of a link that is closed by now
    /// means nothing any more; channels that come too late are closed.
    pub fn broker_said(&self, link: LinkId, said: FromBroker) {
        match said {
            FromBroker::Inputs(inputs) => {
                if self.links.borrow().contains_key(&link) {
                    for input in inputs {
                        self.feed(Input::Link(link, input));
                    }
                }
            }
            FromBroker::Channels(control, bulk) => {
                let me = self.me.clone();
                let channels = Rc::new(Channels::new(control, bulk, move |event| {
                    if let Some(driver) = me.upgrade() {
                        match event {
                            ChannelEvent::Input(input) => driver.feed(Input::Link(link, input)),
                            ChannelEvent::Room => driver.pump(),
                        }
                    }
                }));
                match self.links.borrow_mut().get_mut(&link) {
                    Some(slot) => *slot = Some(Rc::clone(&channels)),
                    None => return,
                }
                channels.begin();
            }
        }
    }

    /// Adds what the node uses now.
    pub fn in_use(&self, keys: &mut SortedSet<ContentKey>) {
        self.with_node(|node, _| keys.extend(node.in_use()));
    }

    /// Has the node withdraw a content; the receiver is done when it has, or has ended.
    pub fn withdraw(&self, key: ContentKey) -> Option<oneshot::Receiver<()>> {
        if self.is_shut.get() {
            return None;
        }
        let (say, said) = oneshot::channel();
        self.withdrawing.borrow_mut().push((key, say));
        self.feed(Input::Withdraw(key));
        Some(said)
    }

    /// Tells the clients something that is not the node's.
    pub fn tell_client(&self, event: Event) {
        (self.outward)(Outward::Event(event));
    }

    /// Takes in something that happened.
    pub fn feed(&self, input: Input) {
        if !self.is_shut.get() {
            self.inputs.borrow_mut().push_back(input);
            self.pump();
        }
    }

    /// Ends everything at once: the node has taken its leave, or is not to.
    pub fn shut(&self) {
        if self.is_shut.replace(true) {
            return;
        }
        self.alarm.clear();
        drop(self.socket.take());
        drop(self.inputs.take());
        drop(self.sources.take());
        drop(self.withdrawing.take());
        for (link, channels) in self.links.take() {
            drop(channels);
            (self.outward)(Outward::Broker(ToBroker::Close { link }));
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn pump(&self) {
        if self.is_shut.get() || self.node.borrow().is_none() || self.is_pumping.replace(true) {
            return;
        }
        loop {
            while let Some(input) = self.next_input() {
                self.with_node(|node, now| node.handle_input(now, input));
                self.drain();
            }
            self.transmit();
            // Sending may be what makes the node read the next chunk.
            self.drain();
            if self.inputs.borrow().is_empty() {
                break;
            }
        }
        self.is_pumping.set(false);
        match self.is_shut.get() {
            true => drop(self.node.take()),
            false => self.set_alarm(),
        }
    }

    fn next_input(&self) -> Option<Input> {
        self.inputs.borrow_mut().pop_front()
    }

    fn with_node<T>(&self, task: impl FnOnce(&mut Node, Timestamp) -> T) -> Option<T> {
        let now = self.now();
        self.node.borrow_mut().as_mut().map(|node| task(node, now))
    }

    fn drain(&self) {
        while !self.is_shut.get() {
            match self.with_node(|node, _| node.poll_output()).flatten() {
                Some(output) => self.perform(output),
                None => break,
            }
        }
    }

    /// Fills the channels that can take more, control first.
    fn transmit(&self) {
        if self.socket.borrow().as_ref().is_some_and(Socket::is_idle) {
            self.with_node(Node::rendezvous_drained);
        }
        let links = self.open_links();
        for (link, channels) in &links {
            let buffered = channels.buffered(Channel::Bulk);
            self.with_node(|node, now| node.set_buffered(now, *link, buffered));
        }
        for (link, channels) in links {
            for channel in [Channel::Control, Channel::Bulk] {
                while channels.has_room(channel) {
                    let frame = self.with_node(|node, now| node.poll_transmit(now, link, channel));
                    match frame.flatten() {
                        Some(frame) if self.send(link, &channels, &frame) => {}
                        _ => break,
                    }
                }
            }
            if let Some(low) = self.with_node(|node, _| node.low_water(link)) {
                channels.set_low_water(low);
            }
        }
    }

    fn send(&self, link: LinkId, channels: &Channels, frame: &Frame) -> bool {
        let sent = channels.send(frame);
        if !sent {
            let detail = "a data channel took no more".into();
            let failed = LinkInput::Failed { detail };
            self.inputs
                .borrow_mut()
                .push_back(Input::Link(link, failed));
        }
        sent
    }

    fn open_links(&self) -> Vec<(LinkId, Rc<Channels>)> {
        let links = self.links.borrow();
        let open = links
            .iter()
            .filter_map(|(link, channels)| Some((*link, Rc::clone(channels.as_ref()?))));
        open.collect()
    }

    fn set_alarm(&self) {
        let at = self.with_node(|node, _| node.next_timeout()).flatten();
        if let Some(at) = at {
            let me = self.me.clone();
            self.alarm.set(self.now(), at, move || {
                if let Some(driver) = me.upgrade() {
                    driver.ring();
                }
            });
        }
    }

    fn ring(&self) {
        self.alarm.clear();
        let at = self.with_node(|node, _| node.next_timeout()).flatten();
        match at {
            Some(at) if at <= self.now() => self.feed(Input::Timeout),
            _ => self.set_alarm(),
        }
    }

    fn perform(&self, output: Output) {
        match output {
            Output::ConnectRendezvous => self.connect(),
            Output::SendRendezvous(text) => self.send_rendezvous(&text),
            Output::CloseRendezvous => drop(self.socket.take()),
            Output::OpenLink {
                link,
                role,
                ice_servers,
            } => self.open_link(link, role, ice_servers),
            Output::IceServers(ice_servers) => {
                for link in self.links.borrow().keys().copied() {
                    let ice_servers = ice_servers.clone();
                    self.tell(ToBroker::Servers { link, ice_servers });
                }
            }
            Output::SetRemote { link, description } => {
                self.tell(ToBroker::Remote { link, description });
            }
            Output::AddCandidate { link, candidate } => {
                self.tell(ToBroker::Candidate { link, candidate });
            }
            Output::RestartLink { link } => self.tell(ToBroker::Restart { link }),
            Output::CloseLink { link } => {
                let channels = self.links.borrow_mut().remove(&link);
                drop(channels);
                self.tell(ToBroker::Close { link });
            }
            Output::Sign { op, kind, payload } => self.sign(op, kind.message(&payload)),
            Output::Store { op, request } => {
                let shared = Rc::clone(&self.shared);
                let namespace = self.namespace.clone();
                self.spawn(async move {
                    Input::Stored(op, shared.budget.handle(&namespace, request).await)
                });
            }
            Output::ReadSource { op, call, range } => {
                let source = self.sources.borrow().get(&call).cloned();
                self.spawn(async move {
                    Input::Source(
                        op,
                        match source {
                            Some(source) => source.read(range).await,
                            None => Err("the call has ended".into()),
                        },
                    )
                });
            }
            Output::Answer { call, result } => {
                self.sources.borrow_mut().remove(&call);
                (self.outward)(Outward::Answer(call, result));
            }
            Output::Event(event) => {
                if let Event::State { state } = &event {
                    self.state.set(*state);
                }
                (self.outward)(Outward::Event(event));
            }
            Output::Withdrawn(key) => {
                let mut withdrawing = self.withdrawing.borrow_mut();
                withdrawing.retain(|(of, _)| *of != key);
            }
        }
    }

    fn tell(&self, message: ToBroker) {
        (self.outward)(Outward::Broker(message));
    }

    fn open_link(
        &self,
        link: LinkId,
        role: shoal_protocol::control::Role,
        ice_servers: Vec<IceServer>,
    ) {
        self.links.borrow_mut().insert(link, None);
        self.tell(ToBroker::Open {
            link,
            role,
            ice_servers,
            ice_transport_policy: self.relay_only.then_some("relay"),
        });
    }

    fn connect(&self) {
        let me = self.me.clone();
        let socket = self.url.as_deref().and_then(|url| {
            Socket::open(url, move |event| {
                if let Some(driver) = me.upgrade() {
                    driver.on_socket(event);
                }
            })
        });
        if socket.is_none() {
            self.feed(Input::RendezvousClosed);
        }
        let old = self.socket.replace(socket);
        drop(old);
    }

    fn on_socket(&self, event: SocketEvent) {
        self.feed(match event {
            SocketEvent::Opened => Input::RendezvousOpened,
            SocketEvent::Message(text) => Input::RendezvousMessage(text),
            SocketEvent::Closed => {
                drop(self.socket.take());
                Input::RendezvousClosed
            }
        });
    }

    fn send_rendezvous(&self, text: &str) {
        let sent = match &*self.socket.borrow() {
            Some(socket) => socket.send(text),
            // The node hears that it is closed, or has just heard.
            None => true,
        };
        if !sent {
            drop(self.socket.take());
            self.feed(Input::RendezvousClosed);
        }
    }

    fn sign(&self, op: OpId, message: Vec<u8>) {
        let shared = Rc::clone(&self.shared);
        self.spawn(async move {
            let signature: Option<Signature> = shared.identity.sign(&message).await;
            Input::Signed(op, signature)
        });
    }

    /// Starts work whose result is an input.
    fn spawn(&self, work: impl Future<Output = Input> + 'static) {
        let me = self.me.clone();
        spawn_local(async move {
            let input = work.await;
            if let Some(driver) = me.upgrade() {
                driver.feed(input);
            }
        });
    }
}
