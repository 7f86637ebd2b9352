//! One connection to a systemd manager: authentication, a call and its answer,
//! and the end of a job.
//!
//! The manager's private socket is asked first: no bus daemon stands between,
//! no match is to be added, and signals come to every direct peer. The bus is
//! the way for those who may not open it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;
use super::wire::{self, Message, Target, Writer};

/// How long systemd may take for one thing: it stalls for many seconds where
/// hundreds of units are started at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest authentication answer (D-Bus Specification, "Authentication Protocol").
const LONGEST_LINE: usize = 16 << 10;
/// Signals kept while an answer is waited for.
const MOST_SIGNALS: usize = 4096;

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const DAEMON: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
};

/// Where a manager listens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    /// The manager's own socket, not that of a bus daemon.
    pub(super) direct: bool,
}

/// The sockets to try, best first.
pub(super) fn sockets(user: bool, variable: impl Fn(&str) -> Option<String>) -> Vec<Socket> {
    let direct = |path: String| Socket { path: path.into(), direct: true };
    let bus = |path: String| Socket { path: path.into(), direct: false };
    let named = |name: &str| path_of(&variable(name)?).map(bus);
    if !user {
        let standard = bus("/run/dbus/system_bus_socket".into());
        let private = direct("/run/systemd/private".into());
        return [Some(private), named("DBUS_SYSTEM_BUS_ADDRESS"), Some(standard)]
            .into_iter()
            .flatten()
            .collect();
    }
    let runtime = variable("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .unwrap_or_else(|| format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let private = direct(format!("{runtime}/systemd/private"));
    let standard = bus(format!("{runtime}/bus"));
    [Some(private), named("DBUS_SESSION_BUS_ADDRESS"), Some(standard)]
        .into_iter()
        .flatten()
        .collect()
}

/// The first path among addresses such as "unix:guid=1,path=/run/x;tcp:host=y", its bytes
/// as they are where they are escaped (D-Bus Specification, "Server Addresses").
fn path_of(addresses: &str) -> Option<String> {
    let sockets = addresses.split(';').filter_map(|one| one.strip_prefix("unix:"));
    let path =
        sockets.flat_map(|keys| keys.split(',')).find_map(|key| key.strip_prefix("path="))?;
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// A connection on which calls can be made.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    socket: PathBuf,
    serial: u32,
    /// The manager's name on the bus, as its answers say; empty where no bus is between.
    manager: String,
    /// Jobs that ended before they were asked about, with their results.
    ended: Vec<(String, String)>,
    deadline: Instant,
}

impl Bus {
    /// Connects to the first socket behind which there is a manager that takes our calls.
    pub(super) fn connect(sockets: &[Socket]) -> Result<Self, Failure> {
        let mut tried = Vec::new();
        let mut first = None;
        for socket in sockets {
            match UnixStream::connect(&socket.path) {
                Ok(stream) => match Self::start(stream, socket) {
                    // Another way to the same manager would keep the caller waiting again.
                    Err(failure) if !matches!(failure, Failure::Timeout { .. }) => {
                        first.get_or_insert(failure);
                    }
                    done => return done,
                },
                Err(error) => {
                    let errno = rustix::io::Errno::from_io_error(&error);
                    let why = errno.map_or_else(|| error.to_string(), crate::error::text);
                    tried.push(format!("{}: {why}", socket.path.display()));
                }
            }
        }
        Err(first.unwrap_or(Failure::Connect { tried: tried.join("; ") }))
    }

    fn start(stream: UnixStream, socket: &Socket) -> Result<Self, Failure> {
        let mut bus = Self {
            stream,
            socket: socket.path.clone(),
            serial: 0,
            manager: String::new(),
            ended: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        };
        // No identity is claimed: the server takes the socket's credentials,
        // which in a user namespace are others than the caller sees.
        bus.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        bus.authenticated()?;
        if !socket.direct {
            let call = |member| Target { member, ..DAEMON };
            bus.call(call("Hello"), "", Writer::default())?;
            let mut rule = Writer::default();
            rule.text(
                "type='signal',sender='org.freedesktop.systemd1',\
                 interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
            );
            bus.call(call("AddMatch"), "s", rule)?;
            bus.manager("Subscribe", "", Writer::default())?;
        }
        Ok(bus)
    }

    fn authenticated(&mut self) -> Result<(), Failure> {
        loop {
            let line = self.line()?;
            if line.starts_with("OK") {
                return Ok(());
            }
            // The server asks for the identity that "DATA" has already left open.
            if line != "DATA" {
                return Err(self.malformed(&format!("it refuses authentication: {line:?}")));
            }
        }
    }

    /// One line of the authentication; byte by byte, since messages follow.
    fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() == LONGEST_LINE {
                return Err(self.malformed("an endless line"));
            }
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.extend(byte);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| self.malformed("a line that is not text"))
    }

    /// Calls a method of the manager and returns the arguments of its answer.
    pub(super) fn manager(
        &mut self,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Vec<String>, Failure> {
        let target = Target { destination: DESTINATION, path: PATH, interface: MANAGER, member };
        self.call(target, signature, body)
    }

    /// The manager's version, 252 for "252.38-1~deb12u1"; 0 where it says none.
    pub(super) fn version(&mut self) -> Result<u32, Failure> {
        let text = self.property(PATH, MANAGER, "Version")?;
        let number = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next();
        Ok(number.and_then(|digits| digits.parse().ok()).unwrap_or(0))
    }

    /// Reads a property that is text.
    pub(super) fn property(
        &mut self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<String, Failure> {
        let target = Target {
            destination: DESTINATION,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        match self.call(target, "ss", body)?.pop() {
            Some(value) => Ok(value),
            None => Err(self.malformed("a property without a value")),
        }
    }

    fn call(
        &mut self,
        target: Target,
        signature: &str,
        body: Writer,
    ) -> Result<Vec<String>, Failure> {
        self.deadline = Instant::now() + PATIENCE;
        self.serial += 1;
        let serial = self.serial;
        self.send(&wire::call(serial, target, signature, body))?;
        loop {
            let message = self.message()?;
            match message.kind {
                wire::RETURN if message.reply_to == serial => {
                    if target.destination == DESTINATION {
                        self.manager.clone_from(&message.sender);
                    }
                    return message.arguments().map_err(|what| self.malformed(what));
                }
                wire::ERROR if message.reply_to == serial => {
                    let text = message.arguments().ok().and_then(|mut all| all.pop());
                    return Err(Failure::Refused {
                        member: target.member.to_owned(),
                        name: message.error_name,
                        text: text.unwrap_or_default(),
                    });
                }
                _ => self.note(&message)?,
            }
        }
    }

    /// Waits until a job has ended and returns its result, "done" if all went well.
    pub(super) fn job(&mut self, job: &str) -> Result<String, Failure> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.ended.iter().position(|(ended, _)| ended == job) {
                return Ok(self.ended.swap_remove(at).1);
            }
            let message = self.message()?;
            self.note(&message)?;
        }
    }

    fn note(&mut self, message: &Message) -> Result<(), Failure> {
        // Everybody may send signals to us on a bus.
        let removed = message.kind == wire::SIGNAL
            && message.sender == self.manager
            && message.interface == MANAGER
            && message.member == "JobRemoved";
        if !removed {
            return Ok(());
        }
        // Id, job, unit, result.
        let arguments = message.arguments().map_err(|what| self.malformed(what))?;
        let [_, job, _, result] = arguments.as_slice() else {
            return Err(self.malformed("a JobRemoved with other arguments"));
        };
        if self.ended.len() == MOST_SIGNALS {
            self.ended.clear();
        }
        self.ended.push((job.clone(), result.clone()));
        Ok(())
    }

    fn message(&mut self) -> Result<Message, Failure> {
        let mut bytes = vec![0; wire::PREFIX];
        self.receive(&mut bytes)?;
        let length = wire::length(&bytes).map_err(|what| self.malformed(what))?;
        let rest = bytes.len();
        bytes.resize(length.max(rest), 0);
        let mut tail = bytes.split_off(rest);
        self.receive(&mut tail)?;
        bytes.extend(tail);
        wire::parse(&bytes).map_err(|what| self.malformed(what))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let result = self.stream.set_write_timeout(Some(PATIENCE));
        result.and_then(|()| self.stream.write_all(bytes)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Failure::Timeout { seconds: PATIENCE.as_secs() },
            _ => self.lost(&error),
        })
    }

    fn receive(&mut self, mut buffer: &mut [u8]) -> Result<(), Failure> {
        while !buffer.is_empty() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Timeout { seconds: PATIENCE.as_secs() });
            }
            let timeout = self.stream.set_read_timeout(Some(left));
            match timeout.and_then(|()| self.stream.read(buffer)) {
                Ok(0) => return Err(self.malformed("it hung up")),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        let errno = rustix::io::Errno::from_io_error(error);
        self.malformed(&errno.map_or_else(|| error.to_string(), crate::error::text))
    }

    fn malformed(&self, what: &str) -> Failure {
        Failure::Malformed { socket: self.socket.display().to_string(), what: what.to_owned() }
    }

    /// The path of the socket that answers, for messages.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}
