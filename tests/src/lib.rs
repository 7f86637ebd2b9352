//! The harness of the black-box suites: a test owns a [`case::Case`], that is
//! a directory, a `--root` and ids nobody else has, makes bundles in it, and
//! drives a runtime by its command line only. What a case owns is removed when
//! it is dropped, also while panicking, and a case that passed fails after all
//! when its containers left something on the host.
//!
//! Nothing here sleeps to wait: every wait is for an event (a process's pidfd,
//! a FIFO, a socket) and has a time limit.

// A harness reports by panicking: that is how a test fails.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod bundle;
pub mod case;
pub mod console;
pub mod debian;
pub mod event;
pub mod host;
pub mod invocation;
pub mod machine_code;
pub mod runtime;
pub mod sandbox;
pub mod user;
pub mod user_namespace;
