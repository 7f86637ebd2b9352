//! Who can reach a container's published ports, and what is in the way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use husk_net::{Mode, Publish};
use serde::Serialize;

use crate::container::Container;
use crate::container::state::{State, Status};
use crate::home::Home;
use crate::rootless::is_rootless;

/// `st` of a socket that listens (proc_net_tcp(5), include/net/tcp_states.h).
const LISTENS: &str = "0A";
/// How many files of /proc/net are read: 4 MiB.
const MAX_TABLE: u64 = 4 << 20;

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// As Docker writes it: `0.0.0.0:8080->80/tcp`.
    pub mapping: String,
    /// Who can reach it, or why nobody can.
    pub reach: String,
}

/// The published ports, and what is wrong with them in `reasons` and `remedies`.
pub(super) fn all(
    home: &Home,
    container: &Container,
    state: &State,
    reasons: &mut Vec<String>,
    remedies: &mut Vec<String>,
) -> Vec<Port> {
    if state.status == Status::Running {
        no_network(container, reasons, remedies);
        return published(home, container, state, reasons, remedies);
    }
    wanted(home, container, reasons, remedies)
}

fn no_network(container: &Container, reasons: &mut Vec<String>, remedies: &mut Vec<String>) {
    let config = &container.record.config;
    if matches!(Mode::parse(&config.networks, is_rootless()), Ok(Mode::None)) {
        reasons.push("it has no network (--network none): nobody can reach it".to_owned());
        if !config.publishes.is_empty() {
            remedies.push("create it again without --network none".to_owned());
        }
    }
}

fn published(
    home: &Home,
    container: &Container,
    state: &State,
    reasons: &mut Vec<String>,
    remedies: &mut Vec<String>,
) -> Vec<Port> {
    let claims = home.networks().and_then(|nets| Ok(nets.claims(Some(container.id()))?));
    let listening = listening(&format!("/proc/{}/net", state.pid));
    let mut ports = Vec::new();
    for claim in claims.unwrap_or_default() {
        let (inside, protocol) = (claim.container_port, claim.protocol.to_string());
        let mapping = mapping(claim.host_ip, claim.host_port, inside, &protocol);
        ports.push(Port { mapping, reach: reach(claim.host_ip) });
        if protocol != "tcp" {
            continue;
        }
        let on: Vec<IpAddr> =
            listening.iter().filter(|one| one.port == inside).map(|one| one.address).collect();
        let others: BTreeSet<u16> = listening.iter().map(|one| one.port).collect();
        if on.is_empty() {
            let list: Vec<String> = others.iter().map(ToString::to_string).collect();
            let instead = match list.is_empty() {
                true => "on no port at all".to_owned(),
                false => format!("on {}", list.join(", ")),
            };
            reasons.push(format!(
                "nothing in it listens on port {inside}/tcp, which is published; its programs \
                 listen {instead}"
            ));
            remedies.push(format!(
                "have the program listen on port {inside}, or publish the port that it listens on"
            ));
        } else if on.iter().all(IpAddr::is_loopback) {
            reasons.push(format!(
                "its program listens on port {inside} on {} only, which is the container's own \
                 loopback",
                on.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            ));
            remedies.push("have the program listen on 0.0.0.0 (or ::)".to_owned());
        }
    }
    ports
}

/// The ports of a container that does not run, and who has them.
fn wanted(
    home: &Home,
    container: &Container,
    reasons: &mut Vec<String>,
    remedies: &mut Vec<String>,
) -> Vec<Port> {
    let taken = listening("/proc/net");
    let claims = home.networks().and_then(|nets| Ok(nets.claims(None)?)).unwrap_or_default();
    let mut ports = Vec::new();
    for text in &container.record.config.publishes {
        let Ok(publish) = text.parse::<Publish>() else { continue };
        let protocol = publish.protocol.to_string();
        let Some(hosts) = publish.host_ports.clone() else { continue };
        for (host, inside) in hosts.zip(publish.container_ports.clone()) {
            let mapping = mapping(publish.host_ip, host, inside, &protocol);
            ports.push(Port { mapping, reach: "not published while it does not run".to_owned() });
            let other = claims.iter().find(|claim| {
                claim.host_port == host
                    && claim.protocol == publish.protocol
                    && claim.container != container.id()
            });
            let socket = taken.iter().find(|one| one.port == host && protocol == "tcp");
            let holder = match (other, socket) {
                (Some(claim), _) => format!("container {}", claim.name),
                (None, Some(socket)) => holder(socket.inode),
                (None, None) => continue,
            };
            reasons.push(format!("port {host}/{protocol} of the host is held by {holder}"));
            remedies.push(format!("end {holder}, or publish another port than {host}"));
        }
    }
    ports
}

fn mapping(host_ip: Option<IpAddr>, host: u16, inside: u16, protocol: &str) -> String {
    let ip = match host_ip {
        None => "0.0.0.0".to_owned(),
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
    };
    format!("{ip}:{host}->{inside}/{protocol}")
}

fn reach(host_ip: Option<IpAddr>) -> String {
    match host_ip {
        Some(ip) if ip.is_loopback() => "this host alone".to_owned(),
        Some(ip) if !ip.is_unspecified() => format!("whoever reaches {ip} of this host"),
        _ => "every host that reaches this one, on any of its addresses; publish \
              127.0.0.1:HOST:PORT for this host alone"
            .to_owned(),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// The TCP sockets that listen in a network namespace.
fn listening(directory: &str) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for name in ["tcp", "tcp6"] {
        let path = format!("{directory}/{name}");
        let mut text = String::new();
        let read = std::fs::File::open(&path).and_then(|opened| {
            std::io::Read::read_to_string(&mut std::io::Read::take(opened, MAX_TABLE), &mut text)
        });
        // One without IPv6 has no table of it.
        if read.is_ok() {
            sockets.extend(text.lines().skip(1).filter_map(socket));
        }
    }
    sockets
}

/// A line of /proc/net/tcp where it is of a socket that listens.
fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    if *state != LISTENS {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes in the machine's order.
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(Socket { address, port, inode: inode.parse().ok()? })
}

/// The process that has a socket, in words.
fn holder(inode: u64) -> String {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return format!("process {pid} ({})", name.trim());
        }
    }
    "a process of another user".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     \
                    0        0 12345 1 0000000000000000 100 0 0 10 0";
        let expected = Socket { address: [127, 0, 0, 1].into(), port: 8080, inode: 12345 };
        if cfg!(target_endian = "little") {
            assert_eq!(socket(line), Some(expected));
        }
        assert_eq!(socket(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(socket("  sl  local_address rem_address   st"), None);
        for bad in ["", "1: x:y 0 0A 0 0 0 0 0 1", "1: 01:zz 0 0A 0 0 0 0 0 1"] {
            assert_eq!(socket(bad), None, "{bad}");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own: Vec<Socket> =
            listening("/proc/self/net").into_iter().filter(|one| one.port == port).collect();
        let [socket] = own.as_slice() else { unreachable!("{own:?}") };
        let holder = holder(socket.inode);
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
    }
}
