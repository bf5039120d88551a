//! The two data channels of a link.

use gloo_events::EventListener;
use js_sys::{ArrayBuffer, JsString, Uint8Array};
use shoal_peer_core::io::{Channel, Frame, LinkInput};
use shoal_protocol::{bulk::MAX_FRAME, control::MAX_CONTROL};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use wasm_bindgen::JsCast;
use web_sys::{Event, MessageEvent, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

/// Bytes that may wait in the control channel: two of the longest messages.
const CONTROL_HIGH_WATER: u32 = 2 * MAX_CONTROL as u32;
/// Where the control channel asks for more. Guess.
const CONTROL_LOW_WATER: u32 = 64 * 1024;
/// Most messages that may come before both channels are open here. A peer sends `Hello`
/// and `Auth` before it has heard this side. Guess: some more.
const MAX_EARLY: usize = 16;

/// What the channels have to say.
pub enum ChannelEvent {
    /// For the node.
    Input(LinkInput),
    /// A channel can take more.
    Room,
}

/// An open or opening pair; closed when dropped, and silent from then on.
pub struct Channels {
    ends: Rc<Ends>,
    listeners: Vec<EventListener>,
    /// Where the bulk channel asks for more.
    low_water: Cell<u32>,
}

struct Ends {
    control: RtcDataChannel,
    bulk: RtcDataChannel,
    /// What came before both channels were open; `None` from then on.
    early: RefCell<Option<Vec<LinkInput>>>,
    notify: Box<dyn Fn(ChannelEvent)>,
}

impl Channels {
    /// Takes over two channels. `notify` is called from events only, never from here.
    pub fn new(
        control: RtcDataChannel,
        bulk: RtcDataChannel,
        notify: impl Fn(ChannelEvent) + 'static,
    ) -> Self {
        bulk.set_binary_type(RtcDataChannelType::Arraybuffer);
        control.set_binary_type(RtcDataChannelType::Arraybuffer);
        control.set_buffered_amount_low_threshold(CONTROL_LOW_WATER);
        let ends = Rc::new(Ends {
            control,
            bulk,
            early: RefCell::new(Some(Vec::new())),
            notify: Box::new(notify),
        });
        let mut listeners = Vec::new();
        for channel in [Channel::Control, Channel::Bulk] {
            for name in ["open", "message", "bufferedamountlow", "close", "error"] {
                let same = Rc::clone(&ends);
                listeners.push(EventListener::new(ends.end(channel), name, move |event| {
                    same.on(channel, name, event);
                }));
            }
        }
        let low_water = Cell::new(0);
        Self {
            ends,
            listeners,
            low_water,
        }
    }

    /// Says `Opened` if both channels were open when they were taken over.
    pub fn begin(&self) {
        self.ends.open();
    }

    /// Whether a channel can take more.
    pub fn has_room(&self, channel: Channel) -> bool {
        // How much may wait in the bulk channel is the node's to know.
        let is_full = channel == Channel::Control
            && self.ends.control.buffered_amount() >= CONTROL_HIGH_WATER;
        self.ends.early.borrow().is_none()
            && !is_full
            && self.ends.end(channel).ready_state() == RtcDataChannelState::Open
    }

    /// Bytes a channel has taken and not yet sent.
    pub fn buffered(&self, channel: Channel) -> usize {
        self.ends.end(channel).buffered_amount() as usize
    }

    /// Sets how little the bulk channel holds, in bytes, when it says that it has room.
    pub fn set_low_water(&self, bytes: usize) {
        let bytes = bytes as u32;
        if self.low_water.replace(bytes) != bytes {
            self.ends.bulk.set_buffered_amount_low_threshold(bytes);
        }
    }

    /// Sends a frame. False if it cannot be sent: then the link is of no more use.
    pub fn send(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Text(text) => self.ends.control.send_with_str(text),
            Frame::Binary(bytes) => self.ends.bulk.send_with_u8_array(bytes),
        }
        .is_ok()
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.listeners.clear();
        self.ends.control.close();
        self.ends.bulk.close();
    }
}

impl Ends {
    fn end(&self, channel: Channel) -> &RtcDataChannel {
        match channel {
            Channel::Control => &self.control,
            Channel::Bulk => &self.bulk,
        }
    }

    fn on(&self, channel: Channel, name: &str, event: &Event) {
        match name {
            "open" => self.open(),
            "message" => {
                let data = event.unchecked_ref::<MessageEvent>().data();
                self.pass_on(match channel {
                    Channel::Control => LinkInput::Control(text(&data)),
                    Channel::Bulk => LinkInput::Bulk(bytes(&data)),
                });
            }
            "bufferedamountlow" => (self.notify)(ChannelEvent::Room),
            // An error is always the end of a channel.
            _ => (self.notify)(ChannelEvent::Input(LinkInput::Closed)),
        }
    }

    /// Both sides open their ends at their own time, one channel after the other.
    fn open(&self) {
        let is_open = |channel| self.end(channel).ready_state() == RtcDataChannelState::Open;
        if !is_open(Channel::Control) || !is_open(Channel::Bulk) {
            return;
        }
        let Some(early) = self.early.take() else {
            return;
        };
        (self.notify)(ChannelEvent::Input(LinkInput::Opened));
        for input in early {
            (self.notify)(ChannelEvent::Input(input));
        }
    }

    fn pass_on(&self, input: LinkInput) {
        if let Some(early) = &mut *self.early.borrow_mut()
            && early.len() < MAX_EARLY
        {
            early.push(input);
            return;
        }
        let too_many = self.early.borrow().is_some();
        (self.notify)(ChannelEvent::Input(if too_many {
            LinkInput::Failed {
                detail: "the other side sent too much before the channels were open".into(),
            }
        } else {
            input
        }));
    }
}

/// What is longer than a message may be is cut to a little more than that: the node sees
/// that it is too long, and nothing else of it is copied.
fn text(data: &wasm_bindgen::JsValue) -> String {
    match data.dyn_ref::<JsString>() {
        Some(text) if text.length() as usize > MAX_CONTROL => {
            text.slice(0, MAX_CONTROL as u32 + 1).into()
        }
        Some(text) => text.into(),
        // Bytes in the place of text: nothing the node would take for a message.
        None => String::new(),
    }
}

/// As [`text`], for frames.
fn bytes(data: &wasm_bindgen::JsValue) -> Vec<u8> {
    match data.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => {
            let length = buffer.byte_length().min(MAX_FRAME as u32 + 1);
            Uint8Array::new_with_byte_offset_and_length(buffer, 0, length).to_vec()
        }
        None => Vec::new(),
    }
}
