//! Bytes as config.json: it is planned or refused.
#![no_main]

#[path = "../src/config.rs"]
mod config;
#[path = "../src/host.rs"]
mod host;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    config::check(data);
});
