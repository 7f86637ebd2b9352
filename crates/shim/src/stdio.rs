//! Standard streams of a process: the URIs that containerd names, and the pipes or the terminal
//! that the process gets.
//!
//! ```text
//! /path, fifo:///path      a FIFO of containerd's
//! file:///path             a file, appended to
//! binary://prog?a=b        a logging program: stdout is its descriptor 3, stderr 4, and it closes
//!                          5 when it is ready
//! binary-v2://prog?a=b     the same, but it writes a byte to 5
//! (empty)                  /dev/null
//! ```
//!
//! No descriptor of the host's reaches the container: it gets pipes of ours, or a terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::ttrpc::{Code, Failure};

/// The terminal socket's name in a bundle.
const CONSOLE: &str = "console.sock";

/// What a request says of a process's streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Uris {
    pub(crate) terminal: bool,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Streams that are opened, before the process is there.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Pairs of descriptors to copy between once the process has started.
    pub(crate) copies: Vec<(Role, OwnedFd, OwnedFd)>,
    /// What the process gets; `None` is `/dev/null`.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// Keep a FIFO's reading end open, so that a reader may go and another one come.
    pub(crate) readers: Vec<OwnedFd>,
    /// Of a terminal: where the runtime sends its other side, and the URIs' ends.
    pub(crate) console: Option<Console>,
    /// A logging program, and the pipe by which it says that it is ready.
    pub(crate) logger: Option<Logger>,
}

/// Which stream a copy serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Stdin,
    Output,
}

/// A terminal to come.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    /// Its name, for a runtime whose working directory is the bundle.
    path: PathBuf,
    file: PathBuf,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
}

/// A logging program.
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) ready: OwnedFd,
    /// Whether a byte is expected, and not just the end of the pipe.
    pub(crate) writes_byte: bool,
}

impl Streams {
    /// Opens the streams of a process in `bundle`, owned by `uid` and `gid`.
    ///
    /// # Errors
    /// A URI is malformed or cannot be opened.
    pub(crate) fn open(
        uris: &Uris,
        owner: (u32, u32),
        bundle: &Path,
        name: &Name<'_>,
    ) -> Result<Self, Failure> {
        let mut streams = Self::default();
        let mut input = None;
        if !uris.stdin.is_empty() {
            let path = fifo_path("stdin", &uris.stdin)?;
            input = Some(open_fifo(path, OFlags::RDONLY)?);
        }
        if uris.terminal {
            let output = match uris.stdout.as_str() {
                "" => None,
                uri => Some(streams.open_output("stdout", uri, name)?),
            };
            streams.console = Some(Console::listen(bundle, name.process, input, output)?);
            return Ok(streams);
        }
        if let Some(input) = input {
            let (reader, writer) = pipe(owner, End::Writer)?;
            streams.copies.push((Role::Stdin, input, writer));
            streams.stdin = Some(reader);
        }
        if let Some(program) = binary(&uris.stdout)? {
            let (logger, out, err) = Logger::start(&program, owner, name)?;
            streams.stdout = Some(out);
            streams.stderr = Some(err);
            streams.logger = Some(logger);
            return Ok(streams);
        }
        if !uris.stdout.is_empty() {
            let sink = streams.open_output("stdout", &uris.stdout, name)?;
            let (reader, writer) = pipe(owner, End::Reader)?;
            streams.copies.push((Role::Output, reader, sink));
            streams.stdout = Some(writer);
        }
        if !uris.stderr.is_empty() {
            let sink = streams.open_output("stderr", &uris.stderr, name)?;
            let (reader, writer) = pipe(owner, End::Reader)?;
            streams.copies.push((Role::Output, reader, sink));
            streams.stderr = Some(writer);
        }
        Ok(streams)
    }

    fn open_output(
        &mut self,
        stream: &'static str,
        uri: &str,
        name: &Name<'_>,
    ) -> Result<OwnedFd, Failure> {
        if let Some(path) = uri.strip_prefix("file://") {
            return open_file(stream, path);
        }
        if let Some(program) = binary(uri)? {
            // Of a terminal: one stream, which is the program's standard output.
            let (logger, out, _) = Logger::start(&program, (0, 0), name)?;
            self.logger = Some(logger);
            set_nonblocking(out.as_fd())?;
            return Ok(out);
        }
        let path = fifo_path(stream, uri)?;
        // First the reading end: without a reader the other could not be opened.
        self.readers.push(open_fifo(path, OFlags::RDONLY)?);
        open_fifo(path, OFlags::WRONLY)
    }

    /// The terminal's other side, once the runtime has sent it.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn receive_console(&mut self) -> Result<Option<OwnedFd>, Failure> {
        let Some(console) = self.console.take() else { return Ok(None) };
        let master = console.receive()?;
        set_nonblocking(master.as_fd())?;
        if let Some(input) = console.input.as_ref().map(OwnedFd::try_clone).transpose()? {
            self.copies.push((Role::Stdin, input, master.try_clone()?));
        }
        let sink = match &console.output {
            Some(output) => output.try_clone()?,
            None => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::open("/dev/null", flags, Mode::empty())?
            }
        };
        self.copies.push((Role::Output, master.try_clone()?, sink));
        Ok(Some(master))
    }

    /// The path for `--console-socket`.
    pub(crate) fn console_socket(&self) -> Option<&Path> {
        self.console.as_ref().map(|console| console.path.as_path())
    }

    /// Gives a command the streams of its process.
    pub(crate) fn hand_over(&mut self, command: &mut Command) {
        let stdio = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
        command.stdin(stdio(self.stdin.take()));
        command.stdout(stdio(self.stdout.take()));
        command.stderr(stdio(self.stderr.take()));
    }
}

impl Console {
    /// Listens in the bundle. The path is longer than a socket's address may be, so that the
    /// address goes by way of the directory's descriptor, and the runtime, whose working
    /// directory is the bundle, gets the name alone.
    fn listen(
        bundle: &Path,
        process: &str,
        input: Option<OwnedFd>,
        output: Option<OwnedFd>,
    ) -> Result<Self, Failure> {
        use std::os::fd::AsRawFd as _;
        let name = match process {
            "" => CONSOLE.to_owned(),
            process => format!("{process}-{CONSOLE}"),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(bundle, flags, Mode::empty())
            .map_err(|errno| format!("open {}: {errno}", bundle.display()))?;
        let file = bundle.join(&name);
        let _ = std::fs::remove_file(&file);
        let address = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
        let listener = UnixListener::bind(&address)
            .map_err(|error| format!("listen on {}: {error}", file.display()))?;
        Ok(Self { listener, path: PathBuf::from(name), file, input, output })
    }

    fn receive(&self) -> Result<OwnedFd, Failure> {
        use rustix::net::{
            RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg,
        };
        // The runtime has ended, so that what it sent is here, or nothing is.
        self.listener.set_nonblocking(true)?;
        let none = || Failure::new(Code::Unknown, "the runtime sent no terminal");
        let (socket, _) = self.listener.accept().map_err(|_| none())?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let received = recvmsg(
            &socket,
            &mut [std::io::IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(none());
        }
        control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            })
            .ok_or_else(none)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Which process the streams are of, for a logging program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) container: &'a str,
    /// Its exec id; empty for the container's first process.
    pub(crate) process: &'a str,
}

impl Logger {
    fn start(
        program: &Binary,
        owner: (u32, u32),
        name: &Name<'_>,
    ) -> Result<(Self, OwnedFd, OwnedFd), Failure> {
        let (out_reader, out) = pipe(owner, End::Neither)?;
        let (err_reader, err) = pipe(owner, End::Neither)?;
        let (ready, ready_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // A second start of this program puts the three where the logging program looks for
        // them: std::process::Command passes on the first three descriptors only.
        let mut command = Command::new("/proc/self/exe");
        command.arg("logger").arg(&program.path).args(&program.arguments);
        command.env_clear();
        command.env("CONTAINER_ID", name.container).env("CONTAINER_NAMESPACE", name.namespace);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(out_reader).stdout(err_reader).stderr(ready_writer);
        command.process_group(0).spawn().map_err(|error| format!("{}: {error}", program.path))?;
        drop(command);
        set_nonblocking(ready.as_fd())?;
        Ok((Self { ready, writes_byte: program.writes_byte }, out, err))
    }

    /// Whether the program is ready: `None` where it is not yet, an error where it ended first.
    pub(crate) fn poll_ready(&self) -> Option<Result<(), Failure>> {
        let mut byte = [0];
        match rustix::io::read(&self.ready, &mut byte) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            Ok(0) if self.writes_byte => Some(Err(Failure::new(
                Code::Unknown,
                "the logging program ended before it was ready",
            ))),
            Ok(_) => Some(Ok(())),
            Err(errno) => Some(Err(errno.into())),
        }
    }
}

/// Becomes a logging program: descriptors 0, 1 and 2 are what it wants as 3, 4 and 5.
pub(crate) fn become_logger(words: &[String]) -> Failure {
    let Some((program, arguments)) = words.split_first() else {
        return Failure::new(Code::InvalidArgument, "logger: no program");
    };
    let arranged = (|| {
        // Before anything else is opened: the copies take the lowest free numbers.
        for (from, to) in [(0, 3), (1, 4), (2, 5)] {
            move_descriptor(from, to)?;
        }
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)
    })();
    match arranged {
        Ok(()) => Command::new(program).args(arguments).exec().into(),
        Err(errno) => errno.into(),
    }
}

/// Duplicates a standard descriptor to a number, for a program that will be executed.
fn move_descriptor(from: i32, to: i32) -> Result<(), rustix::io::Errno> {
    let source = match from {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    };
    // F_DUPFD takes the lowest free number, and nothing else is open.
    let copy = rustix::io::fcntl_dupfd_cloexec(source, to)?;
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
    std::mem::forget(copy);
    Ok(())
}

struct Binary {
    path: String,
    arguments: Vec<String>,
    writes_byte: bool,
}

/// The program of a `binary://` URI: each pair of its query is an argument and its value.
fn binary(uri: &str) -> Result<Option<Binary>, Failure> {
    let (rest, writes_byte) = if let Some(rest) = uri.strip_prefix("binary://") {
        (rest, false)
    } else if let Some(rest) = uri.strip_prefix("binary-v2://") {
        (rest, true)
    } else {
        return Ok(None);
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path)?;
    if !path.starts_with('/') {
        return Err(invalid(format!("{uri}: the logging program's path must be absolute")));
    }
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.push(decode(key)?);
        if !value.is_empty() {
            arguments.push(decode(value)?);
        }
    }
    Ok(Some(Binary { path, arguments, writes_byte }))
}

/// Decodes the percent signs and plus signs of a URI's query.
fn decode(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit().zip(digit()).map(|(high, low)| (high << 4 | low) as u8);
                value.ok_or_else(|| invalid(format!("{text}: % without two digits")))?
            }
            other => other,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(invalid(format!("{text}: not a text"))),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

fn fifo_path<'a>(stream: &'static str, uri: &'a str) -> Result<&'a str, Failure> {
    let path = uri.strip_prefix("fifo://").unwrap_or(uri);
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(invalid(format!(
            "{stream} {uri:?}: must be a path, or fifo://, file://, binary:// or binary-v2://"
        ))),
    }
}

fn open_fifo(path: &str, direction: OFlags) -> Result<OwnedFd, Failure> {
    let flags = direction | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| format!("open {path}: {errno}"))?;
    let mode = rustix::fs::fstat(&fd)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::Fifo => Ok(fd),
        _ => Err(invalid(format!("{path}: not a FIFO"))),
    }
}

/// Keeps the FIFO of standard input open, so that a client that leaves does not end it; CloseIO
/// closes it. `None` where a client has closed it already, and its end has been read.
pub(crate) fn hold_stdin(uris: &Uris) -> Option<OwnedFd> {
    let path = fifo_path("stdin", &uris.stdin).ok()?;
    open_fifo(path, OFlags::WRONLY).ok()
}

fn open_file(stream: &'static str, path: &str) -> Result<OwnedFd, Failure> {
    if !path.starts_with('/') {
        return Err(invalid(format!("{stream} file://{path}: the path must be absolute")));
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| format!("create {}: {error}", parent.display()))?;
    }
    rustix::fs::open(path, flags, mode).map_err(|errno| format!("open {path}: {errno}").into())
}

/// Which end of a pipe is ours, and must not block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reader,
    Writer,
    Neither,
}

/// A pipe, reader first, whose container's end belongs to a user there.
fn pipe((uid, gid): (u32, u32), ours: End) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match ours {
        End::Reader => set_nonblocking(reader.as_fd())?,
        End::Writer => set_nonblocking(writer.as_fd())?,
        End::Neither => {}
    }
    if (uid, gid) != (0, 0) {
        // One inode has both ends.
        rustix::fs::fchown(&reader, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok((reader, writer))
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_uris() {
        let program = binary("binary:///usr/bin/log?--file=%2Fvar%2Flog%2Fx+y&-v")
            .ok()
            .flatten()
            .expect("a program");
        assert_eq!(program.path, "/usr/bin/log");
        assert_eq!(program.arguments, ["--file", "/var/log/x y", "-v"]);
        assert!(!program.writes_byte);
        assert!(binary("/run/fifo").is_ok_and(|program| program.is_none()));
        for wrong in ["binary://log", "binary:///log?%zz", "binary:///log?a=%0", "binary:///%00"] {
            assert!(binary(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_fifos_are_opened_as_fifos() {
        assert!(fifo_path("stdout", "relative").is_err());
        assert!(fifo_path("stdout", "http://x").is_err());
        assert_eq!(fifo_path("stdout", "fifo:///a").ok(), Some("/a"));
        assert!(open_fifo("/dev/null", OFlags::RDONLY).is_err());
        assert!(open_fifo("/etc/hostname", OFlags::RDONLY).is_err());
    }
}
