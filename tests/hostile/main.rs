//! The hostile suite: what has been broken in container runtimes, tried on the
//! one that `RUNTIME` names. Each test is called after its mechanism and cites
//! the published ids. Only canaries are ever at stake: files of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod canary;
mod cgroups;
mod default_bundle;
mod descriptors;
mod devices;
mod faults;
mod identity;
mod lengths;
mod links;
#[cfg(target_arch = "x86_64")]
mod machine_code;
mod proc_files;
mod race;
#[cfg(target_arch = "x86_64")]
mod seccomp;
mod snapshot;
mod sweep;
mod trace;
