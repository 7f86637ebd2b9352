//! The OCI runtime `husk-oci`.
//!
//! A configuration becomes a plan ([`plan`]), the plan a process: [`launch`] is
//! the runtime's side of that and [`init`] the process's, and [`wire`] is what
//! they say to each other, with [`sync`] as the runtime's half. [`exec`] adds a process to a
//! container by a list of steps of its own. Both end in [`process_setup`].

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod announce;
pub mod block;
pub mod census;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod clone_init;
pub mod confinement;
mod criu;
pub mod describe;
pub mod exec;
pub mod executable;
pub mod explain;
pub mod fault;
pub mod foreground;
pub mod hooks;
pub mod host;
pub mod init;
pub mod inject;
pub mod launch;
pub mod lifecycle;
pub mod mech;
pub mod oom;
pub mod passwd;
pub mod placement;
pub mod plan;
pub mod preconditions;
pub mod process_setup;
pub mod reaper;
pub mod record;
pub mod report;
pub mod restore;
pub mod seal;
pub mod state;
pub mod sync;
pub mod timing;
pub mod wire;
