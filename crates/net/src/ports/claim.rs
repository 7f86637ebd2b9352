//! Published ports of the host: who has which, and that nobody else has.
//!
//! ```text
//! <runtime>/ports.json   every claim
//! <runtime>/ports.lock   held while it changes
//! ```
//!
//! Rules in the kernel's NAT do not occupy a port, so three things together do:
//! the file says what other containers have, a bind(2) says what processes have,
//! and the bound socket is kept until the container runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ipam::lease::Endpoint;
use crate::networks::json_file::{self, Lock};
use crate::nft::ports::ForeignPort;
use crate::ports::port_holder;
use crate::ports::publish::{Protocol, Publish};

/// One port of the host that a container answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Id of the container.
    pub container: String,
    /// Name of the container, for messages.
    pub name: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// As in [`Publish::host_ip`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's addresses, at most one of each family.
    pub targets: Vec<IpAddr>,
    /// The container's port.
    pub container_port: u16,
}

impl Claim {
    /// The container's address of a family.
    #[must_use]
    pub fn target(&self, ipv6: bool) -> Option<IpAddr> {
        self.targets.iter().copied().find(|t| t.is_ipv6() == ipv6)
    }

    pub(crate) fn clashes(&self, protocol: Protocol, ip: Option<IpAddr>, port: u16) -> bool {
        let same_address = match (self.host_ip, ip) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => {
                a == b || a.is_ipv6() == b.is_ipv6() && (a.is_unspecified() || b.is_unspecified())
            }
        };
        self.protocol == protocol && self.host_port == port && same_address
    }
}

/// Sockets kept; ports beyond are looked at, and let go again. A thousand ports
/// must not need more descriptors than a process commonly may have (1024).
const MAX_HELD: usize = 256;

/// Claims just made, and the sockets that hold their ports.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) claims: Vec<Claim>,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// The claims of all containers.
#[derive(Debug, Clone)]
pub(crate) struct ClaimFile {
    path: PathBuf,
    lock: PathBuf,
}

impl ClaimFile {
    pub(crate) fn open(runtime: &Path) -> Result<Self> {
        json_file::make_dir(runtime)?;
        Ok(Self { path: runtime.join("ports.json"), lock: runtime.join("ports.lock") })
    }

    pub(crate) fn all(&self) -> Result<Vec<Claim>> {
        Ok(json_file::read(&self.path)?.unwrap_or_default())
    }

    /// Claims every port that `publishes` asks for, or none.
    /// `foreign` are ports that other installations publish.
    pub(crate) fn add(
        &self,
        owner: &Owner<'_>,
        publishes: &[Publish],
        foreign: &[ForeignPort],
    ) -> Result<Held> {
        if publishes.is_empty() {
            return Ok(Held::default());
        }
        let _lock = Lock::exclusive(&self.lock)?;
        let mut claims = self.all()?;
        let mut held = Held::default();
        for publish in publishes {
            let targets = owner.targets(publish)?;
            for (container_port, choices) in publish.choices() {
                let mut claim = Claim {
                    container: owner.container.to_owned(),
                    name: owner.name.to_owned(),
                    protocol: publish.protocol,
                    host_ip: publish.host_ip,
                    host_port: 0,
                    targets: targets.clone(),
                    container_port,
                };
                let (port, sockets) = take(&claim, &choices, &claims, foreign)?;
                claim.host_port = port;
                claims.push(claim.clone());
                held.claims.push(claim);
                if held.sockets.len() < MAX_HELD {
                    held.sockets.extend(sockets);
                }
            }
        }
        json_file::write(&self.path, &claims)?;
        Ok(held)
    }

    /// Gives back a container's ports; returns what they were.
    pub(crate) fn remove(&self, container: &str) -> Result<()> {
        let _lock = Lock::exclusive(&self.lock)?;
        let mut claims = self.all()?;
        let before = claims.len();
        claims.retain(|claim| claim.container != container);
        match (claims.len(), before) {
            (now, before) if now == before => Ok(()),
            (0, _) => json_file::remove(&self.path),
            _ => json_file::write(&self.path, &claims),
        }
    }

    /// The claims of one container.
    pub(crate) fn of(&self, container: &str) -> Result<Vec<Claim>> {
        let mut claims = self.all()?;
        claims.retain(|claim| claim.container == container);
        Ok(claims)
    }
}

/// Whose ports they are to be.
pub(crate) struct Owner<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
    /// Where the ports lead; `None` where pasta leads them.
    pub(crate) endpoint: Option<&'a Endpoint>,
}

impl Owner<'_> {
    /// The container's addresses that a published port leads to.
    fn targets(&self, publish: &Publish) -> Result<Vec<IpAddr>> {
        let Some(endpoint) = self.endpoint else {
            return Ok(Vec::new());
        };
        let all = endpoint.addresses.iter().map(|a| a.address);
        let Some(host) = publish.host_ip else {
            return Ok(all.collect());
        };
        // A loopback address is served by a proxy, which may change the family.
        let fits = |a: &IpAddr| host.is_loopback() || a.is_ipv6() == host.is_ipv6();
        let mut fitting: Vec<IpAddr> = all.filter(fits).collect();
        fitting.sort_by_key(|a| a.is_ipv6() != host.is_ipv6());
        if fitting.is_empty() {
            let family = if host.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(Error::Invalid {
                property: "publish on host address",
                value: host.to_string(),
                reason: format!("network {} gives the container no {family}", endpoint.network),
            });
        }
        Ok(fitting)
    }
}

/// The first of the choices that is free, with the sockets that now hold it.
fn take(
    claim: &Claim,
    choices: &[u16],
    others: &[Claim],
    foreign: &[ForeignPort],
) -> Result<(u16, Vec<OwnedFd>)> {
    let choices = if choices.is_empty() { vec![0; 16] } else { choices.to_vec() };
    let mut refused = None;
    for port in choices {
        let clash = others
            .iter()
            .find(|other| port != 0 && other.clashes(claim.protocol, claim.host_ip, port));
        if let Some(other) = clash {
            refused = refused.or(Some(Error::PortInUse {
                port: display(claim.host_ip, port, claim.protocol),
                holder: if other.container == claim.container {
                    "another --publish of this container".to_owned()
                } else {
                    format!("container {}", other.name)
                },
            }));
            continue;
        }
        let of_port = |port| foreign.iter().find(move |f| clashes_with_foreign(claim, port, f));
        if let Some(other) = of_port(port).filter(|_| port != 0) {
            refused = refused.or(Some(in_use_elsewhere(claim, port, other)));
            continue;
        }
        match hold(claim.protocol, claim.host_ip, port) {
            // A port that the kernel chose may be one that only a rule has.
            Ok((port, _))
                if of_port(port).is_some()
                    || others.iter().any(|o| o.clashes(claim.protocol, claim.host_ip, port)) => {}
            Ok(held) => return Ok(held),
            Err(error @ Error::PortInUse { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::PortInUse {
        port: display(claim.host_ip, 0, claim.protocol),
        holder: "other containers, all that were tried".to_owned(),
    }))
}

fn clashes_with_foreign(claim: &Claim, port: u16, other: &ForeignPort) -> bool {
    let own = Claim { host_port: port, ..claim.clone() };
    own.clashes(other.protocol, other.host_ip, other.host_port)
}

fn in_use_elsewhere(claim: &Claim, port: u16, other: &ForeignPort) -> Error {
    Error::PortInUse {
        port: display(claim.host_ip, port, claim.protocol),
        holder: format!("another husk installation ({})", other.owner),
    }
}

/// Refuses claims that another installation has published meanwhile.
pub(crate) fn refuse_foreign(claims: &[Claim], foreign: &[ForeignPort]) -> Result<()> {
    for claim in claims {
        let clash = foreign.iter().find(|f| clashes_with_foreign(claim, claim.host_port, f));
        if let Some(other) = clash {
            return Err(in_use_elsewhere(claim, claim.host_port, other));
        }
    }
    Ok(())
}

fn display(ip: Option<IpAddr>, port: u16, protocol: Protocol) -> String {
    let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    format!("{}/{protocol}", SocketAddr::new(ip, port))
}

/// Binds the port on the address, or on both families' wildcards; 0 lets the
/// kernel choose.
fn hold(protocol: Protocol, ip: Option<IpAddr>, port: u16) -> Result<(u16, Vec<OwnedFd>)> {
    let addresses = match ip {
        Some(ip) => vec![ip],
        None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    let mut port = port;
    let mut sockets = Vec::new();
    for address in addresses {
        let at = SocketAddr::new(address, port);
        match bound_socket(protocol, at) {
            Ok((chosen, socket)) => {
                port = chosen;
                sockets.push(socket);
            }
            // A host without IPv6 has no IPv6 wildcard to hold.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if ip.is_none() && address.is_ipv6() => {}
            Err(errno) => return Err(refused(protocol, at, errno)),
        }
    }
    Ok((port, sockets))
}

fn refused(protocol: Protocol, at: SocketAddr, errno: Errno) -> Error {
    let port = format!("{at}/{protocol}");
    let hint = match errno {
        Errno::ADDRINUSE => {
            let holder = port_holder::find(protocol, at);
            return Error::PortInUse { port, holder };
        }
        Errno::ADDRNOTAVAIL => " (the address is none of this host's)",
        Errno::ACCESS => " (ports from net.ipv4.ip_unprivileged_port_start on are free to all)",
        _ => "",
    };
    Error::PortRefused { port, source: errno.into(), hint }
}

/// A bound socket that neither listens nor, after this, stands in the way of our
/// own proxy on a loopback address of the same port.
fn bound_socket(protocol: Protocol, at: SocketAddr) -> std::result::Result<(u16, OwnedFd), Errno> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // TCP: connections in TIME_WAIT are no one's; a listener is still found. UDP:
    // two sockets that both say so share a port, which would find nobody.
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)?;
    if protocol == Protocol::Udp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((bound.port(), socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_clash_where_they_overlap() {
        let claim = |ip: Option<&str>| Claim {
            container: String::new(),
            name: String::new(),
            protocol: Protocol::Tcp,
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_port: 80,
            targets: Vec::new(),
            container_port: 80,
        };
        let clashes = |a: Option<&str>, b: Option<&str>| {
            claim(a).clashes(Protocol::Tcp, b.map(|ip| ip.parse().unwrap()), 80)
        };
        assert!(clashes(None, Some("127.0.0.1")));
        assert!(clashes(Some("0.0.0.0"), Some("127.0.0.1")));
        assert!(clashes(Some("::1"), Some("::")));
        assert!(!clashes(Some("0.0.0.0"), Some("::")));
        assert!(!clashes(Some("127.0.0.1"), Some("127.0.0.2")));
        assert!(!claim(None).clashes(Protocol::Udp, None, 80));
        assert!(!claim(None).clashes(Protocol::Tcp, None, 81));
    }
}
