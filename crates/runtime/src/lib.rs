//! The OCI runtime `husk-oci`.
//!
//! A configuration becomes a plan ([`plan`]), the plan a process: [`create::launch`] is
//! the runtime's side of that and [`create::init`] the process's, and [`sync::wire`] is what
//! they say to each other, with [`sync`] as the runtime's half. [`exec`] adds a process to a
//! container by a list of steps of its own. Both end in [`process::setup`].

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod checkpoint;
pub mod cli;
pub mod create;
pub mod exec;
pub mod explain;
pub mod host;
pub mod inject;
pub mod mech;
pub mod plan;
pub mod process;
pub mod report;
pub mod seal;
pub mod state;
pub mod sync;
pub mod timing;
