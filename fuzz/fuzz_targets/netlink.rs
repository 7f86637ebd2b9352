//! Bytes as the answer of a netlink socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = husk_net::fuzz::netlink(data);
});
