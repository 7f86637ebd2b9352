//! The few Linux system calls that rustix lacks, one file a family.
//!
//! The only crate of the workspace in which `unsafe` is allowed. Everything it
//! exports is safe to call from a single-threaded program.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod arena;
pub mod arguments;
pub mod bpf;
mod call;
pub mod clone;
pub mod exec;
pub mod heap;
pub mod interface;
pub mod keyring;
pub mod landlock;
pub mod local_time;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod schedule;
pub mod seccomp;
pub mod shared;
pub mod signal;
pub mod signal_name;
pub mod spawn;
pub mod text;
pub mod trace;

pub use rustix::io::Errno;
