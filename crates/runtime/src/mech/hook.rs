//! Hooks: programs of the host, with the container's state on their input.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use husk_spec::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

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
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its input is no failure: SIGPIPE is ignored here.
        let _ = stdin.write_all(state);
    }
    let finished = wait(&mut child, hook.timeout).map_err(|error| failed(error.to_string()))?;
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

/// The exit status, or None where the timeout came first and the hook was killed.
fn wait(
    child: &mut Child,
    timeout: Option<i64>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let Some(timeout) = timeout.and_then(|seconds| u64::try_from(seconds).ok()) else {
        return child.wait().map(Some);
    };
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // A timeout of centuries is none.
    let deadline = Instant::now().checked_add(Duration::from_secs(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return child.wait().map(Some),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
