//! What a monitor and those attached to it tell each other, one packet a message
//! (SOCK_SEQPACKET, unix(7)).

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send,
};

use crate::error::{Result, file};

/// Most bytes of data in a message.
pub const MAX_DATA: usize = 16 << 10;

/// To the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send me the output; `stdin`: what I send is the program's input.
    Attach {
        /// Whether input is sent.
        stdin: bool,
    },
    /// Tell me the exit status only.
    Wait,
    /// Input.
    Input(Vec<u8>),
    /// The input has ended.
    EndOfInput,
    /// The terminal has this many rows and columns.
    Size(u16, u16),
    /// Send this signal to the program.
    Signal(i32),
    /// I go; the program keeps its input.
    Detach,
    /// The container is mine: kill it when I am gone.
    Own,
}

/// From the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Standard output, or the terminal's.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// Something that the person should see.
    Notice(String),
    /// The program runs.
    Started,
    /// It could not be started: the exit code for the engine, and why.
    Failed(u8, String),
    /// It has ended.
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
    fn encode(&self) -> Vec<u8> {
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
        }
    }

    fn decode(packet: &[u8]) -> Option<Self> {
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
            _ => return None,
        })
    }
}

impl Event {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(data) => with(b'1', data),
            Self::Stderr(data) => with(b'2', data),
            Self::Notice(text) => with(b'n', clip(text)),
            Self::Started => with(b's', &[]),
            Self::Failed(status, text) => {
                let mut data = vec![*status];
                data.extend_from_slice(clip(text));
                with(b'f', &data)
            }
            Self::Exited(status) => with(b'x', &status.to_le_bytes()),
        }
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, data) = packet.split_first()?;
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        Some(match tag {
            b'1' => Self::Stdout(data.to_vec()),
            b'2' => Self::Stderr(data.to_vec()),
            b'n' => Self::Notice(text(data)),
            b's' => Self::Started,
            b'f' => {
                let (status, rest) = data.split_first()?;
                Self::Failed(*status, text(rest))
            }
            b'x' => Self::Exited(number(data)?),
            _ => return None,
        })
    }
}

fn clip(text: &str) -> &[u8] {
    text.as_bytes().get(..MAX_DATA).unwrap_or(text.as_bytes())
}

/// The end of whoever is attached.
#[derive(Debug)]
pub struct Attachment(pub OwnedFd);

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

    /// Waits for the next event; `None` where the monitor is gone.
    ///
    /// # Errors
    /// The errno of recv(2).
    pub fn receive(&self) -> Result<Option<Event>, Errno> {
        let mut packet = vec![0; MAX_DATA + 16];
        loop {
            match recv(&self.0, &mut packet[..], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
                Ok((length, _)) => {
                    if let Some(event) = packet.get(..length).and_then(Event::decode) {
                        return Ok(Some(event));
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
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

/// The monitor's end of one attached.
#[derive(Debug)]
pub struct Client {
    /// Its socket.
    pub socket: OwnedFd,
    pending: VecDeque<Vec<u8>>,
    /// Wants the output.
    pub output: bool,
    /// What it sends is the program's input.
    pub stdin: bool,
    /// The container ends with it.
    pub owner: bool,
    /// Gone.
    pub closed: bool,
}

impl Client {
    /// One who has just connected.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            pending: VecDeque::new(),
            output: false,
            stdin: false,
            owner: false,
            closed: false,
        }
    }

    /// Whether something waits to be taken.
    pub fn is_behind(&self) -> bool {
        !self.pending.is_empty() && !self.closed
    }

    /// Sends, or keeps for later.
    pub fn send(&mut self, event: &Event) {
        self.pending.push_back(event.encode());
        self.flush();
    }

    /// Sends what can be sent without waiting.
    pub fn flush(&mut self) {
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
    pub fn receive(&mut self) -> Option<Request> {
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
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let events = [
            Event::Stdout(vec![0, 1]),
            Event::Stderr(Vec::new()),
            Event::Notice("n".to_owned()),
            Event::Started,
            Event::Failed(127, "no such file".to_owned()),
            Event::Exited(137),
        ];
        for event in events {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        assert_eq!(Request::decode(b"k1"), None);
        assert_eq!(Event::decode(b""), None);
    }
}
