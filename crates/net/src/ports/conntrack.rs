//! Connections that the kernel remembers (linux/netfilter/nfnetlink_conntrack.h).
//!
//! A remembered connection keeps the translation it began with. One made before
//! a port was published would not reach the container; one of a container that
//! is gone would reach nobody, or the next that gets its address.

use std::net::IpAddr;

use rustix::io::Errno;

use crate::error::Result;
use crate::ipam::subnet::octets;
use crate::links::netlink::{Refusal, Socket, attribute};
use crate::nft::batch::{Attributes, body};
use crate::ports::claim::Claim;
use crate::ports::publish::Protocol;

const CTNETLINK: u16 = 1 << 8;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_ZONE: u16 = 18;
const AF_INET6: u8 = 10;

/// One direction of a connection: the four values that matter here.
pub(crate) struct Tuple<'a> {
    source: Option<&'a [u8]>,
    destination: Option<&'a [u8]>,
    protocol: Option<u8>,
    destination_port: Option<u16>,
}

impl<'a> Tuple<'a> {
    pub(crate) fn read(attributes: &'a [u8], which: u16, ipv6: bool) -> Option<Self> {
        let tuple = attribute(attributes, which)?;
        let ip = attribute(tuple, CTA_TUPLE_IP)?;
        let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
        let (source, destination) = if ipv6 { (3, 4) } else { (1, 2) };
        let port = attribute(proto, CTA_PROTO_DST_PORT).and_then(|b| b.first_chunk().copied());
        Some(Self {
            source: attribute(ip, source),
            destination: attribute(ip, destination),
            protocol: attribute(proto, CTA_PROTO_NUM).and_then(|b| b.first().copied()),
            destination_port: port.map(u16::from_be_bytes),
        })
    }
}

/// Forgets clients that spoke to a UDP port of the host before it was published.
/// TCP needs none of this: its connections were refused.
pub(crate) fn forget_before(socket: &mut Socket, claims: &[Claim]) -> Result<()> {
    let published = |ipv6, port| {
        claims
            .iter()
            .any(|c| c.protocol == Protocol::Udp && c.host_port == port && c.target(ipv6).is_some())
    };
    if !claims.iter().any(|claim| claim.protocol == Protocol::Udp) {
        return Ok(());
    }
    forget(socket, |ipv6, origin, _| {
        origin.protocol == Some(Protocol::Udp.number())
            && origin.destination_port.is_some_and(|port| published(ipv6, port))
    })
}

/// Forgets every connection from or to these addresses. The kernel walks its
/// whole table for it, which takes some ten milliseconds however few there are;
/// so this is for containers with published ports, whose clients would go on
/// speaking to an address that is no more.
pub(crate) fn forget_after(socket: &mut Socket, addresses: &[IpAddr]) -> Result<()> {
    let addresses: Vec<Vec<u8>> = addresses.iter().copied().map(octets).collect();
    let ours = |value: Option<&[u8]>| addresses.iter().any(|a| value == Some(a.as_slice()));
    forget(socket, |_, origin, reply| {
        ours(origin.source) || ours(origin.destination) || ours(reply.source)
    })
}

fn forget(
    socket: &mut Socket,
    unwanted: impl Fn(bool, &Tuple<'_>, &Tuple<'_>) -> bool,
) -> Result<()> {
    let failed = |refusal: Refusal| refusal.into_error("forget", "tracked connections (conntrack)");
    let connections = match socket.dump(GET, &body(0, &Attributes::default())) {
        // A table that never comes to rest is a busy one; what was not forgotten times out.
        Err(Refusal { errno: Errno::INTR, .. }) => return Ok(()),
        // A kernel without ctnetlink: likewise.
        Err(Refusal { errno: Errno::INVAL | Errno::OPNOTSUPP, .. }) => return Ok(()),
        dumped => dumped.map_err(failed)?,
    };
    for (_, message) in connections {
        let family = message.first().copied().unwrap_or_default();
        let attributes = message.get(4..).unwrap_or_default();
        let ipv6 = family == AF_INET6;
        let origin = Tuple::read(attributes, CTA_TUPLE_ORIG, ipv6);
        let reply = Tuple::read(attributes, CTA_TUPLE_REPLY, ipv6);
        let (Some(origin), Some(reply)) = (origin, reply) else { continue };
        if !unwanted(ipv6, &origin, &reply) {
            continue;
        }
        let mut request = Attributes::default();
        if let Some(tuple) = attribute(attributes, CTA_TUPLE_ORIG) {
            request.bytes(CTA_TUPLE_ORIG | 0x8000, tuple);
        }
        if let Some(zone) = attribute(attributes, CTA_ZONE) {
            request.bytes(CTA_ZONE, zone);
        }
        match socket.request(DELETE, 0, &body(family, &request)) {
            // It ended by itself meanwhile.
            Ok(()) | Err(Refusal { errno: Errno::NOENT, .. }) => {}
            Err(refusal) => return Err(failed(refusal)),
        }
    }
    Ok(())
}
