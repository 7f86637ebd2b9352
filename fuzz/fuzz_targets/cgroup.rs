//! Bytes as what the kernel's cgroup files say: it is read or refused.
#![no_main]

#[path = "../src/cgroup.rs"]
mod cgroup;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cgroup::check(data);
});
