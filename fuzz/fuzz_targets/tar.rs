//! Bytes as a layer's tar.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_image::fuzz::tar(data);
});
