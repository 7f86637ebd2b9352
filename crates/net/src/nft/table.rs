//! The table `inet husk`: everything that this crate has in the kernel's packet filter.
//!
//! As nft(8) would write it, for a network 10.214.0.0/16 on `husk0`:
//!
//! ```text
//! table inet husk {
//!   map publish4     { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//!   map publish4_any { type inet_proto . inet_service : ipv4_addr . inet_service }
//!   map publish6, publish6_any   alike
//!   map hairpin, outward, inward, inside { type ifname : verdict }
//!
//!   chain prerouting { type nat hook prerouting priority dstnat
//!     fib daddr type local jump publish }
//!   chain output { type nat hook output priority dstnat
//!     ip daddr 127.0.0.0/8 return
//!     ip6 daddr ::1 return
//!     fib daddr type local jump publish }
//!   chain publish {
//!     dnat ip to ip daddr . meta l4proto . th dport map @publish4
//!     dnat ip to meta l4proto . th dport map @publish4_any
//!     and for ip6 }
//!   chain postrouting { type nat hook postrouting priority srcnat
//!     oifname vmap @hairpin
//!     iifname vmap @outward }
//!   chain forward { type filter hook forward priority filter
//!     ct state established,related accept
//!     ct status dnat accept
//!     iifname vmap @inside
//!     oifname vmap @inward }
//!
//!   chain hairpin-husk0 { ct status dnat ip saddr 10.214.0.0/16 masquerade }
//!   chain outward-husk0 { oifname husk0 return; ct status dnat return
//!                         ip saddr 10.214.0.0/16 masquerade }
//!   chain inward-husk0  { iifname husk0 accept; drop }
//!   chain inside-husk0  { oifname husk0 accept; drop }   # internal networks only
//! }
//! ```
//!
//! A packet costs the same whether one port is published or a thousand: maps are
//! hashes. Client addresses are kept, but for a client on the container's own
//! network (hairpin): the answer would go to it directly and from an address that
//! it never spoke to. Loopback addresses never come here: translating them would
//! need `route_localnet`, which opens the host's loopback to its neighbours
//! (CVE-2020-8558); [`crate::proxy`] serves them. What was not published does not
//! get in from outside, whoever routes to the containers' subnet.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use rustix::io::Errno;

use super::batch::{Attributes, Batch, INET, Request, body};
use super::rule::{Rule, Verdict, link_name};
use crate::claim::Claim;
use crate::netlink::{Refusal, Socket, attribute, string};
use crate::network::Network;
use crate::subnet::octets;

/// The table's name.
pub(crate) const TABLE: &str = "husk";
/// A message's elements must fit an attribute of 64 KiB, a batch the send buffer.
const ELEMENTS_PER_MESSAGE: usize = 256;
const ELEMENTS_PER_BATCH: usize = 1024;

/// Type numbers of nft(8), which shows the maps by them; the kernel ignores them.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_IFNAME: u32 = 41;
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// `NFT_SET_MAP`.
const SET_IS_MAP: u32 = 8;

const HOOK_PREROUTING: u32 = 0;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

const BASE_CHAINS: [(&str, &str, u32, i32); 4] = [
    ("prerouting", "nat", HOOK_PREROUTING, PRIORITY_DSTNAT),
    ("output", "nat", HOOK_OUTPUT, PRIORITY_DSTNAT),
    ("postrouting", "nat", HOOK_POSTROUTING, PRIORITY_SRCNAT),
    ("forward", "filter", HOOK_FORWARD, PRIORITY_FILTER),
];
const LINK_MAPS: [&str; 4] = ["hairpin", "outward", "inward", "inside"];

struct PortMap {
    name: &'static str,
    ipv6: bool,
    with_address: bool,
}

const PORT_MAPS: [PortMap; 4] = [
    PortMap { name: "publish4", ipv6: false, with_address: true },
    PortMap { name: "publish4_any", ipv6: false, with_address: false },
    PortMap { name: "publish6", ipv6: true, with_address: true },
    PortMap { name: "publish6_any", ipv6: true, with_address: false },
];

fn base_rules() -> Vec<(&'static str, Rule)> {
    let publish = || Rule::new().daddr_is_local().verdict(&Verdict::Jump("publish"));
    let loopback = |address: IpAddr, prefix| {
        let subnet = crate::Subnet::around(address, prefix);
        ("output", Rule::new().daddr(&subnet).verdict(&Verdict::Return))
    };
    let mut rules = vec![
        ("prerouting", publish()),
        loopback(IpAddr::from([127, 0, 0, 0]), 8),
        loopback(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128),
        ("output", publish()),
    ];
    rules.extend(
        PORT_MAPS
            .iter()
            .map(|map| ("publish", Rule::new().dnat_by(map.ipv6, map.with_address, map.name))),
    );
    rules.extend([
        ("postrouting", Rule::new().by_link(true, "hairpin")),
        ("postrouting", Rule::new().by_link(false, "outward")),
        ("forward", Rule::new().established().verdict(&Verdict::Accept)),
        ("forward", Rule::new().published().verdict(&Verdict::Accept)),
        ("forward", Rule::new().by_link(false, "inside")),
        ("forward", Rule::new().by_link(true, "inward")),
    ]);
    rules
}

fn chain(map: &str, network: &Network) -> String {
    format!("{map}-{}", network.bridge)
}

/// The maps that have the network's bridge, each with its chain's rules.
fn network_rules(network: &Network) -> Vec<(&'static str, Vec<Rule>)> {
    let bridge = &network.bridge;
    let subnets = || network.pools.iter().map(|pool| &pool.subnet);
    let inward = vec![
        Rule::new().iifname(bridge).verdict(&Verdict::Accept),
        Rule::new().verdict(&Verdict::Drop),
    ];
    if network.internal {
        let inside = vec![
            Rule::new().oifname(bridge).verdict(&Verdict::Accept),
            Rule::new().verdict(&Verdict::Drop),
        ];
        return vec![("inward", inward), ("inside", inside)];
    }
    let hairpin = subnets().map(|s| Rule::new().published().saddr(s).masquerade());
    let mut outward = vec![
        Rule::new().oifname(bridge).verdict(&Verdict::Return),
        Rule::new().published().verdict(&Verdict::Return),
    ];
    outward.extend(subnets().map(|s| Rule::new().saddr(s).masquerade()));
    vec![("hairpin", hairpin.collect()), ("outward", outward), ("inward", inward)]
}

fn push_table(batch: &mut Batch) {
    batch.create(Request::NewTable, |a| {
        a.text(1, TABLE).number(2, 0);
    });
}

fn push_chain(batch: &mut Batch, name: &str) {
    batch.create(Request::NewChain, |a| {
        a.text(1, TABLE).text(3, name);
    });
}

fn push_rule(batch: &mut Batch, chain: &str, rule: &Rule) {
    batch.push(Request::NewRule, NLM_F_CREATE | NLM_F_APPEND, INET, |a| {
        a.text(1, TABLE).text(2, chain).nest(4, |list| {
            list.append(rule.expressions());
        });
    });
}

/// Without a handle: every rule of the chain.
fn push_flush(batch: &mut Batch, chain: &str) {
    batch.push(Request::DeleteRule, 0, INET, |a| {
        a.text(1, TABLE).text(2, chain);
    });
}

fn push_base(batch: &mut Batch) {
    push_table(batch);
    for (name, kind, hook, priority) in BASE_CHAINS {
        batch.create(Request::NewChain, |a| {
            a.text(1, TABLE).text(3, name);
            a.nest(4, |h| {
                h.number(1, hook).number(2, priority as u32);
            });
            // Policy accept: what is none of ours is none of our business.
            a.number(5, 1).text(7, kind);
        });
    }
    push_chain(batch, "publish");
    push_maps(batch);
    for (name, ..) in BASE_CHAINS {
        push_flush(batch, name);
    }
    push_flush(batch, "publish");
    for (chain, rule) in base_rules() {
        push_rule(batch, chain, &rule);
    }
}

fn push_maps(batch: &mut Batch) {
    let mut id = 0;
    let mut push = |name: &str, key: (u32, u32), data: (u32, u32)| {
        id += 1;
        batch.create(Request::NewSet, |a| {
            a.text(1, TABLE).text(2, name).number(3, SET_IS_MAP);
            a.number(4, key.0).number(5, key.1).number(6, data.0);
            if data.1 != 0 {
                a.number(7, data.1);
            }
            a.number(10, id);
            if key.0 == TYPE_IFNAME {
                // For nft(8) alone, which shows names right only if told their byte
                // order: NFTNL_UDATA_SET_KEYBYTEORDER, 4 bytes, host's.
                a.bytes(13, &[&[0, 4][..], &1u32.to_ne_bytes()].concat());
            }
        });
    };
    for map in LINK_MAPS {
        push(map, (TYPE_IFNAME, 16), (TYPE_VERDICT, 0));
    }
    for map in PORT_MAPS {
        let (kind, length) = if map.ipv6 { (TYPE_IPV6, 16) } else { (TYPE_IPV4, 4) };
        let service = TYPE_PROTOCOL << 6 | TYPE_SERVICE;
        let key = match map.with_address {
            true => (kind << 12 | service, length + 8),
            false => (service, 8),
        };
        push(map.name, key, (kind << 6 | TYPE_SERVICE, length + 4));
    }
}

fn push_link_element(batch: &mut Batch, request: Request, map: &str, network: &Network) {
    let flags = if request == Request::NewElements { NLM_F_CREATE } else { 0 };
    batch.push(request, flags, INET, |a| {
        a.text(1, TABLE).text(2, map).nest(3, |list| {
            list.nest(1, |element| {
                element.nest(1, |key| {
                    key.bytes(1, &link_name(&network.bridge));
                });
                element.nest(2, |data| Verdict::Jump(&chain(map, network)).encode(data));
            });
        });
    });
}

fn push_network(batch: &mut Batch, network: &Network) {
    for (map, rules) in network_rules(network) {
        let chain = chain(map, network);
        push_chain(batch, &chain);
        push_flush(batch, &chain);
        for rule in &rules {
            push_rule(batch, &chain, rule);
        }
        push_link_element(batch, Request::NewElements, map, network);
    }
}

/// Makes what is there what it should be, whatever is there.
pub(crate) fn install(
    socket: &mut Socket,
    with_base: bool,
    networks: &[Network],
    claims: &[Claim],
) -> Result<(), Refusal> {
    install_batch(with_base, networks).send(socket)?;
    publish(socket, claims)
}

fn install_batch(with_base: bool, networks: &[Network]) -> Batch {
    let mut batch = Batch::default();
    if with_base {
        push_base(&mut batch);
    }
    for network in networks {
        push_network(&mut batch, network);
    }
    batch
}

/// What of the table is there, of what should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The chains and maps that every network needs.
    pub(crate) base: bool,
    /// Those of the network in question.
    pub(crate) network: bool,
}

/// Looks whether anyone has flushed or removed the table: other programs do, a
/// reloaded firewall (CVE-2025-54388) or `nft flush ruleset`.
pub(crate) fn presence(socket: &mut Socket, network: &Network) -> Result<Presence, Refusal> {
    let mut request = Attributes::default();
    request.text(1, TABLE);
    let mut present: HashMap<String, usize> = HashMap::new();
    for (_, message) in socket.dump(Request::GetRule.kind(), &body(INET, &request))? {
        let attributes = message.get(4..).unwrap_or_default();
        // Older kernels do not filter a dump by table.
        if attribute(attributes, 1).map(string).as_deref() == Some(TABLE) {
            *present
                .entry(attribute(attributes, 2).map(string).unwrap_or_default())
                .or_default() += 1;
        }
    }
    let mut expected: HashMap<&str, usize> = HashMap::new();
    for (chain, _) in base_rules() {
        *expected.entry(chain).or_default() += 1;
    }
    let has = |chain: &str, rules: usize| present.get(chain) == Some(&rules);
    Ok(Presence {
        base: expected.iter().all(|(chain, rules)| has(chain, *rules)),
        network: network_rules(network)
            .iter()
            .all(|(map, rules)| has(&chain(map, network), rules.len())),
    })
}

/// Removes a network's chains. Nothing need be there: what is to be removed is
/// first added, which is no error if it exists, and both happen at once or not.
pub(crate) fn remove_network(socket: &mut Socket, network: &Network) -> Result<(), Refusal> {
    remove_network_batch(network).send(socket)
}

fn remove_network_batch(network: &Network) -> Batch {
    let mut batch = Batch::default();
    push_table(&mut batch);
    push_maps(&mut batch);
    push_network(&mut batch, network);
    for (map, _) in network_rules(network) {
        push_link_element(&mut batch, Request::DeleteElements, map, network);
    }
    for (map, _) in network_rules(network) {
        let chain = chain(map, network);
        push_flush(&mut batch, &chain);
        batch.push(Request::DeleteChain, 0, INET, |a| {
            a.text(1, TABLE).text(3, &chain);
        });
    }
    batch
}

/// Removes the table with everything in it, if it is there.
pub(crate) fn remove_table(socket: &mut Socket) -> Result<(), Refusal> {
    let mut batch = Batch::default();
    push_table(&mut batch);
    batch.push(Request::DeleteTable, 0, INET, |a| {
        a.text(1, TABLE);
    });
    batch.send(socket)
}

/// An element of a port map: key and value.
type PortElement = (Vec<u8>, Vec<u8>);

/// A map's elements for these claims. Concatenated fields are padded to four bytes.
fn port_elements(map: &PortMap, claims: &[Claim]) -> Vec<PortElement> {
    let mut elements = Vec::new();
    for claim in claims {
        let address = claim.host_ip.filter(|ip| !ip.is_unspecified());
        let of_family = claim.host_ip.is_none_or(|ip| ip.is_ipv6() == map.ipv6);
        let is_loopback = claim.host_ip.is_some_and(|ip| ip.is_loopback());
        let Some(target) = claim.target(map.ipv6) else { continue };
        if !of_family || is_loopback || address.is_some() != map.with_address {
            continue;
        }
        let port = |port: u16| [port.to_be_bytes(), [0; 2]].concat();
        let mut key = address.map(octets).unwrap_or_default();
        key.extend_from_slice(&[claim.protocol.number(), 0, 0, 0]);
        key.extend(port(claim.host_port));
        elements.push((key, [octets(target), port(claim.container_port)].concat()));
    }
    elements
}

fn push_port_elements(batch: &mut Batch, request: Request, map: &str, elements: &[PortElement]) {
    let flags = if request == Request::NewElements { NLM_F_CREATE } else { 0 };
    for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
        batch.push(request, flags, INET, |a| {
            a.text(1, TABLE).text(2, map).nest(3, |list| {
                for (key, value) in part {
                    list.nest(1, |element| {
                        element.nest(1, |k| {
                            k.bytes(1, key);
                        });
                        element.nest(2, |v| {
                            v.bytes(1, value);
                        });
                    });
                }
            });
        });
    }
}

/// Publishes the claims' ports; what is published already stays.
pub(crate) fn publish(socket: &mut Socket, claims: &[Claim]) -> Result<(), Refusal> {
    claims.chunks(ELEMENTS_PER_BATCH).try_for_each(|part| publish_batch(part).send(socket))
}

fn publish_batch(claims: &[Claim]) -> Batch {
    let mut batch = Batch::default();
    for map in &PORT_MAPS {
        let elements = port_elements(map, claims);
        push_port_elements(&mut batch, Request::NewElements, map.name, &elements);
    }
    batch
}

/// Takes the claims' ports back; what is not there is no error.
pub(crate) fn unpublish(socket: &mut Socket, claims: &[Claim]) -> Result<(), Refusal> {
    for part in claims.chunks(ELEMENTS_PER_BATCH) {
        match unpublish_batch(part).send(socket) {
            // The table or a map is gone, and with it the ports.
            Err(Refusal { errno: Errno::NOENT, .. }) => {}
            sent => sent?,
        }
    }
    Ok(())
}

/// Added first, so that what someone else removed can be removed.
fn unpublish_batch(claims: &[Claim]) -> Batch {
    let mut batch = Batch::default();
    for map in &PORT_MAPS {
        let elements = port_elements(map, claims);
        push_port_elements(&mut batch, Request::NewElements, map.name, &elements);
        push_port_elements(&mut batch, Request::DeleteElements, map.name, &elements);
    }
    batch
}

#[cfg(test)]
#[path = "golden.rs"]
mod golden;
