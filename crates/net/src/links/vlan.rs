//! Macvlan and ipvlan: a container's link on one of the host's, without a bridge.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkInfo, LinkMessage, MacVlanMode,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ipam::lease::Endpoint;
use crate::links::bridge::{configure, enter_container};
use crate::links::link::{self, Link, RTM_NEWLINK, emit};
use crate::links::netlink::{Refusal, Socket};
use crate::links::netns::NetNs;
use crate::networks::installation::Installation;
use crate::networks::network::Network;
use crate::networks::options::{Driver, Settings};

/// Connects a container's namespace. The caller holds the network's lock.
pub(crate) fn set_up(
    network: &Network,
    endpoint: &Endpoint,
    installation: &Installation,
    socket: &mut Socket,
    netns: &NetNs,
    notices: &mut Vec<String>,
) -> Result<()> {
    let settings = network.settings();
    let parent = parent(network, &settings, installation, socket)?;
    let wants_ipv6 = endpoint.address(true).is_some();
    let (mut inside, has_ipv6) = netns.enter(|| enter_container(wants_ipv6))??;
    // Of an earlier run in the same namespace.
    remove(endpoint, &mut inside)?;
    add(network, &settings, endpoint, &parent, socket, netns)
        .map_err(|refusal| refusal.into_error("add link", &endpoint.interface))?;
    configure(endpoint, &mut inside, netns, has_ipv6, notices)
}

/// Takes the endpoint's link out of a container's namespace.
pub(crate) fn leave(endpoint: &Endpoint, netns: &NetNs) -> Result<()> {
    let mut inside = netns.enter(Socket::route)??;
    remove(endpoint, &mut inside)
}

fn remove(endpoint: &Endpoint, inside: &mut Socket) -> Result<()> {
    match link::find(inside, &endpoint.interface)? {
        Some(link) if ["macvlan", "ipvlan"].contains(&link.kind.as_str()) => {
            link::delete(inside, &endpoint.interface)
        }
        _ => Ok(()),
    }
}

/// The name of the link below.
fn parent_name(network: &Network, settings: &Settings) -> String {
    let own = || format!("dm-{}", network.id.get(..12).unwrap_or(&network.id));
    settings.parent.clone().unwrap_or_else(own)
}

/// Whether the host has the link below, or it can be made: a dummy link where none is named, a
/// VLAN's where the name says `LINK.ID`.
pub(crate) fn check_parent(network: &Network, socket: &mut Socket) -> Result<()> {
    let Some(name) = network.settings().parent else { return Ok(()) };
    let above = |name: &str| vlan(name).map(|(link, _)| link.to_owned());
    let is_there = link::find(socket, &name)?.is_some()
        || match above(&name) {
            Some(above) => link::find(socket, &above)?.is_some(),
            None => false,
        };
    match is_there {
        true => Ok(()),
        false => Err(Error::Invalid {
            property: "driver option",
            value: format!("parent={name}"),
            reason: "the host has no such link".to_owned(),
        }),
    }
}

/// `eth0.50` as VLAN 50 on eth0.
fn vlan(name: &str) -> Option<(&str, u16)> {
    let (link, id) = name.rsplit_once('.')?;
    let id = id.parse().ok().filter(|id| (1..=4094).contains(id))?;
    (!link.is_empty()).then_some((link, id))
}

fn parent(
    network: &Network,
    settings: &Settings,
    installation: &Installation,
    socket: &mut Socket,
) -> Result<Link> {
    check_parent(network, socket)?;
    let name = parent_name(network, settings);
    if let Some(link) = link::find(socket, &name)? {
        return up(link, socket);
    }
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.clone())];
    match (&settings.parent, vlan(&name)) {
        (Some(_), Some((above, id))) => {
            let above = link::find(socket, above)?.ok_or_else(|| missing(above))?;
            message.attributes.extend([
                LinkAttribute::Link(above.index),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Vlan),
                    LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
                ]),
            ]);
        }
        _ => {
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
        }
    }
    socket
        .request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &emit(&message))
        .map_err(|refusal| refusal.into_error("add link", &name))?;
    let link = link::find(socket, &name)?.ok_or_else(|| missing(&name))?;
    link::set_alias(socket, link.index, &name, &installation.alias())?;
    up(link, socket)
}

fn missing(name: &str) -> Error {
    Refusal::from(Errno::NODEV).into_error("find link", name)
}

fn up(link: Link, socket: &mut Socket) -> Result<Link> {
    if !link.up {
        link::set_up(socket, link.index, &link.name)?;
    }
    Ok(link)
}

fn add(
    network: &Network,
    settings: &Settings,
    endpoint: &Endpoint,
    parent: &Link,
    socket: &mut Socket,
    netns: &NetNs,
) -> std::result::Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(endpoint.interface.clone()),
        LinkAttribute::Link(parent.index),
        LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()),
    ];
    message.attributes.extend(network.mtu.map(LinkAttribute::Mtu));
    let info = match network.driver {
        Driver::Ipvlan => {
            let mode = match settings.mode.as_str() {
                "l3" => IpVlanMode::L3,
                "l3s" => IpVlanMode::L3S,
                _ => IpVlanMode::L2,
            };
            let flags = match settings.flag.as_str() {
                "private" => IpVlanFlags::Private,
                "vepa" => IpVlanFlags::Vepa,
                _ => IpVlanFlags::empty(),
            };
            vec![
                LinkInfo::Kind(InfoKind::IpVlan),
                LinkInfo::Data(InfoData::IpVlan(vec![
                    InfoIpVlan::Mode(mode),
                    InfoIpVlan::Flags(flags),
                ])),
            ]
        }
        Driver::Macvlan | Driver::Bridge => {
            // Passed through, a link has its parent's hardware address.
            if settings.mode != "passthru" {
                message.attributes.push(LinkAttribute::Address(endpoint.mac.to_vec()));
            }
            let mode = match settings.mode.as_str() {
                "private" => MacVlanMode::Private,
                "vepa" => MacVlanMode::Vepa,
                "passthru" => MacVlanMode::Passthrough,
                _ => MacVlanMode::Bridge,
            };
            vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
            ]
        }
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &emit(&message))
}

/// Removes the link below after the last endpoint, if this installation has made it.
pub(crate) fn tear_down(
    network: &Network,
    installation: &Installation,
    socket: &mut Socket,
) -> Result<()> {
    let name = parent_name(network, &network.settings());
    match link::find(socket, &name)? {
        Some(link) if link.alias == Some(installation.alias()) => link::delete(socket, &name),
        _ => Ok(()),
    }
}
