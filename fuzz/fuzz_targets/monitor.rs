//! Bytes as a packet between a monitor and those attached to it.
#![no_main]

#[path = "../src/monitor.rs"]
mod monitor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    monitor::check(data);
});
