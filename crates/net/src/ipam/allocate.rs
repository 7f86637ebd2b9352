//! Which address a container is given: its own choice, or the next one that is free.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::ipam::lease::{Address, Attachment, Claimant, Endpoint, Leases};
use crate::ipam::mac::{bridge_mac, format_mac, mac_of};
use crate::links::link::Mac;
use crate::networks::installation::fnv;
use crate::networks::network::{Network, Pool};
use crate::networks::options::Driver;

impl Leases {
    pub(super) fn allocate(
        &mut self,
        network: &Network,
        wanted: &Attachment,
        claimant: Claimant<'_>,
    ) -> Result<Endpoint> {
        if self.endpoints.iter().any(|e| e.container == claimant.container) {
            return Err(Error::AlreadyConnected {
                container: claimant.name.to_owned(),
                network: network.name.clone(),
            });
        }
        self.refuse_all_fixed(network, wanted)?;
        let mut addresses = Vec::new();
        for pool in &network.pools {
            let fixed = wanted.addresses.iter().copied().find(|a| pool.subnet.contains(*a));
            let address = match fixed {
                Some(address) => address,
                None => self.next(network, pool)?,
            };
            addresses.push(Address {
                address,
                prefix: pool.subnet.prefix(),
                gateway: pool.gateway,
            });
        }
        let mac = wanted.mac.unwrap_or_else(|| mac_of(&addresses));
        Ok(Endpoint {
            network: network.name.clone(),
            container: claimant.container.to_owned(),
            name: claimant.name.to_owned(),
            aliases: wanted.aliases.clone(),
            links: wanted.links.clone(),
            interface: claimant.interface,
            host_interface: match network.driver {
                Driver::Bridge => host_interface(claimant.container, &network.id),
                Driver::Macvlan | Driver::Ipvlan => String::new(),
            },
            mac,
            addresses,
            default_route: claimant.default_route,
            source_checked: claimant.source_checked && network.driver == Driver::Bridge,
        })
    }

    pub(super) fn refuse_all_fixed(&self, network: &Network, wanted: &Attachment) -> Result<()> {
        for (i, address) in wanted.addresses.iter().enumerate() {
            self.refuse_fixed(network, *address, &wanted.addresses[..i])?;
        }
        match wanted.mac {
            Some(mac) => self.refuse_fixed_mac(network, mac),
            None => Ok(()),
        }
    }

    fn refuse_fixed(&self, network: &Network, address: IpAddr, before: &[IpAddr]) -> Result<()> {
        let invalid = |reason: String| Error::Invalid {
            property: if address.is_ipv6() { "--ip6" } else { "--ip" },
            value: address.to_string(),
            reason,
        };
        let Some(pool) = network.pool(address.is_ipv6()) else {
            let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(invalid(format!("network {} has no {family}", network.name)));
        };
        let (low, high) = pool.subnet.host_offsets();
        if !pool.subnet.offset(address).is_some_and(|o| (low..=high).contains(&o)) {
            let (name, subnet) = (&network.name, pool.subnet);
            return Err(invalid(format!(
                "is no host's address of {subnet}, network {name}'s subnet"
            )));
        }
        if address == pool.gateway {
            return Err(invalid(format!("is the gateway of network {}", network.name)));
        }
        if let Some((name, _)) = pool.reserved.iter().find(|(_, one)| **one == address) {
            let network = &network.name;
            return Err(invalid(format!("is reserved for {name} on network {network}")));
        }
        if before.iter().any(|a| a.is_ipv6() == address.is_ipv6()) {
            return Err(invalid("is the second of its family".to_owned()));
        }
        match self.endpoints.iter().find(|e| e.addresses.iter().any(|a| a.address == address)) {
            None => Ok(()),
            Some(holder) => Err(Error::AddressInUse {
                address,
                network: network.name.clone(),
                holder: holder.name.clone(),
            }),
        }
    }

    /// The bridge would take for its own what is sent to a container of its address.
    fn refuse_fixed_mac(&self, network: &Network, mac: Mac) -> Result<()> {
        let reason = if mac == bridge_mac(network) {
            format!("is the address of the bridge of network {}", network.name)
        } else if let Some(other) = self.endpoints.iter().find(|e| e.mac == mac) {
            format!("is used by container {} on network {}", other.name, network.name)
        } else {
            return Ok(());
        };
        Err(Error::Invalid { property: "--mac-address", value: format_mac(mac), reason })
    }

    /// The next free address above the last one, from the bottom again at the top.
    fn next(&mut self, network: &Network, pool: &Pool) -> Result<IpAddr> {
        let subnet = pool.subnet;
        let range = pool.range.unwrap_or(subnet);
        let (low, high) = subnet.host_offsets();
        let low = low.max(subnet.offset(range.base()).unwrap_or(low));
        let high = high.min(subnet.offset(range.last()).unwrap_or(high));
        let mut used: HashSet<IpAddr> =
            self.endpoints.iter().flat_map(|e| e.addresses.iter().map(|a| a.address)).collect();
        used.insert(pool.gateway);
        used.extend(pool.reserved.values());
        let at = self.last.iter().position(|a| a.is_ipv6() == subnet.is_ipv6());
        let last = at.and_then(|i| subnet.offset(self.last[i]));
        let start = last.map_or(low, |o| o + 1);
        let start = if (low..=high).contains(&start) { start } else { low };
        let free = (start..=high)
            .chain(low..start)
            // Among one more than are used there is a free one, or there is none.
            .take(used.len() + 1)
            .filter_map(|offset| subnet.nth(offset))
            .find(|address| !used.contains(address));
        let Some(address) = free else {
            return Err(Error::SubnetFull { network: network.name.clone(), subnet: range });
        };
        match at {
            Some(i) => self.last[i] = address,
            None => self.last.push(address),
        }
        Ok(address)
    }
}

/// A function of container and network, so that it can be found and removed even
/// if it was made and nothing more could be written down. At most 15 bytes. Its
/// alias says whose it is: a link of that name with another alias is not touched.
fn host_interface(container: &str, network_id: &str) -> String {
    let hash = fnv(&[container.as_bytes(), network_id.as_bytes()]);
    format!("vh{:012x}", hash & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ipam::lease::LeaseFiles;
    use crate::ipam::mac::parse_mac;

    fn network(subnet: &str, range: Option<&str>) -> Network {
        let subnet: crate::Subnet = subnet.parse().unwrap();
        Network {
            name: "app".to_owned(),
            id: "i".to_owned(),
            bridge: "b".to_owned(),
            pools: vec![Pool {
                subnet,
                gateway: subnet.nth(1).unwrap(),
                range: range.map(|r| r.parse().unwrap()),
                reserved: BTreeMap::new(),
            }],
            ..Network::default()
        }
    }

    fn claimant(container: &str) -> Claimant<'_> {
        let interface = "eth0".to_owned();
        Claimant {
            container,
            name: container,
            interface,
            default_route: true,
            source_checked: true,
        }
    }

    fn add(
        files: &LeaseFiles,
        network: &Network,
        container: &str,
        fixed: Option<&str>,
    ) -> Result<String> {
        let wanted = Attachment {
            network: network.name.clone(),
            addresses: fixed.iter().map(|a| a.parse().unwrap()).collect(),
            ..Attachment::default()
        };
        let endpoint = files.add(network, &wanted, claimant(container))?;
        Ok(endpoint.addresses[0].address.to_string())
    }

    #[test]
    fn addresses_rest_before_they_are_given_again() {
        let directory = tempfile::tempdir().unwrap();
        let files = LeaseFiles::open(directory.path()).unwrap();
        let net = network("10.9.0.0/29", None);
        assert_eq!(add(&files, &net, "a", None).unwrap(), "10.9.0.2");
        assert_eq!(add(&files, &net, "b", None).unwrap(), "10.9.0.3");
        assert_eq!(files.strike_out("app", "a").unwrap(), Some(1));
        assert_eq!(add(&files, &net, "c", None).unwrap(), "10.9.0.4");
        assert_eq!(add(&files, &net, "d", Some("10.9.0.6")).unwrap(), "10.9.0.6");
        assert_eq!(add(&files, &net, "e", None).unwrap(), "10.9.0.5");
        assert_eq!(add(&files, &net, "f", None).unwrap(), "10.9.0.2");
        assert_eq!(
            add(&files, &net, "g", None).unwrap_err().to_string(),
            "network app: no free address left in 10.9.0.0/29 (remove containers or create a larger network)"
        );
        for container in ["b", "c", "d", "e", "f"] {
            files.remove("app", container).unwrap();
        }
        assert!(files.endpoints("app").unwrap().is_empty());
    }

    #[test]
    fn fixed_addresses_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let files = LeaseFiles::open(directory.path()).unwrap();
        let net = network("10.9.0.0/24", None);
        add(&files, &net, "web", Some("10.9.0.7")).unwrap();
        let cases = [
            ("10.9.0.7", "address 10.9.0.7 on network app is used by container web"),
            ("10.9.0.1", "--ip 10.9.0.1: is the gateway of network app"),
            (
                "10.9.0.255",
                "--ip 10.9.0.255: is no host's address of 10.9.0.0/24, network app's subnet",
            ),
            (
                "10.8.0.2",
                "--ip 10.8.0.2: is no host's address of 10.9.0.0/24, network app's subnet",
            ),
            ("fd00::2", "--ip6 fd00::2: network app has no IPv6"),
        ];
        for (address, message) in cases {
            assert_eq!(add(&files, &net, "x", Some(address)).unwrap_err().to_string(), message);
        }
        assert_eq!(
            add(&files, &net, "web", None).unwrap_err().to_string(),
            "container web is already connected to network app"
        );
    }

    #[test]
    fn hardware_addresses_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let files = LeaseFiles::open(directory.path()).unwrap();
        let net = network("10.9.0.0/24", None);
        let add = |container: &str, mac: &str| {
            let mac = Some(parse_mac(mac).unwrap());
            let wanted = Attachment { network: "app".to_owned(), mac, ..Attachment::default() };
            files.add(&net, &wanted, claimant(container)).map(drop).map_err(|e| e.to_string())
        };
        let bridge = "--mac-address 02:48:0a:09:00:01: is the address of the bridge of network app";
        assert_eq!(add("a", "02:48:0a:09:00:01").unwrap_err(), bridge);
        add("a", "02:00:00:00:00:07").unwrap();
        let taken = "--mac-address 02:00:00:00:00:07: is used by container a on network app";
        assert_eq!(add("b", "02:00:00:00:00:07").unwrap_err(), taken);
    }

    #[test]
    fn a_range_bounds_the_choice_but_not_fixed_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let files = LeaseFiles::open(directory.path()).unwrap();
        let net = network("10.9.0.0/24", Some("10.9.0.128/31"));
        assert_eq!(add(&files, &net, "a", None).unwrap(), "10.9.0.128");
        assert_eq!(add(&files, &net, "b", None).unwrap(), "10.9.0.129");
        assert!(add(&files, &net, "c", None).is_err());
        assert_eq!(add(&files, &net, "c", Some("10.9.0.9")).unwrap(), "10.9.0.9");
    }

    #[test]
    fn ipv6_allocates_without_walking_the_subnet() {
        let directory = tempfile::tempdir().unwrap();
        let files = LeaseFiles::open(directory.path()).unwrap();
        let net = network("fd00:1::/64", None);
        assert_eq!(add(&files, &net, "a", None).unwrap(), "fd00:1::2");
        let last = "fd00:1::ffff:ffff:ffff:ffff";
        assert_eq!(add(&files, &net, "b", Some(last)).unwrap(), last);
        assert_eq!(add(&files, &net, "c", None).unwrap(), "fd00:1::3");
    }

    #[test]
    fn parallel_claimants_get_distinct_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let net = network("10.9.0.0/24", None);
        let addresses: HashSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|i| {
                    let (files, net) = (LeaseFiles::open(directory.path()).unwrap(), &net);
                    scope.spawn(move || {
                        let _lock = files.lock("app").unwrap();
                        add(&files, net, &format!("c{i}"), None).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(addresses.len(), 20);
    }
}
