//! Hooks: programs with the container's state on their input.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use husk_spec::Hook;
use husk_sys::spawn::before_exec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::report::io_text;

/// How much of the end of what a hook prints is kept, in bytes of each stream. Two such tails and
/// the rest of a message fit into one packet of [`crate::sync::wire`].
const KEPT: usize = 1200;

/// How much is read of what a hook has left in its pipes when it ends: what it started may still
/// be writing.
const MAX_LEFT: usize = 64 << 10;

/// Where hooks run, and as what.
#[derive(Default)]
pub struct Place<'a> {
    /// The directory that they begin in; without one, this process's own.
    pub directory: Option<BorrowedFd<'a>>,
    /// The environment of a hook that has none of its own; without one, this process's.
    pub environment: Option<&'a [CString]>,
    /// Makes what a hook's process does right before it executes the hook.
    pub confine: Option<&'a Confine<'a>>,
}

/// Makes the last steps of a hook's process, which own what they need.
pub type Confine<'a> = dyn Fn() -> Result<Steps, Errno> + 'a;

/// Steps of a hook's process.
pub type Steps = Box<dyn FnMut() -> Result<(), Errno> + Send + Sync>;

/// Why a hook did not succeed.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The environment of this process, `NAME=VALUE` each.
pub fn own_environment() -> Vec<CString> {
    let entry = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

/// Runs one hook to its end. Its output is its own and is told where it fails; what its process
/// leaves running is not waited for.
pub fn run(hook: &Hook, state: &[u8], place: &Place<'_>) -> Result<(), Failed> {
    let failed = |why: String| Failed(format!("{}: {why}", hook.path));
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    set_environment(&mut command, hook, place);
    if let Some(directory) = place.directory {
        let directory = directory.try_clone_to_owned().map_err(|error| failed(io_text(&error)))?;
        before_exec(&mut command, move || rustix::process::fchdir(&directory));
    }
    if let Some(confine) = place.confine {
        // Under a filter its process may be unable to tell that it is not there.
        std::fs::metadata(&hook.path).map_err(|error| failed(io_text(&error)))?;
        let steps = confine().map_err(|errno| failed(io_text(&errno.into())))?;
        before_exec(&mut command, steps);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(io_text(&error)))?;
    let mut output = Output::take(&mut child).map_err(|error| failed(io_text(&error)))?;
    let finished = attend(&mut child, state, hook.timeout, &mut output)
        .map_err(|error| failed(io_text(&error)))?;
    match finished {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(match status.signal() {
            Some(signal) => format!("killed by signal {signal}{output}"),
            None => format!("exit status {}{output}", status.code().unwrap_or_default()),
        })),
        None => Err(failed(format!(
            "still running after its timeout of {} s; killed{output}",
            hook.timeout.unwrap_or_default()
        ))),
    }
}

fn set_environment(command: &mut Command, hook: &Hook, place: &Place<'_>) {
    match (&hook.env, place.environment) {
        (Some(own), _) => {
            command.env_clear().envs(own.iter().filter_map(|entry| entry.split_once('=')));
        }
        (None, Some(inherited)) => {
            let split = |entry: &'_ CString| {
                let bytes = entry.to_bytes();
                let at = bytes.iter().position(|byte| *byte == b'=')?;
                let (name, value) = (bytes.get(..at)?, bytes.get(at + 1..)?);
                Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
            };
            command.env_clear().envs(inherited.iter().filter_map(split));
        }
        (None, None) => {}
    }
}

/// Feeds the hook its input, reads its output and waits for its end; None where the timeout came
/// first and it was killed. A hook that does not read is no failure: SIGPIPE is ignored here.
fn attend(
    child: &mut Child,
    state: &[u8],
    timeout: Option<i64>,
    output: &mut Output,
) -> std::io::Result<Option<ExitStatus>> {
    let mut stdin = child.stdin.take();
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    // A timeout of centuries is none.
    let deadline = timeout
        .and_then(|seconds| u64::try_from(seconds).ok())
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    // A pipe holds 64 kB: the rest must not keep us from reading.
    if let Some(stdin) = &stdin {
        fcntl_setfl(stdin, OFlags::NONBLOCK)?;
    }
    let mut rest = state;
    loop {
        stdin = stdin.and_then(|stdin| feed(stdin, &mut rest));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        fds.extend(output.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        fds.extend(stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        let polled = poll(&mut fds, left.as_ref());
        let ended = fds.first().is_some_and(|pidfd| !pidfd.revents().is_empty());
        drop(fds);
        match polled {
            Ok(0) => {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                child.wait()?;
                output.read_what_is_there();
                return Ok(None);
            }
            Ok(_) if ended => {
                let status = child.wait()?;
                output.read_what_is_there();
                return Ok(Some(status));
            }
            Ok(_) => output.read_once(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes what the pipe takes; gives it back while there is more to come and who reads.
fn feed(mut stdin: ChildStdin, rest: &mut &[u8]) -> Option<ChildStdin> {
    while !rest.is_empty() {
        match stdin.write(rest) {
            Ok(length) => *rest = rest.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(stdin),
            Err(_) => return None,
        }
    }
    None
}

/// The two output streams of a hook.
struct Output([Stream; 2]);

/// The end of what came from a pipe.
struct Stream {
    name: &'static str,
    pipe: Option<std::fs::File>,
    tail: Vec<u8>,
    cut: bool,
}

impl Output {
    fn take(child: &mut Child) -> std::io::Result<Self> {
        let stream = |name, pipe: Option<OwnedFd>| {
            if let Some(pipe) = &pipe {
                fcntl_setfl(pipe, OFlags::NONBLOCK)?;
            }
            let pipe = pipe.map(std::fs::File::from);
            Ok::<_, Errno>(Stream { name, pipe, tail: Vec::new(), cut: false })
        };
        Ok(Self([
            stream("stdout", child.stdout.take().map(OwnedFd::from))?,
            stream("stderr", child.stderr.take().map(OwnedFd::from))?,
        ]))
    }

    /// The pipes that are still open.
    fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter_map(|stream| stream.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Reads from each pipe that has something to read.
    fn read_once(&mut self) {
        for stream in &mut self.0 {
            stream.read();
        }
    }

    fn read_what_is_there(&mut self) {
        for stream in &mut self.0 {
            let mut read = 0;
            while read < MAX_LEFT {
                match stream.read() {
                    0 => break,
                    length => read += length,
                }
            }
        }
    }
}

impl Stream {
    /// One read's worth; 0 where there is nothing to read now.
    fn read(&mut self) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(length) => {
                self.tail.extend_from_slice(buffer.get(..length).unwrap_or_default());
                if let Some(more) = self.tail.len().checked_sub(KEPT).filter(|more| *more > 0) {
                    self.tail.drain(..more);
                    self.cut = true;
                }
                return length;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.pipe = None,
        }
        0
    }
}

/// `, stdout: ..., stderr: ...`, as runc has it; a stream without a word is left out.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stream in &self.0 {
            let text = String::from_utf8_lossy(&stream.tail);
            let text = text.trim();
            if !text.is_empty() {
                let cut = if stream.cut { "..." } else { "" };
                write!(f, ", {}: {cut}{text}", stream.name)?;
            }
        }
        Ok(())
    }
}
