//! Bytes as a manifest or an index.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::document(data);
});
