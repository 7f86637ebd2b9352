//! Many containers at once, runtimes that are killed, and operations that
//! meet: nothing is lost, nothing hangs, nothing is left on the host.
//!
//! `RUNTIME` says which runtime is tested; husk-oci by default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod block;
mod effects;
mod killed;
mod limits;
mod many;
mod meeting;
mod mended;
mod output;
mod timings;
