//! A crash that must be found: it shows that the compiler's flags give libFuzzer coverage.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let wanted = b"shoal";
    // Byte by byte, as parsers compare: each right one is a step further.
    for (at, byte) in wanted.iter().enumerate() {
        if input.get(at) != Some(byte) {
            return;
        }
    }
    panic!("found the planted crash");
});
