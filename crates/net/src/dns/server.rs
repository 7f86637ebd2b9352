//! The server: one epoll instance, no thread, made for a container's monitor as
//! [`crate::LoopbackProxy`] is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::rand::{GetRandomFlags, getrandom};

use super::forward::{Client, Pending, Servers};
use super::message::{A, AAAA, ANY, Code, MX, PTR, Query, Record};
use super::redirect;
use super::stream::{Broken, Stream};
use super::zone::{Zone, reverse};
use crate::error::{Error, Result};
use crate::links::netns::NetNs;
use crate::networks::Networks;

/// Questions at once that others are asked; the next is refused.
const MAX_PENDING: usize = 128;
const MAX_STREAMS: usize = 16;
/// A connection without a question ends.
const IDLE: Duration = Duration::from_secs(10);
/// resolv.conf(5) has as many.
const MAX_SERVERS: usize = 3;
const EVENTS: usize = 32;
/// Questions that are read before others have their turn.
const TURN: usize = 64;
const LARGEST_STREAM_ANSWER: usize = u16::MAX as usize;

/// What a server is started with.
#[derive(Debug)]
pub struct Config {
    /// The networks, whose leases are read at each question.
    pub networks: Networks,
    /// The id of the container that asks.
    pub container: String,
    /// Its network namespace, whose loopback is up.
    pub netns: NetNs,
    /// The servers that know all other names, in order. Those on a loopback address are
    /// asked from the host; a container on internal networks alone must have none of these.
    pub servers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Udp,
    Listener,
    Stream(usize),
    Pending(usize),
}

impl Token {
    fn encode(self) -> EventData {
        let (kind, number) = match self {
            Self::Udp => (0, 0),
            Self::Listener => (1, 0),
            Self::Stream(number) => (2, number),
            Self::Pending(number) => (3, number),
        };
        EventData::new_u64((number as u64) << 2 | kind)
    }

    fn decode(data: EventData) -> Self {
        let number = (data.u64() >> 2) as usize;
        match data.u64() & 3 {
            0 => Self::Udp,
            1 => Self::Listener,
            2 => Self::Stream(number),
            _ => Self::Pending(number),
        }
    }
}

/// A container's DNS server. Dropping it ends it.
#[derive(Debug)]
pub struct DnsServer {
    epoll: OwnedFd,
    udp: UdpSocket,
    listener: TcpListener,
    streams: HashMap<usize, (Stream, Instant)>,
    pending: HashMap<usize, Pending>,
    /// Counts up: an event left over finds no other in its place.
    next: usize,
    networks: Networks,
    container: String,
    servers: Servers,
}

fn failed(e: impl Into<std::io::Error>) -> Error {
    Error::system("set up a container's DNS server", e)
}

impl DnsServer {
    /// Listens in the container's namespace, and leads 127.0.0.11:53 there.
    ///
    /// # Errors
    ///
    /// Those of bind(2), setns(2) and nf_tables.
    pub fn start(config: Config) -> Result<Self> {
        let at = SocketAddr::new(redirect::ADDRESS, 0);
        let listen = || -> Result<_> {
            let udp = UdpSocket::bind(at).map_err(failed)?;
            let listener = TcpListener::bind(at).map_err(failed)?;
            let port = |address: std::io::Result<SocketAddr>| address.map(|a| a.port());
            let ports = (port(udp.local_addr()), port(listener.local_addr()));
            redirect::install(ports.0.map_err(failed)?, ports.1.map_err(failed)?)?;
            Ok((udp, listener))
        };
        let (udp, listener) = config.netns.enter(listen)??;
        udp.set_nonblocking(true).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        epoll::add(&epoll, &udp, Token::Udp.encode(), EventFlags::IN).map_err(failed)?;
        epoll::add(&epoll, &listener, Token::Listener.encode(), EventFlags::IN).map_err(failed)?;
        let mut addresses = config.servers;
        addresses.truncate(MAX_SERVERS);
        Ok(Self {
            epoll,
            udp,
            listener,
            streams: HashMap::new(),
            pending: HashMap::new(),
            next: 0,
            networks: config.networks,
            container: config.container,
            servers: Servers { addresses, netns: config.netns },
        })
    }

    /// How long until [`Self::dispatch`] wants to be called though nothing is
    /// readable; `None` is for ever.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        if self.streams.values().any(|(stream, _)| stream.has_message()) {
            return Some(Duration::ZERO);
        }
        let pending = self.pending.values().map(|pending| pending.deadline);
        let streams = self.streams.values().map(|(_, idle)| *idle);
        let first = pending.chain(streams).min();
        first.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Answers what can be answered, without waiting.
    ///
    /// # Errors
    ///
    /// That of epoll_wait(2), which is none that a caller can cause.
    pub fn dispatch(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&zero)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for a DNS server's sockets", errno)),
        }
        for event in &events {
            match Token::decode(event.data) {
                Token::Udp => self.receive(),
                Token::Listener => self.accept(),
                Token::Stream(number) => self.serve_stream(number),
                Token::Pending(number) => self.advance(number),
            }
        }
        // What was read of them before it was their turn to be answered.
        let waiting = self.streams.iter().filter(|(_, (stream, _))| stream.has_message());
        let waiting: Vec<usize> = waiting.map(|(number, _)| *number).collect();
        waiting.into_iter().for_each(|number| self.serve_stream(number));
        self.expire(Instant::now());
        Ok(())
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; u16::MAX as usize];
        for _ in 0..TURN {
            let Ok((length, from)) = self.udp.recv_from(&mut buffer) else { return };
            let message = buffer[..length].to_vec();
            self.ask(message, Client::Udp(from));
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let number = self.next;
            self.next += 1;
            // Beyond the limit a connection is closed: resolvers try again.
            let is_served = self.streams.len() < MAX_STREAMS
                && socket.set_nonblocking(true).is_ok()
                && epoll::add(&self.epoll, &socket, Token::Stream(number).encode(), EventFlags::IN)
                    .is_ok();
            if is_served {
                self.streams.insert(number, (Stream::new(socket), Instant::now() + IDLE));
            }
        }
    }

    fn serve_stream(&mut self, number: usize) {
        let client = Client::Tcp(number);
        for _ in 0..TURN {
            let Some((stream, idle)) = self.streams.get_mut(&number) else { return };
            let received = stream.flush().and_then(|()| stream.receive());
            match received {
                Ok(Some(message)) => {
                    *idle = Instant::now() + IDLE;
                    self.ask(message, client);
                }
                Ok(None) => return self.watch_stream(number),
                Err(Broken) => {
                    self.streams.remove(&number);
                    return;
                }
            }
        }
    }

    fn watch_stream(&mut self, number: usize) {
        let Some((stream, _)) = self.streams.get(&number) else { return };
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, stream.is_sending());
        let _ = epoll::modify(&self.epoll, stream.socket(), Token::Stream(number).encode(), flags);
    }

    fn ask(&mut self, message: Vec<u8>, client: Client) {
        let query = match Query::read(&message) {
            Ok(query) => query,
            Err(Some(answer)) => return self.send(client, &answer),
            Err(None) => return,
        };
        if let Some(answer) = self.answer(&query, client) {
            return self.send(client, &answer);
        }
        let size = size_of(&query, client);
        if self.pending.len() >= MAX_PENDING {
            return self.send(client, &query.answer(Code::Refused, &[], size));
        }
        let refusal = query.answer(Code::ServerFailure, &[], size);
        match Pending::ask(&self.servers, query, message, client) {
            Some(pending) => self.wait_for(pending),
            None => self.send(client, &refusal),
        }
    }

    /// The answer, if the question is about a container.
    fn answer(&self, query: &Query, client: Client) -> Option<Vec<u8>> {
        let name = query.name.as_deref().filter(|_| query.is_internet())?;
        // What cannot be read is not taken for a name that nobody has.
        let Ok(zone) = Zone::read(&self.networks, &self.container) else {
            return Some(query.answer(Code::ServerFailure, &[], size_of(query, client)));
        };
        let records = if query.kind == PTR {
            vec![Record::Pointer(zone.name_of(reverse(name)?)?)]
        } else {
            let wanted = |ip: &IpAddr| match query.kind {
                A => ip.is_ipv4(),
                AAAA => ip.is_ipv6(),
                ANY => true,
                _ => false,
            };
            let mut addresses = zone.addresses(name)?;
            if ![A, AAAA, MX, ANY].contains(&query.kind) {
                return None;
            }
            addresses.retain(wanted);
            shuffle(&mut addresses);
            addresses.into_iter().map(Record::Address).collect()
        };
        Some(query.answer(Code::NoError, &records, size_of(query, client)))
    }

    fn wait_for(&mut self, pending: Pending) {
        let number = self.next;
        self.next += 1;
        let token = Token::Pending(number).encode();
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, pending.wants_to_write());
        if epoll::add(&self.epoll, &pending, token, flags).is_ok() {
            self.pending.insert(number, pending);
        } else {
            self.fail(&pending.query, pending.client);
        }
    }

    fn advance(&mut self, number: usize) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        match pending.advance() {
            Ok(None) => {
                let mut flags = EventFlags::IN;
                flags.set(EventFlags::OUT, pending.wants_to_write());
                let token = Token::Pending(number).encode();
                let _ = epoll::modify(&self.epoll, &*pending, token, flags);
            }
            Ok(Some(answer)) => {
                let (query, client) = (&pending.query, pending.client);
                let answer = query.fit(answer, size_of(query, client));
                self.pending.remove(&number);
                self.send(client, &answer);
            }
            Err(()) => self.try_next(number),
        }
    }

    fn try_next(&mut self, number: usize) {
        let Some(pending) = self.pending.remove(&number) else { return };
        let (query, client) = (pending.query.clone(), pending.client);
        match pending.ask_next(&self.servers) {
            Some(pending) => self.wait_for(pending),
            None => self.fail(&query, client),
        }
    }

    fn fail(&mut self, query: &Query, client: Client) {
        let answer = query.answer(Code::ServerFailure, &[], size_of(query, client));
        self.send(client, &answer);
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<usize> =
            self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(n, _)| *n).collect();
        late.into_iter().for_each(|number| self.try_next(number));
        self.streams.retain(|_, (_, idle)| *idle > now);
    }

    /// Datagrams may be lost; a connection that cannot take an answer ends.
    fn send(&mut self, client: Client, answer: &[u8]) {
        match client {
            Client::Udp(to) => {
                let _ = self.udp.send_to(answer, to);
            }
            Client::Tcp(number) => {
                let Some((stream, idle)) = self.streams.get_mut(&number) else { return };
                *idle = Instant::now() + IDLE;
                if stream.send(answer).is_err() {
                    self.streams.remove(&number);
                } else if stream.is_sending() {
                    self.watch_stream(number);
                }
            }
        }
    }
}

fn size_of(query: &Query, client: Client) -> usize {
    match client {
        Client::Udp(_) => query.udp_size,
        Client::Tcp(_) => LARGEST_STREAM_ANSWER,
    }
}

/// So that clients spread over the containers of one alias.
fn shuffle(addresses: &mut [IpAddr]) {
    let mut random = [0; 8];
    if addresses.len() < 2 || getrandom(&mut random, GetRandomFlags::empty()).is_err() {
        return;
    }
    let mut state = u64::from_ne_bytes(random);
    for end in (1..addresses.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        addresses.swap(end, (state >> 33) as usize % (end + 1));
    }
}

/// Readable when [`DnsServer::dispatch`] has something to do.
impl AsFd for DnsServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
