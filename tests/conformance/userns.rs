//! The conformance suite with a user namespace of many ids added to every bundle
//! (see `husk_tests::user_namespace`). A test for which that has no meaning says
//! so itself, with the reason, by `Case::without_user_namespace`.
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
mod process;
mod readonly;
mod root;
mod scheduling;
mod sealing;
mod terminal;
