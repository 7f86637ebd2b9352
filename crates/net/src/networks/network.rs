//! A network's definition, and what is a valid one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ipam::subnet::Subnet;
use crate::networks::options::{Driver, Settings};

/// The name of the network that containers are on by default.
pub const DEFAULT_NETWORK: &str = "bridge";
/// The link of the default network.
pub const DEFAULT_BRIDGE: &str = "husk0";
/// IPv6's least (RFC 8200 section 5), and more than IPv4's 68.
pub const MIN_MTU: u32 = 1280;
/// The most that a bridge and a veth pair can have.
pub const MAX_MTU: u32 = 65535;

/// Addresses of one family on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet of the link.
    pub subnet: Subnet,
    /// The bridge's own address, the containers' gateway.
    pub gateway: IpAddr,
    /// The part of the subnet that containers' addresses are taken from where
    /// it is not the whole (`--ip-range`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Subnet>,
    /// Addresses that no container is given, and what they are for (`--aux-address`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, IpAddr>,
}

/// A network, as its file has it and `network inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name, unique.
    pub name: String,
    /// 64 hexadecimal digits, random.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// What makes its links.
    #[serde(default)]
    pub driver: Driver,
    /// The driver's options as they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `--attachable`, which says something to Swarm alone.
    #[serde(default)]
    pub attachable: bool,
    /// The link of the bridge, at most 15 bytes; empty where the driver makes none.
    pub bridge: String,
    /// At most one of each family, IPv4 first.
    pub pools: Vec<Pool>,
    /// Whether husk chose the subnets. It may then choose others while no container is
    /// on the network and something else on the host has taken them.
    #[serde(default)]
    pub chosen: bool,
    /// No way out of the network and none in (`--internal`).
    #[serde(default)]
    pub internal: bool,
    /// Bytes; `None` is the MTU of the link that the host's default route leads over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The user's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What a person asks for with `network create`.
#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// `--subnet`, at most one of each family. IPv4 is chosen where not given.
    pub subnets: Vec<Subnet>,
    /// `--gateway`, each in one of the subnets; otherwise a subnet's first address.
    pub gateways: Vec<IpAddr>,
    /// `--ip-range`, each in one of the subnets.
    pub ranges: Vec<Subnet>,
    /// `--ipv6`: `None` is as the host has it.
    pub ipv6: Option<bool>,
    /// `--internal`.
    pub internal: bool,
    /// In bytes; `com.docker.network.driver.mtu` of `options` says the same.
    pub mtu: Option<u32>,
    /// What makes its links.
    pub driver: Driver,
    /// Options of the driver, see [`Settings`].
    pub options: BTreeMap<String, String>,
    /// `--aux-address`, each in one of the subnets.
    pub reserved: BTreeMap<String, IpAddr>,
    /// `--attachable`.
    pub attachable: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// What its options say; those of a file that was edited are as if they were not there.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::read(self.driver, &self.options).unwrap_or_default()
    }

    /// The pool of a family.
    #[must_use]
    pub fn pool(&self, ipv6: bool) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.is_ipv6() == ipv6)
    }
}

/// Ranges that hosts give a meaning of their own, so that containers cannot have their
/// addresses (the IANA registries of special-purpose addresses, RFC 6890).
const SPECIAL_RANGES: [(&str, &str); 12] = [
    ("0.0.0.0/8", "\"this network\" (RFC 791)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses and cloud metadata services (RFC 3927)"),
    ("192.0.0.0/29", "IPv4 service continuity (RFC 7335)"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "future use and broadcast (RFC 1112)"),
    ("::/96", "the unspecified and the loopback address"),
    ("::ffff:0:0/96", "IPv4-mapped addresses (RFC 4291)"),
    ("64:ff9b::/96", "translation to IPv4 (RFC 6052)"),
    ("fe80::/10", "link-local addresses"),
    ("fec0::/10", "site-local addresses, which are deprecated (RFC 3879)"),
    ("ff00::/8", "multicast"),
];

fn invalid(property: &'static str, value: impl ToString, reason: impl Into<String>) -> Error {
    Error::Invalid { property, value: value.to_string(), reason: reason.into() }
}

/// A name as Docker allows them; it becomes a file's name, so it can hold no
/// slash and does not begin with a dot.
pub(crate) fn validate_name(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let fits = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= 128;
    if fits { Ok(()) } else { Err(Error::NetworkName { name: name.to_owned() }) }
}

impl NewNetwork {
    /// Everything that can be told without looking at the host.
    ///
    /// # Errors
    ///
    /// One that names the flag and its value.
    pub fn validate(&self) -> Result<()> {
        validate_name(&self.name)?;
        if matches!(self.name.as_str(), "host" | "none" | "default" | "container" | "pasta") {
            return Err(Error::ReservedName { name: self.name.clone() });
        }
        let settings = Settings::read(self.driver, &self.options)?;
        if let Some(mtu) =
            self.mtu.or(settings.mtu).filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu))
        {
            let reason = format!("must be {MIN_MTU} to {MAX_MTU} bytes");
            return Err(invalid("mtu", mtu, reason));
        }
        for (i, subnet) in self.subnets.iter().enumerate() {
            validate_subnet(subnet)?;
            if self.subnets[..i].iter().any(|s| s.is_ipv6() == subnet.is_ipv6()) {
                return Err(invalid("--subnet", subnet, "a network has one subnet of each family"));
            }
            if subnet.is_ipv6() && self.ipv6 == Some(false) {
                return Err(invalid("--subnet", subnet, "is IPv6, which --ipv6=false forbids"));
            }
        }
        for gateway in &self.gateways {
            let Some(subnet) = self.subnets.iter().find(|s| s.contains(*gateway)) else {
                return Err(invalid("--gateway", gateway, "is in none of the given subnets"));
            };
            let (low, high) = subnet.host_offsets();
            if !subnet.offset(*gateway).is_some_and(|o| (low..=high).contains(&o)) {
                return Err(invalid("--gateway", gateway, "is no host's address of the subnet"));
            }
        }
        for range in &self.ranges {
            let inside = |s: &Subnet| s.contains(range.base()) && s.contains(range.last());
            if !self.subnets.iter().any(inside) {
                return Err(invalid("--ip-range", range, "is in none of the given subnets"));
            }
        }
        for (name, address) in &self.reserved {
            if !self.subnets.iter().any(|subnet| subnet.contains(*address)) {
                let value = format!("{name}={address}");
                return Err(invalid("--aux-address", value, "is in none of the given subnets"));
            }
            if self.gateways.contains(address) {
                let value = format!("{name}={address}");
                return Err(invalid("--aux-address", value, "is the gateway"));
            }
        }
        Ok(())
    }

    /// The pool that the request describes for a subnet.
    pub(crate) fn pool(&self, subnet: Subnet) -> Option<Pool> {
        let gateway = self.gateways.iter().copied().find(|g| subnet.contains(*g));
        Some(Pool {
            subnet,
            gateway: gateway.or_else(|| self.free_gateway(&subnet))?,
            range: self.ranges.iter().copied().find(|r| subnet.contains(r.base())),
            reserved: self
                .reserved
                .iter()
                .filter(|(_, address)| subnet.contains(**address))
                .map(|(name, address)| (name.clone(), *address))
                .collect(),
        })
    }

    /// The first address that is not reserved.
    fn free_gateway(&self, subnet: &Subnet) -> Option<IpAddr> {
        let (low, high) = subnet.host_offsets();
        let mut hosts = (low.max(1)..=high).filter_map(|offset| subnet.nth(offset));
        hosts.find(|address| self.reserved.values().all(|reserved| reserved != address))
    }
}

fn validate_subnet(subnet: &Subnet) -> Result<()> {
    let (most, least) = if subnet.is_ipv6() { (126, 8) } else { (30, 8) };
    if !(least..=most).contains(&subnet.prefix()) {
        let reason = format!("prefix length must be {least} to {most}");
        return Err(invalid("--subnet", subnet, reason));
    }
    for (range, purpose) in SPECIAL_RANGES {
        let Ok(range) = range.parse::<Subnet>() else { continue };
        if range.overlaps(subnet) {
            let reason = format!("overlaps {range}, which is reserved for {purpose}");
            return Err(invalid("--subnet", subnet, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str]) -> NewNetwork {
        NewNetwork {
            name: "app".to_owned(),
            subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
            ..NewNetwork::default()
        }
    }

    fn message(request: &NewNetwork) -> String {
        request.validate().unwrap_err().to_string()
    }

    #[test]
    fn names() {
        for name in ["a", "app_1.front-end", "9"] {
            assert!(validate_name(name).is_ok(), "{name}");
        }
        for name in ["", ".a", "-a", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(validate_name(name).is_err(), "{name}");
        }
        let reserved = NewNetwork { name: "host".to_owned(), ..NewNetwork::default() };
        assert_eq!(message(&reserved), "network name \"host\" is reserved, choose another");
    }

    #[test]
    fn refuses_what_cannot_work() {
        let mut gateway = request(&["10.9.0.0/24"]);
        gateway.gateways = vec!["10.8.0.1".parse().unwrap()];
        assert_eq!(message(&gateway), "--gateway 10.8.0.1: is in none of the given subnets");
        gateway.gateways = vec!["10.9.0.255".parse().unwrap()];
        assert_eq!(message(&gateway), "--gateway 10.9.0.255: is no host's address of the subnet");
        let mut range = request(&["10.9.0.0/24"]);
        range.ranges = vec!["10.9.0.0/16".parse().unwrap()];
        assert_eq!(message(&range), "--ip-range 10.9.0.0/16: is in none of the given subnets");
        let mut mtu = request(&[]);
        mtu.mtu = Some(500);
        assert_eq!(message(&mtu), "mtu 500: must be 1280 to 65535 bytes");
        assert_eq!(
            message(&request(&["10.9.0.0/31"])),
            "--subnet 10.9.0.0/31: prefix length must be 8 to 30"
        );
        assert_eq!(
            message(&request(&["127.0.0.0/8"])),
            "--subnet 127.0.0.0/8: overlaps 127.0.0.0/8, which is reserved for loopback"
        );
        for special in
            ["169.254.0.0/16", "169.254.169.0/24", "240.0.0.0/8", "fe80::/64", "::ffff:0:0/96"]
        {
            let message = message(&request(&[special]));
            assert!(message.contains("which is reserved for"), "{message}");
        }
        assert_eq!(
            message(&request(&["10.1.0.0/24", "10.2.0.0/24"])),
            "--subnet 10.2.0.0/24: a network has one subnet of each family"
        );
    }
}
