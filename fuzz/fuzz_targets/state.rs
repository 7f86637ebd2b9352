//! Bytes as the runtime's state.json: it is read or refused.
#![no_main]

#[path = "../src/state.rs"]
mod state;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    state::check(data);
});
