//! Bytes as Docker's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::docker_config(data);
});
