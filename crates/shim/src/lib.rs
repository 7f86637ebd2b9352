//! The protocol part of `containerd-shim-husk-v2`: framing and messages, for the program, its
//! tests and its fuzzers.

pub mod message;
pub mod ttrpc;
