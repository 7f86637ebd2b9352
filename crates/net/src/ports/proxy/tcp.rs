//! One TCP connection: two sockets, two directions.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::{Interest, Token};

/// Reads in a row before other connections are looked after.
const TURNS: usize = 16;

/// What has been read on one side and not yet been written on the other.
#[derive(Debug, Default)]
struct Direction {
    pending: Vec<u8>,
    ended: bool,
    passed_on: bool,
}

#[derive(Debug)]
pub(super) struct Flow {
    client: TcpStream,
    server: TcpStream,
    connecting: bool,
    up: Direction,
    down: Direction,
    /// Whether client and server are in the epoll set.
    watched: [bool; 2],
}

impl Direction {
    /// Moves until one side would block or others are to have a turn. False if the connection is broken.
    fn pump(&mut self, from: &TcpStream, to: &TcpStream, scratch: &mut [u8]) -> bool {
        let mut turns = 0;
        loop {
            match flush(&mut self.pending, to) {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
            if self.ended {
                if !self.passed_on {
                    self.passed_on = true;
                    // Fails where the other side has gone, which its reading shows.
                    let _ = to.shutdown(Shutdown::Write);
                }
                return true;
            }
            // Only here, where there is something left to watch for: with nothing
            // pending and no end seen, that is the next byte.
            if turns == TURNS {
                return true;
            }
            turns += 1;
            let mut from = from;
            match from.read(scratch) {
                Ok(0) => self.ended = true,
                Ok(length) => self.pending.extend_from_slice(&scratch[..length]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

/// Writes what is pending: all of it, as much as fits, or `None` on an error.
fn flush(pending: &mut Vec<u8>, mut to: &TcpStream) -> Option<bool> {
    let mut written = 0;
    let result = loop {
        if written == pending.len() {
            break Some(true);
        }
        match to.write(&pending[written..]) {
            Ok(length) => written += length,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break Some(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => break None,
        }
    };
    pending.drain(..written);
    if pending.is_empty() {
        // An idle connection holds no memory.
        pending.shrink_to_fit();
    }
    result
}

impl Flow {
    /// Begins to connect a client to the target. `None` ends the client's connection.
    pub(super) fn open(
        client: TcpStream,
        target: SocketAddr,
        id: usize,
        interest: &Interest,
    ) -> Option<Self> {
        client.set_nonblocking(true).ok()?;
        let server = start_connect(target).ok()?;
        let _ = client.set_nodelay(true);
        let server = TcpStream::from(server);
        let _ = server.set_nodelay(true);
        let mut flow = Self {
            client,
            server,
            connecting: true,
            up: Direction::default(),
            down: Direction::default(),
            watched: [true; 2],
        };
        let added = interest.add(&flow.client, Token::Client(id), EventFlags::empty())
            && interest.add(&flow.server, Token::Server(id), EventFlags::OUT);
        if !added {
            flow.reset();
        }
        added.then_some(flow)
    }

    /// Handles an event of one of the two sockets. False if the flow is over.
    pub(super) fn pump(&mut self, is_server: bool, flags: EventFlags, scratch: &mut [u8]) -> bool {
        if self.connecting {
            if !is_server {
                // The client gave up.
                return !flags.intersects(EventFlags::HUP | EventFlags::ERR);
            }
            if !matches!(self.server.take_error(), Ok(None)) {
                self.reset();
                return false;
            }
            self.connecting = false;
        }
        let moved = self.up.pump(&self.client, &self.server, scratch)
            && self.down.pump(&self.server, &self.client, scratch);
        moved && !(self.up.passed_on && self.down.passed_on)
    }

    /// The client of a refused connection sees it refused, not ended.
    fn reset(&mut self) {
        let _ = sockopt::set_socket_linger(&self.client, Some(Duration::ZERO));
    }

    /// Watches for what can be moved next; a side that is done with is left alone,
    /// or its hang-up would be reported for ever.
    pub(super) fn watch(&mut self, id: usize, interest: &Interest) -> bool {
        let sides = [
            (&self.client, Token::Client(id), &self.up, &self.down),
            (&self.server, Token::Server(id), &self.down, &self.up),
        ];
        for (i, (socket, token, from, to)) in sides.into_iter().enumerate() {
            if from.ended && to.passed_on {
                if std::mem::take(&mut self.watched[i]) {
                    interest.remove(socket);
                }
                continue;
            }
            let mut flags = EventFlags::empty();
            if !from.ended && from.pending.is_empty() {
                flags |= EventFlags::IN;
            }
            if !to.pending.is_empty() {
                flags |= EventFlags::OUT;
            }
            if self.connecting {
                flags = if i == 1 { EventFlags::OUT } else { EventFlags::empty() };
            }
            if self.watched[i] && !interest.change(socket, token, flags) {
                return false;
            }
        }
        true
    }
}

fn start_connect(target: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
