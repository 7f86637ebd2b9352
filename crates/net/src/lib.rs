//! Container networking without a daemon and without a helper program: bridges,
//! veth pairs, addresses, routes, NAT and published ports over netlink.
//!
//! # What an engine does
//!
//! ```no_run
//! use std::path::Path;
//! use husk_net::{Mode, NetNs, Networks, Request, Service};
//!
//! # fn main() -> husk_net::Result<()> {
//! # let (pid, publish, network) = (1, vec!["8080:80".to_owned()], vec![]);
//! let nets = Networks::open(Path::new("/var/lib/husk/networks"), Path::new("/run/husk/net"))?;
//! let Mode::Networks(attachments) = Mode::parse(&network, false)? else { return Ok(()) };
//! let request = Request {
//!     container: "4f2c".to_owned(),
//!     name: "web".to_owned(),
//!     attachments,
//!     publishes: publish.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
//!     configures_network: false,
//! };
//! // Before the container is created: nothing is changed yet but what is written
//! // down, and the addresses are known, for /etc/hosts.
//! let reservation = nets.reserve(&request)?;
//! // While the runtime makes the container in this namespace, and before it starts:
//! let netns = NetNs::make()?;
//! let notices = nets.set_up(&reservation, &netns)?;
//! // In the monitor, as long as the container runs: poll its descriptor, dispatch.
//! let service = Service::start(&nets, reservation.claims(), None)?;
//! // At its end, whatever happened, also if create failed:
//! drop(service);
//! nets.tear_down(&request.container)?;
//! # Ok(()) }
//! ```
//!
//! A monitor that is another process than the one that reserved finds the ports by
//! [`Networks::claims`]. `ps` and `start` call [`Networks::reclaim`] with what they
//! know to be alive, which cleans up after a killed engine. Rules that another program
//! removed are put back by [`Service`] at once, and by [`Networks::ensure`].
//!
//! # Namespaces and threads
//!
//! "The host" is the network namespace of the calling thread. A container's is
//! entered for a moment, to open a socket there, and left again
//! ([`NetNs::enter`]); the caller may have threads, which stay where they are.
//!
//! # On disk
//!
//! `config` has a JSON file for each network. `runtime` has the endpoints of each
//! network and the published ports, each file with a lock beside it; it belongs
//! below /run, as everything it describes is gone after a reboot.
//!
//! # In the kernel
//!
//! A bridge for each network that is in use, a veth pair for each endpoint, and
//! a table, `inet husk` (see `nft/table.rs` for its text), with a guard beside it
//! (`nft/guard.rs`). With the last container of a network its bridge and rules go, with the
//! last of all the tables; after [`Networks::release`] a second later (`networks/idle.rs`). Everything carries the name of its installation
//! (`networks/installation.rs`), so that several may share a host.
//! What stays are switches of the host that were turned on, and said:
//! `net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`. A start that fails takes them
//! back.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

pub mod dns;
mod error;
pub mod etc_files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod fuzz_smoke;
mod ipam;
mod links;
mod networks;
mod nft;
pub mod pasta;
mod ports;
mod service;

pub use error::{Error, Result};
pub use ipam::lease::{Address, Attachment, Endpoint};
pub use ipam::mac::{format_mac, parse_mac};
pub use ipam::subnet::Subnet;
pub use links::link::Mac;
pub use links::netlink::Refusal;
pub use links::netns::NetNs;
pub use networks::mode::{Mode, network_name, network_value, parse_attachment};
pub use networks::network::{
    DEFAULT_BRIDGE, DEFAULT_NETWORK, MAX_MTU, MIN_MTU, Network, NewNetwork, Pool,
};
pub use networks::options::{Driver, Settings};
pub use networks::{BuiltIn, LINGER, Networks, Request, Reservation};
pub use ports::claim::Claim;
pub use ports::proxy::{self, LoopbackProxy};
pub use ports::publish::{Protocol, Publish};
pub use service::Service;
