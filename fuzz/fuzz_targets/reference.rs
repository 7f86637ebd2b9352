//! Bytes as an image's reference.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::reference(data);
});
