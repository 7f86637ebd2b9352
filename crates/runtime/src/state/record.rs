//! What is remembered of a container, and whether its process is still the one remembered.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::Duration;

use husk_cgroup::Cgroup;
use husk_spec::{Hook, State, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::mech::proc::Proc;
use crate::mech::rootfs;
use crate::report::{Error, Result};

/// What is remembered of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ociVersion` of its configuration.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Process id of its first process; 0 while there is none.
    pub pid: i32,
    /// When that process started, in clock ticks since boot: a process id alone
    /// can be another process by now.
    pub start_time: u64,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the root filesystem.
    pub rootfs: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// User id of who created it.
    pub owner: u32,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Whether its first process is the init of a pid namespace of its own, so
    /// that all others end with it.
    pub own_pid_namespace: bool,
    /// The mount that `rootfs` was on before the container's own was made over it in the
    /// runtime's mount namespace, where the container has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_mount: Option<u64>,
    /// `restore` has made its processes: they are in a time namespace, by which CRIU lets their
    /// clocks go on from where they were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// `--no-new-keyring`: its processes are in the session keyring of who starts them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_keyring: bool,
    /// Hooks to run after `start`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Hooks to run after `delete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Record {
    /// The first process by its number, which a record may have as anything.
    pub fn first(&self) -> Option<Pid> {
        if self.pid > 0 { Pid::from_raw(self.pid) } else { None }
    }

    /// Takes away what the container has mounted in the runtime's mount namespace.
    pub fn release_mounts(&self) -> Result<()> {
        let Some(covered) = self.covered_mount else { return Ok(()) };
        let failed =
            |errno| Error::kernel(format_args!("root.path ({})", self.rootfs), "umount2", errno);
        let path = CString::new(self.rootfs.as_str()).map_err(|_| failed(Errno::INVAL))?;
        rootfs::release(&path, covered).map_err(failed)
    }

    /// The state document, runtime.md, "State".
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status,
            pid: (self.pid > 0 && status != Status::Stopped).then_some(self.pid),
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }

    /// A pidfd of the first process; None where it does not live.
    pub fn process(&self) -> Result<Option<OwnedFd>> {
        let failed = |op: &'static str| {
            move |errno| Error::kernel(format_args!("container {}", self.id), op, errno)
        };
        let Some(pid) = self.first() else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            done => done.map_err(failed("pidfd_open"))?,
        };
        match process_start(self.pid) {
            Ok((state, start_time)) => {
                let alive = start_time == self.start_time && !matches!(state, b'Z' | b'X');
                Ok(alive.then_some(pidfd))
            }
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(errno) => Err(failed("read /proc/PID/stat")(errno)),
        }
    }

    /// Whether SIGKILL is pending for the first process, which is then held by something.
    pub fn is_killed(&self) -> bool {
        const SIGKILL: u64 = 1 << (9 - 1);
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let pending = |line: &str| {
            let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
            u64::from_str_radix(set.trim(), 16).ok()
        };
        text.is_ok_and(|text| text.lines().filter_map(pending).any(|set| set & SIGKILL != 0))
    }

    /// Waits for the end of the first process; whether it came.
    pub fn ends_within(&self, patience: Duration) -> bool {
        match (self.process(), Timespec::try_from(patience)) {
            (Ok(None), _) => true,
            (Ok(Some(process)), Ok(patience)) => {
                let mut fds = [PollFd::new(&process, PollFlags::IN)];
                matches!(poll(&mut fds, Some(&patience)), Ok(1..))
            }
            _ => false,
        }
    }

    /// Whether the first process has ended. What cannot be found out (no
    /// descriptor is left, say) does not count: a container that runs is not to be
    /// taken for one that has stopped.
    pub fn is_gone(&self) -> bool {
        match process_start(self.pid) {
            Ok((state, start_time)) => {
                start_time != self.start_time || matches!(state, b'Z' | b'X')
            }
            Err(_) => self
                .first()
                .is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH)),
        }
    }
}

/// State letter and start time of a process, proc_pid_stat(5), fields 3 and 22.
pub fn process_start(pid: i32) -> Result<(u8, u64), Errno> {
    let path = format!("/proc/{pid}/stat");
    let file = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // One read: the fields up to there are at most twenty numbers and a name.
    let mut line = [0; 1024];
    let length = rustix::io::read(&file, &mut line)?;
    parse_stat(line.get(..length).unwrap_or_default()).ok_or(Errno::BADMSG)
}

fn parse_stat(line: &[u8]) -> Option<(u8, u64)> {
    let (state, mut fields) = stat_fields(line)?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The state letter and the fields after it.
fn stat_fields(line: &[u8]) -> Option<(u8, std::str::Split<'_, char>)> {
    // The name in parentheses may contain anything, parentheses too.
    let after = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(line.get(after + 2..)?).ok()?.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields))
}

/// A fork that has not executed anything, `PF_FORKNOEXEC` of linux/sched.h.
pub const FORKNOEXEC: u64 = 0x40;

/// State letter and flags (`PF_*` of linux/sched.h) of a process, proc_pid_stat(5), fields 3
/// and 9; None where it is gone.
pub fn process_flags(pid: Pid, proc: &Proc) -> Option<(u8, u64)> {
    let line = read_proc(pid, "stat", proc)?;
    let (state, mut fields) = stat_fields(&line)?;
    Some((state, fields.nth(5)?.parse().ok()?))
}

/// Who traces a process (ptrace(2)): `TracerPid` of proc_pid_status(5); None for nobody.
pub fn tracer(pid: Pid, proc: &Proc) -> Option<Pid> {
    let text = status(pid, proc)?;
    let value = text.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    Pid::from_raw(value.trim().parse().ok()?)
}

/// The text of proc_pid_status(5); None where the process is gone.
pub fn status(pid: Pid, proc: &Proc) -> Option<String> {
    read_proc(pid, "status", proc).map(|text| String::from_utf8_lossy(&text).into_owned())
}

fn read_proc(pid: Pid, file: &str, proc: &Proc) -> Option<Vec<u8>> {
    let path = CString::new(format!("{}/{file}", pid.as_raw_nonzero())).ok()?;
    let file = proc.open_file(&path, OFlags::RDONLY).ok()?;
    let mut bytes = vec![0; 4096];
    let length = rustix::io::read(&file, &mut bytes[..]).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_ninth_field() {
        let line = b"7 (a) b (c) S 1 7 7 0 -1 4194368 98 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(parse_stat(line), Some((b'S', 12345)));
        let (state, mut fields) = stat_fields(line).unwrap();
        assert_eq!((state, fields.nth(5)), (b'S', Some("4194368")));
        let proc = Proc::open().unwrap();
        let own = rustix::process::getpid();
        // This test has been executed, and is not a mere fork.
        assert_eq!(process_flags(own, &proc).unwrap().1 & 0x40, 0);
    }

    #[test]
    fn own_start_time() {
        let (state, start_time) = process_start(std::process::id() as i32).unwrap();
        // The main thread waits while the test runs.
        assert!(matches!(state, b'R' | b'S'), "{}", char::from(state));
        assert!(start_time > 0);
    }
}
