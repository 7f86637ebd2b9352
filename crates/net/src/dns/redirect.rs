//! The rule in a container's network namespace that leads queries to its server.
//!
//! ```text
//! table ip husk-dns {
//!   chain output { type nat hook output priority dstnat
//!     ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:PORT
//!     ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:PORT }
//! }
//! ```
//!
//! The server has ports of its own, so that port 53 is the container's. Only who may change
//! the container's network, CAP_NET_ADMIN, can change the rule, and only for itself.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use crate::error::Result;
use crate::links::netlink::Socket;
use crate::nft::batch::{Batch, Request};
use crate::nft::rule::Rule;
use crate::ports::publish::Protocol;

/// What a container's resolv.conf names.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
const PORT: u16 = 53;
const TABLE: &str = "husk-dns";
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
const HOOK_OUTPUT: u32 = 3;
const PRIORITY_DSTNAT: i32 = -100;

/// Adds the rules to the calling thread's network namespace.
pub(super) fn install(udp: u16, tcp: u16) -> Result<()> {
    let mut batch = Batch::default();
    batch.push(Request::NewTable, NLM_F_CREATE, IPV4, |a| {
        a.text(1, TABLE).number(2, 0);
    });
    batch.push(Request::NewChain, NLM_F_CREATE, IPV4, |a| {
        a.text(1, TABLE).text(3, "output");
        a.nest(4, |hook| {
            hook.number(1, HOOK_OUTPUT).number(2, PRIORITY_DSTNAT as u32);
        });
        a.number(5, 1).text(7, "nat");
    });
    batch.push(Request::DeleteRule, 0, IPV4, |a| {
        a.text(1, TABLE).text(2, "output");
    });
    for (protocol, port) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp)] {
        let rule = Rule::new()
            .daddr(&crate::Subnet::around(ADDRESS, 32))
            .port(protocol, PORT)
            .dnat_to(ADDRESS, port);
        batch.push(Request::NewRule, NLM_F_CREATE | NLM_F_APPEND, IPV4, |a| {
            a.text(1, TABLE).text(2, "output").nest(4, |list| {
                list.append(rule.expressions());
            });
        });
    }
    batch.send(&mut Socket::netfilter()?).map_err(|refusal| {
        refusal.into_error("add packet filter rules (nf_tables) for", "a container's DNS server")
    })
}
