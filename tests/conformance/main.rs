//! The conformance suite: what the OCI runtime-spec 1.3 asks of a runtime, one
//! test per requirement, by the command line that runc, crun and husk-oci
//! share. `RUNTIME` says which of them is tested.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod capabilities;
mod commands;
mod descriptors;
mod devices;
mod engine_habits;
mod exec;
mod features;
mod hook_surroundings;
mod hooks;
mod host_mounts;
mod kernel_settings;
mod lifecycle;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod readonly;
mod root;
mod scheduling;
mod sealing;
mod terminal;
