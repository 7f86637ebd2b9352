//! Questions that another server is asked.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::rand::{GetRandomFlags, getrandom};

use super::message::{Query, is_failure};
use super::stream::Stream;
use crate::links::netns::NetNs;

const PORT: u16 = 53;
/// How long a server is waited for, as Docker does.
const PATIENCE: Duration = Duration::from_secs(4);
const LARGEST: usize = u16::MAX as usize;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Udp(SocketAddr),
    /// By its number.
    Tcp(usize),
}

/// The servers to ask, and from where.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) addresses: Vec<IpAddr>,
    /// The container's, from which all are asked but those on the host's loopback.
    pub(super) netns: NetNs,
}

#[derive(Debug)]
enum Upstream {
    Udp(UdpSocket),
    Tcp(Stream),
}

/// A question that waits for a server's answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) query: Query,
    pub(super) client: Client,
    message: Vec<u8>,
    upstream: Upstream,
    /// Under which a server was asked: it answers with it, a stranger has to guess it.
    id: [u8; 2],
    /// The next server.
    next: usize,
    pub(super) deadline: Instant,
}

impl Pending {
    /// Asks the first server that can be asked; `None` if there is none.
    pub(super) fn ask(
        servers: &Servers,
        query: Query,
        message: Vec<u8>,
        client: Client,
    ) -> Option<Self> {
        Self::ask_from(servers, 0, query, message, client)
    }

    fn ask_from(
        servers: &Servers,
        first: usize,
        query: Query,
        mut message: Vec<u8>,
        client: Client,
    ) -> Option<Self> {
        for (at, address) in servers.addresses.iter().enumerate().skip(first) {
            let mut id = [0; 2];
            getrandom(&mut id, GetRandomFlags::empty()).ok()?;
            message.get_mut(..2)?.copy_from_slice(&id);
            let to = SocketAddr::new(*address, PORT);
            let ask = || match client {
                Client::Udp(_) => ask_by_udp(to, &message),
                Client::Tcp(_) => ask_by_tcp(to, &message),
            };
            let asked =
                if address.is_loopback() { ask() } else { servers.netns.enter(ask).ok().flatten() };
            if let Some(upstream) = asked {
                let (next, deadline) = (at + 1, Instant::now() + PATIENCE);
                return Some(Self { query, client, message, upstream, id, next, deadline });
            }
        }
        None
    }

    /// Asks the next server.
    pub(super) fn ask_next(self, servers: &Servers) -> Option<Self> {
        Self::ask_from(servers, self.next, self.query, self.message, self.client)
    }

    pub(super) fn wants_to_write(&self) -> bool {
        matches!(&self.upstream, Upstream::Tcp(stream) if stream.is_sending())
    }

    /// Moves what can be moved. The answer under the client's id; an error if another
    /// server should be asked.
    pub(super) fn advance(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let received = match &mut self.upstream {
            Upstream::Udp(socket) => receive(socket, &self.query, self.id)?,
            Upstream::Tcp(stream) => {
                stream.flush().map_err(drop)?;
                stream.receive().map_err(drop)?
            }
        };
        let Some(mut answer) = received else { return Ok(None) };
        if !self.query.is_answered_by(&answer, self.id) || is_failure(&answer) {
            return Err(());
        }
        if let Some(id) = answer.get_mut(..2) {
            id.copy_from_slice(&self.query.id);
        }
        Ok(Some(answer))
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.upstream {
            Upstream::Udp(socket) => socket.as_fd(),
            Upstream::Tcp(stream) => stream.socket().as_fd(),
        }
    }
}

/// Datagrams that are not the answer are passed over.
fn receive(socket: &UdpSocket, query: &Query, id: [u8; 2]) -> Result<Option<Vec<u8>>, ()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if query.is_answered_by(&buffer[..length], id) {
                    buffer.truncate(length);
                    return Ok(Some(buffer));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(()),
        }
    }
}

fn ask_by_udp(to: SocketAddr, message: &[u8]) -> Option<Upstream> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).ok()?;
    // Answers of others do not come here.
    socket.connect(to).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.send(message).ok()?;
    Some(Upstream::Udp(socket))
}

fn ask_by_tcp(to: SocketAddr, message: &[u8]) -> Option<Upstream> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).ok()?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(_) => return None,
    }
    let mut stream = Stream::new(TcpStream::from(socket));
    stream.send(message).ok()?;
    Some(Upstream::Tcp(stream))
}
