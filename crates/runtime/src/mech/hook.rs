//! Hooks: programs of the host, with the container's state on their input.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use husk_spec::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::report::io_text;

/// Why a hook did not succeed.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs one hook to its end. Its environment is what `env` says and nothing else
/// (CVE-2025-23266: nothing of the container's).
pub fn run(hook: &Hook, state: &[u8]) -> Result<(), Failed> {
    let failed = |why: String| Failed(format!("{}: {why}", hook.path));
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    command.stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(io_text(&error)))?;
    let finished =
        attend(&mut child, state, hook.timeout).map_err(|error| failed(io_text(&error)))?;
    match finished {
        None => Err(failed(format!(
            "still running after its timeout of {} s; killed",
            hook.timeout.unwrap_or_default()
        ))),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(match status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit status {}", status.code().unwrap_or_default()),
        })),
    }
}

/// Feeds the hook its input and waits for its end; None where the timeout came first and it
/// was killed. A hook that does not read is no failure: SIGPIPE is ignored here.
fn attend(
    child: &mut Child,
    state: &[u8],
    timeout: Option<i64>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut stdin = child.stdin.take();
    let Some(timeout) = timeout.and_then(|seconds| u64::try_from(seconds).ok()) else {
        let _ = stdin.as_mut().map(|stdin| stdin.write_all(state));
        drop(stdin);
        return child.wait().map(Some);
    };
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    // A timeout of centuries is none.
    let deadline = Instant::now().checked_add(Duration::from_secs(timeout));
    // A pipe holds 64 kB: the rest must not wait longer for a reader than the timeout.
    if let Some(stdin) = &stdin {
        fcntl_setfl(stdin, OFlags::NONBLOCK)?;
    }
    let mut rest = state;
    loop {
        stdin = stdin.and_then(|stdin| feed(stdin, &mut rest));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        fds.extend(stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                child.wait()?;
                return Ok(None);
            }
            Ok(_) if !fds[0].revents().is_empty() => return child.wait().map(Some),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes what the pipe takes; gives it back while there is more to come and who reads.
fn feed(mut stdin: ChildStdin, rest: &mut &[u8]) -> Option<ChildStdin> {
    while !rest.is_empty() {
        match stdin.write(rest) {
            Ok(length) => *rest = &rest[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(stdin),
            Err(_) => return None,
        }
    }
    None
}
