//! The standard streams of one program, the container's own or that of an exec session: our
//! ends of its pipes or its terminal, and the input that it has not read yet.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::rc::Rc;

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use super::event_loop::EventLoop;
use super::protocol::MAX_DATA;
use crate::error::{Error, Result, file};

/// Input that the program has not read yet; beyond it those attached wait.
const MAX_PENDING: usize = 256 << 10;

/// What is read of a stream after the program's end, where another process still writes to it
/// (pipe(7): the most that a pipe of an ordinary user can hold).
const MAX_DRAINED: usize = 1 << 20;

/// Output as it is read: whether it is standard error, and the bytes.
pub(super) type Sink<'a> = dyn FnMut(bool, &[u8]) + 'a;

/// The tokens by which the event loop reports a program's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// Our ends.
#[derive(Debug, Default)]
pub(super) struct Streams {
    stdin: Option<Rc<OwnedFd>>,
    stdout: Option<Rc<OwnedFd>>,
    stderr: Option<Rc<OwnedFd>>,
    terminal: bool,
    pending: Vec<u8>,
    input_ended: bool,
}

impl Streams {
    /// Pipes of our own, and the program's ends of them: what a caller of ours has is never
    /// handed on. Without `stdin` the program reads /dev/null.
    ///
    /// # Errors
    /// The errno of pipe(2) or fcntl(2).
    pub(super) fn pipes(stdin: bool) -> Result<(Self, [Stdio; 3])> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(file("make", "a pipe"));
        let (ours_in, theirs_in) = match stdin {
            true => pipe().map(|(read, write)| (Some(write), Stdio::from(read)))?,
            false => (None, Stdio::null()),
        };
        let (stdout, theirs_out) = pipe()?;
        let (stderr, theirs_err) = pipe()?;
        let streams = Self {
            stdin: ours_in.map(shared).transpose()?,
            stdout: Some(shared(stdout)?),
            stderr: Some(shared(stderr)?),
            ..Self::default()
        };
        Ok((streams, [theirs_in, theirs_out.into(), theirs_err.into()]))
    }

    /// One pipe for both outputs, so that they come in the order in which they were written;
    /// the program reads /dev/null.
    ///
    /// # Errors
    /// As [`Streams::pipes`].
    pub(super) fn joined_pipe() -> Result<(Self, [Stdio; 3])> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(file("make", "a pipe"))?;
        let second = writer.try_clone().map_err(file("duplicate", "a pipe"))?;
        let streams = Self { stdout: Some(shared(reader)?), ..Self::default() };
        Ok((streams, [Stdio::null(), writer.into(), second.into()]))
    }

    /// Those of a terminal, which the runtime will make: input is kept until then.
    pub(super) fn awaiting_terminal() -> (Self, [Stdio; 3]) {
        let streams = Self { terminal: true, ..Self::default() };
        (streams, [Stdio::null(), Stdio::null(), Stdio::null()])
    }

    /// Takes the terminal that the runtime has sent to `console` (runc's "console socket").
    ///
    /// # Errors
    /// Nothing was sent.
    pub(super) fn take_terminal(&mut self, console: &UnixListener) -> Result<()> {
        let master = shared(receive_terminal(console)?)?;
        self.stdin = Some(Rc::clone(&master));
        self.stdout = Some(master);
        self.write_input();
        Ok(())
    }

    /// Asks to be woken for what can be done. Output is not read while `behind`: one of those
    /// who want it has not taken what there was before.
    pub(super) fn register<T: Copy + Ord>(
        &self,
        events: &mut EventLoop<T>,
        token: impl Fn(Stream) -> T,
        behind: bool,
    ) {
        let output = if behind { PollFlags::empty() } else { PollFlags::IN };
        let input = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        events.watch_if(token(Stream::Stdin), self.stdin.as_ref(), input);
        events.watch_if(token(Stream::Stdout), self.stdout.as_ref(), output);
        events.watch_if(token(Stream::Stderr), self.stderr.as_ref(), output);
    }

    /// Moves what a stream that is ready has, or takes.
    pub(super) fn serve(&mut self, stream: Stream, sink: &mut Sink<'_>) {
        let (source, stderr) = match stream {
            Stream::Stdin => return self.write_input(),
            Stream::Stdout => (&mut self.stdout, false),
            Stream::Stderr => (&mut self.stderr, true),
        };
        let Some(fd) = source.as_ref() else { return };
        let mut buffer = [0; MAX_DATA];
        match rustix::io::read(fd, &mut buffer[..]) {
            // EIO: the last process has closed the terminal's other side.
            Ok(0) => *source = None,
            Ok(length) => sink(stderr, &buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => *source = None,
        }
    }

    /// The rest of the output after the program's end: what the pipes hold now. Another process
    /// that still has them is not waited for.
    pub(super) fn drain(&mut self, sink: &mut Sink<'_>) {
        for (stream, stderr) in [(&self.stdout, false), (&self.stderr, true)] {
            let Some(stream) = stream else { continue };
            let mut total = 0;
            while total < MAX_DRAINED {
                let mut buffer = [0; MAX_DATA];
                match rustix::io::read(stream, &mut buffer[..]) {
                    Ok(length @ 1..) => {
                        total += length;
                        sink(stderr, &buffer[..length]);
                    }
                    Err(Errno::INTR) => {}
                    _ => break,
                }
            }
        }
    }

    /// Takes input for the program.
    pub(super) fn push_input(&mut self, data: &[u8]) {
        if !self.input_ended {
            self.pending.extend_from_slice(data);
            self.write_input();
        }
    }

    /// Whether the program is so far behind that no more input is to be taken.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// The input ends once what is pending is written. A terminal's never does: others may
    /// attach to it.
    pub(super) fn end_input(&mut self) {
        if !self.terminal {
            self.input_ended = true;
            self.write_input();
        }
    }

    /// Sets the terminal's size; a program without one has none.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let Some(master) = self.stdout.as_ref().filter(|_| self.terminal) {
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    fn write_input(&mut self) {
        let Some(stdin) = &self.stdin else {
            // A terminal that has not come yet gets what was typed meanwhile.
            if !self.is_awaited() {
                self.pending = Vec::new();
            }
            return;
        };
        let mut written = 0;
        let broken = loop {
            match self.pending.get(written..).unwrap_or_default() {
                [] => break false,
                rest => match rustix::io::write(stdin, rest) {
                    Ok(length) => written += length,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break false,
                    // EPIPE: the program has closed its input.
                    Err(_) => break true,
                },
            }
        };
        self.pending.drain(..written);
        if self.pending.is_empty() {
            // An idle program holds no memory.
            self.pending.shrink_to_fit();
        }
        if broken || (self.input_ended && self.pending.is_empty()) {
            self.pending = Vec::new();
            self.stdin = None;
        }
    }

    /// Whether the terminal is still to come.
    fn is_awaited(&self) -> bool {
        self.terminal && self.stdout.is_none()
    }
}

fn shared(fd: OwnedFd) -> Result<Rc<OwnedFd>> {
    let flags = rustix::fs::fcntl_getfl(&fd);
    flags
        .and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK))
        .map_err(file("set O_NONBLOCK on", "a standard stream"))?;
    Ok(Rc::new(fd))
}

/// A socket at `path`, below the current directory, that receives a terminal. The runtime has
/// connected and sent before it ends, so nothing is waited for.
///
/// # Errors
/// The errno of bind(2).
pub(super) fn listen_for_terminal(path: &str) -> Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(file("bind", path))?;
    listener.set_nonblocking(true).map_err(file("set O_NONBLOCK on", path))?;
    Ok(listener)
}

fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let missing = || Error::other("the runtime sent no terminal");
    let (stream, _) = listener.accept().map_err(|_| missing())?;
    stream.set_nonblocking(true).map_err(file("set O_NONBLOCK on", "the console socket"))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    recvmsg(&stream, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .map_err(file("receive on", "the console socket"))?;
    let mut sent = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    sent.next().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams of which the program's ends are ours too.
    fn streams() -> (Streams, OwnedFd, OwnedFd) {
        let (stdin_read, stdin_write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (stdout_read, stdout_write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let streams = Streams {
            stdin: Some(shared(stdin_write).unwrap()),
            stdout: Some(shared(stdout_read).unwrap()),
            ..Streams::default()
        };
        (streams, stdin_read, stdout_write)
    }

    #[test]
    fn input_ends_after_what_is_pending() {
        let (mut streams, reader, _output) = streams();
        let data = vec![b'x'; MAX_PENDING];
        streams.push_input(&data);
        streams.end_input();
        assert!(!streams.pending.is_empty(), "a pipe holds 64 KiB");
        let mut total = 0;
        let mut buffer = vec![0; 32 << 10];
        while total < data.len() {
            total += rustix::io::read(&reader, &mut buffer[..]).unwrap();
            streams.serve(Stream::Stdin, &mut |_, _| {});
        }
        assert_eq!(rustix::io::read(&reader, &mut buffer[..]), Ok(0));
    }

    #[test]
    fn what_is_in_the_pipe_is_drained_though_another_holds_it() {
        let (mut streams, _reader, output) = streams();
        rustix::io::write(&output, b"last words").unwrap();
        let mut read = Vec::new();
        streams.drain(&mut |stderr, data| {
            assert!(!stderr);
            read.extend_from_slice(data);
        });
        assert_eq!(read, b"last words");
    }
}
