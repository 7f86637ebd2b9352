//! Links: bridges, veth pairs, loopback (rtnetlink(7), RTM_*LINK).
//!
//! Requests are built with netlink-packet-route. Answers are read attribute by
//! attribute here: the crate decodes every attribute of every link, so one that
//! it does not understand, on a link that is none of ours, would fail the lot.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use crate::error::Result;
use crate::links::netlink::{Refusal, Socket, attribute, attributes, string};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFINFOMSG: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_INFO_KIND: u16 = 1;
/// linux/if.h, RFC 2863.
const IF_OPER_UP: u8 = 6;
const WORKS_LIMIT: Duration = Duration::from_secs(1);

/// A hardware address.
pub type Mac = [u8; 6];

/// What of a link this crate looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `bridge`, `veth`, ...; empty for hardware.
    pub(crate) kind: String,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<Mac>,
    /// What ip-link(8) shows as its alias.
    pub(crate) alias: Option<String>,
    /// Whether it was brought up.
    pub(crate) up: bool,
    /// Whether it carries packets by now.
    pub(crate) works: bool,
    /// The number, in this namespace, of the namespace that its peer is in. Negative where
    /// that is ending and never had a number; `None` where the peer is in this one.
    pub(crate) peer_netns: Option<i32>,
}

/// The two ends of a veth pair: one on a bridge here, one in a container.
pub(crate) struct VethPair<'a, N: AsFd> {
    pub(crate) host: &'a str,
    pub(crate) bridge: u32,
    pub(crate) container: &'a str,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) netns: &'a N,
}

pub(super) fn emit(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

pub(crate) fn read(body: &[u8]) -> Option<Link> {
    let header: &[u8; IFINFOMSG] = body.first_chunk()?;
    let attrs = &body[IFINFOMSG..];
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let kind = attribute(attrs, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    let mut link = Link {
        index: word(4),
        name: String::new(),
        kind: kind.map(string).unwrap_or_default(),
        mtu: 0,
        mac: None,
        alias: None,
        up: word(8) & 1 != 0,
        works: false,
        peer_netns: None,
    };
    for (kind, value) in attributes(attrs) {
        match kind {
            IFLA_IFNAME => link.name = string(value),
            IFLA_OPERSTATE => link.works = value == [IF_OPER_UP],
            IFLA_MTU => link.mtu = value.first_chunk().map_or(0, |b| u32::from_ne_bytes(*b)),
            IFLA_IFALIAS => link.alias = Some(string(value)),
            IFLA_LINK_NETNSID => {
                link.peer_netns = value.first_chunk().map(|b| i32::from_ne_bytes(*b));
            }
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(link)
}

/// The link of that name, if there is one.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    get(socket, 0, Some(name), name)
}

/// The link of that index, if there is one.
pub(crate) fn find_index(socket: &mut Socket, index: u32) -> Result<Option<Link>> {
    get(socket, index, None, "by index")
}

/// Every link.
pub(crate) fn all(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let messages = socket
        .dump(RTM_GETLINK, &emit(&message))
        .map_err(|refusal| refusal.into_error("list", "the host's links"))?;
    Ok(messages.iter().filter_map(|(_, body)| read(body)).collect())
}

fn get(socket: &mut Socket, index: u32, name: Option<&str>, object: &str) -> Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_owned())));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match socket.query(RTM_GETLINK, &emit(&message)) {
        Ok(answer) => Ok(answer.as_deref().and_then(read)),
        Err(Refusal { errno: Errno::NODEV, .. }) => Ok(None),
        Err(refusal) => Err(refusal.into_error("look up link", object)),
    }
}

/// Whether the namespace that a link's peer is in has no user left. The kernel then removes both
/// ends without being asked (veth(4), network_namespaces(7)); nothing gets into such a namespace
/// any more. Where that cannot be told it is said to live.
pub(crate) fn peer_ends(socket: &mut Socket, link: &Link) -> bool {
    let Some(number) = link.peer_netns else { return false };
    if number < 0 {
        return true;
    }
    // What is asked for is its loopback; EINVAL: there is no such namespace, or nobody in it.
    let mut message = LinkMessage::default();
    message.header.index = 1;
    let other = DefaultNla::new(IFLA_TARGET_NETNSID, number.to_ne_bytes().to_vec());
    message.attributes.push(LinkAttribute::Other(other));
    let answer = socket.query(RTM_GETLINK, &emit(&message));
    matches!(answer, Err(Refusal { errno: Errno::INVAL, .. }))
}

/// Adds a bridge that is down. Its hardware address is fixed: a bridge without
/// one takes the lowest of its ports', so that it would change, and break
/// neighbours' caches, as containers come and go.
pub(crate) fn add_bridge(
    socket: &mut Socket,
    name: &str,
    mac: Mac,
    mtu: u32,
) -> std::result::Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &emit(&message))
}

/// Says whose a link is.
pub(crate) fn set_alias(socket: &mut Socket, index: u32, name: &str, alias: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::IfAlias(alias.to_owned())];
    socket
        .request(RTM_NEWLINK, 0, &emit(&message))
        .map_err(|refusal| refusal.into_error("set the alias of link", name))
}

/// Adds a veth pair in one request: the container's end is made inside its
/// namespace under its final name, the host's end on its bridge. Both are down: a
/// veth link cannot be brought up before it has its peer (ENOTCONN).
pub(crate) fn add_veth(
    socket: &mut Socket,
    pair: &VethPair<'_, impl AsFd>,
) -> std::result::Result<(), Refusal> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(pair.container.to_owned()),
        LinkAttribute::Address(pair.mac.to_vec()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::NetNsFd(pair.netns.as_fd().as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(pair.host.to_owned()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::Controller(pair.bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &emit(&message))
}

/// Brings a link up.
pub(crate) fn set_up(socket: &mut Socket, index: u32, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    socket
        .request(RTM_NEWLINK, 0, &emit(&message))
        .map_err(|refusal| refusal.into_error("bring up link", name))
}

/// Waits until a link that was brought up carries packets.
///
/// Its carrier comes up at once, but its queue is switched from discarding
/// everything by the kernel's link watch, a moment later. Without the wait the
/// first packets of a quick container are lost, and TCP or ARP tries again after
/// a second. Since Linux 6.8 the question itself gets the work done; before, the kernel
/// tells `events`, a socket of the link's namespace that is only opened then. A link that
/// does not make it in a second (none should) is left to come up later.
pub(crate) fn wait_until_it_works(
    socket: &mut Socket,
    index: u32,
    events: impl FnOnce() -> Result<Socket>,
) -> Result<()> {
    let mut works =
        || -> Result<bool> { Ok(find_index(socket, index)?.is_none_or(|link| link.works)) };
    if works()? {
        return Ok(());
    }
    let mut events = events()?;
    let begin = Instant::now();
    // Asked again once events are told, so that none is missed.
    while !works()? {
        let Some(rest) = WORKS_LIMIT.checked_sub(begin.elapsed()) else { return Ok(()) };
        events.wait(rest)?;
    }
    Ok(())
}

/// Lets a bridge send a frame back to the port it came from.
pub(crate) fn set_hairpin(socket: &mut Socket, index: u32, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ])];
    socket
        .request(RTM_NEWLINK, 0, &emit(&message))
        .map_err(|refusal| refusal.into_error("set hairpin mode of", name))
}

/// Keeps a bridge from passing frames from this port to others that are set so.
pub(crate) fn set_isolated(socket: &mut Socket, index: u32, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
    ])];
    socket
        .request(RTM_NEWLINK, 0, &emit(&message))
        .map_err(|refusal| refusal.into_error("isolate bridge port", name))
}

/// Removes a link, and with one end of a veth pair the other. That there is no
/// such link is no error.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    match socket.request(RTM_DELLINK, 0, &emit(&message)) {
        Ok(()) | Err(Refusal { errno: Errno::NODEV, .. }) => Ok(()),
        Err(refusal) => Err(refusal.into_error("remove link", name)),
    }
}
