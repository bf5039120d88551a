//! Time: the clock that nodes are told, and the alarm that wakes them.

use gloo_timers::callback::Timeout;
use shoal_protocol::time::Timestamp;
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Performance;

/// How far the wall clock may run ahead before it is followed, in ms. Guess: more than
/// clocks are adjusted by in passing, far less than signed statements live.
const AHEAD_MILLIS: f64 = 2_000.0;

/// Longest sleep. Timers stand still while a machine sleeps, and what expired meanwhile
/// should not wait much longer. Guess.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The monotonic clock of the browser, anchored to the wall clock.
///
/// The monotonic clock stands still while the machine sleeps, in some browsers, so the
/// anchor follows the wall clock when that is ahead. Never back: time never decreases.
pub struct Clock {
    performance: Performance,
    anchor: Cell<f64>,
    last: Cell<u64>,
}

impl Clock {
    /// `None` where the browser has no such clock.
    pub fn new() -> Option<Self> {
        let performance = js_sys::Reflect::get(&js_sys::global(), &JsValue::from("performance"));
        let performance: Performance = performance.ok()?.dyn_into().ok()?;
        Some(Self {
            anchor: Cell::new(performance.time_origin()),
            performance,
            last: Cell::new(0),
        })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let running = self.performance.now();
        let wall = js_sys::Date::now();
        if wall - (self.anchor.get() + running) > AHEAD_MILLIS {
            self.anchor.set(wall - running);
        }
        let micros = ((self.anchor.get() + running) * 1_000.0) as u64;
        self.last.set(self.last.get().max(micros));
        Timestamp::from_micros(self.last.get())
    }
}

/// One timer. It is set anew for an earlier time only: ringing early does no harm, and
/// most deadlines move back with every frame.
#[derive(Default)]
pub struct Alarm {
    set: RefCell<Option<(Timestamp, Timeout)>>,
}

impl Alarm {
    /// Sees to it that `ring` is called at `at` or before, but not at once.
    pub fn set(&self, now: Timestamp, at: Timestamp, ring: impl FnOnce() + 'static) {
        if matches!(&*self.set.borrow(), Some((set, _)) if *set <= at) {
            return;
        }
        let sleep = at.since(now).min(LONGEST_SLEEP);
        // Rounded up, since a timer that rings too early rings again.
        let millis = sleep.as_micros().div_ceil(1_000) as u32;
        let timeout = Timeout::new(millis, ring);
        *self.set.borrow_mut() = Some((now + sleep, timeout));
    }

    /// Forgets the timer: it has rung, or is not wanted.
    pub fn clear(&self) {
        let old = self.set.take();
        drop(old);
    }
}
