//! Addresses of links (rtnetlink(7), RTM_NEWADDR).

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rustix::io::Errno;

use crate::error::Result;
use crate::ipam::subnet::Subnet;
use crate::links::netlink::{Refusal, Socket, attribute};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_GETMULTICAST: u16 = 58;
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_MULTICAST: u16 = 7;
const AF_INET6: u8 = 10;
const HEARD_LIMIT: Duration = Duration::from_secs(1);
const HEARD_INTERVAL: Duration = Duration::from_micros(300);

/// Gives a link an address; that it has it already is no error.
///
/// IPv6 addresses are used at once, without duplicate address detection: the
/// allocation has made sure of it, and the second it takes would be a second in
/// which a container cannot speak.
pub(crate) fn add(
    socket: &mut Socket,
    index: u32,
    name: &str,
    address: IpAddr,
    prefix: u8,
) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    match address {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            if let (IpAddr::V4(broadcast), ..=30) = (Subnet::around(address, prefix).last(), prefix)
            {
                message.attributes.push(AddressAttribute::Broadcast(broadcast));
            }
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    match socket.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &bytes) {
        Ok(()) | Err(Refusal { errno: Errno::EXIST, .. }) => Ok(()),
        Err(refusal) => {
            Err(refusal.into_error("add address", format!("{address}/{prefix} to {name}")))
        }
    }
}

/// Waits until neighbours can ask for an IPv6 address just added.
///
/// They ask by multicast to its solicited-node group (RFC 4291 section 2.7.1),
/// which the kernel joins in a work queue after the request that added the
/// address is answered. A question that comes before is lost, and asked again
/// after a second. The kernel tells of it only since Linux 6.15
/// (`RTNLGRP_IPV6_MCADDR`), so it is asked.
pub(crate) fn wait_until_heard(socket: &mut Socket, index: u32, address: Ipv6Addr) -> Result<()> {
    let [.., a, b, c] = address.octets();
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    let begin = Instant::now();
    let mut request = [0; IFADDRMSG];
    request[0] = AF_INET6;
    while begin.elapsed() < HEARD_LIMIT {
        let groups = socket
            .dump(RTM_GETMULTICAST, &request)
            .map_err(|refusal| refusal.into_error("list", "multicast groups"))?;
        let joined = groups.iter().any(|(_, message)| {
            let here = message.get(4..8) == Some(&index.to_ne_bytes()[..]);
            let attributes = message.get(IFADDRMSG..).unwrap_or_default();
            here && attribute(attributes, IFA_MULTICAST) == Some(&group[..])
        });
        if joined {
            return Ok(());
        }
        std::thread::sleep(HEARD_INTERVAL);
    }
    Ok(())
}

/// Every address of the host with its link's index, as the subnet that the link
/// reaches by it.
pub(crate) fn all(socket: &mut Socket) -> Result<Vec<(u32, Subnet)>> {
    let messages = socket
        .dump(RTM_GETADDR, &[0; IFADDRMSG])
        .map_err(|refusal| refusal.into_error("list", "the host's addresses"))?;
    Ok(messages.iter().filter_map(|(_, message)| read(message)).collect())
}

fn read(message: &[u8]) -> Option<(u32, Subnet)> {
    let header: &[u8; IFADDRMSG] = message.first_chunk()?;
    let attributes = message.get(IFADDRMSG..)?;
    let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let bytes = attribute(attributes, IFA_ADDRESS)?;
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((index, Subnet::around(address, header[1])))
}
