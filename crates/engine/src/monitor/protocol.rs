//! The protocol between a monitor and its clients, one packet a message (SOCK_SEQPACKET,
//! unix(7)).
//!
//! A connection is about the container's own program until it names an exec session:
//!
//! ```text
//! attach    Attach                          -> Stdout, Stderr, ...          Exited
//! wait      Wait                            ->                              Exited
//! start     Attach, Size (inherited socket) -> Notice, Started, Stdout, ... Exited
//! restart   Restart                         -> Exited, Notice, Started
//! stop      ByHand, Wait; Stop where the program is not there      -> Exited
//! exec      Session, Attach, Start          -> Started, Stdout, ...         Exited
//! ```
//!
//! `Failed` comes in place of `Started`. A monitor ignores what it does not know, so new
//! requests are only sent to one whose [`VERSION`] (in state.json) has them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send,
};

use crate::error::{ErrorKind, Failure, Result, file};

/// What a monitor understands.
pub const VERSION: u32 = 2;

/// The first version with `Session`, `Start` and `Restart`.
pub const SESSIONS: u32 = 1;

/// The first version that has restart policies and health checks, and `ByHand`, `Stop` and
/// `Changed`.
pub const POLICIES: u32 = 2;

/// In [`Request::ByHand`]: what was announced is not going to end the program after all.
pub const NOBODY: i32 = -1;

/// Most bytes of data in a message.
pub const MAX_DATA: usize = 16 << 10;

/// To the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send the program's output from now on.
    Attach {
        /// Whether this connection sends the program's input.
        stdin: bool,
    },
    /// Send the exit status only.
    Wait,
    /// Input for the program.
    Input(Vec<u8>),
    /// The input has ended.
    EndOfInput,
    /// Resize the terminal to so many rows and columns.
    Size(u16, u16),
    /// Send this signal to the program.
    Signal(i32),
    /// This connection ends, and the program keeps its input.
    Detach,
    /// Kill the container when this connection ends.
    Own,
    /// This connection is about the exec session with this id.
    Session(String),
    /// Run the program of the exec session.
    Start,
    /// Run the container's program again when it has ended, or now where it is waited for.
    Restart,
    /// Somebody asks for the program's end, and is about to send it this signal; 0 where the
    /// end is wanted whatever ends it. No restart policy runs it again then.
    ByHand(i32),
    /// Stop the container: it is not run again, and a program that runs gets the signal, and
    /// KILL so many milliseconds later.
    Stop(i32, u32),
    /// The container's record was changed.
    Changed,
}

/// From the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Standard output, or the terminal's.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// A remark for the user.
    Notice(String),
    /// The program runs.
    Started,
    /// The program could not be started, and why.
    Failed(Failure),
    /// The program has ended with this exit status.
    Exited(i32),
}

fn with(tag: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(data.len() + 1);
    packet.push(tag);
    packet.extend_from_slice(data);
    packet
}

fn number(data: &[u8]) -> Option<i32> {
    data.try_into().ok().map(i32::from_le_bytes)
}

impl Request {
    /// The packet that says this.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Attach { stdin } => with(b'A', &[u8::from(*stdin)]),
            Self::Wait => with(b'W', &[]),
            Self::Input(data) => with(b'i', data),
            Self::EndOfInput => with(b'e', &[]),
            Self::Size(rows, columns) => {
                let [a, b] = rows.to_le_bytes();
                let [c, d] = columns.to_le_bytes();
                with(b'w', &[a, b, c, d])
            }
            Self::Signal(signal) => with(b'k', &signal.to_le_bytes()),
            Self::Detach => with(b'd', &[]),
            Self::Own => with(b'o', &[]),
            Self::Session(id) => with(b'S', id.as_bytes()),
            Self::Start => with(b'r', &[]),
            Self::Restart => with(b'R', &[]),
            Self::ByHand(signal) => with(b'H', &signal.to_le_bytes()),
            Self::Stop(signal, patience) => {
                let (signal, patience) = (signal.to_le_bytes(), patience.to_le_bytes());
                with(b'P', &[signal, patience].concat())
            }
            Self::Changed => with(b'C', &[]),
        }
    }

    /// Reads a packet; `None` where it is malformed.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, data) = packet.split_first()?;
        Some(match (tag, data) {
            (b'A', [stdin]) => Self::Attach { stdin: *stdin == 1 },
            (b'W', []) => Self::Wait,
            (b'i', data) => Self::Input(data.to_vec()),
            (b'e', []) => Self::EndOfInput,
            (b'w', [a, b, c, d]) => {
                Self::Size(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))
            }
            (b'k', data) => Self::Signal(number(data)?),
            (b'd', []) => Self::Detach,
            (b'o', []) => Self::Own,
            (b'S', id) => Self::Session(String::from_utf8(id.to_vec()).ok()?),
            (b'r', []) => Self::Start,
            (b'R', []) => Self::Restart,
            (b'H', data) => Self::ByHand(number(data)?),
            (b'P', [a, b, c, d, e, f, g, h]) => {
                let signal = i32::from_le_bytes([*a, *b, *c, *d]);
                Self::Stop(signal, u32::from_le_bytes([*e, *f, *g, *h]))
            }
            (b'C', []) => Self::Changed,
            _ => return None,
        })
    }
}

impl Event {
    /// The packet that says this.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(data) => with(b'1', data),
            Self::Stderr(data) => with(b'2', data),
            Self::Notice(text) => with(b'n', clip(text)),
            Self::Started => with(b's', &[]),
            Self::Failed(failure) => with(b'F', &packed(failure)),
            Self::Exited(status) => with(b'x', &status.to_le_bytes()),
        }
    }

    /// Reads a packet; `None` where it is malformed.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, data) = packet.split_first()?;
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        Some(match tag {
            b'1' => Self::Stdout(data.to_vec()),
            b'2' => Self::Stderr(data.to_vec()),
            b'n' => Self::Notice(text(data)),
            b's' => Self::Started,
            b'F' => Self::Failed(serde_json::from_slice(data).ok()?),
            // Of an older monitor: what it would exit with, and a text.
            b'f' => {
                let (status, rest) = data.split_first()?;
                let kind = ErrorKind::from_program_status(*status);
                Self::Failed(Failure::new(kind, text(rest)))
            }
            b'x' => Self::Exited(number(data)?),
            _ => return None,
        })
    }
}

/// A failure as JSON. A text is cut that could not be sent whole: an escaped character has six
/// bytes at most.
fn packed(failure: &Failure) -> Vec<u8> {
    let whole = serde_json::to_vec(failure).unwrap_or_default();
    if (1..=MAX_DATA).contains(&whole.len()) {
        return whole;
    }
    let message = failure.message.chars().take(MAX_DATA / 8).collect();
    serde_json::to_vec(&Failure::new(failure.kind, message)).unwrap_or_default()
}

fn clip(text: &str) -> &[u8] {
    text.as_bytes().get(..MAX_DATA).unwrap_or(text.as_bytes())
}

/// A client's end of a connection.
#[derive(Debug)]
pub struct Attachment(pub OwnedFd);

/// What [`Attachment::receive_until`] has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next event.
    Event(Event),
    /// The monitor is gone.
    End,
    /// The time has come before an event.
    TimedOut,
}

impl Attachment {
    /// Sends a request, waiting where the monitor is slow.
    ///
    /// # Errors
    /// The errno; EPIPE where the monitor is gone.
    pub fn send(&self, request: &Request) -> Result<(), Errno> {
        loop {
            match send(&self.0, &request.encode(), SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Sends a request, or nothing where the monitor does not read.
    ///
    /// # Errors
    /// EAGAIN then; EPIPE where the monitor is gone.
    pub fn try_send(&self, request: &Request) -> Result<(), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match send(&self.0, &request.encode(), flags) {
                Err(Errno::INTR) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Waits for the next event; `None` where the monitor is gone.
    ///
    /// # Errors
    /// The errno of recv(2).
    pub fn receive(&self) -> Result<Option<Event>, Errno> {
        let mut packet = vec![0; MAX_DATA + 16];
        loop {
            match recv(&self.0, &mut packet[..], RecvFlags::empty()) {
                Ok((0, _)) => return Ok(None),
                Ok((length, _)) => {
                    if let Some(event) = packet.get(..length).and_then(Event::decode) {
                        return Ok(Some(event));
                    }
                }
                // The monitor has gone without reading all that was sent to it. That is told
                // once, and before the events that are still to be read.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The same, until a time at most; `None` for ever.
    ///
    /// # Errors
    /// The errno of poll(2) or recv(2).
    pub fn receive_until(&self, until: Option<Instant>) -> Result<Received, Errno> {
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            let spec = rest.and_then(|rest| Timespec::try_from(rest).ok());
            match poll(&mut fds, spec.as_ref()) {
                Ok(0) => return Ok(Received::TimedOut),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => {
                    return Ok(self.receive()?.map_or(Received::End, Received::Event));
                }
            }
        }
    }

    /// Connects to the monitor that listens in `directory`; `None` where none does.
    ///
    /// # Errors
    /// The errno of socket(2) or connect(2).
    pub fn connect(directory: &Path) -> Result<Option<Self>> {
        // An address has 108 bytes (unix(7)): the directory goes by its descriptor.
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let opened = match rustix::fs::open(directory, flags, rustix::fs::Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(file("open", directory)(errno)),
        };
        let path =
            format!("/proc/self/fd/{}/{SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&opened.as_fd()));
        let socket = seqpacket(SocketFlags::CLOEXEC).map_err(file("make", "a socket"))?;
        let address = SocketAddrUnix::new(&*path).map_err(file("address", directory))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => Ok(Some(Self(socket))),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(file("connect to the monitor in", directory)(errno)),
        }
    }
}

/// Name of the monitor's socket in the container's run directory.
pub const SOCKET: &str = "attach.sock";

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The monitor's socket in the current directory, listening.
///
/// # Errors
/// The errno.
pub fn listen() -> Result<OwnedFd, Errno> {
    let _ = std::fs::remove_file(SOCKET);
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(SOCKET)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Both ends of a connection without a name.
///
/// # Errors
/// The errno of socketpair(2).
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_went() {
        let requests = [
            Request::Attach { stdin: true },
            Request::Wait,
            Request::Input(b"abc".to_vec()),
            Request::EndOfInput,
            Request::Size(24, 80),
            Request::Signal(15),
            Request::Detach,
            Request::Own,
            Request::Session("0123".to_owned()),
            Request::Start,
            Request::Restart,
            Request::ByHand(1),
            Request::Stop(15, 10_000),
            Request::Changed,
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let events = [
            Event::Stdout(vec![0, 1]),
            Event::Stderr(Vec::new()),
            Event::Notice("n".to_owned()),
            Event::Started,
            Event::Failed(Failure::new(ErrorKind::ProgramNotFound, "no such file".to_owned())),
            Event::Exited(137),
        ];
        for event in events {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        let older = Failure::new(ErrorKind::NotExecutable, "no".to_owned());
        assert_eq!(Event::decode(b"f\x7eno"), Some(Event::Failed(older)));
        let long = Failure::new(ErrorKind::Io, "\x01".repeat(MAX_DATA));
        let packet = Event::Failed(long).encode();
        assert!(packet.len() <= MAX_DATA + 1, "{}", packet.len());
        assert!(matches!(Event::decode(&packet), Some(Event::Failed(_))));
        assert_eq!(Request::decode(b"k1"), None);
        assert_eq!(Event::decode(b""), None);
        assert_eq!(Request::decode(b"?of a later version"), None);
        assert_eq!(Request::decode(b"S\xff"), None);
    }

    #[test]
    fn an_exit_status_is_read_though_input_was_in_flight() {
        let (ours, theirs) = pair().unwrap();
        let attachment = Attachment(ours);
        attachment.send(&Request::Input(b"more".to_vec())).unwrap();
        send(&theirs, &Event::Exited(3).encode(), SendFlags::NOSIGNAL).unwrap();
        // With a request unread, which resets the connection.
        drop(theirs);
        assert_eq!(attachment.receive(), Ok(Some(Event::Exited(3))));
        assert_eq!(attachment.receive(), Ok(None));
    }
}
