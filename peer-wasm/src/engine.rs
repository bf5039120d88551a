//! The engine: clients and their calls, the nodes that serve them, the broker.

use crate::{
    broker::{self, ToBroker},
    budget::{Budget, quota_of},
    calls::{self, AttachOptions, Call, StorageChange},
    clock::Clock,
    driver::{Driver, Outward, Shared},
    errors::{invalid, of_store, with_code},
    identity::{Identity, random},
    store::{FORMAT, Store, foreign},
};
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use shoal_peer_core::io::{Answer, CallId, Code, Command, Error, Event, Input, StoreError};
use shoal_protocol::{id::LinkId, namespace::Namespace, sorted::SortedMap};
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};
use tokio::sync::oneshot;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What an engine needs of the place where it runs. */
export interface Host {
  /** Carries a message to a client. */
  toClient(client: number, message: any, transfer: any[]): void;
  /** Carries a message to the broker. */
  toBroker(message: any): void;
  /** Another engine has taken over the store; this one is of no more use. */
  superseded(): void;
  /** The store was closed or deleted from outside; what it held is gone. */
  lost(): void;
}
/** Options of a client. Those of the first client of a rendezvous and namespace hold. */
export interface AttachOptions {
  rendezvous?: string | null;
  namespace?: string | null;
  /** Of a private namespace, in place of its id. */
  secret?: string | null;
  iceServers?: RTCIceServer[] | null;
  iceTransportPolicy?: RTCIceTransportPolicy | null;
  /** Milliseconds; default 30000. */
  syncInterval?: number | null;
  replicate?: { match?: { type?: string; keywords?: string[]; peer?: string }; budget: number } | null;
  /** Bytes; of the whole store. Holds unless one was chosen before. */
  storageLimit?: number | null;
  /** Bytes a second. */
  uploadLimit?: number | null;
  /** Bytes a second. */
  downloadLimit?: number | null;
  /** Peers served at a time. */
  uploadSlots?: number | null;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// What an engine needs of the place where it runs.
    #[wasm_bindgen(typescript_type = "Host")]
    #[derive(Clone)]
    pub type Host;

    #[wasm_bindgen(method, catch, js_name = toClient)]
    fn to_client(
        this: &Host,
        client: u32,
        message: &JsValue,
        transfer: &Array,
    ) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch, js_name = toBroker)]
    fn to_broker(this: &Host, message: &JsValue) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn superseded(this: &Host) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn lost(this: &Host) -> Result<(), JsValue>;
}

/// The peer: everything of Shoal that is not bound to a page.
#[wasm_bindgen]
pub struct Engine {
    inner: Rc<Inner>,
}

struct Inner {
    me: Weak<Inner>,
    host: Host,
    shared: Rc<Shared>,
    clients: RefCell<SortedMap<u32, Rc<Network>>>,
    networks: RefCell<Vec<Rc<Network>>>,
    /// Where what the broker says belongs.
    links: RefCell<SortedMap<LinkId, Weak<Network>>>,
    calls: RefCell<SortedMap<CallId, Caller>>,
    last_call: Cell<CallId>,
    is_closed: Cell<bool>,
    is_superseded: Cell<bool>,
}

/// A node and the promise of its start.
struct Network {
    rendezvous: Option<String>,
    namespace: Namespace,
    driver: Rc<Driver>,
    started: RefCell<Promise>,
}

/// Who waits for an answer.
enum Caller {
    Client(u32, f64),
    /// The node was told to close; the sender is dropped when it has.
    Closing(Rc<Network>, #[expect(dead_code)] oneshot::Sender<()>),
}

#[wasm_bindgen]
impl Engine {
    /// Opens the store, which takes it from any other engine, and loads the identity or
    /// makes one. With `files` (`js/files.js`) the bytes of chunks go there; `quota` tells what
    /// the browser gives to the site, in bytes. Rejects with an `Error` that has a `code`, and a
    /// `format` if the store has one that is not known here: that which is.
    pub async fn open(
        #[wasm_bindgen(
            unchecked_param_type = "{ store: string | false, files?: object, quota?: () => Promise<number | undefined> }"
        )]
        options: JsValue,
        host: Host,
    ) -> Result<Engine, JsValue> {
        let unsupported = |what: &str| with_code("unsupported", what);
        let clock = Clock::new().ok_or_else(|| unsupported("this browser has no clock"))?;
        let now = clock.now().unix_millis();
        let name = Reflect::get(&options, &"store".into())?;
        let files = Some(Reflect::get(&options, &"files".into())?);
        let files = files.filter(JsValue::is_object).map(JsCast::unchecked_into);
        let store = match name.as_string() {
            Some(name) => {
                let outside = host.clone();
                let lost = move || {
                    // An error of the host is the host's to report.
                    let _ = outside.lost();
                };
                let opened = Store::open(&name, files, now, lost).await;
                opened.map_err(|e| not_opened(&e))?
            }
            None if name.is_falsy() => Store::memory(),
            None => {
                return Err(with_code("invalid-argument", "`store` is not a name"));
            }
        };
        let stored = store.identity().await.map_err(|e| of_store(&e))?;
        let identity = match stored.as_ref().and_then(Identity::from_stored) {
            Some(identity) => identity,
            None => {
                let made = Identity::generate().await;
                let made = made.ok_or_else(|| unsupported("this browser has no randomness"))?;
                if let Some(made) = made.to_stored() {
                    let put = store.put_identity(&made, stored.as_ref()).await;
                    put.map_err(|e| of_store(&e))?;
                }
                made
            }
        };
        // Memory has no quota.
        let quota = quota_of(&options).filter(|_| name.is_string());
        let clock = Rc::new(clock);
        let budget = Budget::new(store, Rc::clone(&clock), quota).await;
        let shared = Rc::new(Shared {
            clock,
            budget: budget.map_err(|e| of_store(&e))?,
            identity,
        });
        let noting = Rc::clone(&shared);
        spawn_local(async move { noting.budget.store.note_missing().await });
        let inner = Rc::new_cyclic(|me| Inner {
            me: me.clone(),
            host,
            shared,
            clients: RefCell::default(),
            networks: RefCell::default(),
            links: RefCell::default(),
            calls: RefCell::default(),
            last_call: Cell::new(0),
            is_closed: Cell::new(false),
            is_superseded: Cell::new(false),
        });
        Ok(Engine { inner })
    }

    /// Who this peer is.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> String {
        self.inner.shared.identity.peer().to_string()
    }

    /// Gives a client a node. Resolves when the node runs, online or not; `damaged` names what
    /// could not be read when the store was opened, once: keys, or `identity`, for which there is
    /// another then; `recovered` counts the contents that were taken up from files, if the browser
    /// had lost the database; `storageLimit` is what the store may hold, if somebody has chosen.
    #[wasm_bindgen(
        unchecked_return_type = "Promise<{ id: string, namespace: string, state: string, damaged: string[], recovered?: number, storageLimit?: number }>"
    )]
    pub fn attach(
        &self,
        client: u32,
        #[wasm_bindgen(unchecked_param_type = "AttachOptions")] options: JsValue,
    ) -> Promise {
        let inner = Rc::clone(&self.inner);
        future_to_promise(async move { inner.attach(client, &options).await })
    }

    /// Lets a client go: its calls are taken back. The node of the last one closes.
    pub fn detach(&self, client: u32) {
        self.inner.detach(client);
    }

    /// Takes a call of a client; the answer goes to `toClient`.
    pub fn call(&self, client: u32, id: f64, call: &str, args: &JsValue) {
        self.inner.call(client, id, call, args);
    }

    /// Takes a call back. It is not answered any more.
    pub fn abort(&self, client: u32, id: f64) {
        self.inner.abort(client, id);
    }

    /// Takes a message of the broker.
    #[wasm_bindgen(js_name = fromBroker)]
    pub fn from_broker(&self, message: &JsValue) {
        let Some((link, said)) = broker::read(message) else {
            return;
        };
        let network = self.inner.links.borrow().get(&link).cloned();
        if let Some(network) = network.and_then(|network| network.upgrade()) {
            network.driver.broker_said(link, said);
        }
    }

    /// The network changed, or the page was shown again.
    pub fn wake(&self) {
        let networks = self.inner.networks.borrow().clone();
        for network in networks {
            network.driver.feed(Input::Wake);
        }
    }

    /// Takes leave of everybody and closes the store.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn close(&self) -> Promise {
        let inner = Rc::clone(&self.inner);
        future_to_promise(async move {
            inner.close().await;
            Ok(JsValue::UNDEFINED)
        })
    }
}

impl Inner {
    async fn attach(&self, client: u32, options: &JsValue) -> Result<JsValue, JsValue> {
        if self.is_closed.get() {
            return Err(to_error(&Error::new(Code::Closed, "the engine is closed")));
        }
        let options = AttachOptions::read(options).map_err(|error| to_error(&error))?;
        if self.clients.borrow().contains_key(&client) {
            return Err(to_error(&invalid("this client is attached already")));
        }
        let storage_limit = options.storage_limit;
        let network = self.network(options)?;
        self.clients
            .borrow_mut()
            .insert(client, Rc::clone(&network));
        let started = network.started.borrow().clone();
        if let Err(error) = JsFuture::from(started).await {
            self.clients.borrow_mut().remove(&client);
            self.networks
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &network));
            // There is no node that could answer.
            let is_of_it = |caller: &Caller| matches!(caller, Caller::Closing(of, _) if Rc::ptr_eq(of, &network));
            self.calls
                .borrow_mut()
                .retain(|_, caller| !is_of_it(caller));
            network.driver.shut();
            return Err(error);
        }
        if let Some(limit) = storage_limit {
            self.shared.budget.suggest_limit(limit).await;
        }
        let attached = Object::new();
        let damaged = self.shared.budget.store.take_damaged();
        Reflect::set(&attached, &"damaged".into(), &to_js(&damaged)?)?;
        if let Some(recovered) = self.shared.budget.store.take_recovered() {
            Reflect::set(&attached, &"recovered".into(), &recovered.into())?;
        }
        if let Some(limit) = self.shared.budget.chosen() {
            Reflect::set(&attached, &"storageLimit".into(), &(limit as f64).into())?;
        }
        let state = serde_wasm_bindgen::to_value(&network.driver.state())?;
        let namespace = network.namespace.as_str();
        Reflect::set(&attached, &"namespace".into(), &namespace.into())?;
        Reflect::set(&attached, &"id".into(), &self.peer().into())?;
        Reflect::set(&attached, &"state".into(), &state)?;
        Ok(attached.into())
    }

    fn peer(&self) -> String {
        self.shared.identity.peer().to_string()
    }

    /// The node for a rendezvous and namespace: the one that runs, or a new one.
    fn network(&self, options: AttachOptions) -> Result<Rc<Network>, JsValue> {
        let networks = self.networks.borrow();
        let running = networks.iter().find(|network| {
            network.rendezvous == options.rendezvous
                && network.namespace == *options.membership.namespace()
        });
        if let Some(running) = running {
            return Ok(Rc::clone(running));
        }
        drop(networks);
        let seed = random();
        let seed =
            seed.ok_or_else(|| with_code("unsupported", "this browser has no randomness"))?;
        let network = Rc::new_cyclic(|network: &Weak<Network>| {
            let (engine, network) = (self.me.clone(), network.clone());
            let outward = move |outward| {
                if let (Some(engine), Some(network)) = (engine.upgrade(), network.upgrade()) {
                    engine.on_driver(&network, outward);
                }
            };
            Network {
                rendezvous: options.rendezvous.clone(),
                namespace: options.membership.namespace().clone(),
                driver: Driver::new(&options, Rc::clone(&self.shared), outward),
                started: RefCell::new(Promise::resolve(&JsValue::UNDEFINED)),
            }
        });
        self.networks.borrow_mut().push(Rc::clone(&network));
        let driver = Rc::clone(&network.driver);
        *network.started.borrow_mut() = future_to_promise(async move {
            let started = driver.start(options, seed).await;
            started.map_err(|error| of_store(&error))?;
            Ok(JsValue::UNDEFINED)
        });
        Ok(network)
    }

    fn detach(&self, client: u32) {
        let Some(network) = self.clients.borrow_mut().remove(&client) else {
            return;
        };
        let of_client = |caller: &Caller| matches!(caller, Caller::Client(of, _) if *of == client);
        let calls: Vec<CallId> = self
            .calls
            .borrow()
            .iter()
            .filter(|(_, caller)| of_client(caller))
            .map(|(call, _)| *call)
            .collect();
        for call in calls {
            self.calls.borrow_mut().remove(&call);
            network.driver.abort(call);
        }
        let is_last = !self
            .clients
            .borrow()
            .values()
            .any(|other| Rc::ptr_eq(other, &network));
        if is_last {
            drop(self.end(network));
        }
    }

    /// Has a node take its leave; the receiver is done when it has.
    fn end(&self, network: Rc<Network>) -> oneshot::Receiver<()> {
        self.networks
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &network));
        let (sender, receiver) = oneshot::channel();
        let call = self.next_call();
        let driver = Rc::clone(&network.driver);
        self.calls
            .borrow_mut()
            .insert(call, Caller::Closing(network, sender));
        driver.call(call, Command::Close, None);
        receiver
    }

    fn next_call(&self) -> CallId {
        self.last_call.set(self.last_call.get() + 1);
        self.last_call.get()
    }

    fn call(&self, client: u32, id: f64, call: &str, args: &JsValue) {
        let network = self.clients.borrow().get(&client).cloned();
        let Some(network) = network else {
            let closed = Error::new(Code::Closed, "this client is not attached");
            return self.answer(client, id, Err(closed));
        };
        match calls::read(call, args) {
            Ok(Call::Storage(change)) => self.storage(client, id, change),
            Ok(Call::Command(command, source)) => {
                let call = self.next_call();
                let caller = Caller::Client(client, id);
                self.calls.borrow_mut().insert(call, caller);
                network.driver.call(call, command, source);
            }
            Err(error) => self.answer(client, id, Err(error)),
        }
    }

    /// Changes what the store holds or may hold, and answers with that.
    fn storage(&self, client: u32, id: f64, change: StorageChange) {
        let Some(inner) = self.me.upgrade() else {
            return;
        };
        spawn_local(async move {
            let budget = &inner.shared.budget;
            match change {
                StorageChange::None => {}
                StorageChange::Limit(limit) => budget.set_limit(limit).await,
                StorageChange::Clear => budget.clear().await,
            }
            let storage = budget.storage().await;
            inner.answer(client, id, Ok(Answer::Storage(storage)));
        });
    }

    fn abort(&self, client: u32, id: f64) {
        let calls = self.calls.borrow();
        let found = calls.iter().find(|(_, caller)| match caller {
            Caller::Client(of, named) => *of == client && *named == id,
            Caller::Closing(..) => false,
        });
        let Some(call) = found.map(|(call, _)| *call) else {
            return;
        };
        drop(calls);
        self.calls.borrow_mut().remove(&call);
        let network = self.clients.borrow().get(&client).cloned();
        if let Some(network) = network {
            network.driver.abort(call);
        }
    }

    fn on_driver(&self, network: &Rc<Network>, outward: Outward) {
        match outward {
            Outward::Broker(message) => {
                match &message {
                    ToBroker::Open { link, .. } => {
                        let network = Rc::downgrade(network);
                        self.links.borrow_mut().insert(*link, network);
                    }
                    ToBroker::Close { link } => {
                        self.links.borrow_mut().remove(link);
                    }
                    ToBroker::Remote { .. }
                    | ToBroker::Candidate { .. }
                    | ToBroker::Servers { .. }
                    | ToBroker::Restart { .. } => {}
                }
                if let Ok(message) = to_js(&message) {
                    // An error of the host is the host's to report.
                    let _ = self.host.to_broker(&message);
                }
            }
            Outward::Answer(call, result) => {
                let caller = self.calls.borrow_mut().remove(&call);
                match caller {
                    Some(Caller::Client(client, id)) => self.answer(client, id, result),
                    Some(Caller::Closing(network, _)) => network.driver.shut(),
                    // It was taken back.
                    None => {}
                }
            }
            Outward::Event(event) => self.event(network, event),
        }
    }

    fn event(&self, network: &Rc<Network>, event: Event) {
        match event {
            Event::Superseded => {
                if !self.is_superseded.replace(true) {
                    // As for messages.
                    let _ = self.host.superseded();
                }
            }
            Event::Publishing { call, progress } => {
                let calls = self.calls.borrow();
                let Some(&Caller::Client(client, id)) = calls.get(&call) else {
                    return;
                };
                drop(calls);
                // A number in JavaScript, so no larger than the cast takes.
                let call = id as CallId;
                if let Ok(message) = to_js(&Event::Publishing { call, progress }) {
                    self.send(client, &message, &Array::new());
                }
            }
            event => {
                let Ok(message) = to_js(&event) else {
                    return;
                };
                let clients: Vec<u32> = self
                    .clients
                    .borrow()
                    .iter()
                    .filter(|(_, of)| Rc::ptr_eq(of, network))
                    .map(|(client, _)| *client)
                    .collect();
                for client in clients {
                    self.send(client, &message, &Array::new());
                }
            }
        }
    }

    fn answer(&self, client: u32, id: f64, result: Result<Answer, Error>) {
        let transfer = Array::new();
        let (name, value) = match result {
            Ok(Answer::Done) => ("ok", Ok(JsValue::UNDEFINED)),
            Ok(Answer::Bytes(bytes)) => {
                let buffer = Uint8Array::from(&bytes[..]).buffer();
                transfer.push(&buffer);
                ("ok", Ok(buffer.into()))
            }
            Ok(answer) => ("ok", to_js(&answer)),
            Err(error) => ("error", to_js(&error)),
        };
        let message = Object::new();
        for (name, value) in [("id", id.into()), (name, value.unwrap_or_default())] {
            // Setting a property of a fresh object cannot fail.
            let _ = Reflect::set(&message, &name.into(), &value);
        }
        self.send(client, message.unchecked_ref(), &transfer);
    }

    fn send(&self, client: u32, message: &JsValue, transfer: &Array) {
        // An error of the host is the host's to report.
        let _ = self.host.to_client(client, message, transfer);
    }

    async fn close(&self) {
        if self.is_closed.replace(true) {
            return;
        }
        self.clients.borrow_mut().clear();
        let networks = self.networks.borrow().clone();
        let ends: Vec<_> = networks
            .into_iter()
            .map(|network| self.end(network))
            .collect();
        for end in ends {
            // Ends when the sender is dropped, which is the same.
            let _ = end.await;
        }
        self.shared.budget.close().await;
    }
}

/// An error of a store that could not be opened, with the format it should have had if it has
/// another: the host may open one beside it.
fn not_opened(error: &StoreError) -> JsValue {
    let told = of_store(error);
    if *error == foreign() {
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&told, &"format".into(), &FORMAT.into());
    }
    told
}

fn to_js(value: &impl Serialize) -> Result<JsValue, serde_wasm_bindgen::Error> {
    value.serialize(&Serializer::json_compatible())
}

/// A real `Error` of an error of the core, to reject with.
fn to_error(error: &Error) -> JsValue {
    let code = to_js(&error.code).ok().and_then(|code| code.as_string());
    with_code(code.as_deref().unwrap_or_default(), &error.message)
}
