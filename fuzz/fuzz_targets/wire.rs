//! Bytes as a message between the runtime and the container's process.
#![no_main]

#[path = "../src/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wire::check(data);
});
