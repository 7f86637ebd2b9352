//! Bytes as a seccomp profile: whatever compiles is a program the kernel takes.
#![no_main]

#[path = "../../crates/seccomp/tests/support/machine.rs"]
mod machine;
#[path = "../src/seccomp.rs"]
mod seccomp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    seccomp::check(data);
});
