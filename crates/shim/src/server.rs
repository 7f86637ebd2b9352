//! The serving shim: one thread and one loop for all containers of a pod.
//!
//! Everything that takes time is a child process or a descriptor that becomes ready, so that no
//! call keeps another one waiting. A call whose answer is not known yet is a [`Caller`] that
//! somebody keeps.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use prost::Message;
use rustix::event::epoll::EventFlags;

use crate::container::Container;
use crate::deletion::Deletion;
use crate::job::Job;
use crate::log::Log;
use crate::poller::{Poller, Token};
use crate::publisher::Publisher;
use crate::start::Pending;
use crate::stream::{Progress, Stream};
use crate::ttrpc::{self, Code, Decoder, Failure, Response, frame};

/// The most output that waits for a client which does not read, in bytes.
const MAX_OUTPUT: usize = 8 << 20;

/// Who waits for the answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    connection: u32,
    stream: u32,
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    decoder: Decoder,
    output: Vec<u8>,
}

/// A stream of a process.
#[derive(Debug)]
struct Copy {
    stream: Stream,
    container: String,
    exec: String,
    /// Whether the sink is waited for, and not the source.
    blocked: bool,
}

/// All that a serving shim knows.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) namespace: String,
    pub(crate) poller: Poller,
    pub(crate) publisher: Publisher,
    pub(crate) log: Log,
    pub(crate) containers: BTreeMap<String, Container>,
    /// Commands of the runtime that run, by their pid.
    pub(crate) jobs: HashMap<i32, Job>,
    /// Processes that ended while a command of the runtime was under way which may turn out to
    /// have started them: pid, and wait status.
    pub(crate) unclaimed: HashMap<i32, (u32, crate::message::Timestamp)>,
    /// Starts that wait for a logging program.
    pub(crate) pending: BTreeMap<u32, Pending>,
    /// Deletions that wait for a stream to drain.
    pub(crate) deletions: BTreeMap<u32, Deletion>,
    /// Whether Shutdown was asked for.
    pub(crate) stopping: bool,
    listener: UnixListener,
    signals: OwnedFd,
    socket: Option<PathBuf>,
    connections: HashMap<u32, Connection>,
    copies: HashMap<u32, Copy>,
    next_number: u32,
}

impl Shim {
    /// Serves on a socket that listens.
    ///
    /// # Errors
    /// The errno of a system call that sets up signals and polling.
    pub(crate) fn new(
        listener: UnixListener,
        namespace: String,
        publisher: Publisher,
        log: Log,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        let signals = husk_sys::signal::block_all_into_fd()?;
        // Processes that the runtime starts become children of this one when it ends.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        poller.add(&listener, Token::Listener, EventFlags::IN)?;
        poller.add(&signals, Token::Signals, EventFlags::IN)?;
        let address = listener.local_addr()?;
        Ok(Self {
            namespace,
            poller,
            publisher,
            log,
            containers: BTreeMap::new(),
            jobs: HashMap::new(),
            unclaimed: HashMap::new(),
            pending: BTreeMap::new(),
            deletions: BTreeMap::new(),
            stopping: false,
            socket: address.as_pathname().map(PathBuf::from),
            listener,
            signals,
            connections: HashMap::new(),
            copies: HashMap::new(),
            next_number: 0,
        })
    }

    /// Serves until containerd asks for the end.
    ///
    /// # Errors
    /// The errno of epoll_wait(2).
    pub(crate) fn serve(&mut self) -> std::io::Result<()> {
        while !self.is_done() {
            for (token, flags) in self.poller.wait()? {
                match token {
                    Token::Listener => self.accept(),
                    Token::Signals => self.handle_signals(),
                    Token::Connection(number) => self.serve_connection(number, flags),
                    Token::Publisher | Token::Retry => self.publisher.advance(&mut self.poller),
                    Token::Source(number) | Token::Sink(number) => self.pump(number),
                    Token::Oom(number) => self.handle_oom(number),
                    Token::Logger(number) => self.handle_logger(number),
                    Token::Drain(number) => self.finish_deletion(number),
                }
            }
        }
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stopping
            && self.containers.is_empty()
            && self.publisher.is_idle()
            && self.connections.values().all(|connection| connection.output.is_empty())
    }

    /// A number that no token has at the moment.
    pub(crate) fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let number = self.number();
            let flags = EventFlags::IN | EventFlags::RDHUP;
            if socket.set_nonblocking(true).is_ok()
                && self.poller.add(&socket, Token::Connection(number), flags).is_ok()
            {
                let connection =
                    Connection { socket, decoder: Decoder::default(), output: Vec::new() };
                self.connections.insert(number, connection);
            }
        }
    }

    fn serve_connection(&mut self, number: u32, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush(number);
        }
        let mut buffer = [0; 4096];
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return };
            match connection.socket.read(&mut buffer) {
                Ok(0) => return self.disconnect(number),
                Ok(length) => {
                    connection.decoder.push(buffer.get(..length).unwrap_or_default());
                    self.serve_frames(number);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return self.disconnect(number),
            }
        }
    }

    fn serve_frames(&mut self, number: u32) {
        while let Some(frame) =
            self.connections.get_mut(&number).and_then(|one| one.decoder.next_frame())
        {
            let caller = Caller { connection: number, stream: frame.stream };
            let Some(payload) = frame.payload else {
                let text = "the message is longer than 4 MiB";
                self.answer(caller, Err(Failure::new(Code::ResourceExhausted, text)));
                continue;
            };
            if frame.kind != ttrpc::REQUEST || frame.stream % 2 == 0 {
                let text = "only unary requests on odd streams are supported";
                self.answer(caller, Err(Failure::new(Code::InvalidArgument, text)));
                continue;
            }
            let answer = match ttrpc::Request::decode(payload.as_slice()) {
                Ok(request) => self.dispatch(&request, caller),
                Err(error) => Err(Failure::new(Code::InvalidArgument, error.to_string())),
            };
            match answer {
                Ok(Some(payload)) => self.answer(caller, Ok(payload)),
                Ok(None) => {}
                Err(failure) => self.answer(caller, Err(failure)),
            }
        }
    }

    /// Answers a call with the bytes of its message, or with a failure. A caller whose
    /// connection is gone hears nothing.
    pub(crate) fn answer(&mut self, caller: Caller, result: Result<Vec<u8>, Failure>) {
        let response = match result {
            Ok(payload) => Response { status: None, payload },
            Err(failure) => failure.response(),
        };
        if let Some(connection) = self.connections.get_mut(&caller.connection) {
            connection.output.extend(frame(caller.stream, ttrpc::RESPONSE, &response));
            self.flush(caller.connection);
        }
    }

    /// Answers a call with a message.
    pub(crate) fn reply(&mut self, caller: Caller, message: &impl Message) {
        self.answer(caller, Ok(message.encode_to_vec()));
    }

    fn flush(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let had_to_wait = connection.output.len();
        while !connection.output.is_empty() {
            match connection.socket.write(&connection.output) {
                Ok(written) => drop(connection.output.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return self.disconnect(number),
            }
        }
        if connection.output.len() > MAX_OUTPUT {
            return self.disconnect(number);
        }
        let mut flags = EventFlags::IN | EventFlags::RDHUP;
        flags.set(EventFlags::OUT, !connection.output.is_empty());
        if connection.output.is_empty() && had_to_wait > 0 {
            connection.output = Vec::new();
        }
        let _ = self.poller.change(&connection.socket, Token::Connection(number), flags);
    }

    /// Forgets a connection. Containers go on: containerd may only be restarting.
    fn disconnect(&mut self, number: u32) {
        if let Some(connection) = self.connections.remove(&number) {
            self.poller.remove(&connection.socket);
        }
        for container in self.containers.values_mut() {
            for (_, process) in container.processes() {
                process.waiters.retain(|caller| caller.connection != number);
            }
        }
    }

    fn handle_signals(&mut self) {
        // What arrived does not matter: SIGCHLD stands for any number of children, and there is
        // no other signal to which a shim listens.
        while husk_sys::signal::pending(self.signals.as_fd()).next().is_some() {}
        self.reap();
    }

    /// Copies a stream of a process from now on.
    pub(crate) fn add_stream(
        &mut self,
        stream: Stream,
        container: &str,
        exec: &str,
    ) -> Result<u32, Failure> {
        let number = self.number();
        self.poller.add(&stream.source, Token::Source(number), EventFlags::IN)?;
        let copy =
            Copy { stream, container: container.to_owned(), exec: exec.to_owned(), blocked: false };
        self.copies.insert(number, copy);
        Ok(number)
    }

    /// Moves what a stream has; forgets it at its end.
    fn pump(&mut self, number: u32) {
        let Some(copy) = self.copies.get_mut(&number) else { return };
        let progress = copy.stream.pump();
        let (container, exec) = (copy.container.clone(), copy.exec.clone());
        match progress {
            Progress::More => {}
            Progress::Ended => self.remove_stream(number),
            Progress::Idle if copy.blocked => {
                copy.blocked = false;
                self.poller.remove(&copy.stream.sink);
                let source = &copy.stream.source;
                let _ = self.poller.add(source, Token::Source(number), EventFlags::IN);
            }
            Progress::Idle => {}
            Progress::Blocked if !copy.blocked => {
                copy.blocked = true;
                self.poller.remove(&copy.stream.source);
                let sink = &copy.stream.sink;
                if self.poller.add(sink, Token::Sink(number), EventFlags::OUT).is_err() {
                    self.remove_stream(number);
                }
            }
            Progress::Blocked => {}
        }
        if progress == Progress::Idle || progress == Progress::Ended {
            self.close_drained(&container, &exec);
        }
    }

    /// Moves all that a stream has at the moment; true where nothing is left.
    pub(crate) fn drain(&mut self, number: u32) -> bool {
        loop {
            let Some(copy) = self.copies.get_mut(&number) else { return true };
            match copy.stream.pump() {
                Progress::More => {}
                Progress::Idle | Progress::Ended => return true,
                Progress::Blocked => {
                    if !copy.blocked {
                        copy.blocked = true;
                        self.poller.remove(&copy.stream.source);
                        let sink = &copy.stream.sink;
                        let _ = self.poller.add(sink, Token::Sink(number), EventFlags::OUT);
                    }
                    return false;
                }
            }
        }
    }

    /// Ends a stream and closes its descriptors.
    pub(crate) fn remove_stream(&mut self, number: u32) {
        if let Some(copy) = self.copies.remove(&number) {
            self.poller.remove(&copy.stream.source);
            self.poller.remove(&copy.stream.sink);
            let process =
                self.containers.get_mut(&copy.container).and_then(|one| one.process(&copy.exec));
            if let Some(process) = process {
                process.streams.retain(|other| *other != number);
            }
        }
    }
}
