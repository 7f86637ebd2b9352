//! What husk-oci confines a process with beyond the runtime-spec, and how it
//! explains what a process was refused. These are its own promises: no other
//! runtime passes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod core_scheduling;
mod joining;
mod landlock;
mod seccomp_explain;
mod seccomp_last;
mod seccomp_notify;
