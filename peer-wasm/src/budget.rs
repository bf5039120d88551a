//! The store of an engine within its budget: lets what nodes ask for through as
//! [`Space`] decides, and has contents withdrawn and deleted where that makes room.

use crate::{clock::Clock, driver::Driver, store::Store};
use js_sys::{Function, Promise, Reflect};
use shoal_peer_core::{
    Admission, Change, Space,
    io::{Event, Input, Storage, StoreAnswer, StoreError, StoreRequest},
};
use shoal_protocol::{
    content::ContentKey, namespace::Namespace, sorted::SortedSet, time::UnixMillis,
};
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};
use tokio::sync::oneshot;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The part of the browser's quota that contents may take if nobody says otherwise: a half.
/// The rest is for the site itself and for what a database needs besides its contents, and
/// so the disk is not found full in the middle of a write.
const SHARE: u64 = 2;
/// What contents may take where there is no quota to know: in memory, and in browsers that
/// do not tell. Guess: what a tab on a phone can spare.
const WITHOUT_QUOTA: u64 = 256 * 1024 * 1024;
/// The largest number that JavaScript has for bytes.
const MOST: u64 = (1 << 53) - 1;

/// A store and what it may hold.
pub struct Budget {
    /// The store itself, for all that needs no room.
    pub store: Store,
    clock: Rc<Clock>,
    space: RefCell<Space>,
    /// The limit that somebody chose.
    chosen: Cell<Option<u64>>,
    /// Resolves with the browser's quota.
    quota: Option<Function>,
    drivers: RefCell<Vec<Weak<Driver>>>,
    /// Who waits for something to go.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Budget {
    /// Of a store, with what it holds by now.
    pub async fn new(
        store: Store,
        clock: Rc<Clock>,
        quota: Option<Function>,
    ) -> Result<Self, StoreError> {
        let held = store.contents(None).await?;
        let space = RefCell::new(Space::new(clock.now().unix_millis(), held));
        let budget = Self {
            store,
            clock,
            space,
            chosen: Cell::new(None),
            quota,
            drivers: RefCell::default(),
            waiting: RefCell::default(),
        };
        budget.refresh().await;
        Ok(budget)
    }

    /// A node that is to be asked what it uses, and told what goes.
    pub fn add(&self, driver: Weak<Driver>) {
        let mut drivers = self.drivers.borrow_mut();
        drivers.retain(|driver| driver.strong_count() > 0);
        drivers.push(driver);
    }

    /// Does what a node in `namespace` asks, once there is room.
    pub async fn handle(
        &self,
        namespace: &Namespace,
        request: StoreRequest,
    ) -> Result<StoreAnswer, StoreError> {
        let mut again = false;
        loop {
            let in_use = || self.in_use();
            let admission = self
                .space
                .borrow_mut()
                .admit(self.now(), &request, again, in_use);
            match admission {
                Admission::Now => break,
                Admission::Wait(keys) if keys.is_empty() => self.change().await,
                Admission::Wait(keys) => self.send_away(keys).await,
                // The browser may have more for us by now.
                Admission::Full if !again && self.refresh().await => {}
                Admission::Full => return Err(StoreError::Quota),
            }
            again = true;
        }
        let change = Change::of(&request);
        let pinned = match change {
            Change::Pinned(key, pinned) => Some(Input::Pinned(key, pinned)),
            _ => None,
        };
        let result = self.store.handle(namespace, request).await;
        let now = self.now();
        let (has_room, uses) = {
            let mut space = self.space.borrow_mut();
            let has_room = space.done(now, namespace, change, &result);
            (has_room, space.poll_uses(now))
        };
        if !uses.is_empty() {
            self.note(uses).await;
        }
        if let Some(Input::Pinned(key, pinned)) = pinned.filter(|_| result.is_ok()) {
            self.tell(|| Input::Pinned(key, pinned));
        }
        self.changed(has_room);
        result
    }

    /// What is held and may be held, by the quota of now.
    pub async fn storage(&self) -> Storage {
        self.refresh().await;
        self.space.borrow().storage()
    }

    /// Changes the limit; `None`: the usual share of the quota. What is over it goes.
    pub async fn set_limit(&self, limit: Option<u64>) {
        self.chosen.set(limit);
        self.refresh().await;
        let in_use = self.in_use();
        let going = self.space.borrow_mut().trim(self.now(), &in_use);
        self.send_away(going).await;
    }

    /// As [`Budget::set_limit`], unless somebody has chosen one before.
    pub async fn suggest_limit(&self, limit: u64) {
        if self.chosen.get().is_none() {
            self.set_limit(Some(limit)).await;
        }
    }

    /// The limit that somebody chose.
    pub fn chosen(&self) -> Option<u64> {
        self.chosen.get()
    }

    /// Deletes what is neither pinned nor in use.
    pub async fn clear(&self) {
        let going = self.space.borrow_mut().clear(&self.in_use());
        self.send_away(going).await;
    }

    /// Notes what was used and closes the store.
    pub async fn close(&self) {
        let uses = self.space.borrow_mut().last_uses();
        if !uses.is_empty() {
            self.note(uses).await;
        }
        self.store.close();
    }

    fn now(&self) -> UnixMillis {
        self.clock.now().unix_millis()
    }

    /// Sets the limit to what was chosen, or to what the browser has now. What is held may
    /// stay: a disk that others fill is no reason to delete it. Whether there is more room.
    async fn refresh(&self) -> bool {
        let limit = match self.chosen.get() {
            Some(limit) => limit,
            None => {
                let quota = self.quota().await;
                let share = quota.map_or(WITHOUT_QUOTA, |quota| quota / SHARE);
                share.max(self.space.borrow().storage().held)
            }
        };
        let mut space = self.space.borrow_mut();
        let before = space.storage().limit;
        space.set_limit(limit.min(MOST));
        drop(space);
        let has_room = limit > before;
        self.changed(has_room);
        has_room
    }

    async fn quota(&self) -> Option<u64> {
        let asked = self.quota.as_ref()?.call0(&JsValue::UNDEFINED).ok()?;
        let told = JsFuture::from(asked.dyn_into::<Promise>().ok()?).await;
        // Casting saturates.
        told.ok()?.as_f64().map(|quota| quota as u64)
    }

    fn in_use(&self) -> SortedSet<ContentKey> {
        let mut keys = SortedSet::new();
        for driver in self.drivers() {
            driver.in_use(&mut keys);
        }
        keys
    }

    fn drivers(&self) -> Vec<Rc<Driver>> {
        let drivers = self.drivers.borrow();
        drivers.iter().filter_map(Weak::upgrade).collect()
    }

    fn tell(&self, input: impl Fn() -> Input) {
        for driver in self.drivers() {
            driver.feed(input());
        }
    }

    /// Has contents withdrawn by all nodes, and deletes them.
    async fn send_away(&self, keys: Vec<ContentKey>) {
        let drivers = self.drivers();
        let mut withdrawn = Vec::new();
        // All at once, so that one catalog tells of them.
        for key in &keys {
            withdrawn.extend(drivers.iter().filter_map(|driver| driver.withdraw(*key)));
        }
        for withdrawn in withdrawn {
            // A node that is gone has withdrawn everything.
            let _ = withdrawn.await;
        }
        for key in keys {
            let request = StoreRequest::DropContent { key };
            let deleted = self.store.handle(&Namespace::default(), request).await;
            let mut space = self.space.borrow_mut();
            space.gone(self.now(), key, deleted.is_ok());
            drop(space);
            self.changed(true);
        }
    }

    async fn note(&self, uses: Vec<(ContentKey, UnixMillis)>) {
        let request = StoreRequest::SetUsed(uses);
        // What is not noted is guessed to be older than it is.
        let _ = self.store.handle(&Namespace::default(), request).await;
    }

    async fn change(&self) {
        let (say, said) = oneshot::channel();
        self.waiting.borrow_mut().push(say);
        // What ends the waiting is no matter.
        let _ = said.await;
    }

    fn changed(&self, has_room: bool) {
        if has_room {
            drop(self.waiting.take());
            self.tell(|| Input::Room);
        }
        let news = self.space.borrow_mut().poll_news();
        if let Some(storage) = news {
            for driver in self.drivers() {
                driver.tell_client(Event::Storage(storage));
            }
        }
    }
}

/// The function that tells the browser's quota, of an engine's options.
pub fn quota_of(options: &JsValue) -> Option<Function> {
    let quota = Reflect::get(options, &"quota".into()).ok()?;
    quota.dyn_into().ok()
}
