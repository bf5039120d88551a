//! Frames of the bulk channel: no frame panics, and what decodes encodes to the same bytes.

#![no_main]

use shoal_protocol::bulk::BulkHeader;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    if let Ok((header, payload)) = BulkHeader::decode(frame) {
        assert_eq!(header.encode(payload), frame);
    }
});
