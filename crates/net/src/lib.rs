//! Bridges, veth pairs, addresses, routes, NAT and published ports over netlink.

mod address;
mod bridge;
mod claim;
mod conntrack;
pub mod dns;
mod error;
mod firewall;
mod forwarding;
mod json_file;
mod lease;
mod link;
mod mode;
mod netlink;
mod netns;
mod network;
mod networks;
mod nft;
mod port_holder;
pub mod proxy;
mod publish;
mod route;
mod store;
mod subnet;
mod sysctl;

pub use claim::Claim;
pub use error::{Error, Result};
pub use lease::{Address, Attachment, Endpoint, format_mac, parse_mac};
pub use link::Mac;
pub use mode::Mode;
pub use netlink::Refusal;
pub use netns::NetNs;
pub use network::{DEFAULT_BRIDGE, DEFAULT_NETWORK, MAX_MTU, MIN_MTU, Network, NewNetwork, Pool};
pub use networks::{Networks, Request, Reservation};
pub use proxy::LoopbackProxy;
pub use publish::{Protocol, Publish};
pub use subnet::Subnet;
