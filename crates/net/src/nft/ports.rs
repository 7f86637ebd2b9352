//! Published ports as elements of nf_tables maps, and those of other installations.

use std::net::IpAddr;

use super::batch::{Attributes, Request, body};
use crate::ipam::subnet::octets;
use crate::links::netlink::{Refusal, Socket, attribute, attributes, string};
use crate::networks::installation::DEFAULT_TABLE;
use crate::ports::claim::Claim;
use crate::ports::publish::Protocol;

const INET: u8 = super::batch::INET;
/// `NFTNL_UDATA_TABLE_COMMENT`.
const COMMENT: u8 = 0;

pub(super) struct PortMap {
    pub(super) name: &'static str,
    pub(super) ipv6: bool,
    pub(super) with_address: bool,
}

pub(super) const PORT_MAPS: [PortMap; 4] = [
    PortMap { name: "publish4", ipv6: false, with_address: true },
    PortMap { name: "publish4_any", ipv6: false, with_address: false },
    PortMap { name: "publish6", ipv6: true, with_address: true },
    PortMap { name: "publish6_any", ipv6: true, with_address: false },
];

/// An element of a port map: key and value.
pub(super) type PortElement = (Vec<u8>, Vec<u8>);

/// A map's elements for these claims. Concatenated fields are padded to four bytes.
pub(super) fn port_elements(map: &PortMap, claims: &[Claim]) -> Vec<PortElement> {
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

/// A port that another installation of husk publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignPort {
    /// The table and its comment, for messages.
    pub(crate) owner: String,
    pub(crate) protocol: Protocol,
    /// As in [`Claim::host_ip`].
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host_port: u16,
}

/// The ports in the tables of other installations: rules do not keep a port from
/// being bound, and of two tables that translate it the kernel takes the first.
pub(crate) fn foreign(socket: &mut Socket, own: &str) -> Result<Vec<ForeignPort>, Refusal> {
    let mut ports = Vec::new();
    for (_, message) in
        socket.dump(Request::GetTable.kind(), &body(INET, &Attributes::default()))?
    {
        let attributes = message.get(4..).unwrap_or_default();
        let name = attribute(attributes, 1).map(string).unwrap_or_default();
        let is_husk = name
            .strip_prefix(DEFAULT_TABLE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if message.first() != Some(&INET) || !is_husk || name == own || name.ends_with("-guard") {
            continue;
        }
        let comment = attribute(attributes, 6).and_then(comment);
        let owner = match comment {
            Some(comment) => format!("table inet {name}, {comment}"),
            None => format!("table inet {name}"),
        };
        for map in &PORT_MAPS {
            ports.extend(elements(socket, &name, map)?.into_iter().map(
                |(protocol, host_ip, host_port)| ForeignPort {
                    owner: owner.clone(),
                    protocol,
                    host_ip,
                    host_port,
                },
            ));
        }
    }
    Ok(ports)
}

fn comment(userdata: &[u8]) -> Option<String> {
    let (&[kind, length], rest) = userdata.split_first_chunk()?;
    let text = rest.get(..usize::from(length))?;
    (kind == COMMENT).then(|| string(text))
}

pub(super) type Key = (Protocol, Option<IpAddr>, u16);

pub(super) fn elements(
    socket: &mut Socket,
    table: &str,
    map: &PortMap,
) -> Result<Vec<Key>, Refusal> {
    let mut request = Attributes::default();
    request.text(1, table).text(2, map.name);
    let messages = match socket.dump(Request::GetElements.kind(), &body(INET, &request)) {
        // An older version's table, or one that was removed meanwhile.
        Err(Refusal { errno: rustix::io::Errno::NOENT, .. }) => return Ok(Vec::new()),
        dumped => dumped?,
    };
    let mut keys = Vec::new();
    for (_, message) in messages {
        let list = attribute(message.get(4..).unwrap_or_default(), 3).unwrap_or_default();
        keys.extend(
            attributes(list)
                .filter_map(|(_, element)| key(attribute(attribute(element, 1)?, 1)?, map)),
        );
    }
    Ok(keys)
}

/// Reads what [`port_elements`] writes.
fn key(bytes: &[u8], map: &PortMap) -> Option<Key> {
    let length = match (map.with_address, map.ipv6) {
        (false, _) => 0,
        (true, false) => 4,
        (true, true) => 16,
    };
    let address = bytes.get(..length)?;
    let [protocol, _, _, _, high, low, ..] = *bytes.get(length..length + 8)? else { return None };
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|p| p.number() == protocol)?;
    let any = if map.ipv6 { IpAddr::from([0u8; 16]) } else { IpAddr::from([0u8; 4]) };
    let address = match length {
        0 => any,
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    Some((protocol, Some(address), u16::from_be_bytes([high, low])))
}
