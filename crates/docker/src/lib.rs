//! Docker's JSON documents: from the engine's data to what Docker answers, and from what clients
//! send to the engine's requests. Nothing here does anything; it only translates.

mod container;
mod create;
pub mod document;
mod image;
mod network;
mod object;
mod stats;
mod update;

pub use container::{Lister, inspect_container, status_text};
pub use create::{connection, container_request};
pub use image::inspect_image;
pub use network::inspect_network;
pub use object::{BodyError, Result};
pub use stats::{stats_document, stats_sample};
pub use update::{UpdateBody, update_request};
