//! Names of containers on networks of one's own: a DNS server for one container
//! (RFC 1035, RFC 6891 for larger answers).
//!
//! It is served by the container's monitor, with sockets in the container's network
//! namespace. A rule there leads queries to 127.0.0.11:53 to them, so that a container
//! may itself listen on port 53. What it answers for is read from the leases at each query:
//! nothing is told or reloaded when containers come and go. Everything else is forwarded.
//!
//! The container is not trusted: messages are parsed within bounds, and queries,
//! connections and descriptors are limited.

mod forward;
mod message;
mod redirect;
mod server;
mod stream;
mod zone;

pub use redirect::ADDRESS;
pub use server::{Config, DnsServer};
