//! The monitor's end of one connection.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::protocol::{Event, MAX_DATA, Request};

/// The program that a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The container's own.
    Container,
    /// That of an exec session, by the monitor's number for it.
    Session(u32),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: Rc<OwnedFd>,
    pending: VecDeque<Vec<u8>>,
    pub(super) target: Target,
    /// Wants the output.
    pub(super) output: bool,
    /// What it sends is the program's input.
    pub(super) stdin: bool,
    /// The container ends with it.
    pub(super) owner: bool,
    /// Waits to hear whether the program was started.
    pub(super) awaits_start: bool,
    /// Has asked for something that the program's end is the answer to.
    pub(super) awaits_end: bool,
    /// Nothing more is said to it than what is pending.
    pub(super) leaving: bool,
    /// Gone.
    pub(super) closed: bool,
}

impl Client {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket: Rc::new(socket),
            pending: VecDeque::new(),
            target: Target::Container,
            output: false,
            stdin: false,
            owner: false,
            awaits_start: false,
            awaits_end: false,
            leaving: false,
            closed: false,
        }
    }

    /// Whether something waits to be taken.
    pub(super) fn is_behind(&self) -> bool {
        !self.pending.is_empty() && !self.closed
    }

    /// Sends, or keeps for later.
    pub(super) fn send(&mut self, event: &Event) {
        if self.leaving || self.closed {
            return;
        }
        self.pending.push_back(event.encode());
        self.flush();
    }

    /// Sends the last that there is to say.
    pub(super) fn send_last(&mut self, event: &Event) {
        self.send(event);
        self.leaving = true;
    }

    /// Sends what can be sent without waiting.
    pub(super) fn flush(&mut self) {
        while let Some(packet) = self.pending.front() {
            match send(&self.socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => drop(self.pending.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.closed = true;
                    self.pending.clear();
                }
            }
        }
    }

    /// The next request, if one is there.
    pub(super) fn receive(&mut self) -> Option<Request> {
        let mut packet = vec![0; MAX_DATA + 16];
        loop {
            match recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.closed = true;
                    return None;
                }
                Ok((length, _)) => {
                    if let Some(request) = packet.get(..length).and_then(Request::decode) {
                        return Some(request);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Err(_) => {
                    self.closed = true;
                    return None;
                }
            }
        }
    }
}

/// A socket that is closed with requests unread resets the connection, at which the other side
/// would lose the events that it has not read yet, the exit status among them.
impl Drop for Client {
    fn drop(&mut self) {
        let _ = shutdown(&self.socket, Shutdown::Read);
        let mut packet = [0; 64];
        while matches!(
            recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT),
            Ok((1.., _)) | Err(Errno::INTR)
        ) {}
    }
}
