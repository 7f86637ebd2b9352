//! The engine: containers, images, networks and volumes without a daemon.
//!
//! It never links the runtime: it executes `husk-oci`. See container/mod.rs for what is on
//! disk, monitor/mod.rs for the process beside each container, spec/mod.rs for how an image
//! and flags become a runtime-spec document.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod bind_source;
pub mod boot;
pub mod build;
pub mod cancel;
pub mod changes;
pub mod check;
pub mod checkpoint;
pub mod clock;
pub mod commit;
pub mod connection;
pub mod container;
pub mod copy_up;
pub mod debug;
pub mod device;
pub mod embedded;
pub mod error;
pub mod events;
pub mod exec;
pub mod explain;
pub mod files;
pub mod filter;
pub mod home;
pub mod host_programs;
pub mod image;
pub mod launch;
pub mod live;
pub mod lock;
pub mod logs;
pub mod monitor;
pub mod namespaces;
pub mod network;
pub mod notice;
pub mod pause;
pub mod program;
pub mod prune;
pub mod remove;
pub mod reporter;
pub mod rootfs;
pub mod rootless;
pub mod runtime;
pub mod secret;
pub mod settings;
pub mod spec;
pub mod stats;
pub mod stop;
pub mod system;
pub mod top;
pub mod usage;
pub mod view;
pub mod volume;
pub mod wait;
