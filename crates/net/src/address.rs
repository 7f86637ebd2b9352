//! Addresses of links (rtnetlink(7), RTM_NEWADDR).

use std::net::IpAddr;

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rustix::io::Errno;

use crate::error::Result;
use crate::netlink::{Refusal, Socket};
use crate::subnet::Subnet;

const RTM_NEWADDR: u16 = 20;

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
