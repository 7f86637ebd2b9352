//! The networks' definitions: one JSON file each, changed under one lock.
//!
//! ```text
//! <config>/lock             held while a network is made or removed
//! <config>/NAME.json        a Network
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Result};
use crate::ipam::subnet::Subnet;
use crate::links::address;
use crate::links::netlink::Socket;
use crate::links::route::{self, Route};
use crate::links::{link, sysctl, vlan};
use crate::networks::installation::{Installation, bridge_name, random_hex};
use crate::networks::json_file::{self, Lock};
use crate::networks::network::{
    DEFAULT_BRIDGE, DEFAULT_NETWORK, Network, NewNetwork, Pool, validate_name,
};
use crate::networks::options::{Driver, Settings};

/// Where definitions are kept. Holds no descriptor; every call reads the files anew.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        json_file::make_dir(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    pub(crate) fn lock(&self) -> Result<Lock> {
        Ok(Lock::exclusive(&self.directory.join("lock"))?)
    }

    /// Every network whose definition can be read, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for name in json_file::names(&self.directory)? {
            match json_file::read::<Network>(&self.path(&name)) {
                // One removed since the directory was read is one that is not there.
                Ok(network) => networks.extend(network),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(networks)
    }

    /// The names of the others, and what is wrong with their definitions.
    pub(crate) fn damaged(&self) -> Result<Vec<(String, Error)>> {
        let mut damaged = Vec::new();
        for name in json_file::names(&self.directory)? {
            if let Err(error) = json_file::read::<Network>(&self.path(&name)) {
                damaged.push((name, error));
            }
        }
        Ok(damaged)
    }

    /// The network of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Network> {
        validate_name(name)?;
        json_file::read(&self.path(name))?
            .ok_or_else(|| Error::NoSuchNetwork { name: name.to_owned() })
    }

    /// The network of that name; the default one is made when first asked for.
    pub(crate) fn get_or_default(
        &self,
        name: &str,
        installation: &Installation,
    ) -> Result<Network> {
        match self.get(name) {
            Err(Error::NoSuchNetwork { .. }) if name == DEFAULT_NETWORK => {
                let request = NewNetwork { name: name.to_owned(), ..NewNetwork::default() };
                match self.create(&request, installation) {
                    // Another made it meanwhile.
                    Err(Error::NetworkExists { .. }) => self.get(name),
                    created => created,
                }
            }
            found => found,
        }
    }

    /// Validates, chooses what was not given, and writes the definition. Links
    /// and rules come with the first container.
    pub(crate) fn create(
        &self,
        request: &NewNetwork,
        installation: &Installation,
    ) -> Result<Network> {
        request.validate()?;
        let _lock = self.lock()?;
        if json_file::read::<Network>(&self.path(&request.name))?.is_some() {
            return Err(Error::NetworkExists { name: request.name.clone() });
        }
        let others = self.list()?;
        let settings = Settings::read(request.driver, &request.options)?;
        if let Some(bridge) = &settings.bridge {
            refuse_bridge(bridge, &others)?;
        }
        let mut taken = Taken::on_this_host(&others)?;
        if request.driver != Driver::Bridge {
            // Its containers are on the host's own network, with the host's own subnet.
            taken.routes.clear();
        }
        let id = random_hex(32)?;
        let bridge = match (request.driver, settings.bridge) {
            (Driver::Bridge, Some(bridge)) => bridge,
            (Driver::Bridge, None) if request.name == DEFAULT_NETWORK => {
                installation.default_bridge(&id)
            }
            (Driver::Bridge, None) => bridge_name(&id),
            (Driver::Macvlan | Driver::Ipvlan, _) => String::new(),
        };
        let network = Network {
            name: request.name.clone(),
            bridge,
            id,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            pools: choose_pools(request, &taken)?,
            chosen: request.subnets.is_empty(),
            internal: request.internal,
            mtu: request.mtu.or(settings.mtu),
            labels: request.labels.clone(),
            driver: request.driver,
            options: request.options.clone(),
            attachable: request.attachable,
        };
        if network.driver != Driver::Bridge {
            vlan::check_parent(&network, &mut Socket::route()?)?;
        }
        json_file::write_durably(&self.path(&network.name), &network)?;
        Ok(network)
    }

    /// Looks again at a network without containers and without a link: since it was
    /// made, the host or another installation may have taken its subnets. Those that
    /// husk chose are chosen anew; others are an error. The caller holds the lock.
    ///
    /// # Errors
    ///
    /// [`Error::SubnetTaken`].
    pub(crate) fn settle(
        &self,
        mut network: Network,
        installation: &Installation,
    ) -> Result<Network> {
        let mut changed = false;
        // Made by a version that called the default bridge of every installation alike.
        let own = installation.default_bridge(&network.id);
        if network.bridge == DEFAULT_BRIDGE && own != DEFAULT_BRIDGE {
            network.bridge = own;
            changed = true;
        }
        let is_chosen = network.chosen || network.name == DEFAULT_NETWORK;
        if let Err(taken) = refuse_taken(&network) {
            if !is_chosen {
                return Err(taken);
            }
            let mut others = self.list()?;
            others.retain(|other| other.name != network.name);
            let request = NewNetwork {
                name: network.name.clone(),
                ipv6: Some(network.pool(true).is_some() && sysctl::has_ipv6()),
                ..NewNetwork::default()
            };
            network.pools = choose_pools(&request, &Taken::on_this_host(&others)?)?;
            network.chosen = true;
            changed = true;
        }
        if changed {
            json_file::write_durably(&self.path(&network.name), &network)?;
        }
        Ok(network)
    }

    /// Removes the definition. The caller holds the lock and has made sure that
    /// no container is on the network.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        json_file::remove(&self.path(name))
    }
}

/// A bridge of another network, or a link that the host has, is not taken over.
fn refuse_bridge(bridge: &str, others: &[Network]) -> Result<()> {
    let other = others.iter().find(|network| network.bridge == bridge);
    let reason = match other {
        Some(network) => format!("is the bridge of network {}", network.name),
        None if link::find(&mut Socket::route()?, bridge)?.is_some() => {
            "the host has a link of this name: choose another".to_owned()
        }
        None => return Ok(()),
    };
    Err(Error::Invalid {
        property: "driver option",
        value: format!("com.docker.network.bridge.name={bridge}"),
        reason,
    })
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom(bytes, GetRandomFlags::empty()).map_err(|e| Error::system("get random bytes", e))?;
    Ok(())
}

/// Whether a link of the host other than the network's own has addresses in its subnets.
/// As for subnets that a person names, a wider subnet is no obstacle.
///
/// # Errors
///
/// [`Error::SubnetTaken`].
pub(crate) fn refuse_taken(network: &Network) -> Result<()> {
    let mut socket = Socket::route()?;
    for (index, reached) in address::all(&mut socket)? {
        let clash = |s: &Subnet| s.overlaps(&reached) && reached.prefix() >= s.prefix();
        let Some(pool) = network.pools.iter().find(|pool| clash(&pool.subnet)) else { continue };
        let name = link::find_index(&mut socket, index)?.map(|link| link.name);
        if let Some(name) = name.filter(|name| *name != network.bridge) {
            let other = format!("{reached} of the host's link {name}");
            return Err(Error::SubnetTaken { subnet: pool.subnet, other });
        }
    }
    Ok(())
}

/// Subnets that are spoken for.
struct Taken {
    networks: Vec<(Subnet, String)>,
    routes: Vec<(Subnet, String)>,
}

impl Taken {
    fn on_this_host(networks: &[Network]) -> Result<Self> {
        let mut socket = Socket::route()?;
        let mut routes = Vec::new();
        for route in route::all(&mut socket)? {
            if !is_about_neighbours(&route) {
                continue;
            }
            let link = match route.link {
                Some(index) => link::find_index(&mut socket, index)?,
                None => None,
            };
            let name = link.map_or_else(|| "no link".to_owned(), |link| link.name);
            let of_ours = networks.iter().any(|network| network.bridge == name);
            if !of_ours {
                routes.push((
                    route.destination,
                    format!("the host's route {} over {name}", route.destination),
                ));
            }
        }
        let networks = networks
            .iter()
            .flat_map(|n| n.pools.iter().map(|p| (p.subnet, format!("network {}", n.name))))
            .collect();
        Ok(Self { networks, routes })
    }

    fn any(&self, subnet: &Subnet) -> bool {
        self.networks.iter().chain(&self.routes).any(|(taken, _)| taken.overlaps(subnet))
    }

    /// A subnet that a person names may lie inside a wider route (a VPN's
    /// 10.0.0.0/8): the narrower one wins. It may not swallow a route.
    fn refuse_given(&self, subnet: &Subnet) -> Result<()> {
        let clash = |taken: &Subnet, is_route: bool| {
            taken.overlaps(subnet) && !(is_route && taken.prefix() < subnet.prefix())
        };
        let network = self.networks.iter().find(|(taken, _)| clash(taken, false));
        let route = self.routes.iter().find(|(taken, _)| clash(taken, true));
        match network.or(route) {
            Some((_, other)) => Err(Error::SubnetTaken { subnet: *subnet, other: other.clone() }),
            None => Ok(()),
        }
    }
}

/// Not the default routes, and not what every host has: loopback, link-local, multicast.
fn is_about_neighbours(route: &Route) -> bool {
    let base = route.destination.base();
    let everywhere = match base {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local(),
    };
    route.destination.prefix() != 0 && !everywhere
}

fn choose_pools(request: &NewNetwork, taken: &Taken) -> Result<Vec<Pool>> {
    let given = |ipv6| request.subnets.iter().copied().find(|s| s.is_ipv6() == ipv6);
    for subnet in &request.subnets {
        taken.refuse_given(subnet)?;
    }
    let mut subnets = vec![match given(false) {
        Some(subnet) => subnet,
        None => choose_ipv4(request.name == DEFAULT_NETWORK, taken)?,
    }];
    match (given(true), request.ipv6) {
        (Some(subnet), _) => subnets.push(subnet),
        (None, Some(false)) => {}
        // The host's own network has those that it has.
        (None, None) if request.driver != Driver::Bridge => {}
        (None, wanted) => {
            if sysctl::has_ipv6() {
                subnets.push(choose_ipv6(taken)?);
            } else if wanted == Some(true) {
                return Err(Error::Invalid {
                    property: "--ipv6",
                    value: "true".to_owned(),
                    reason: "IPv6 is off on this host (net.ipv6.conf.all.disable_ipv6)".to_owned(),
                });
            }
        }
    }
    Ok(subnets.into_iter().filter_map(|subnet| request.pool(subnet)).collect())
}

/// The default network gets a /16, every other a /24, out of blocks that neither
/// Docker (172.17.0.0/16 to 172.31.0.0/16) nor podman (10.88.0.0/15) begins with.
fn choose_ipv4(is_default: bool, taken: &Taken) -> Result<Subnet> {
    let sixteen = |a, b| Subnet::around(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), 16);
    let blocks: Vec<Subnet> = (214..=223)
        .map(|b| sixteen(10, b))
        .chain((16..=31).rev().map(|b| sixteen(172, b)))
        .collect();
    let free = if is_default {
        blocks.iter().copied().find(|block| !taken.any(block))
    } else {
        // The first block is left to the default network.
        blocks.iter().skip(1).find_map(|block| {
            (0..256u128)
                .filter_map(|i| block.nth(i * 256))
                .map(|base| Subnet::around(base, 24))
                .find(|subnet| !taken.any(subnet))
        })
    };
    free.ok_or_else(|| Error::NoFreeSubnet {
        tried: "10.214.0.0-10.223.255.255 and 172.16.0.0/12".to_owned(),
    })
}

/// A unique local subnet with a random global id (RFC 4193 section 3.2).
fn choose_ipv6(taken: &Taken) -> Result<Subnet> {
    for _ in 0..16 {
        let mut bytes = [0u8; 16];
        random(&mut bytes[1..6])?;
        bytes[0] = 0xfd;
        let subnet = Subnet::around(IpAddr::V6(Ipv6Addr::from(bytes)), 64);
        if !taken.any(&subnet) {
            return Ok(subnet);
        }
    }
    Err(Error::NoFreeSubnet { tried: "16 random ones in fd00::/8".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(routes: &[&str]) -> Taken {
        let routes = routes.iter().map(|r| (r.parse().unwrap(), format!("route {r}"))).collect();
        Taken { networks: Vec::new(), routes }
    }

    #[test]
    fn choice_avoids_what_is_routed() {
        let free = choose_ipv4(true, &taken(&[])).unwrap();
        assert_eq!(free.to_string(), "10.214.0.0/16");
        let second = choose_ipv4(true, &taken(&["10.214.7.0/24"])).unwrap();
        assert_eq!(second.to_string(), "10.215.0.0/16");
        let user = choose_ipv4(false, &taken(&["10.215.0.0/24"])).unwrap();
        assert_eq!(user.to_string(), "10.215.1.0/24");
        let vpn = choose_ipv4(false, &taken(&["10.0.0.0/8"])).unwrap();
        assert_eq!(vpn.to_string(), "172.31.0.0/24");
        let none = choose_ipv4(false, &taken(&["10.0.0.0/8", "172.16.0.0/12"])).unwrap_err();
        assert_eq!(
            none.to_string(),
            "no free subnet among 10.214.0.0-10.223.255.255 and 172.16.0.0/12: give one with --subnet"
        );
    }

    #[test]
    fn a_given_subnet_may_be_narrower_than_a_route_but_not_wider() {
        let taken = taken(&["10.0.0.0/8", "192.168.1.0/24"]);
        assert!(taken.refuse_given(&"10.3.0.0/24".parse().unwrap()).is_ok());
        let error = taken.refuse_given(&"192.168.0.0/16".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "subnet 192.168.0.0/16 overlaps route 192.168.1.0/24: choose another with --subnet"
        );
    }
}
