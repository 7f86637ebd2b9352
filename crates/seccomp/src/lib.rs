//! OCI seccomp profiles compiled to classic BPF: bytes in, bytes out.
//!
//! [`compile`] makes of `linux.seccomp` the program that seccomp(2) loads;
//! [`explain`] says what that program does with one call, and which rule says
//! so. Neither does I/O: equal profiles give equal programs on every machine of
//! the same byte order. docs/seccomp.md describes the design and where the
//! result knowingly differs from libseccomp's.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

mod abi;
mod assembler;
mod condition;
mod enosys;
mod error;
mod evaluate;
mod explain;
mod flags;
mod multiplex;
mod order;
mod program;
mod ret;
mod rules;
mod search;
mod table;

pub use abi::audit_arch;
pub use error::CompileError;
pub use explain::{Call, Decision, Reason, explain};
pub use flags::{
    FILTER_FLAG_LOG, FILTER_FLAG_NEW_LISTENER, FILTER_FLAG_SPEC_ALLOW, FILTER_FLAG_TSYNC,
    FILTER_FLAG_TSYNC_ESRCH, FILTER_FLAG_WAIT_KILLABLE_RECV,
};
pub use program::{MAX_INSTRUCTIONS, Program, compile};
pub use rules::Overruled;
pub use table::{syscall_name, syscall_number};
