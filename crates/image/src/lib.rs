//! References, registries, the blob store and unpacked layers.
//!
//! The image side of the engine, as a library: it prints nothing ([`progress`]), runs no
//! container ([`build::Runner`]) and keeps everything in plain files ([`store`]).
//!
//! | to | use |
//! |---|---|
//! | parse what a person typed | [`reference::Reference`], [`platform::Platform`] |
//! | pull and push | [`registry::pull`], [`registry::push`] with a [`registry::Client`] |
//! | log in and out | [`registry::DockerConfig`], [`registry::Client::check_login`] |
//! | list, find, tag, remove | [`store::Store`] |
//! | save, load, import | [`archive`] |
//! | get a container's rootfs | [`store::Store::layers`], [`overlay::OverlayPlan::prepare`] |
//! | know what to run in it | [`store::Store::config`], [`facts::Facts::of`], [`user::lookup`] |
//! | make a layer of changes | [`pack::pack`], [`compose::compose`] |
//! | build | [`build::build`] |
//! | walk and copy file trees | [`tree`] |
//!
//! A container's way: take [`store::Store::activity`], [`store::Store::find`] the image,
//! [`store::Store::pin`] it under the container's id, drop the activity; prepare and
//! mount the overlay; [`store::Store::unpin`] when the container is removed.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod archive;
pub mod build;
pub mod compose;
pub mod config;
pub mod digest;
pub mod document;
pub mod facts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod fuzz_smoke;
pub mod overlay;
pub mod pack;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod store;
pub mod tree;
pub mod unpack;
pub mod user;
