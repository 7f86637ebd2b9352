//! Bytes as the options of one mount: the last word of each pair counts.
#![no_main]

#[path = "../src/host.rs"]
mod host;
#[path = "../src/mount_options.rs"]
mod mount_options;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mount_options::check(data);
});
