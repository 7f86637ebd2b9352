//! `containerd-shim-husk-v2`, driven in containerd's place: every call of the task service, the
//! order of events, streams, and what is left after a death. containerd itself drives it in
//! `containerd.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod bootstrap;
mod calls;
mod checkpoint;
mod containerd;
mod daemon;
mod order;
mod recovery;
mod streams;
