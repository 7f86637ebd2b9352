//! The monitor's loop: output to the log and those attached, their input to the program.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::termios::Winsize;

use super::execute::Streams;
use super::log::Log;
use super::protocol::{Client, Event, MAX_DATA, Request};
use super::start::Running;
use crate::container::Container;
use crate::error::Result;

const SIGKILL: i32 = 9;

/// Input that the program has not read yet; beyond it those attached wait.
const MAX_PENDING: usize = 256 << 10;

/// What is read of a stream after the program's end, where another process still writes to it
/// (pipe(7): the most that a pipe of an ordinary user can hold).
const MAX_DRAINED: usize = 1 << 20;

/// After so long without an event a monitor gives back what it does not need to wait.
const QUIET: Duration = Duration::from_secs(1);

/// poll(2). As many as there are containers wait here, each of a program that did much at the
/// start: what that has used comes back from the page cache when it is used again. After the
/// rest begins only this function is executed.
fn wait(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> Result<usize, Errno> {
    let spec = |limit: Duration| Timespec::try_from(limit).ok();
    let first = limit.map_or(QUIET, |limit| limit.min(QUIET));
    match poll(fds, spec(first).as_ref()) {
        Ok(0) if limit.is_none_or(|limit| limit > first) => {}
        other => return other,
    }
    let rest = limit.map(|limit| limit - first).and_then(spec);
    husk_sys::heap::trim();
    let _ = husk_sys::text::forget();
    poll(fds, rest.as_ref())
}

#[derive(Debug)]
pub(super) struct Serving {
    listener: OwnedFd,
    clients: Vec<Client>,
    log: Option<Log>,
    pending: Vec<u8>,
    close_input: bool,
    size: Option<Winsize>,
    signals: Vec<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Process,
    Listener,
    Stdout,
    Stderr,
    Stdin,
    Proxy,
    Client(usize),
}

impl Serving {
    pub(super) fn new(container: &Container, listener: OwnedFd) -> Result<Self> {
        let log = Log::open(&container.directory, &container.record.config.log)?;
        Ok(Self {
            listener,
            clients: Vec::new(),
            log,
            pending: Vec::new(),
            close_input: false,
            size: None,
            signals: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, client: Client) {
        self.clients.push(client);
    }

    /// Until the container's process has ended and its output is drained.
    pub(super) fn serve(&mut self, running: &mut Running) {
        let Running { pidfd, streams, proxy, .. } = running;
        let mut open = Open { stdout: true, stderr: streams.stderr.is_some() };
        self.apply(streams, pidfd);
        loop {
            let behind = self.clients.iter().any(|client| client.output && client.is_behind());
            let mut sources =
                vec![(Source::Process, PollFlags::IN), (Source::Listener, PollFlags::IN)];
            if open.stdout && !behind {
                sources.push((Source::Stdout, PollFlags::IN));
            }
            if open.stderr && !behind {
                sources.push((Source::Stderr, PollFlags::IN));
            }
            if !self.pending.is_empty() && streams.stdin.is_some() {
                sources.push((Source::Stdin, PollFlags::OUT));
            }
            if proxy.is_some() {
                sources.push((Source::Proxy, PollFlags::IN));
            }
            for (index, client) in self.clients.iter().enumerate() {
                let mut flags = PollFlags::empty();
                if self.pending.len() < MAX_PENDING {
                    flags |= PollFlags::IN;
                }
                if client.is_behind() {
                    flags |= PollFlags::OUT;
                }
                sources.push((Source::Client(index), flags));
            }
            let mut fds = Vec::with_capacity(sources.len());
            for (source, flags) in &sources {
                let fd = match source {
                    Source::Process => pidfd.as_fd(),
                    Source::Listener => self.listener.as_fd(),
                    Source::Stdout => streams.stdout.as_fd(),
                    Source::Stderr => streams.stderr.as_ref().unwrap_or(&streams.stdout).as_fd(),
                    Source::Stdin => streams.stdin.as_ref().unwrap_or(&streams.stdout).as_fd(),
                    Source::Proxy => match proxy.as_ref() {
                        Some(proxy) => proxy.as_fd(),
                        None => continue,
                    },
                    Source::Client(index) => self.clients[*index].socket.as_fd(),
                };
                fds.push(PollFd::from_borrowed_fd(fd, *flags));
            }
            let limit = proxy.as_ref().and_then(husk_net::Service::timeout);
            match wait(&mut fds, limit) {
                Ok(_) | Err(Errno::INTR) => {}
                // Nothing that polling could be told; the process is waited for instead.
                Err(_) => return,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let mut ended = false;
            for ((source, _), ready) in sources.into_iter().zip(ready) {
                if !ready {
                    continue;
                }
                match source {
                    Source::Process => ended = true,
                    Source::Listener => self.accept(),
                    Source::Stdout => open.stdout = self.read_output(&streams.stdout, false),
                    Source::Stderr => {
                        if let Some(stderr) = &streams.stderr {
                            open.stderr = self.read_output(stderr, true);
                        }
                    }
                    Source::Stdin => self.write_input(streams),
                    Source::Proxy => {}
                    Source::Client(index) => self.hear(index),
                }
            }
            if let Some(served) = proxy {
                // It tries again by itself.
                let _ = served.dispatch();
            }
            if self.clients.iter().any(|client| client.owner && client.closed) {
                self.signals.push(SIGKILL);
            }
            self.apply(streams, pidfd);
            self.clients.retain(|client| !client.closed);
            if ended {
                self.drain(streams, open);
                return;
            }
        }
    }

    /// The rest of the output. Who is attached and does not read (a stopped shell job) is not
    /// waited for here: the container could not be removed before. It is no more than a pipe
    /// holds, and kept for them until [`Serving::farewell`].
    fn drain(&mut self, streams: &Streams, open: Open) {
        for (stream, is_open, stderr) in [
            (Some(&streams.stdout), open.stdout, false),
            (streams.stderr.as_ref(), open.stderr, true),
        ] {
            let Some(stream) = stream.filter(|_| is_open) else { continue };
            let mut total = 0;
            while total < MAX_DRAINED {
                let mut buffer = [0; MAX_DATA];
                match rustix::io::read(stream, &mut buffer[..]) {
                    Ok(length @ 1..) => {
                        total += length;
                        self.output(stderr, &buffer[..length]);
                    }
                    Err(Errno::INTR) => {}
                    // AGAIN: another process still holds the stream; it is not waited for.
                    _ => break,
                }
            }
        }
        if let Some(log) = &mut self.log {
            let _ = log.finish();
        }
    }

    fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            self.clients.push(Client::new(socket));
        }
    }

    /// False where the stream has ended.
    fn read_output(&mut self, stream: &OwnedFd, stderr: bool) -> bool {
        let mut buffer = [0; MAX_DATA];
        match rustix::io::read(stream, &mut buffer[..]) {
            Ok(0) => false,
            Ok(length) => {
                self.output(stderr, &buffer[..length]);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            // EIO: the last process has closed the terminal's other side.
            Err(_) => false,
        }
    }

    fn output(&mut self, stderr: bool, data: &[u8]) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.write(stderr, data)
        {
            // A full disk must not stop the program; who is attached sees why.
            self.log = None;
            self.notice(&format!("the log ends here: {error}"));
        }
        let event = match stderr {
            true => Event::Stderr(data.to_vec()),
            false => Event::Stdout(data.to_vec()),
        };
        for client in self.clients.iter_mut().filter(|client| client.output) {
            client.send(&event);
        }
    }

    /// Tells everyone.
    pub(super) fn notice(&mut self, text: &str) {
        let notice = Event::Notice(text.to_owned());
        self.clients.iter_mut().for_each(|client| client.send(&notice));
    }

    fn hear(&mut self, index: usize) {
        // Taken out, so that what it asks can change everything else.
        let mut client = self.clients.remove(index);
        client.flush();
        while self.pending.len() < MAX_PENDING
            && let Some(request) = client.receive()
        {
            self.handle(&mut client, request);
        }
        if client.closed && client.stdin {
            // As with `docker run -i`: the input ends with who gave it.
            self.close_input = true;
        }
        self.clients.insert(index, client);
    }

    /// Takes a request; what needs the running program is kept for
    /// [`Serving::apply`].
    pub(super) fn handle(&mut self, client: &mut Client, request: Request) {
        match request {
            Request::Attach { stdin } => {
                client.output = true;
                client.stdin = stdin;
            }
            Request::Wait => client.output = false,
            Request::Input(data) if client.stdin => self.pending.extend(data),
            Request::EndOfInput if client.stdin => self.close_input = true,
            Request::Input(_) | Request::EndOfInput => {}
            Request::Size(rows, columns) => {
                self.size =
                    Some(Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
            }
            Request::Signal(signal) => self.signals.push(signal),
            Request::Detach => {
                client.stdin = false;
                client.closed = true;
            }
            Request::Own => client.owner = true,
        }
    }

    fn apply(&mut self, streams: &mut Streams, pidfd: &OwnedFd) {
        let terminal = streams.stderr.is_none();
        if let Some(size) = self.size.take()
            && terminal
        {
            let _ = rustix::termios::tcsetwinsize(&streams.stdout, size);
        }
        for signal in self.signals.drain(..) {
            let _ = husk_sys::signal::send(pidfd.as_fd(), signal);
        }
        if !self.pending.is_empty() {
            self.write_input(streams);
        }
        // A terminal has no end of its own: who detaches leaves it open.
        if self.close_input && self.pending.is_empty() && !terminal {
            streams.stdin = None;
        }
    }

    fn write_input(&mut self, streams: &mut Streams) {
        let Some(stdin) = &streams.stdin else {
            self.pending.clear();
            return;
        };
        while !self.pending.is_empty() {
            match rustix::io::write(stdin, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // EPIPE: the program has closed its input.
                Err(_) => {
                    self.pending.clear();
                    streams.stdin = None;
                    return;
                }
            }
        }
    }

    /// Tells everyone the exit status, and waits until it and the output before it are
    /// taken, or those who were to take it are gone.
    pub(super) fn farewell(&mut self, exit_code: i32) {
        self.accept();
        for client in &mut self.clients {
            client.send(&Event::Exited(exit_code));
        }
        loop {
            self.clients.retain(|client| client.is_behind());
            if self.clients.is_empty() {
                return;
            }
            let watched = |client| PollFd::from_borrowed_fd(client, PollFlags::OUT);
            let mut fds: Vec<PollFd<'_>> =
                self.clients.iter().map(|client| watched(client.socket.as_fd())).collect();
            let _ = poll(&mut fds, None);
            drop(fds);
            self.clients.iter_mut().for_each(Client::flush);
        }
    }
}

/// Which of the program's streams have not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    stdout: bool,
    stderr: bool,
}
