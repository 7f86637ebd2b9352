//! How far a container is, and whether what was written down is still true.

use serde::{Deserialize, Serialize};

use super::Container;
use crate::error::{Error, Result};
use crate::lock::Lock;

/// What the engine knows of a container's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended, and its monitor waits to run it again.
    Restarting,
    /// Its process has ended.
    Exited,
}

/// `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// As of when it was written.
    pub status: Status,
    /// The container's process; 0 where none runs.
    pub pid: i32,
    /// When that process started, in clock ticks since boot: a pid alone can be another
    /// process by now.
    pub start_ticks: u64,
    /// The boot that `pid` is of (/proc/sys/kernel/random/boot_id).
    pub boot: String,
    /// The monitor's pid, for inspect.
    pub monitor: i32,
    /// What that monitor understands (monitor/protocol.rs).
    pub protocol: u32,
    /// RFC 3339; empty where it was never started.
    pub started: String,
    /// RFC 3339; empty where it has not ended.
    pub finished: String,
    /// Exit status, 128+N where a signal ended it; 255 where nobody saw it end.
    pub exit_code: i32,
    /// The kernel killed in it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or that nobody saw it end.
    pub error: String,
    /// How often its monitor has run it again since it was started by hand.
    pub restart_count: u32,
    /// Somebody asked for its end (`stop`, `kill`): `unless-stopped` does not start it at boot.
    pub stopped_by_hand: bool,
    /// Frozen by `pause`: there is a file of this name in its run directory.
    #[serde(skip)]
    pub paused: bool,
}

/// This boot's id.
pub fn boot_id() -> String {
    boot_id_if_readable().unwrap_or_default()
}

fn boot_id_if_readable() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// When a process started, in clock ticks since boot; `None` where there is none or it is
/// dead already (proc_pid_stat(5), fields 3 and 22).
pub fn start_ticks(pid: i32) -> Option<u64> {
    ticks_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process that started then is there, or cannot be looked at.
fn is_process(pid: i32, start_ticks: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => ticks_of(&stat) == Some(start_ticks),
        // The file is gone, or its process while it was read.
        Err(error) => {
            let gone = Some(rustix::io::Errno::SRCH.raw_os_error());
            error.kind() != std::io::ErrorKind::NotFound && error.raw_os_error() != gone
        }
    }
}

fn ticks_of(stat: &str) -> Option<u64> {
    // The command may hold blanks and parentheses: what follows the last one counts.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl State {
    /// What can be said of a container whose state was damaged: it runs where its process is
    /// there.
    pub(super) fn seen(container: &Container, problem: String) -> Self {
        match container.unrecorded() {
            Some(running) => Self { error: problem, ..running },
            None => {
                Self { status: Status::Exited, exit_code: 255, error: problem, ..Self::default() }
            }
        }
    }

    /// The word that Docker has for it: `created`, `running`, `paused`, `restarting` or `exited`.
    pub fn word(&self) -> &'static str {
        match self.status {
            Status::Created => "created",
            Status::Running if self.paused => "paused",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }

    /// Whether the process that was written down is there for certain: for what is done to it by
    /// its number.
    pub fn is_verified(&self) -> bool {
        self.status == Status::Running
            && self.pid > 0
            && self.boot == boot_id()
            && start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Whether the process that was written down lives. One that cannot be looked at, for want
    /// of descriptors, is not taken for one that has ended.
    pub fn is_alive(&self) -> bool {
        self.status == Status::Running
            && self.pid > 0
            && boot_id_if_readable().is_none_or(|boot| boot == self.boot)
            && is_process(self.pid, self.start_ticks)
    }
}

impl Container {
    /// The state as it is: what says "running" is checked against the kernel.
    ///
    /// A container whose machine was rebooted, or whose monitor was killed and whose
    /// process has ended since, has exited; nobody knows its status, which is then 255.
    ///
    /// # Errors
    /// An unreadable or malformed file.
    pub fn state(&self) -> Result<State> {
        let mut state = self.written_state()?;
        if state.status == Status::Restarting {
            return self.restarting(state);
        }
        if state.status != Status::Running || state.is_alive() {
            state.paused = state.status == Status::Running && self.run.join("paused").exists();
            return Ok(state);
        }
        if Lock::is_held(&self.monitor_lock()) {
            // The monitor is about to write how it ended.
            return Ok(state);
        }
        // It may have done so since, and let go.
        let mut state = self.written_state()?;
        if state.status == Status::Running {
            let why = match state.boot == boot_id() {
                true => "its monitor was killed before it ended",
                false => "the machine was rebooted",
            };
            state.status = Status::Exited;
            state.exit_code = 255;
            state.pid = 0;
            why.clone_into(&mut state.error);
        }
        // A monitor that was killed before it could write that the program runs.
        if let Some(mut running) = self.unrecorded() {
            running.paused = self.run.join("paused").exists();
            return Ok(running);
        }
        Ok(state)
    }

    /// The state of a container that must run.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Restarting`]; an unreadable file.
    pub fn running(&self) -> Result<State> {
        let state = self.state()?;
        let name = || self.record.name.clone();
        match state.status {
            Status::Running => Ok(state),
            Status::Restarting => Err(Error::Restarting(name())),
            Status::Created | Status::Exited => Err(Error::NotRunning(name())),
        }
    }

    /// Without its monitor nobody runs it again.
    fn restarting(&self, state: State) -> Result<State> {
        if Lock::is_held(&self.monitor_lock()) {
            return Ok(state);
        }
        // It may have written more, and let go, since.
        let mut state = self.written_state()?;
        match state.status {
            Status::Restarting => {
                state.status = Status::Exited;
                Ok(self.unrecorded().unwrap_or(state))
            }
            Status::Running if !state.is_alive() => self.state(),
            _ => Ok(state),
        }
    }

    /// Whether the container's process lives, whatever was written down.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn lives(&self) -> Result<bool> {
        Ok(self.written_state()?.is_alive() || self.unrecorded().is_some())
    }

    /// The state of a container that the runtime has started and of which nobody wrote that it
    /// runs. The runtime keeps a directory for each container that it has not deleted, and the
    /// process is in the container's cgroup.
    pub(super) fn unrecorded(&self) -> Option<State> {
        let oci = self.run.parent()?.parent()?.join("oci").join(self.id());
        if !oci.exists() {
            return None;
        }
        let pid: i32 = std::fs::read_to_string(self.run.join("pid")).ok()?.trim().parse().ok()?;
        let start_ticks = start_ticks(pid).filter(|_| pid > 0)?;
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let is_ours = cgroup.contains(self.id()) || Lock::is_held(&self.monitor_lock());
        is_ours.then(|| State {
            status: Status::Running,
            pid,
            start_ticks,
            boot: boot_id(),
            ..State::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_living_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let ticks = start_ticks(pid).unwrap();
        let mut state = State {
            status: Status::Running,
            pid,
            start_ticks: ticks,
            boot: boot_id(),
            ..State::default()
        };
        assert!(state.is_alive());
        state.start_ticks += 1;
        assert!(!state.is_alive(), "another process with the same pid");
        state.start_ticks = ticks;
        state.boot = "another".to_owned();
        assert!(!state.is_alive(), "the same pid after a reboot");
        assert_eq!(start_ticks(-1), None);
    }
}
