//! Bytes as `WWW-Authenticate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::challenge(data);
});
