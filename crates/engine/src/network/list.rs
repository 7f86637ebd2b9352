//! Lists of networks, and what is known of one.

use std::collections::BTreeMap;

use husk_net::{BuiltIn, DEFAULT_NETWORK, Endpoint, Networks, Pool};

use crate::error::Result;
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::reporter::Reporter;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    pub driver: String,
    /// Seconds since 1970; 0 of those that every host has.
    pub created: u64,
    /// No way out of the network and none in.
    pub internal: bool,
    /// Subnets and gateways, IPv4 first.
    pub pools: Vec<Pool>,
    /// `--attachable`, which says something to Swarm alone.
    pub attachable: bool,
    /// Options of the driver as they were given; of the default network those in effect.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether somebody made it: not the default network, `host` and `none`.
    pub custom: bool,
}

impl Network {
    /// Whether it has IPv6 addresses.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.pools.iter().any(|pool| pool.gateway.is_ipv6())
    }
}

/// A network and who is on it.
#[derive(Clone, Debug)]
pub struct NetworkDetails {
    /// The network.
    pub network: Network,
    /// The running containers on it.
    pub endpoints: Vec<Endpoint>,
}

impl From<husk_net::Network> for Network {
    fn from(network: husk_net::Network) -> Self {
        let mut options = network.options;
        if network.name == DEFAULT_NETWORK {
            let name = |rest| format!("com.docker.network.{rest}");
            options.extend([
                (name("bridge.default_bridge"), "true".to_owned()),
                (name("bridge.enable_icc"), "true".to_owned()),
                (name("bridge.enable_ip_masquerade"), "true".to_owned()),
                (name("bridge.name"), network.bridge),
            ]);
        }
        if let Some(mtu) = network.mtu {
            options.entry("com.docker.network.driver.mtu".to_owned()).or_insert(mtu.to_string());
        }
        Self {
            custom: network.name != DEFAULT_NETWORK,
            id: network.id,
            name: network.name,
            driver: network.driver.name().to_owned(),
            attachable: network.attachable,
            created: network.created,
            internal: network.internal,
            pools: network.pools,
            options,
            labels: network.labels,
        }
    }
}

impl From<BuiltIn> for Network {
    fn from(network: BuiltIn) -> Self {
        Self {
            id: network.id,
            name: network.name.to_owned(),
            driver: network.driver.to_owned(),
            created: 0,
            internal: false,
            attachable: false,
            pools: Vec::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            custom: false,
        }
    }
}

/// The filters of the list.
pub const FILTERS: [&str; 7] = ["id", "name", "label", "driver", "scope", "type", "dangling"];

/// The networks that pass, by name. One whose definition is damaged is a notice.
///
/// # Errors
/// A filter that cannot be honoured, a directory that cannot be read.
pub fn list(home: &Home, filters: &[Filter], reporter: &dyn Reporter) -> Result<Vec<Network>> {
    filter::check(filters, &FILTERS)?;
    let nets = home.networks()?;
    for (name, error) in nets.damaged()? {
        reporter.notice(&format!("network {name}: {error}; \"husk network rm {name}\" removes it"));
    }
    let made = nets.list()?.into_iter().map(Network::from);
    let mut all: Vec<Network> = made.chain(nets.built_in().map(Network::from)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let mut passing = Vec::new();
    for network in all {
        if passes(&nets, filters, &network)? {
            passing.push(network);
        }
    }
    Ok(passing)
}

fn passes(nets: &Networks, filters: &[Filter], network: &Network) -> Result<bool> {
    filter::all_pass(filters, |filter| match filter.name.as_str() {
        "id" => Ok(network.id.starts_with(&filter.value)),
        "name" => filter.names(&network.name),
        "label" => Ok(filter.has_label(&network.labels)),
        "scope" => Ok(filter.value == "local"),
        "type" => {
            filter.one_of(&["custom", "builtin"]).map(|kind| (kind == "custom") == network.custom)
        }
        "dangling" => {
            let used = !network.custom || !nets.endpoints(Some(&network.name))?.is_empty();
            Ok(filter.truth()? != used)
        }
        _ => Ok(filter.value == network.driver),
    })
}

/// Looks at a network by its name, its id or the beginning of one.
///
/// # Errors
/// [`husk_net::Error::NoSuchNetwork`].
pub fn inspect(home: &Home, name: &str) -> Result<NetworkDetails> {
    let nets = home.networks()?;
    if let Some(network) = built_in(&nets, name) {
        return Ok(NetworkDetails { network: network.into(), endpoints: Vec::new() });
    }
    let network = nets.inspect(name)?;
    let endpoints = nets.endpoints(Some(&network.name))?;
    Ok(NetworkDetails { network: network.into(), endpoints })
}

/// The id of a network by its name.
///
/// # Errors
/// [`husk_net::Error::NoSuchNetwork`].
pub fn id(nets: &Networks, name: &str) -> Result<String> {
    match built_in(nets, name) {
        Some(network) => Ok(network.id),
        None => Ok(nets.inspect(name)?.id),
    }
}

/// `host` or `none`, by its name or the beginning of its id.
fn built_in(nets: &Networks, wanted: &str) -> Option<BuiltIn> {
    nets.built_in()
        .into_iter()
        .find(|one| one.name == wanted || (wanted.len() >= 3 && one.id.starts_with(wanted)))
}
