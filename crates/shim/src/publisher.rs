//! Events for containerd: sent in order, and kept until containerd has acknowledged them.
//!
//! containerd may be restarted at any time. What has not been acknowledged is sent again on the
//! next connection, so that an exit is told at least once (containerd issues 3177 and 6771).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use prost::{Message, Name};
use rustix::event::epoll::EventFlags;

use crate::message::event::{Envelope, ForwardRequest};
use crate::message::{Any, Timestamp};
use crate::poller::{Poller, Token};
use crate::ttrpc::{Decoder, REQUEST, Request, frame};

/// The most events that are kept for a containerd that does not answer; the oldest go first.
const LIMIT: usize = 8192;
/// Time between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// The queue of events and the connection that they go over.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// containerd's ttrpc socket; `None` where it named none, and then nothing is published.
    address: Option<String>,
    namespace: String,
    queue: VecDeque<Envelope>,
    connection: Option<Connection>,
    /// Events that were dropped, for the log.
    dropped: u64,
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    decoder: Decoder,
    /// Bytes that the socket did not take yet.
    output: Vec<u8>,
    /// Whether the first event of the queue was sent. Only one is on its way: containerd works on
    /// the requests of a connection at the same time, and would tell events out of order.
    sent: bool,
    next_stream: u32,
}

impl Publisher {
    /// Publishes to the socket in `TTRPC_ADDRESS`.
    pub(crate) fn new(address: Option<String>, namespace: String) -> Self {
        let address = address.filter(|address| !address.is_empty());
        let address = address.map(|address| match address.strip_prefix("unix://") {
            Some(path) => path.to_owned(),
            None => address,
        });
        Self { address, namespace, queue: VecDeque::new(), connection: None, dropped: 0 }
    }

    /// Queues an event and sends what can be sent.
    pub(crate) fn publish<E: Name>(&mut self, topic: &str, event: &E, poller: &mut Poller) {
        if self.address.is_none() {
            return;
        }
        if self.queue.len() == LIMIT {
            // The first may be on its way.
            self.queue.remove(1);
            self.dropped += 1;
        }
        self.queue.push_back(Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(Any::pack(event)),
        });
        self.advance(poller);
    }

    /// Whether every event was acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() || self.address.is_none()
    }

    /// Goes on after the socket became ready, or at the time of another attempt.
    pub(crate) fn advance(&mut self, poller: &mut Poller) {
        if self.queue.is_empty() && self.connection.is_none() {
            return;
        }
        if self.connection.is_none() && !self.connect(poller) {
            poller.set_timer(Token::Retry, RETRY);
            return;
        }
        if self.receive().and_then(|()| self.send(poller)).is_none() {
            if let Some(connection) = self.connection.take() {
                poller.remove(&connection.socket);
            }
            if !self.queue.is_empty() {
                poller.set_timer(Token::Retry, RETRY);
            }
        }
    }

    fn connect(&mut self, poller: &Poller) -> bool {
        let Some(address) = &self.address else { return false };
        let Ok(socket) = UnixStream::connect(address) else { return false };
        let flags = EventFlags::IN | EventFlags::RDHUP;
        if socket.set_nonblocking(true).is_err()
            || poller.add(&socket, Token::Publisher, flags).is_err()
        {
            return false;
        }
        self.connection = Some(Connection {
            socket,
            decoder: Decoder::default(),
            output: Vec::new(),
            sent: false,
            next_stream: 1,
        });
        true
    }

    /// Reads acknowledgements; `None` where the connection is at its end.
    fn receive(&mut self) -> Option<()> {
        let connection = self.connection.as_mut()?;
        let mut buffer = [0; 1024];
        loop {
            match connection.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => connection.decoder.push(buffer.get(..length)?),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        // An event that containerd refuses would be refused again.
        while connection.decoder.next_frame().is_some() {
            if std::mem::take(&mut connection.sent) {
                self.queue.pop_front();
            }
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(())
    }

    fn send(&mut self, poller: &Poller) -> Option<()> {
        let connection = self.connection.as_mut()?;
        if let Some(envelope) = self.queue.front().filter(|_| !connection.sent) {
            let request = Request {
                service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
                method: "Forward".to_owned(),
                payload: ForwardRequest { envelope: Some(envelope.clone()) }.encode_to_vec(),
                timeout: 0,
            };
            connection.output.extend(frame(connection.next_stream, REQUEST, &request));
            connection.next_stream = connection.next_stream.wrapping_add(2);
            connection.sent = true;
        }
        while !connection.output.is_empty() {
            match connection.socket.write(&connection.output) {
                Ok(written) => drop(connection.output.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        let mut flags = EventFlags::IN | EventFlags::RDHUP;
        flags.set(EventFlags::OUT, !connection.output.is_empty());
        if connection.output.is_empty() {
            connection.output = Vec::new();
        }
        poller.change(&connection.socket, Token::Publisher, flags).ok()
    }
}
