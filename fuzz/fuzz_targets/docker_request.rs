//! Bytes as the bodies of requests of Docker's API.
#![no_main]

#[path = "../src/docker_request.rs"]
mod docker_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    docker_request::check(data);
});
