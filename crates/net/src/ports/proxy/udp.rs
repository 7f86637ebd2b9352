//! UDP: for each client a socket that is connected to the container.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::{Interest, Token};

/// How long a client that is silent is remembered: as long as the kernel keeps a
/// UDP stream (nf_conntrack_udp_timeout_stream).
const LIFETIME: Duration = Duration::from_secs(120);
const SWEEP: Duration = Duration::from_secs(30);
/// One more, and the client that was silent longest is forgotten.
pub(super) const MAX_SESSIONS: usize = 512;

#[derive(Debug)]
struct Session {
    listener: usize,
    client: SocketAddr,
    socket: UdpSocket,
    used: Instant,
}

/// Every UDP port of a proxy and the clients that spoke to it lately.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// At most [`MAX_SESSIONS`].
    limit: usize,
    listeners: Vec<(UdpSocket, SocketAddr)>,
    sessions: HashMap<usize, Session>,
    next: usize,
    swept: Option<Instant>,
}

impl Sessions {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn listen(&mut self, socket: UdpSocket, target: SocketAddr) {
        self.listeners.push((socket, target));
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        (!self.sessions.is_empty()).then_some(SWEEP)
    }

    /// From clients to the container. UDP may lose: what cannot be sent is dropped.
    pub(super) fn forward(
        &mut self,
        listener: usize,
        scratch: &mut [u8],
        interest: &Interest,
        now: Instant,
    ) {
        loop {
            let Some((socket, target)) = self.listeners.get(listener) else { return };
            let target = *target;
            let Ok((length, client)) = socket.recv_from(scratch) else { return };
            let known = self.sessions.values_mut();
            let mut known = known.filter(|s| s.listener == listener && s.client == client);
            if let Some(session) = known.next() {
                session.used = now;
                let _ = session.socket.send(&scratch[..length]);
                continue;
            }
            if let Some(session) = self.open(listener, client, target, interest, now) {
                let _ = session.socket.send(&scratch[..length]);
            }
        }
    }

    fn open(
        &mut self,
        listener: usize,
        client: SocketAddr,
        target: SocketAddr,
        interest: &Interest,
        now: Instant,
    ) -> Option<&Session> {
        if self.sessions.len() >= self.limit {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.close(id, interest);
            }
        }
        let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        socket.set_nonblocking(true).ok()?;
        let id = self.next;
        if !interest.add(&socket, Token::Session(id), EventFlags::IN) {
            return None;
        }
        self.next += 1;
        Some(self.sessions.entry(id).or_insert(Session { listener, client, socket, used: now }))
    }

    fn close(&mut self, id: usize, interest: &Interest) {
        if let Some(session) = self.sessions.remove(&id) {
            interest.remove(&session.socket);
        }
    }

    /// From the container back to the client.
    pub(super) fn answer(
        &mut self,
        id: usize,
        scratch: &mut [u8],
        interest: &Interest,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        loop {
            match session.socket.recv(scratch) {
                Ok(length) => {
                    session.used = now;
                    if let Some((listener, _)) = self.listeners.get(session.listener) {
                        let _ = listener.send_to(&scratch[..length], session.client);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                // No one listens in the container (ICMP port unreachable): the next
                // datagram may find someone.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        self.close(id, interest);
    }

    pub(super) fn expire(&mut self, now: Instant, interest: &Interest) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.sessions.retain(|_, session| {
            let speaks = now.duration_since(session.used) < LIFETIME;
            if !speaks {
                interest.remove(&session.socket);
            }
            speaks
        });
    }
}
