//! Bytes as a Dockerfile.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::dockerfile(data);
});
