//! Bytes as the process.json of `exec`: it is planned or refused.
#![no_main]

#[path = "../src/host.rs"]
mod host;
#[path = "../src/process.rs"]
mod process;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    process::check(data);
});
