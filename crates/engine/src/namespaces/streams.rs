//! Pipes between a caller's standard streams and a program that a container's processes can see or
//! replace: what is opened by `/proc/PID/fd` is a pipe, and none of the caller's files.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What is read at once.
const PIECE: usize = 64 << 10;

/// Where one output of the program goes.
struct Output {
    from: File,
    to: File,
}

impl Output {
    fn new(from: OwnedFd, to: BorrowedFd<'_>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&from, true)?;
        Ok(Self { from: from.into(), to: to.try_clone_to_owned()?.into() })
    }

    /// Copies what is there, at most so many bytes; whether more can come. Where the caller does
    /// not take it any more, the program is to have the end of its pipe.
    fn copy(&mut self, most: usize) -> bool {
        let mut piece = vec![0; PIECE];
        let mut left = most;
        while left > 0 {
            let count = match self.from.read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            if self.to.write_all(piece.get(..count).unwrap_or_default()).is_err() {
                return false;
            }
            left = left.saturating_sub(count);
        }
        true
    }
}

/// Runs a command to its end, with pipes in the place of the caller's standard streams. What the
/// program leaves behind with the pipes open is not waited for. Standard input is read by a thread
/// that ends with the calling process.
pub(super) fn run_between(command: &mut Command) -> io::Result<ExitStatus> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut to) = child.stdin.take() {
        let mut from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let thread = std::thread::Builder::new().name("input".to_owned());
        let spawned = thread.spawn(move || io::copy(&mut from, &mut to));
        if let Err(error) = spawned {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    }
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut outputs = Vec::new();
    if let Some(from) = child.stdout.take() {
        outputs.push(Output::new(from.into(), io::stdout().as_fd())?);
    }
    if let Some(from) = child.stderr.take() {
        outputs.push(Output::new(from.into(), io::stderr().as_fd())?);
    }
    loop {
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        fds.extend(outputs.iter().map(|output| PollFd::new(&output.from, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let has_ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        outputs.retain_mut(|output| {
            // All that the program has written is in the pipe by its end.
            let most = match has_ended {
                true => rustix::pipe::fcntl_getpipe_size(&output.from).unwrap_or(PIECE),
                false => PIECE,
            };
            output.copy(most)
        });
        if has_ended {
            return child.wait();
        }
    }
}
