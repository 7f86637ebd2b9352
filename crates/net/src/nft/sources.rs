//! The table `bridge husk`: what a container's port lets through of what it sends.
//!
//! A container has CAP_NET_RAW by default, so that it can send any frame. Without a
//! check of each port it could take another container's address, and with it that
//! one's published ports, by one ARP answer. As nft(8) would write it:
//!
//! ```text
//! table bridge husk {
//!   set ports  { type ifname }
//!   set macs   { type ifname . ether_addr }
//!   set ipv4   { type ifname . ipv4_addr }
//!   set ipv6   { type ifname . ipv6_addr }
//!
//!   chain prerouting { type filter hook prerouting priority dstnat
//!     iifname @ports jump check }
//!   chain check {
//!     iifname . ether saddr != @macs drop
//!     meta protocol arp iifname . arp saddr ether != @macs drop
//!     meta protocol arp iifname . arp saddr ip != @ipv4 drop
//!     meta protocol ip iifname . ip saddr != @ipv4 drop
//!     meta protocol ip6 icmpv6 type { nd-router-advert, nd-redirect } drop
//!     meta protocol ip6 icmpv6 type nd-neighbor-advert icmpv6 taddr fe80::/10 return
//!     meta protocol ip6 icmpv6 type nd-neighbor-advert iifname . icmpv6 taddr != @ipv6 drop
//!     meta protocol ip6 ip6 saddr { fe80::/10, :: } return
//!     meta protocol ip6 iifname . ip6 saddr != @ipv6 drop }
//! }
//! ```
//!
//! Containers that are to configure their network (`--privileged`, CAP_NET_ADMIN) are
//! not in these sets: nodes of a cluster route for others. The table `inet husk` keeps
//! to their network's subnet what they send to others than their neighbours.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use rustix::io::Errno;

use super::batch::{Attributes, Batch, Request, body};
use super::rule::{Rule, Verdict, link_name};
use crate::ipam::lease::Endpoint;
use crate::ipam::subnet::octets;
use crate::links::netlink::{Refusal, Socket, attribute, string};

/// `NFPROTO_BRIDGE`.
const BRIDGE: u8 = 7;
const HOOK_PREROUTING: u32 = 0;
/// `NF_BR_PRI_NAT_DST_BRIDGED`.
const PRIORITY: i32 = -300;
const CHECK: &str = "check";

/// Type numbers of nft(8), as in `table.rs`.
const TYPE_IFNAME: u32 = 41;
const TYPE_ETHER: u32 = 9;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
/// Name, type and length in bytes of each set's key.
const SETS: [(&str, u32, u32); 4] = [
    ("ports", TYPE_IFNAME, 16),
    ("macs", TYPE_IFNAME << 6 | TYPE_ETHER, 24),
    ("ipv4", TYPE_IFNAME << 6 | TYPE_IPV4, 20),
    ("ipv6", TYPE_IFNAME << 6 | TYPE_IPV6, 32),
];

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

fn rules() -> Vec<(&'static str, Rule)> {
    let drop = |rule: Rule| (CHECK, rule.verdict(&Verdict::Drop));
    let pass = |rule: Rule| (CHECK, rule.verdict(&Verdict::Return));
    let protocol = |number| Rule::new().protocol(number);
    let link_local = crate::Subnet::around(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10);
    let none = crate::Subnet::around(IpAddr::from([0; 16]), 128);
    let advertisement = || protocol(IPV6).icmpv6(NEIGHBOUR_ADVERTISEMENT);
    vec![
        ("prerouting", Rule::new().iifname_in("ports").verdict(&Verdict::Jump(CHECK))),
        drop(Rule::new().iifname_and_ether_source_not_in("macs")),
        drop(protocol(ARP).iifname_and_arp_hardware_not_in("macs")),
        drop(protocol(ARP).iifname_and_arp_address_not_in("ipv4")),
        drop(protocol(IPV4).iifname_and_source_not_in(false, "ipv4")),
        drop(protocol(IPV6).icmpv6(ROUTER_ADVERTISEMENT)),
        drop(protocol(IPV6).icmpv6(REDIRECT)),
        pass(advertisement().icmpv6_target(&link_local)),
        drop(advertisement().iifname_and_icmpv6_target_not_in("ipv6")),
        pass(protocol(IPV6).bridged_source(&link_local)),
        pass(protocol(IPV6).bridged_source(&none)),
        drop(protocol(IPV6).iifname_and_source_not_in(true, "ipv6")),
    ]
}

/// The keys that an endpoint has in each set.
fn keys(endpoint: &Endpoint) -> Vec<(&'static str, Vec<u8>)> {
    let name = link_name(&endpoint.host_interface);
    let with = |rest: &[u8]| {
        let mut key = name.to_vec();
        key.extend_from_slice(rest);
        key.resize(key.len().next_multiple_of(4), 0);
        key
    };
    let mut keys = vec![("ports", with(&[])), ("macs", with(&endpoint.mac))];
    for address in &endpoint.addresses {
        let set = if address.address.is_ipv6() { "ipv6" } else { "ipv4" };
        keys.push((set, with(&octets(address.address))));
    }
    keys
}

fn push_table(batch: &mut Batch, table: &str) {
    batch.push(Request::NewTable, NLM_F_CREATE, BRIDGE, |a| {
        a.text(1, table).number(2, 0);
    });
}

fn push_base(batch: &mut Batch, table: &str) {
    push_table(batch, table);
    batch.push(Request::NewChain, NLM_F_CREATE, BRIDGE, |a| {
        a.text(1, table).text(3, "prerouting");
        a.nest(4, |hook| {
            hook.number(1, HOOK_PREROUTING).number(2, PRIORITY as u32);
        });
        a.number(5, 1).text(7, "filter");
    });
    batch.push(Request::NewChain, NLM_F_CREATE, BRIDGE, |a| {
        a.text(1, table).text(3, CHECK);
    });
    for (id, (name, kind, length)) in (1..).zip(SETS) {
        batch.push(Request::NewSet, NLM_F_CREATE, BRIDGE, |a| {
            a.text(1, table).text(2, name).number(3, 0);
            a.number(4, kind).number(5, length).number(10, id);
        });
    }
    for chain in ["prerouting", CHECK] {
        batch.push(Request::DeleteRule, 0, BRIDGE, |a| {
            a.text(1, table).text(2, chain);
        });
    }
    for (chain, rule) in rules() {
        batch.push(Request::NewRule, NLM_F_CREATE | NLM_F_APPEND, BRIDGE, |a| {
            a.text(1, table).text(2, chain).nest(4, |list| {
                list.append(rule.expressions());
            });
        });
    }
}

fn push_elements(batch: &mut Batch, request: Request, table: &str, endpoint: &Endpoint) {
    let flags = if request == Request::NewElements { NLM_F_CREATE } else { 0 };
    for (set, key) in keys(endpoint) {
        batch.push(request, flags, BRIDGE, |a| {
            a.text(1, table).text(2, set).nest(3, |list| {
                list.nest(1, |element| {
                    element.nest(1, |value| {
                        value.bytes(1, &key);
                    });
                });
            });
        });
    }
}

/// Checks what an endpoint's port sends from now on; `all` are the endpoints to be
/// checked where the table has to be made.
pub(crate) fn check(
    socket: &mut Socket,
    table: &str,
    endpoint: &Endpoint,
    all: impl FnOnce() -> crate::Result<Vec<Endpoint>>,
) -> crate::Result<()> {
    if !endpoint.source_checked {
        return Ok(());
    }
    let mut batch = Batch::default();
    push_elements(&mut batch, Request::NewElements, table, endpoint);
    match batch.send(socket) {
        Err(Refusal { errno: Errno::NOENT, .. }) => {
            let mut endpoints = all()?;
            endpoints.push(endpoint.clone());
            install(socket, table, &endpoints).map_err(failed)
        }
        sent => allow_absence(sent).map_err(failed),
    }
}

/// Makes the table what it should be.
pub(crate) fn install(
    socket: &mut Socket,
    table: &str,
    endpoints: &[Endpoint],
) -> Result<(), Refusal> {
    let mut batch = Batch::default();
    push_base(&mut batch, table);
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.source_checked) {
        push_elements(&mut batch, Request::NewElements, table, endpoint);
    }
    allow_absence(batch.send(socket))
}

/// Whether the table's rules are there.
pub(crate) fn is_whole(socket: &mut Socket, table: &str) -> Result<bool, Refusal> {
    let mut request = Attributes::default();
    request.text(1, table);
    let messages = match socket.dump(Request::GetRule.kind(), &body(BRIDGE, &request)) {
        Err(refusal) if is_absent(&refusal) => return Ok(true),
        Err(Refusal { errno: Errno::NOENT, .. }) => return Ok(false),
        dumped => dumped?,
    };
    let of_table = messages.iter().filter(|(_, message)| {
        let name = attribute(message.get(4..).unwrap_or_default(), 1).map(string);
        message.first() == Some(&BRIDGE) && name.as_deref() == Some(table)
    });
    Ok(of_table.count() == rules().len())
}

/// The port is no more.
pub(crate) fn forget(socket: &mut Socket, table: &str, endpoint: &Endpoint) -> Result<(), Refusal> {
    if !endpoint.source_checked {
        return Ok(());
    }
    let mut batch = Batch::default();
    push_elements(&mut batch, Request::DeleteElements, table, endpoint);
    match batch.send(socket) {
        // Another program removed the table, or the elements were never added.
        Err(Refusal { errno: Errno::NOENT, .. }) => Ok(()),
        sent => allow_absence(sent),
    }
}

/// Removes the table, if it is there.
pub(crate) fn remove(socket: &mut Socket, table: &str) -> Result<(), Refusal> {
    let mut batch = Batch::default();
    push_table(&mut batch, table);
    batch.push(Request::DeleteTable, 0, BRIDGE, |a| {
        a.text(1, table);
    });
    allow_absence(batch.send(socket))
}

/// A kernel without nf_tables for bridges checks no ports.
fn allow_absence(sent: Result<(), Refusal>) -> Result<(), Refusal> {
    match sent {
        Err(refusal) if is_absent(&refusal) => Ok(()),
        sent => sent,
    }
}

fn is_absent(refusal: &Refusal) -> bool {
    [Errno::AFNOSUPPORT, Errno::OPNOTSUPP].contains(&refusal.errno)
}

fn failed(refusal: Refusal) -> crate::Error {
    refusal.into_error("change packet filter rules (nf_tables) for", "a container's port")
}
