//! Networks: those that are made, and the two that every host has.
//!
//! What connects a container is `connection.rs`.

mod connect;
mod create;
mod list;
mod prune;
mod remove;

pub use connect::{ConnectRequest, DisconnectRequest, connect, disconnect};
pub use create::{CreateRequest, create};
pub use list::{FILTERS, Network, NetworkDetails, id, inspect, list};
pub use prune::prune;
pub use remove::remove;
