//! Calling an OCI runtime as a program: its command line, and the log it leaves.
//!
//! An engine and a shim never link the runtime. Each of its commands is a child process, so
//! that a caller may wait for it in whatever way suits its event loop.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "a library does not print")]

mod log;
mod runtime;

pub use log::{Entry, Failure, Level, Outcome};
pub use runtime::{NotFound, Runtime};
