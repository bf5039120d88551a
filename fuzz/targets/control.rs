//! Messages of the control channel: no text panics, and a message survives its own text.

#![no_main]

use shoal_protocol::control::ControlMessage;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(message) = ControlMessage::parse(text) {
        assert_eq!(ControlMessage::parse(&message.to_text()), Ok(message));
    }
});
