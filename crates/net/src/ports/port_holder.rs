//! Which process has a port: asked only once bind(2) has said that one has.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::ports::publish::Protocol;

/// The TCP state "listen" (include/net/tcp_states.h); a UDP socket that is not
/// connected has state 7.
const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";

/// `nginx (pid 812)`, or as much as can be found out.
pub(crate) fn find(protocol: Protocol, at: SocketAddr) -> String {
    let inodes: Vec<String> = ["", "6"]
        .iter()
        // Not /proc/net: that is the namespace of the process' first thread.
        .filter_map(|v| fs::read_to_string(format!("/proc/thread-self/net/{protocol}{v}")).ok())
        .flat_map(|table| sockets(&table, protocol, at))
        .collect();
    match inodes.iter().find_map(|inode| process_of(inode)) {
        Some((pid, name)) => format!("{name} (pid {pid})"),
        None => "a process of another user or namespace".to_owned(),
    }
}

/// Inodes of the table's sockets that are in the way of a bind to `at`.
fn sockets(table: &str, protocol: Protocol, at: SocketAddr) -> Vec<String> {
    let state = match protocol {
        Protocol::Tcp => LISTEN,
        Protocol::Udp => UNCONNECTED,
    };
    let mut inodes = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, present, _, _, _, _, _, inode, ..] = fields[..] else {
            continue;
        };
        let Some((address, port)) = local.split_once(':') else {
            continue;
        };
        let there = address_of(address);
        let overlaps = there.is_none_or(|there| {
            there == at.ip() || there.is_unspecified() || at.ip().is_unspecified()
        });
        if present == state && u16::from_str_radix(port, 16) == Ok(at.port()) && overlaps {
            inodes.push(inode.to_owned());
        }
    }
    inodes
}

/// The table shows an address as 32-bit words of this machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|i| hex.get(i * 8..i * 8 + 8))
        .map(|word| Some(u32::from_str_radix(word?, 16).ok()?.to_ne_bytes()))
        .collect();
    match words?.as_slice() {
        [v4] => Some(IpAddr::from(*v4)),
        [a, b, c, d] => <[u8; 16]>::try_from([*a, *b, *c, *d].concat()).ok().map(IpAddr::from),
        _ => None,
    }
}

fn process_of(inode: &str) -> Option<(String, String)> {
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().into_string().ok()?;
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Ok(fds) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = |link: &Path| fs::read_link(link).is_ok_and(|to| to.as_os_str() == &*wanted);
        if fds.flatten().any(|fd| holds(&fd.path())) {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some((pid, name.trim_end().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = find(Protocol::Tcp, listener.local_addr().unwrap());
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
        let wildcard =
            SocketAddr::new("0.0.0.0".parse().unwrap(), listener.local_addr().unwrap().port());
        assert!(find(Protocol::Tcp, wildcard).contains("(pid "));
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let holder = find(Protocol::Udp, socket.local_addr().unwrap());
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
