//! Bytes as config.json: what parses is the same after it is written.
#![no_main]

#[path = "../src/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    config::check(data);
});
