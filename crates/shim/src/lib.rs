//! The protocol part of `containerd-shim-husk-v2`, on its own so that it can be fuzzed.

pub mod ttrpc;
