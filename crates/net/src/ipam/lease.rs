//! Address management: who has which address on a network.
//!
//! ```text
//! <runtime>/endpoints/NAME.json   the endpoints on network NAME
//! <runtime>/endpoints/NAME.lock   held while that file, or the bridge, changes
//! ```
//!
//! An address is written down before it is used and struck out after everything
//! that used it is gone, so what a killed program leaves behind can be found
//! here and undone. The files lie below /run: a reboot, which removes every link
//! and rule, removes them too.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::links::link::Mac;
use crate::networks::installation::fnv;
use crate::networks::json_file::{self, Lock};
use crate::networks::network::{Network, Pool};

/// A container's address on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The subnet's prefix length.
    pub prefix: u8,
    /// The bridge's address on the same subnet.
    pub gateway: IpAddr,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    pub container: String,
    /// Name of the container, for messages and for [`crate::dns`].
    pub name: String,
    /// Other names of the container on this network: its hostname, `--network-alias`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The link inside the container, `eth0`, `eth1`, ...
    pub interface: String,
    /// The other end of the veth pair, on the host.
    pub host_interface: String,
    /// Hardware address of `interface`.
    #[serde(with = "mac_text")]
    pub mac: Mac,
    /// At most one of each family, IPv4 first.
    pub addresses: Vec<Address>,
    /// Whether the container's default routes lead here.
    pub default_route: bool,
    /// Whether what it sends is dropped unless it comes from these addresses.
    #[serde(default)]
    pub source_checked: bool,
}

impl Endpoint {
    /// The address of a family.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> Option<&Address> {
        self.addresses.iter().find(|a| a.address.is_ipv6() == ipv6)
    }
}

/// What a container wants of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the network.
    pub network: String,
    /// Fixed addresses (`--ip`, `--ip6`), at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Fixed hardware address (`--mac-address`).
    pub mac: Option<Mac>,
    /// Other names that containers on the network know it by.
    pub aliases: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Leases {
    /// The address given out last in each pool. The next one is above it, so that
    /// an address just given back rests while others may still believe in it.
    last: Vec<IpAddr>,
    endpoints: Vec<Endpoint>,
}

/// The endpoints of all networks.
#[derive(Debug, Clone)]
pub(crate) struct LeaseFiles {
    directory: PathBuf,
}

/// Who asks for an endpoint, and which of the container's it is.
pub(crate) struct Claimant<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
    pub(crate) interface: String,
    pub(crate) default_route: bool,
    pub(crate) source_checked: bool,
}

impl LeaseFiles {
    pub(crate) fn open(runtime: &Path) -> Result<Self> {
        let directory = runtime.join("endpoints");
        json_file::make_dir(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, network: &str) -> PathBuf {
        self.directory.join(format!("{network}.json"))
    }

    /// The lock of one network, for its leases and its bridge.
    pub(crate) fn lock(&self, network: &str) -> Result<Lock> {
        Ok(Lock::exclusive(&self.directory.join(format!("{network}.lock")))?)
    }

    /// The caller holds the network's lock and has removed the network.
    pub(crate) fn forget_lock(&self, network: &str) -> Result<()> {
        json_file::remove(&self.directory.join(format!("{network}.lock")))
    }

    pub(crate) fn endpoints(&self, network: &str) -> Result<Vec<Endpoint>> {
        let leases: Option<Leases> = json_file::read(&self.path(network))?;
        Ok(leases.map(|leases| leases.endpoints).unwrap_or_default())
    }

    /// Files that cannot be read.
    pub(crate) fn damaged(&self) -> Result<Vec<PathBuf>> {
        let mut damaged = Vec::new();
        for network in json_file::names(&self.directory)? {
            if let Err(Error::Damaged { path, .. }) = self.endpoints(&network) {
                damaged.push(path);
            }
        }
        Ok(damaged)
    }

    /// Every endpoint of every network.
    pub(crate) fn all(&self) -> Result<Vec<Endpoint>> {
        let mut all = Vec::new();
        for network in json_file::names(&self.directory)? {
            match self.endpoints(&network) {
                Ok(endpoints) => all.extend(endpoints),
                // One network's damage is told where that network is asked for.
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Allocates and records; the caller holds the network's lock.
    pub(crate) fn add(
        &self,
        network: &Network,
        wanted: &Attachment,
        claimant: Claimant<'_>,
    ) -> Result<Endpoint> {
        let path = self.path(&network.name);
        let mut leases: Leases = json_file::read(&path)?.unwrap_or_default();
        let endpoint = leases.allocate(network, wanted, claimant)?;
        leases.endpoints.push(endpoint.clone());
        json_file::write(&path, &leases)?;
        Ok(endpoint)
    }

    /// Whether the fixed addresses of an attachment can be given out at present.
    pub(crate) fn check(&self, network: &Network, wanted: &Attachment) -> Result<()> {
        let leases: Leases = json_file::read(&self.path(&network.name))?.unwrap_or_default();
        leases.refuse_all_fixed(network, wanted)
    }

    /// Notes that a container's default route leads here now; the caller holds the
    /// network's lock.
    pub(crate) fn set_default_route(&self, network: &str, container: &str) -> Result<()> {
        let path = self.path(network);
        let Some(mut leases) = json_file::read::<Leases>(&path)? else {
            return Ok(());
        };
        let mut endpoints = leases.endpoints.iter_mut();
        endpoints
            .find(|e| e.container == container)
            .into_iter()
            .for_each(|e| e.default_route = true);
        json_file::write(&path, &leases)
    }

    /// Strikes a container out; the caller holds the network's lock. Returns how
    /// many endpoints are left.
    pub(crate) fn remove(&self, network: &str, container: &str) -> Result<usize> {
        let path = self.path(network);
        let Some(mut leases) = json_file::read::<Leases>(&path)? else {
            return Ok(0);
        };
        leases.endpoints.retain(|endpoint| endpoint.container != container);
        match leases.endpoints.len() {
            0 => json_file::remove(&path)?,
            _ => json_file::write(&path, &leases)?,
        }
        Ok(leases.endpoints.len())
    }
}

impl Leases {
    fn allocate(
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
            interface: claimant.interface,
            host_interface: host_interface(claimant.container, &network.id),
            mac,
            addresses,
            default_route: claimant.default_route,
            source_checked: claimant.source_checked,
        })
    }

    fn refuse_all_fixed(&self, network: &Network, wanted: &Attachment) -> Result<()> {
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

/// Locally administered, and a function of the address: a container that gets an
/// address soon after another had it also gets the hardware address that
/// neighbours may still have in their caches.
pub(crate) fn mac_of(addresses: &[Address]) -> Mac {
    mac_for(addresses.first().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |a| a.address))
}

/// The hardware address of a network's bridge.
pub(crate) fn bridge_mac(network: &Network) -> Mac {
    mac_for(network.pools.first().map_or(IpAddr::from([0; 4]), |pool| pool.gateway))
}

fn mac_for(address: IpAddr) -> Mac {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
    };
    [0x02, b'H', a, b, c, d]
}

/// A function of container and network, so that it can be found and removed even
/// if it was made and nothing more could be written down. At most 15 bytes. Its
/// alias says whose it is: a link of that name with another alias is not touched.
fn host_interface(container: &str, network_id: &str) -> String {
    let hash = fnv(&[container.as_bytes(), network_id.as_bytes()]);
    format!("vh{:012x}", hash & 0xffff_ffff_ffff)
}

/// `02:48:0a:d6:00:02`.
#[must_use]
pub fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads six colon-separated hexadecimal bytes.
///
/// # Errors
///
/// Anything else, and a multicast address, which no link can have.
pub fn parse_mac(text: &str) -> Result<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    bytes.and_then(|bytes| Mac::try_from(bytes).ok()).filter(|mac| mac[0] & 1 == 0).ok_or_else(
        || Error::Invalid {
            property: "--mac-address",
            value: text.to_owned(),
            reason: "is no unicast hardware address (as in 02:48:0a:d6:00:02)".to_owned(),
        },
    )
}

mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Mac, format_mac, parse_mac};

    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_mac(*mac))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_mac(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str, range: Option<&str>) -> Network {
        let subnet: crate::Subnet = subnet.parse().unwrap();
        Network {
            name: "app".to_owned(),
            id: "i".to_owned(),
            created: 0,
            bridge: "b".to_owned(),
            pools: vec![Pool {
                subnet,
                gateway: subnet.nth(1).unwrap(),
                range: range.map(|r| r.parse().unwrap()),
            }],
            internal: false,
            chosen: false,
            mtu: None,
            labels: Default::default(),
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
        assert_eq!(files.remove("app", "a").unwrap(), 1);
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
        assert!(!files.path("app").exists());
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

    #[test]
    fn hardware_addresses() {
        assert_eq!(format_mac(mac_for("10.9.0.7".parse().unwrap())), "02:48:0a:09:00:07");
        assert_eq!(parse_mac("02:48:0a:09:00:07").unwrap(), [2, 0x48, 10, 9, 0, 7]);
        for wrong in
            ["", "02:48:0a:09:00", "2:48:a:9:0:7", "01:00:5e:00:00:01", "02:48:0a:09:00:0g"]
        {
            assert!(parse_mac(wrong).is_err(), "{wrong}");
        }
    }
}
