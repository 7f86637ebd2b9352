//! Bytes as a D-Bus message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_cgroup::fuzz::dbus(data);
});
