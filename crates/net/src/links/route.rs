//! Routes: a container's default routes, and what the host routes already
//! (rtnetlink(7), RTM_NEWROUTE and RTM_GETROUTE).

use std::net::IpAddr;

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use rustix::io::Errno;

use crate::error::Result;
use crate::ipam::subnet::Subnet;
use crate::links::netlink::{Socket, attribute};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTM_F_CLONED: u32 = 0x200;

/// A route of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Subnet,
    /// Index of the link it leads over, if it is one.
    pub(crate) link: Option<u32>,
}

/// Sets the default route of the gateway's family, in place of one there is.
pub(crate) fn set_default(socket: &mut Socket, gateway: IpAddr, link: u32) -> Result<()> {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: if gateway.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet },
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::from(gateway)), RouteAttribute::Oif(link)];
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    socket
        .request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &bytes)
        .map_err(|refusal| refusal.into_error("add default route via", gateway.to_string()))
}

/// Every route of the host in every table, of both families.
pub(crate) fn all(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut header = [0; RTMSG];
    header[0] = u8::from(AddressFamily::Unspec);
    let messages = socket
        .dump(RTM_GETROUTE, &header)
        .map_err(|refusal| refusal.into_error("list", "the host's routes"))?;
    Ok(messages.iter().filter_map(|(_, body)| read(body)).collect())
}

fn read(body: &[u8]) -> Option<Route> {
    let header: &[u8; RTMSG] = body.first_chunk()?;
    let attrs = &body[RTMSG..];
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    if flags & RTM_F_CLONED != 0 {
        return None;
    }
    let destination = attribute(attrs, RTA_DST);
    let base = match (AddressFamily::from(header[0]), destination) {
        (AddressFamily::Inet, Some(bytes)) => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        (AddressFamily::Inet6, Some(bytes)) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        (AddressFamily::Inet, None) => IpAddr::from([0u8; 4]),
        (AddressFamily::Inet6, None) => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    let link = attribute(attrs, RTA_OIF).and_then(|b| b.first_chunk().copied());
    Some(Route { destination: Subnet::around(base, header[1]), link: link.map(u32::from_ne_bytes) })
}

/// The link that the host's default route leads over, IPv4's before IPv6's. Asked
/// of the kernel by look-up: the table may be a large one.
pub(crate) fn uplink(socket: &mut Socket) -> Result<Option<u32>> {
    // Two addresses on the internet for the look-up alone: nothing is sent there.
    let outside =
        [IpAddr::from([8, 8, 8, 8]), IpAddr::from([0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888])];
    for address in outside {
        let mut message = RouteMessage::default();
        message.header.address_family =
            if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.destination_prefix_length = if address.is_ipv6() { 128 } else { 32 };
        message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(address))];
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        match socket.query(RTM_GETROUTE, &bytes) {
            Ok(answer) => {
                let attrs = answer.as_deref().and_then(|body| body.get(RTMSG..));
                let link = attrs.and_then(|attrs| attribute(attrs, RTA_OIF));
                if let Some(link) = link.and_then(|b| b.first_chunk().copied()) {
                    return Ok(Some(u32::from_ne_bytes(link)));
                }
            }
            Err(refusal)
                if [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::AFNOSUPPORT]
                    .contains(&refusal.errno) => {}
            Err(refusal) => return Err(refusal.into_error("look up route to", address.to_string())),
        }
    }
    Ok(None)
}
