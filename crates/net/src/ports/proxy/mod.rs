//! Published ports on the host's loopback addresses, by a small proxy.
//!
//! Why a program and not a rule: a packet from 127.0.0.1 that a rule sends to a
//! container comes back addressed to 127.0.0.1 over the bridge, and the kernel
//! drops such a packet as martian unless `route_localnet` is set on the bridge.
//! That switch would also let containers and neighbours on the wire address every
//! service of the host's loopback (CVE-2020-8558). For `::1` there is no switch
//! at all.
//!
//! Only loopback clients come here; everyone else's packets are translated before
//! any socket is looked for, and keep their source address. A loopback client has
//! no address that a container could answer, so the container sees the host's
//! address on its network, the gateway, and never 127.0.0.1, which programs are
//! wont to trust (CVE-2021-20199).
//!
//! The listening sockets also keep the port from other programs while the
//! container runs, which a rule does not.
//!
//! One epoll instance, no thread, some 64 KiB: made for the container's monitor,
//! which polls [`LoopbackProxy`]'s descriptor beside its own and calls
//! [`LoopbackProxy::dispatch`] when it is readable. The sockets belong to the
//! host's network namespace: bind there.

mod tcp;
mod udp;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::error::{Error, Result};
use crate::ports::claim::Claim;
use crate::ports::publish::Protocol;
use tcp::Flow;
use udp::Sessions;

/// Connections at once; the next waits in the kernel's queue. Fewer where
/// `RLIMIT_NOFILE` is low, see [`Budget`].
const MAX_FLOWS: usize = 1024;
/// Descriptors of a connection: its client's socket and its server's.
const FLOW_DESCRIPTORS: usize = 2;
/// How long to wait where the process has no descriptor left, and no connection that
/// could end.
const RETRY: Duration = Duration::from_secs(1);
/// The largest datagram, and as much of a stream as is moved at once.
const SCRATCH: usize = 64 * 1024;
const EVENTS: usize = 64;

/// How many connections may be open: any user of the host may open some, and the process
/// needs descriptors for other things, such as writing down how the container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    flows: usize,
    sessions: usize,
}

impl Budget {
    /// Half of the descriptors for connections, an eighth for clients by UDP.
    fn of_limit(descriptors: usize) -> Self {
        Self {
            flows: (descriptors / 2 / FLOW_DESCRIPTORS).clamp(1, MAX_FLOWS),
            sessions: (descriptors / 8).clamp(1, udp::MAX_SESSIONS),
        }
    }

    fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::of_limit(limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX)))
    }
}

/// What a descriptor in the epoll set is; encoded in its event data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener(usize),
    Datagrams(usize),
    Client(usize),
    Server(usize),
    Session(usize),
}

impl Token {
    fn encode(self) -> EventData {
        let (kind, index) = match self {
            Self::Listener(i) => (0, i),
            Self::Datagrams(i) => (1, i),
            Self::Client(i) => (2, i),
            Self::Server(i) => (3, i),
            Self::Session(i) => (4, i),
        };
        EventData::new_u64((index as u64) << 3 | kind)
    }

    fn decode(data: EventData) -> Self {
        let index = (data.u64() >> 3) as usize;
        match data.u64() & 7 {
            0 => Self::Listener(index),
            1 => Self::Datagrams(index),
            2 => Self::Client(index),
            3 => Self::Server(index),
            _ => Self::Session(index),
        }
    }
}

/// The epoll set; registration errors are the kernel's want of memory, and end
/// the one connection that they are about.
#[derive(Debug)]
struct Interest {
    epoll: OwnedFd,
}

impl Interest {
    fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> bool {
        epoll::add(&self.epoll, fd, token.encode(), flags).is_ok()
    }

    fn change(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> bool {
        epoll::modify(&self.epoll, fd, token.encode(), flags).is_ok()
    }

    fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }
}

/// A container's published ports on 127.0.0.1 and ::1. Dropping it ends them.
#[derive(Debug)]
pub struct LoopbackProxy {
    interest: Interest,
    listeners: Vec<(TcpListener, SocketAddr)>,
    accepting: bool,
    /// When to accept again though no connection has ended.
    retry: Option<Instant>,
    budget: Budget,
    flows: HashMap<usize, Flow>,
    /// Counts up: an event left over of an ended flow finds no other in its place.
    next_flow: usize,
    sessions: Sessions,
    scratch: Vec<u8>,
}

/// A loopback address to listen on and where it leads.
fn routes(claim: &Claim) -> Vec<(SocketAddr, SocketAddr)> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let addresses = match claim.host_ip {
        None => vec![v4, v6],
        Some(ip) if ip.is_loopback() => vec![ip],
        Some(ip) if ip.is_unspecified() => vec![if ip.is_ipv6() { v6 } else { v4 }],
        Some(_) => Vec::new(),
    };
    let to = |ip: IpAddr| claim.target(ip.is_ipv6()).or(claim.targets.first().copied());
    addresses
        .into_iter()
        .filter_map(|ip| {
            let target = SocketAddr::new(to(ip)?, claim.container_port);
            Some((SocketAddr::new(ip, claim.host_port), target))
        })
        .collect()
}

impl LoopbackProxy {
    /// Listens for every claim that concerns a loopback address; `None` if none
    /// does. Each needs a descriptor for each address: who publishes many hundred
    /// ports raises `RLIMIT_NOFILE` first.
    ///
    /// # Errors
    ///
    /// [`Error::PortRefused`] with the errno of bind(2).
    pub fn bind(claims: &[Claim]) -> Result<Option<Self>> {
        let routes: Vec<_> =
            claims.iter().flat_map(|c| routes(c).into_iter().map(|r| (c.protocol, r))).collect();
        if routes.is_empty() {
            return Ok(None);
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|e| Error::system("create an epoll instance", e))?;
        let mut proxy = Self {
            interest: Interest { epoll },
            listeners: Vec::new(),
            accepting: true,
            retry: None,
            budget: Budget::of_process(),
            flows: HashMap::new(),
            next_flow: 0,
            sessions: Sessions::with_limit(Budget::of_process().sessions),
            scratch: vec![0; SCRATCH],
        };
        for (protocol, (at, target)) in routes {
            match proxy.listen(protocol, at, target) {
                // A host without IPv6 has no ::1 to be asked on.
                Err(e) if at.is_ipv6() && is_absent(&e) => {}
                Err(source) => {
                    let port = format!("{at}/{protocol}");
                    let hint = if source.raw_os_error() == Some(24) { " (ulimit -n)" } else { "" };
                    return Err(Error::PortRefused { port, source, hint });
                }
                Ok(()) => {}
            }
        }
        Ok(Some(proxy))
    }

    fn listen(
        &mut self,
        protocol: Protocol,
        at: SocketAddr,
        target: SocketAddr,
    ) -> std::io::Result<()> {
        let full = || std::io::Error::other("cannot be watched (epoll)");
        match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(at)?;
                listener.set_nonblocking(true)?;
                let token = Token::Listener(self.listeners.len());
                if !self.interest.add(&listener, token, EventFlags::IN) {
                    return Err(full());
                }
                self.listeners.push((listener, target));
            }
            Protocol::Udp => {
                let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
                // Beside the reservation's socket, which allows it.
                sockopt::set_socket_reuseaddr(&socket, true)?;
                bind(&socket, &at)?;
                let token = Token::Datagrams(self.sessions.listeners());
                if !self.interest.add(&socket, token, EventFlags::IN) {
                    return Err(full());
                }
                self.sessions.listen(UdpSocket::from(socket), target);
            }
        }
        Ok(())
    }

    /// How long until [`Self::dispatch`] wants to be called though nothing is
    /// readable; `None` is for ever.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let retry = self.retry.map(|at| at.saturating_duration_since(Instant::now()));
        [retry, self.sessions.timeout()].into_iter().flatten().min()
    }

    /// Moves what can be moved, without waiting.
    ///
    /// # Errors
    ///
    /// That of epoll_wait(2), which is none that a caller can cause. A broken
    /// connection ends, and is no error.
    pub fn dispatch(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let now = Instant::now();
        if self.retry.is_some_and(|at| at <= now) {
            self.resume();
        }
        loop {
            let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            events.clear();
            match epoll::wait(&self.interest.epoll, spare_capacity(&mut events), Some(&zero)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for the proxy's sockets", errno)),
            }
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                self.handle(Token::decode(data), flags, now);
            }
            if events.len() < EVENTS {
                break;
            }
        }
        self.sessions.expire(now, &self.interest);
        Ok(())
    }

    fn handle(&mut self, token: Token, flags: EventFlags, now: Instant) {
        match token {
            Token::Listener(i) => self.accept(i),
            Token::Datagrams(i) => self.sessions.forward(i, &mut self.scratch, &self.interest, now),
            Token::Session(i) => self.sessions.answer(i, &mut self.scratch, &self.interest, now),
            Token::Client(i) | Token::Server(i) => {
                let is_server = matches!(token, Token::Server(_));
                let Some(flow) = self.flows.get_mut(&i) else { return };
                let alive =
                    flow.pump(is_server, flags, &mut self.scratch) && flow.watch(i, &self.interest);
                if !alive {
                    self.flows.remove(&i);
                    self.resume();
                }
            }
        }
    }

    fn accept(&mut self, i: usize) {
        let Some((listener, target)) = self.listeners.get(i) else { return };
        let target = *target;
        while self.flows.len() < self.budget.flows {
            match listener.accept() {
                Ok((client, _)) => {
                    let id = self.next_flow;
                    self.next_flow += 1;
                    let flow = Flow::open(client, target, id, &self.interest);
                    self.flows.extend(flow.map(|flow| (id, flow)));
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                // The client gave up before it was accepted.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {}
                // No descriptor left: as with too many flows, wait until one ends, or for
                // whoever else has them.
                Err(_) => {
                    self.retry = Some(Instant::now() + RETRY);
                    break;
                }
            }
        }
        self.accepting = false;
        for (i, (listener, _)) in self.listeners.iter().enumerate() {
            self.interest.change(listener, Token::Listener(i), EventFlags::empty());
        }
    }

    fn resume(&mut self) {
        self.retry = None;
        if !self.accepting {
            self.accepting = true;
            for (i, (listener, _)) in self.listeners.iter().enumerate() {
                self.interest.change(listener, Token::Listener(i), EventFlags::IN);
            }
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|e| {
        [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL].contains(&e)
    })
}

/// Readable when [`LoopbackProxy::dispatch`] has something to do.
impl AsFd for LoopbackProxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.interest.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_others() {
        assert_eq!(Budget::of_limit(1024), Budget { flows: 256, sessions: 128 });
        assert_eq!(Budget::of_limit(64), Budget { flows: 16, sessions: 8 });
        assert_eq!(Budget::of_limit(1 << 20), Budget { flows: 1024, sessions: 512 });
        assert_eq!(Budget::of_limit(3), Budget { flows: 1, sessions: 1 });
    }
}
