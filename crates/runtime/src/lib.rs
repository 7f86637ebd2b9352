//! The OCI runtime `husk-oci`.
//!
//! A configuration becomes a plan ([`plan`]), the plan a process: [`launch`] is
//! the runtime's side of that and [`init`] the process's, and [`wire`] is what
//! they say to each other. [`enter`] adds a process to a container by a list of
//! steps of its own. Both end in [`tail`].

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod announce;
pub mod birth;
pub mod block;
pub mod census;
pub mod cli;
pub mod clock;
pub mod describe;
pub mod enter;
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
pub mod reaper;
pub mod record;
pub mod report;
pub mod seal;
pub mod state;
pub mod tail;
pub mod timing;
pub mod wire;
