//! Documents of containers.

mod config;
mod host_config;
mod inspect;
mod list;
mod network;

pub use inspect::inspect_container;
pub use list::{Lister, status_text};
pub(crate) use network::endpoint_id;
