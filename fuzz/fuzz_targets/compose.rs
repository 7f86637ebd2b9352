//! Bytes as a compose file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_compose::fuzz::compose(data);
});
