//! The bridge driver: validate, set up, tear down one endpoint.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ipam::lease::Endpoint;
use crate::ipam::mac::bridge_mac;
use crate::links::link::{self, Link, VethPair};
use crate::links::netlink::{Refusal, Socket};
use crate::links::netns::NetNs;
use crate::links::{address, route, sysctl};
use crate::networks::installation::{Installation, lock_host};
use crate::networks::network::Network;
use crate::networks::store::refuse_taken;

/// Without a default route nothing says what the outside can carry; this it can.
const DEFAULT_MTU: u32 = 1500;

/// Whether the host can have this network at all, before anything is changed.
pub(crate) fn validate(
    network: &Network,
    installation: &Installation,
    socket: &mut Socket,
) -> Result<()> {
    let present = link::find(socket, &network.bridge)?;
    if let Some(owner) = present.as_ref().and_then(|link| link.alias.as_ref())
        && *owner != installation.alias()
    {
        return Err(Error::Invalid {
            property: "bridge",
            value: network.bridge.clone(),
            reason: format!(
                "belongs to another husk installation on this host (alias \"{owner}\"): \
                 stop its containers, or use a network of another name"
            ),
        });
    }
    if network.settings().bridge.is_some()
        && present.as_ref().is_some_and(|one| one.alias.is_none())
    {
        return Err(Error::Invalid {
            property: "bridge",
            value: network.bridge.clone(),
            reason: "the host has a link of this name that husk did not make: choose another name"
                .to_owned(),
        });
    }
    if let Some(link) = present.filter(|link| link.kind != "bridge") {
        return Err(Error::Invalid {
            property: "bridge",
            value: network.bridge.clone(),
            reason: format!(
                "the host has a link of this name that is a {}: rename it",
                if link.kind.is_empty() { "device" } else { &link.kind }
            ),
        });
    }
    Ok(())
}

/// Makes the bridge if need be, with its addresses, and lets the host forward.
/// The caller holds the network's lock. Returns whether it was made.
pub(crate) fn set_up_bridge(
    network: &Network,
    installation: &Installation,
    socket: &mut Socket,
) -> Result<(Link, bool)> {
    let bridge = &network.bridge;
    let mut created = false;
    let mut host_lock = None;
    let link = match link::find(socket, bridge)? {
        Some(link) => link,
        None => {
            // Of two installations that start with the same subnet one is refused.
            host_lock = lock_host();
            refuse_taken(network)?;
            let mtu = match network.mtu {
                Some(mtu) => mtu,
                None => uplink_mtu(socket)?,
            };
            link::add_bridge(socket, bridge, bridge_mac(network), mtu)
                .map_err(|refusal| refusal.into_error("add bridge", bridge))?;
            created = true;
            let made = link::find(socket, bridge)?;
            made.ok_or_else(|| Refusal::from(Errno::NODEV).into_error("find bridge", bridge))?
        }
    };
    if link.alias.is_none() {
        link::set_alias(socket, link.index, bridge, &installation.alias())?;
    }
    if !link.up {
        // Before it is up: a container must not be able to configure the host by
        // router advertisements (CVE-2020-13401).
        sysctl::set_if_present(&format!("ipv6/conf/{bridge}/accept_ra"), "0")?;
    }
    for pool in &network.pools {
        address::add(socket, link.index, bridge, pool.gateway, pool.subnet.prefix())?;
    }
    if !link.up {
        link::set_up(socket, link.index, bridge)?;
    }
    drop(host_lock);
    Ok((link, created))
}

/// The most that goes out in one piece over the host's default route.
fn uplink_mtu(socket: &mut Socket) -> Result<u32> {
    let Some(index) = route::uplink(socket)? else {
        return Ok(DEFAULT_MTU);
    };
    let uplink = link::find_index(socket, index)?;
    // A default route over loopback (as in a test) is none.
    let mtu = uplink.filter(|link| link.name != "lo").map(|link| link.mtu);
    Ok(mtu.unwrap_or(DEFAULT_MTU).clamp(crate::MIN_MTU, crate::MAX_MTU))
}

/// Connects a container's namespace to the bridge; an isolated one does not reach the others.
pub(crate) fn set_up(
    endpoint: &Endpoint,
    bridge: &Link,
    socket: &mut Socket,
    netns: &NetNs,
    is_isolated: bool,
    notices: &mut Vec<String>,
) -> Result<()> {
    let wants_ipv6 = endpoint.address(true).is_some();
    let (mut inside, has_ipv6) = netns.enter(|| enter_container(wants_ipv6))??;
    add_pair(endpoint, bridge, socket, netns)?;
    let host = &endpoint.host_interface;
    let alias = port_alias(endpoint);
    // A bridge's port speaks no IP of its own; this keeps IPv6 from trying.
    sysctl::set_if_present(&format!("ipv6/conf/{host}/disable_ipv6"), "1")?;
    let port = link::find(socket, host)?
        .ok_or_else(|| Refusal::from(Errno::NODEV).into_error("find link", host))?;
    link::set_alias(socket, port.index, host, &alias)?;
    if filters_bridged_packets()? {
        // br_netfilter translates a frame while it is being bridged, so that a
        // container's packet to its own published port leaves by the port it
        // came from.
        link::set_hairpin(socket, port.index, host)?;
    }
    if is_isolated {
        link::set_isolated(socket, port.index, host)?;
    }
    link::set_up(socket, port.index, host)?;
    configure(endpoint, &mut inside, netns, has_ipv6, notices)?;
    link::wait_until_it_works(socket, port.index, Socket::link_events)?;
    // The first port brings the bridge to life.
    link::wait_until_it_works(socket, bridge.index, Socket::link_events)
}

/// Runs inside: loopback, and settings that the new link is to begin with.
pub(super) fn enter_container(wants_ipv6: bool) -> Result<(Socket, bool)> {
    let mut socket = Socket::route()?;
    if let Some(lo) = link::find(&mut socket, "lo")?.filter(|lo| !lo.up) {
        link::set_up(&mut socket, lo.index, "lo")?;
    }
    sysctl::set_if_present("ipv6/conf/default/accept_ra", "0")?;
    let has_ipv6 = sysctl::has_ipv6();
    if has_ipv6 {
        let off = if wants_ipv6 { "0" } else { "1" };
        sysctl::set_if_present("ipv6/conf/default/disable_ipv6", off)?;
    }
    Ok((socket, has_ipv6))
}

fn add_pair(endpoint: &Endpoint, bridge: &Link, socket: &mut Socket, netns: &NetNs) -> Result<()> {
    let pair = VethPair {
        host: &endpoint.host_interface,
        bridge: bridge.index,
        container: &endpoint.interface,
        mac: endpoint.mac,
        mtu: bridge.mtu,
        netns,
    };
    let mut added = link::add_veth(socket, &pair);
    if matches!(&added, Err(refusal) if refusal.errno == Errno::EXIST) {
        // Or it has gone meanwhile, with the namespace of the container's last run.
        remove_port(endpoint, socket)?;
        added = link::add_veth(socket, &pair);
    }
    added.map_err(|refusal| {
        let mut object = endpoint.interface.clone();
        if refusal.errno == Errno::EXIST {
            let _ = write!(object, " (the container's namespace has a link of this name)");
        }
        refusal.into_error("add veth pair", object)
    })
}

pub(super) fn configure(
    endpoint: &Endpoint,
    inside: &mut Socket,
    netns: &NetNs,
    has_ipv6: bool,
    notices: &mut Vec<String>,
) -> Result<()> {
    let name = &endpoint.interface;
    let link = link::find(inside, name)?
        .ok_or_else(|| Refusal::from(Errno::NODEV).into_error("find link", name))?;
    link::set_up(inside, link.index, name)?;
    for address in &endpoint.addresses {
        if address.address.is_ipv6() && !has_ipv6 {
            notices.push(format!(
                "container {}: no IPv6 on network {}: off in the container (net.ipv6.conf.all.disable_ipv6)",
                endpoint.name, endpoint.network
            ));
            continue;
        }
        address::add(inside, link.index, name, address.address, address.prefix)?;
        if endpoint.default_route {
            route::set_default(inside, address.gateway, link.index)?;
        }
    }
    link::wait_until_it_works(inside, link.index, || netns.enter(Socket::link_events)?)?;
    match endpoint.address(true).map(|a| a.address) {
        Some(IpAddr::V6(address)) if has_ipv6 => {
            address::wait_until_heard(inside, link.index, address)
        }
        _ => Ok(()),
    }
}

/// Gives a container whose default route went away another.
pub(crate) fn set_default_routes(endpoint: &Endpoint, netns: &NetNs) -> Result<()> {
    let mut inside = netns.enter(Socket::route)??;
    let Some(link) = link::find(&mut inside, &endpoint.interface)? else {
        return Ok(());
    };
    for address in &endpoint.addresses {
        route::set_default(&mut inside, address.gateway, link.index)?;
    }
    Ok(())
}

fn filters_bridged_packets() -> Result<bool> {
    for name in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        if sysctl::read(name)?.is_some_and(|value| value != "0") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes an endpoint's links; a namespace that is gone has taken them along.
pub(crate) fn tear_down(endpoint: &Endpoint, socket: &mut Socket) -> Result<()> {
    match endpoint.has_port() {
        true => remove_port(endpoint, socket),
        false => Ok(()),
    }
}

/// As [`tear_down`], but leaves links to a namespace that is ending to the kernel: to remove
/// one is to wait for the readers of all of the machine's processors, several times.
pub(crate) fn release(endpoint: &Endpoint, socket: &mut Socket) -> Result<()> {
    match port_of(endpoint, socket)? {
        Some(port) if !link::peer_ends(socket, &port) => link::delete(socket, &port.name),
        _ => Ok(()),
    }
}

fn port_alias(endpoint: &Endpoint) -> String {
    format!("husk container {}", endpoint.container)
}

/// What an earlier start of the same container left, or this one made: a veth link of the
/// endpoint's name that is not another container's.
fn port_of(endpoint: &Endpoint, socket: &mut Socket) -> Result<Option<Link>> {
    let link = link::find(socket, &endpoint.host_interface)?;
    let is_ours = |alias: &String| *alias == port_alias(endpoint);
    Ok(link.filter(|link| link.kind == "veth" && link.alias.as_ref().is_none_or(is_ours)))
}

fn remove_port(endpoint: &Endpoint, socket: &mut Socket) -> Result<()> {
    match port_of(endpoint, socket)? {
        Some(port) => link::delete(socket, &port.name),
        None => Ok(()),
    }
}

/// Removes the bridge after the last endpoint.
pub(crate) fn tear_down_bridge(network: &Network, socket: &mut Socket) -> Result<()> {
    link::delete(socket, &network.bridge)
}
