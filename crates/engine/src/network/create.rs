//! Making a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use husk_net::{NewNetwork, Subnet};

use super::Network;
use crate::error::{Error, Field, Result};
use crate::events::Journal;
use crate::home::Home;

/// What network is wanted.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Its name.
    pub name: String,
    /// `bridge`, which an empty one means too.
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
    /// Options of the driver: `mtu` or `com.docker.network.driver.mtu`, in bytes.
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
    if !["", "bridge"].contains(&request.driver.as_str()) {
        let problem = "must be bridge, the only network driver";
        return Err(Error::field(Field::Driver, &request.driver, problem));
    }
    let mut mtu = None;
    for (name, value) in &request.options {
        if name != "mtu" && name != "com.docker.network.driver.mtu" {
            return Err(Error::field(
                Field::DriverOptions,
                name,
                "unsupported option; only mtu is supported",
            ));
        }
        let number = value.parse();
        mtu = Some(number.map_err(|_| Error::field(Field::DriverMtu, value, "must be a number"))?);
    }
    let new = NewNetwork {
        name: request.name.clone(),
        subnets: request.subnets.clone(),
        gateways: request.gateways.clone(),
        ranges: request.ranges.clone(),
        ipv6: request.ipv6,
        internal: request.internal,
        mtu,
        labels: request.labels.clone(),
    };
    let network = home.networks()?.create(&new)?;
    Journal::of(home).network("create", &network.id, &network.name, "bridge");
    Ok(network.into())
}
