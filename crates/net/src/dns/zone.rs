//! What a container's DNS server answers for: the containers on its networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Result;
use crate::ipam::lease::Endpoint;
use crate::networks::Networks;
use crate::networks::network::DEFAULT_NETWORK;

/// Every endpoint on a container's networks of its own, its networks in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Zone {
    /// The networks with the endpoints on each.
    networks: Vec<(String, Vec<Endpoint>)>,
    /// The asking container's own `TARGET:ALIAS` on each.
    links: Vec<Vec<String>>,
}

impl Zone {
    /// Reads the leases as they are now. The default network has no names, as Docker's
    /// has none.
    pub(super) fn read(networks: &Networks, container: &str) -> Result<Self> {
        Ok(Self::of(networks.endpoints(None)?, container))
    }

    fn of(endpoints: Vec<Endpoint>, container: &str) -> Self {
        let mut own: Vec<&Endpoint> = endpoints
            .iter()
            .filter(|e| e.container == container && e.network != DEFAULT_NETWORK)
            .collect();
        own.sort_by(|a, b| a.interface.cmp(&b.interface));
        let on = |network: &str| {
            endpoints.iter().filter(|e| e.network == network).cloned().collect::<Vec<_>>()
        };
        Self {
            networks: own.iter().map(|e| (e.network.clone(), on(&e.network))).collect(),
            links: own.iter().map(|e| e.links.clone()).collect(),
        }
    }

    /// The addresses of a name, `None` if it is no container's. The container's own links come
    /// first. `a.b` is first a name in every network, then `a` in network `b`.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let linked = self.networks.iter().zip(&self.links).find_map(|((_, endpoints), links)| {
            let of_name = |(target, alias): (&str, &str)| {
                alias.eq_ignore_ascii_case(name).then_some(target.to_owned())
            };
            let target = links.iter().find_map(|link| link.split_once(':').and_then(of_name))?;
            find(endpoints, &target)
        });
        let anywhere = || self.networks.iter().find_map(|(_, endpoints)| find(endpoints, name));
        let everywhere = linked.or_else(anywhere);
        everywhere.or_else(|| {
            name.match_indices('.').rev().find_map(|(dot, _)| {
                let (name, network) = (name.get(..dot)?, name.get(dot + 1..)?);
                let mut networks = self.networks.iter();
                let (_, endpoints) =
                    networks.find(|(other, _)| other.eq_ignore_ascii_case(network))?;
                find(endpoints, name)
            })
        })
    }

    /// The name of the container that has an address, with its network's.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        self.networks.iter().find_map(|(network, endpoints)| {
            let owner =
                endpoints.iter().find(|e| e.addresses.iter().any(|a| a.address == address))?;
            Some(format!("{}.{network}", owner.name))
        })
    }
}

/// Of several containers with one alias the addresses of all.
fn find(endpoints: &[Endpoint], name: &str) -> Option<Vec<IpAddr>> {
    let mut named = endpoints.iter().filter(|e| has_name(e, name)).peekable();
    named.peek()?;
    Some(named.flat_map(|e| e.addresses.iter().map(|a| a.address)).collect())
}

/// By name, alias, hostname or short id.
fn has_name(endpoint: &Endpoint, name: &str) -> bool {
    let short = endpoint.container.get(..12).unwrap_or(&endpoint.container);
    let own = [endpoint.name.as_str(), short];
    own.into_iter()
        .chain(endpoint.aliases.iter().map(String::as_str))
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The address that a name below in-addr.arpa or ip6.arpa stands for (RFC 1035 section 3.5,
/// RFC 3596 section 2.5).
pub(super) fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let octets: Option<Vec<u8>> = octets.rsplit('.').map(|part| part.parse().ok()).collect();
        return Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets?).ok()?)));
    }
    let nibbles: Option<Vec<u8>> = name
        .strip_suffix(".ip6.arpa")?
        .rsplit('.')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|n| *n < 16 && part.len() == 1))
        .collect();
    let octets: Vec<u8> =
        nibbles?.chunks(2).map(|pair| pair.iter().fold(0, |n, nibble| n << 4 | nibble)).collect();
    Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::lease::Address;

    fn endpoint(container: &str, network: &str, address: &str, aliases: &[&str]) -> Endpoint {
        let address: IpAddr = address.parse().unwrap();
        Endpoint {
            network: network.to_owned(),
            container: container.repeat(8),
            name: format!("name-{container}"),
            aliases: aliases.iter().map(|&a| a.to_owned()).collect(),
            links: Vec::new(),
            interface: if network == "app" { "eth0" } else { "eth1" }.to_owned(),
            host_interface: String::new(),
            mac: [0; 6],
            addresses: vec![Address { address, prefix: 24, gateway: address }],
            default_route: false,
            source_checked: true,
        }
    }

    fn zone() -> Zone {
        let endpoints = vec![
            endpoint("aa", "app", "10.9.0.2", &[]),
            endpoint("bb", "app", "10.9.0.3", &["db", "Shared", "x.y"]),
            endpoint("cc", "app", "10.9.0.4", &["shared"]),
            endpoint("aa", "back", "10.8.0.2", &[]),
            endpoint("dd", "back", "10.8.0.3", &["db"]),
            endpoint("ee", "other", "10.7.0.3", &["secret"]),
            endpoint("aa", "bridge", "10.214.0.2", &[]),
            endpoint("ff", "bridge", "10.214.0.3", &["web"]),
        ];
        Zone::of(endpoints, &"aa".repeat(8))
    }

    #[test]
    fn names_of_the_containers_networks() {
        let zone = zone();
        let text = |name: &str| {
            zone.addresses(name)
                .map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let cases = [
            ("name-bb", Some("10.9.0.3")),
            ("NAME-BB", Some("10.9.0.3")),
            ("db", Some("10.9.0.3")),
            ("db.back", Some("10.8.0.3")),
            ("x.y", Some("10.9.0.3")),
            ("x.y.app", Some("10.9.0.3")),
            ("bbbbbbbbbbbb", Some("10.9.0.3")),
            ("shared", Some("10.9.0.3 10.9.0.4")),
            ("name-aa", Some("10.9.0.2")),
            // Networks that it is not on, and the default one.
            ("secret", None),
            ("name-ee.other", None),
            ("web", None),
            ("name-ff.bridge", None),
            ("", None),
            (".", None),
            ("app", None),
        ];
        for (name, addresses) in cases {
            assert_eq!(text(name).as_deref(), addresses, "{name}");
        }
        assert_eq!(zone.name_of("10.8.0.3".parse().unwrap()).unwrap(), "name-dd.back");
        assert_eq!(zone.name_of("10.7.0.3".parse().unwrap()), None);
    }

    #[test]
    fn reverse_names() {
        assert_eq!(reverse("3.0.8.10.in-addr.arpa"), Some("10.8.0.3".parse().unwrap()));
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reverse(v6), Some("fd00::2".parse().unwrap()));
        for wrong in ["8.10.in-addr.arpa", "256.0.8.10.in-addr.arpa", "2.0.ip6.arpa", "web", ""] {
            assert_eq!(reverse(wrong), None, "{wrong}");
        }
    }
}
