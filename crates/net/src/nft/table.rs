//! The table `inet husk`: everything that this crate has in the kernel's packet filter.
//!
//! As nft(8) would write it, for a network 10.214.0.0/16 on `husk0`:
//!
//! ```text
//! table inet husk {
//!   map publish4     { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//!   map publish4_any { type inet_proto . inet_service : ipv4_addr . inet_service }
//!   map publish6, publish6_any   alike
//!   map hairpin, outward, inward, inside, isolated, source { type ifname : verdict }
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
//!   chain input { type filter hook input priority filter
//!     iifname vmap @source }
//!   chain forward { type filter hook forward priority filter
//!     iifname vmap @source
//!     iifname vmap @inside
//!     oifname vmap @isolated
//!     ct state established,related accept
//!     ct status dnat accept
//!     oifname vmap @inward }
//!
//!   chain source-husk0  { oifname husk0 return; ip saddr 10.214.0.0/16 return
//!                         ip6 saddr { fe80::/10, :: } return; drop }
//!   chain hairpin-husk0 { ct status dnat ip saddr 10.214.0.0/16 masquerade }
//!   chain outward-husk0 { oifname husk0 return; ct status dnat return
//!                         ip saddr 10.214.0.0/16 masquerade }
//!   chain inward-husk0  { iifname husk0 accept; drop }
//!   # internal networks, in place of the last three:
//!   chain inside-husk0  { oifname husk0 accept; drop }
//!   chain isolated-husk0  { iifname husk0 accept; drop }
//! }
//! ```
//!
//! Isolation comes before publication: a packet from or to an internal network is
//! dropped before anything is accepted because it was translated to a published
//! port or belongs to a known connection.
//!
//! A packet costs the same whether one port is published or a thousand: maps are
//! hashes. Client addresses are kept, but for a client on the container's own
//! network (hairpin): the answer would go to it directly and from an address that
//! it never spoke to. Loopback addresses never come here: translating them would
//! need `route_localnet`, which opens the host's loopback to its neighbours
//! (CVE-2020-8558); [`crate::ports::proxy`] serves them. What was not published does not
//! get in from outside, whoever routes to the containers' subnet.
//!
//! The guard ([`crate::nft::guard`]) is a second table with the chains input and forward
//! alone, which only the process that made it can change.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use rustix::io::Errno;

use super::batch::{Attributes, Batch, INET, Request, body};
use super::ports::{PORT_MAPS, PortElement, elements, port_elements};
use super::rule::{Rule, Verdict, link_name};
use crate::links::netlink::{Refusal, Socket, attribute, string};
use crate::networks::installation::Installation;
use crate::networks::network::Network;
use crate::ports::claim::Claim;

/// `NFT_TABLE_F_OWNER` (Linux 5.12): the table is of the socket that made it, and
/// nobody else changes or flushes it.
pub(crate) const OWNED: u32 = 2;
/// `NFT_TABLE_F_PERSIST` (Linux 6.9): it stays when that socket is closed, until
/// another takes it over.
pub(crate) const PERSISTENT: u32 = 4;

/// A table by its name, and what of the whole it has.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
    comment: String,
    /// Isolation alone, without translation.
    is_guard: bool,
    flags: u32,
}

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
const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

const BASE_CHAINS: [(&str, &str, u32, i32); 5] = [
    ("prerouting", "nat", HOOK_PREROUTING, PRIORITY_DSTNAT),
    ("output", "nat", HOOK_OUTPUT, PRIORITY_DSTNAT),
    ("postrouting", "nat", HOOK_POSTROUTING, PRIORITY_SRCNAT),
    ("input", "filter", HOOK_INPUT, PRIORITY_FILTER),
    ("forward", "filter", HOOK_FORWARD, PRIORITY_FILTER),
];
const FILTER_CHAINS: [&str; 2] = ["input", "forward"];
const LINK_MAPS: [&str; 6] = ["hairpin", "outward", "inward", "inside", "isolated", "source"];
const FILTER_MAPS: [&str; 4] = ["inward", "inside", "isolated", "source"];

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
        ("input", Rule::new().by_link(false, "source")),
        ("forward", Rule::new().by_link(false, "source")),
        ("forward", Rule::new().by_link(false, "inside")),
        ("forward", Rule::new().by_link(true, "isolated")),
        ("forward", Rule::new().established().verdict(&Verdict::Accept)),
        ("forward", Rule::new().published().verdict(&Verdict::Accept)),
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
    // Link-local addresses do not leave the link; without an address a host asks
    // whether another has the one that it wants (RFC 4862 section 5.4).
    let own = [("fe80::", 10), ("::", 128)]
        .into_iter()
        .filter_map(|(base, prefix)| Some(crate::Subnet::around(base.parse().ok()?, prefix)));
    let mut source = vec![Rule::new().oifname(bridge).verdict(&Verdict::Return)];
    source.extend(
        subnets().copied().chain(own).map(|s| Rule::new().saddr(&s).verdict(&Verdict::Return)),
    );
    source.push(Rule::new().verdict(&Verdict::Drop));
    if network.internal {
        let inside = vec![
            Rule::new().oifname(bridge).verdict(&Verdict::Accept),
            Rule::new().verdict(&Verdict::Drop),
        ];
        return vec![("source", source), ("isolated", inward), ("inside", inside)];
    }
    let hairpin = subnets().map(|s| Rule::new().published().saddr(s).masquerade());
    let mut outward = vec![
        Rule::new().oifname(bridge).verdict(&Verdict::Return),
        Rule::new().published().verdict(&Verdict::Return),
    ];
    if network.settings().masquerade {
        outward.extend(subnets().map(|s| Rule::new().saddr(s).masquerade()));
    }
    let hairpin = hairpin.collect();
    vec![("source", source), ("hairpin", hairpin), ("outward", outward), ("inward", inward)]
}

impl Table {
    /// The table with everything.
    pub(crate) fn main(installation: &Installation) -> Self {
        let (name, comment) = (installation.table(), installation.comment());
        Self { name, comment, is_guard: false, flags: 0 }
    }

    /// The guard's; `flags` are [`OWNED`] and [`PERSISTENT`], as far as the kernel has them.
    pub(crate) fn guard(installation: &Installation, flags: u32) -> Self {
        let (name, comment) = (installation.guard_table(), installation.comment());
        Self { name, comment, is_guard: true, flags }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn base_chains(&self) -> impl Iterator<Item = (&'static str, &'static str, u32, i32)> {
        let all = !self.is_guard;
        BASE_CHAINS.into_iter().filter(move |(name, ..)| all || FILTER_CHAINS.contains(name))
    }

    fn base_rules(&self) -> Vec<(&'static str, Rule)> {
        let mut rules = base_rules();
        rules.retain(|(chain, _)| !self.is_guard || FILTER_CHAINS.contains(chain));
        rules
    }

    fn network_rules(&self, network: &Network) -> Vec<(&'static str, Vec<Rule>)> {
        let mut rules = network_rules(network);
        rules.retain(|(map, _)| !self.is_guard || FILTER_MAPS.contains(map));
        rules
    }

    fn push_table(&self, batch: &mut Batch) {
        batch.create(Request::NewTable, |a| {
            a.text(1, &self.name).number(2, self.flags);
            // NFTNL_UDATA_TABLE_COMMENT: type 0, length, text with its NUL.
            let text: Vec<u8> = self.comment.bytes().take(200).chain([0]).collect();
            a.bytes(6, &[&[0, text.len() as u8][..], &text].concat());
        });
    }

    fn push_chain(&self, batch: &mut Batch, name: &str) {
        batch.create(Request::NewChain, |a| {
            a.text(1, &self.name).text(3, name);
        });
    }

    fn push_rule(&self, batch: &mut Batch, chain: &str, rule: &Rule) {
        batch.push(Request::NewRule, NLM_F_CREATE | NLM_F_APPEND, INET, |a| {
            a.text(1, &self.name).text(2, chain).nest(4, |list| {
                list.append(rule.expressions());
            });
        });
    }

    /// Without a handle: every rule of the chain.
    fn push_flush(&self, batch: &mut Batch, chain: &str) {
        batch.push(Request::DeleteRule, 0, INET, |a| {
            a.text(1, &self.name).text(2, chain);
        });
    }

    fn push_base(&self, batch: &mut Batch) {
        self.push_table(batch);
        for (name, kind, hook, priority) in self.base_chains() {
            batch.create(Request::NewChain, |a| {
                a.text(1, &self.name).text(3, name);
                a.nest(4, |h| {
                    h.number(1, hook).number(2, priority as u32);
                });
                // Policy accept: other traffic is none of this table's business.
                a.number(5, 1).text(7, kind);
            });
        }
        if !self.is_guard {
            self.push_chain(batch, "publish");
        }
        self.push_maps(batch);
        for (name, ..) in self.base_chains() {
            self.push_flush(batch, name);
        }
        if !self.is_guard {
            self.push_flush(batch, "publish");
        }
        for (chain, rule) in self.base_rules() {
            self.push_rule(batch, chain, &rule);
        }
    }

    fn push_maps(&self, batch: &mut Batch) {
        let mut id = 0;
        let mut push = |name: &str, key: (u32, u32), data: (u32, u32)| {
            id += 1;
            batch.create(Request::NewSet, |a| {
                a.text(1, &self.name).text(2, name).number(3, SET_IS_MAP);
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
        for map in LINK_MAPS.iter().filter(|map| !self.is_guard || FILTER_MAPS.contains(map)) {
            push(map, (TYPE_IFNAME, 16), (TYPE_VERDICT, 0));
        }
        for map in PORT_MAPS.iter().filter(|_| !self.is_guard) {
            let (kind, length) = if map.ipv6 { (TYPE_IPV6, 16) } else { (TYPE_IPV4, 4) };
            let service = TYPE_PROTOCOL << 6 | TYPE_SERVICE;
            let key =
                if map.with_address { (kind << 12 | service, length + 8) } else { (service, 8) };
            push(map.name, key, (kind << 6 | TYPE_SERVICE, length + 4));
        }
    }

    fn push_link_element(&self, batch: &mut Batch, request: Request, map: &str, network: &Network) {
        let flags = if request == Request::NewElements { NLM_F_CREATE } else { 0 };
        batch.push(request, flags, INET, |a| {
            a.text(1, &self.name).text(2, map).nest(3, |list| {
                list.nest(1, |element| {
                    element.nest(1, |key| {
                        key.bytes(1, &link_name(&network.bridge));
                    });
                    element.nest(2, |data| Verdict::Jump(&chain(map, network)).encode(data));
                });
            });
        });
    }

    fn push_network(&self, batch: &mut Batch, network: &Network) {
        for (map, rules) in self.network_rules(network) {
            let chain = chain(map, network);
            self.push_chain(batch, &chain);
            self.push_flush(batch, &chain);
            for rule in &rules {
                self.push_rule(batch, &chain, rule);
            }
            self.push_link_element(batch, Request::NewElements, map, network);
        }
    }

    /// Installs chains, rules and maps idempotently.
    pub(crate) fn install(
        &self,
        socket: &mut Socket,
        with_base: bool,
        networks: &[Network],
        claims: &[Claim],
    ) -> Result<(), Refusal> {
        self.install_batch(with_base, networks).send(socket)?;
        self.publish(socket, claims)
    }

    fn install_batch(&self, with_base: bool, networks: &[Network]) -> Batch {
        let mut batch = Batch::default();
        if with_base {
            self.push_base(&mut batch);
        }
        for network in networks {
            self.push_network(&mut batch, network);
        }
        batch
    }

    /// Makes the table anew with exactly these networks, in one step.
    pub(crate) fn replace(&self, socket: &mut Socket, networks: &[Network]) -> Result<(), Refusal> {
        let mut batch = Batch::default();
        self.push_removal(&mut batch);
        self.push_base(&mut batch);
        for network in networks {
            self.push_network(&mut batch, network);
        }
        batch.send(socket)
    }

    /// Looks whether anyone has flushed or removed what should be there: other programs
    /// do, a reloaded firewall (CVE-2025-54388) or `nft flush ruleset`.
    pub(crate) fn presence(
        &self,
        socket: &mut Socket,
        networks: &[Network],
    ) -> Result<Presence, Refusal> {
        let mut request = Attributes::default();
        request.text(1, &self.name);
        let mut present: HashMap<String, usize> = HashMap::new();
        for (_, message) in socket.dump(Request::GetRule.kind(), &body(INET, &request))? {
            let attributes = message.get(4..).unwrap_or_default();
            // Older kernels do not filter a dump by table.
            if attribute(attributes, 1).map(string).as_deref() == Some(&self.name) {
                *present
                    .entry(attribute(attributes, 2).map(string).unwrap_or_default())
                    .or_default() += 1;
            }
        }
        let mut expected: HashMap<&str, usize> = HashMap::new();
        for (chain, _) in self.base_rules() {
            *expected.entry(chain).or_default() += 1;
        }
        let has = |chain: &str, rules: usize| present.get(chain) == Some(&rules);
        Ok(Presence {
            base: expected.iter().all(|(chain, rules)| has(chain, *rules)),
            networks: networks.iter().all(|network| {
                self.network_rules(network)
                    .iter()
                    .all(|(map, rules)| has(&chain(map, network), rules.len()))
            }),
        })
    }

    /// Whether every one of the claims' ports is published.
    pub(crate) fn publishes(&self, socket: &mut Socket, claims: &[Claim]) -> Result<bool, Refusal> {
        for map in &PORT_MAPS {
            let wanted = port_elements(map, claims);
            if wanted.is_empty() {
                continue;
            }
            let present = elements(socket, &self.name, map)?;
            if present.len() < wanted.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a network's chains. Nothing need be there: what is to be removed is
    /// first added, which is no error if it exists, and both happen at once or not.
    pub(crate) fn remove_network(
        &self,
        socket: &mut Socket,
        network: &Network,
    ) -> Result<(), Refusal> {
        self.remove_network_batch(network).send(socket)
    }

    fn remove_network_batch(&self, network: &Network) -> Batch {
        let mut batch = Batch::default();
        self.push_table(&mut batch);
        self.push_maps(&mut batch);
        self.push_network(&mut batch, network);
        for (map, _) in self.network_rules(network) {
            self.push_link_element(&mut batch, Request::DeleteElements, map, network);
        }
        for (map, _) in self.network_rules(network) {
            let chain = chain(map, network);
            self.push_flush(&mut batch, &chain);
            batch.push(Request::DeleteChain, 0, INET, |a| {
                a.text(1, &self.name).text(3, &chain);
            });
        }
        batch
    }

    /// Removes the table with everything in it, if it is there.
    pub(crate) fn remove(&self, socket: &mut Socket) -> Result<(), Refusal> {
        let mut batch = Batch::default();
        self.push_removal(&mut batch);
        batch.send(socket)
    }

    fn push_removal(&self, batch: &mut Batch) {
        self.push_table(batch);
        batch.push(Request::DeleteTable, 0, INET, |a| {
            a.text(1, &self.name);
        });
    }

    fn push_port_elements(
        &self,
        batch: &mut Batch,
        request: Request,
        map: &str,
        elements: &[PortElement],
    ) {
        let flags = if request == Request::NewElements { NLM_F_CREATE } else { 0 };
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            batch.push(request, flags, INET, |a| {
                a.text(1, &self.name).text(2, map).nest(3, |list| {
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
    pub(crate) fn publish(&self, socket: &mut Socket, claims: &[Claim]) -> Result<(), Refusal> {
        claims.chunks(ELEMENTS_PER_BATCH).try_for_each(|part| self.publish_batch(part).send(socket))
    }

    fn publish_batch(&self, claims: &[Claim]) -> Batch {
        let mut batch = Batch::default();
        for map in &PORT_MAPS {
            let elements = port_elements(map, claims);
            self.push_port_elements(&mut batch, Request::NewElements, map.name, &elements);
        }
        batch
    }

    /// Takes the claims' ports back; what is not there is no error.
    pub(crate) fn unpublish(&self, socket: &mut Socket, claims: &[Claim]) -> Result<(), Refusal> {
        for part in claims.chunks(ELEMENTS_PER_BATCH) {
            match self.unpublish_batch(part).send(socket) {
                // The table or a map is gone, and with it the ports.
                Err(Refusal { errno: Errno::NOENT, .. }) => {}
                sent => sent?,
            }
        }
        Ok(())
    }

    /// Added first, so that what someone else removed can be removed.
    fn unpublish_batch(&self, claims: &[Claim]) -> Batch {
        let mut batch = Batch::default();
        for map in &PORT_MAPS {
            let elements = port_elements(map, claims);
            self.push_port_elements(&mut batch, Request::NewElements, map.name, &elements);
            self.push_port_elements(&mut batch, Request::DeleteElements, map.name, &elements);
        }
        batch
    }
}

/// What of the table is there, of what should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The chains and maps that every network needs.
    pub(crate) base: bool,
    /// Those of all the networks in question.
    pub(crate) networks: bool,
}

#[cfg(test)]
#[path = "golden.rs"]
mod golden;
