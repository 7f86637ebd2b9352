//! References, registries, the blob store and unpacked layers.

pub mod archive;
pub mod build;
pub mod compose;
pub mod digest;
pub mod document;
pub mod facts;
pub mod overlay;
pub mod pack;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod store;
pub mod unpack;
pub mod user;
