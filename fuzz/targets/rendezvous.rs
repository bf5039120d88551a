//! Messages between peer and rendezvous, in both directions: no text panics, and a message
//! survives its own text.

#![no_main]

use shoal_protocol::rendezvous::{PeerMessage, ServerMessage};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(message) = ServerMessage::parse(text) {
        assert_eq!(ServerMessage::parse(&message.to_text()), Ok(message));
    }
    if let Ok(message) = PeerMessage::parse(text) {
        assert_eq!(PeerMessage::parse(&message.to_text()), Ok(message));
    }
});
