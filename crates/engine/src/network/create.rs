//! Making a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use husk_net::{Driver, NewNetwork, Subnet};

use super::Network;
use crate::error::{Error, Result};
use crate::events::Journal;
use crate::home::Home;

/// What network is wanted.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Its name.
    pub name: String,
    /// `bridge`, which an empty one means too, `macvlan` or `ipvlan`.
    pub driver: String,
    /// At most one of each family; an IPv4 subnet is chosen where none is given.
    pub subnets: Vec<Subnet>,
    /// Each in one of the subnets; otherwise a subnet's first address.
    pub gateways: Vec<IpAddr>,
    /// The parts of the subnets that containers' addresses are taken from.
    pub ranges: Vec<Subnet>,
    /// Whether it has IPv6; as the host where it is none.
    pub ipv6: Option<bool>,
    /// No way out of the network and none in.
    pub internal: bool,
    /// Addresses in the subnets that no container is given, and what they are for.
    pub reserved: BTreeMap<String, IpAddr>,
    /// Means something to Swarm alone; it is remembered.
    pub attachable: bool,
    /// Options of the driver, by Docker's names (see [`husk_net::Settings`]).
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Makes a network. Its link and its rules come with its first container.
///
/// # Errors
/// What cannot be honoured; [`husk_net::Error::NetworkExists`],
/// [`husk_net::Error::SubnetTaken`].
pub fn create(home: &Home, request: &CreateRequest) -> Result<Network> {
    if crate::rootless::is_rootless() {
        return Err(Error::other(
            "custom networks require root; use --network pasta, host or none",
        ));
    }
    let driver = Driver::from_name(&request.driver)?;
    let new = NewNetwork {
        name: request.name.clone(),
        subnets: request.subnets.clone(),
        gateways: request.gateways.clone(),
        ranges: request.ranges.clone(),
        ipv6: request.ipv6,
        internal: request.internal,
        mtu: None,
        driver,
        options: request.options.clone(),
        reserved: request.reserved.clone(),
        attachable: request.attachable,
        labels: request.labels.clone(),
    };
    let network = home.networks()?.create(&new)?;
    Journal::of(home).network("create", &network.id, &network.name, driver.name());
    Ok(network.into())
}
