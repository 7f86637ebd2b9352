//! Bytes as a `.dockerignore`, after a path.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::dockerignore(data);
});
