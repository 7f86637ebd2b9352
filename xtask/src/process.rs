//! Other programs: found, run under a deadline, and their words kept for the error.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::interrupt;

/// `name` on PATH, or in the sbin directories that a user's PATH often lacks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Our own executable, also when a build has replaced it since we were started.
///
/// # Errors
/// /proc is not mounted.
pub(crate) fn own_path() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("/proc/self/exe")?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(path))
}

/// Whether we are root, in whichever user namespace.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `command` on our own terminal.
///
/// # Errors
/// It cannot be started, or fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if !status.success() {
        bail!("{}: {status}", describe(command));
    }
    Ok(())
}

/// What `command` prints on its standard output.
///
/// # Errors
/// It cannot be started, or fails: then with the last lines it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{:?}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", describe(command), output.status, last_lines(&said));
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {}", describe(command)))
}

/// What came of a program that was given only so much time.
pub(crate) struct Outcome {
    /// How it ended; `None` when it was killed for its deadline.
    pub(crate) status: Option<ExitStatus>,
    /// From before the spawn to after the wait.
    pub(crate) time: Duration,
}

impl Outcome {
    /// Whether it ended by itself with 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, in words.
    pub(crate) fn words(&self) -> String {
        match self.status {
            None => format!("no end within {:.0} s", self.time.as_secs_f64()),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => status.to_string(),
            },
        }
    }
}

/// Runs `command` in a process group of its own and kills the group at `deadline`.
///
/// The group keeps a Ctrl-C at the terminal away from it: we take it, and end between two
/// measurements, when no container is half made.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn run_within(command: &mut Command, deadline: Duration) -> anyhow::Result<Outcome> {
    command.process_group(0);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
    let status = wait_within(&mut child, deadline, true)?;
    Ok(Outcome { status, time: start.elapsed() })
}

/// Waits for `child`, a leader of its process group, and kills the group at `deadline`, or
/// with `patient` false as soon as we are interrupted.
///
/// # Errors
/// The kernel refuses a pidfd or the wait.
pub(crate) fn wait_within(
    child: &mut Child,
    deadline: Duration,
    patient: bool,
) -> anyhow::Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    loop {
        let left = match end.saturating_duration_since(Instant::now()) {
            _ if !patient && interrupt::seen() => Duration::ZERO,
            left => left,
        };
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => {
                let _ = kill_process_group(pid, Signal::KILL);
                child.wait().context("wait")?;
                return Ok(None);
            }
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(Some(child.wait().context("wait")?)),
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// Output of a program in a file without a name: a pipe would have to be read while we
/// wait, and a container left alive would hold it open.
pub(crate) struct Words {
    file: File,
}

impl Words {
    /// An empty file.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let file = memfd_create("words", MemfdFlags::CLOEXEC).context("memfd_create")?;
        // Two programs may write at once, and we cut the file between two of them.
        fcntl_setfl(&file, OFlags::APPEND).context("fcntl")?;
        Ok(Self { file: file.into() })
    }

    /// For [`Command::stderr`].
    ///
    /// # Errors
    /// No file descriptor is left.
    pub(crate) fn stdio(&self) -> anyhow::Result<Stdio> {
        Ok(self.file.try_clone().context("dup")?.into())
    }

    /// The last lines written since the last call.
    pub(crate) fn take(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.file.rewind();
        let _ = self.file.read_to_end(&mut text);
        let _ = self.file.set_len(0);
        last_lines(&String::from_utf8_lossy(&text))
    }
}

/// The last three lines of `text` as one.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// The command as a person would type it.
pub(crate) fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_never_a_success() {
        let outcome =
            run_within(Command::new("sleep").arg("60"), Duration::from_millis(20)).expect("sleep");
        assert!(!outcome.success());
        assert!(outcome.status.is_none());
        assert!(outcome.time < Duration::from_secs(30));
    }

    #[test]
    fn the_words_of_a_failure_are_kept() {
        let mut words = Words::new().expect("words");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        command.stderr(words.stdio().expect("stdio"));
        let outcome = run_within(&mut command, Duration::from_secs(20)).expect("sh");
        assert_eq!(outcome.words(), "exit 3");
        assert_eq!(words.take(), "one | two");
        assert_eq!(words.take(), "");
    }
}
