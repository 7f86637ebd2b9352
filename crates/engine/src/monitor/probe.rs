//! A container's health check as its monitor runs it: when the next probe is due, what the one
//! that runs has written, and how one that takes too long is ended with all that it has started.
//!
//! A probe is an exec session without a record on disk. What it is to run is written once a
//! start, into memory (memfd_create(2)), of which husk-oci gets a descriptor.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::container::Container;
use crate::container::health::{Health, HealthCheck, HealthStatus, MAX_OUTPUT, ProbeResult};
use crate::container::state::State;
use crate::error::{Error, Result, file};
use crate::exec::{self, ExecRequest};

/// How long husk-oci has for joining the container, which is not the probe's time.
pub(super) const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// How often the processes of a probe are looked for that is to end: each may start others
/// meanwhile.
const MAX_LOOKS: usize = 20;

/// The health check of the run that is on.
#[derive(Debug)]
pub(super) struct Checker {
    check: HealthCheck,
    /// The process of each probe, as husk-oci takes it.
    pub(super) process: OwnedFd,
    /// When the container was started.
    began: Instant,
    pub(super) health: Health,
    pub(super) probe: Option<Probe>,
}

/// The probe that runs.
#[derive(Debug)]
pub(super) struct Probe {
    /// The monitor's number for its session.
    pub(super) session: u32,
    start: String,
    began: Instant,
    output: Vec<u8>,
    /// It has written more than is kept.
    is_cut: bool,
    /// It has had its time.
    is_late: bool,
    /// It says nothing of the program: that is frozen, or has ended.
    pub(super) is_void: bool,
}

impl Probe {
    pub(super) fn new(session: u32) -> Self {
        Self {
            session,
            start: crate::clock::timestamp(),
            began: Instant::now(),
            output: Vec::new(),
            is_cut: false,
            is_late: false,
            is_void: false,
        }
    }

    /// Takes output.
    fn hear(&mut self, data: &[u8]) {
        let room = MAX_OUTPUT.saturating_sub(self.output.len());
        self.output.extend_from_slice(data.get(..room).unwrap_or(data));
        self.is_cut |= data.len() > room;
    }

    /// Its time is over.
    pub(super) fn expire(&mut self) {
        self.is_late = true;
    }

    fn result(self, check: &HealthCheck, outcome: Result<i32, String>) -> ProbeResult {
        let mut output = String::from_utf8_lossy(&self.output).into_owned();
        if self.is_cut {
            output.push_str("...");
        }
        let late = || {
            let limit = duration(check.timeout());
            match output.is_empty() {
                true => format!("Health check exceeded timeout ({limit})"),
                false => format!("Health check exceeded timeout ({limit}): {output}"),
            }
        };
        let (exit_code, output) = match outcome {
            _ if self.is_late => (-1, late()),
            Ok(exit_code) => (exit_code, output),
            Err(problem) => (-1, problem),
        };
        ProbeResult { start: self.start, end: crate::clock::timestamp(), exit_code, output }
    }
}

/// As Go writes a time: `500ms`, `3s`, `1m30s`.
fn duration(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match millis {
        0 => String::new(),
        millis => format!(".{millis:03}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) if rest == 0 => format!("{millis}ms"),
        (0, 0) => format!("{rest}{fraction}s"),
        (0, _) => format!("{minutes}m{rest}{fraction}s"),
        _ => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

impl Checker {
    /// The check of a container that has just been started; `None` where it has none.
    ///
    /// # Errors
    /// What keeps it from being run.
    pub(super) fn new(container: &Container, state: &State) -> Result<Option<Self>> {
        let Some(check) = container.record.config.health.clone() else { return Ok(None) };
        let Some(args) = check.command() else { return Ok(None) };
        let request = ExecRequest { args, ..ExecRequest::default() };
        let process = exec::process(container, state, &request)?;
        let document = serde_json::to_vec(&process).map_err(Error::other)?;
        let memory = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC)
            .map_err(file("make", "a file in memory"))?;
        let mut memory = File::from(memory);
        memory.write_all(&document).map_err(file("write", "a file in memory"))?;
        let mut health = container.written_health();
        health.restart();
        container.write_health(&health)?;
        let (process, began) = (memory.into(), Instant::now());
        Ok(Some(Self { check, process, began, health, probe: None }))
    }

    /// Takes what the probe has written.
    pub(super) fn hear(&mut self, data: &[u8]) {
        if let Some(probe) = &mut self.probe {
            probe.hear(data);
        }
    }

    pub(super) fn check(&self) -> &HealthCheck {
        &self.check
    }

    /// Until the next probe.
    pub(super) fn wait(&self) -> Duration {
        self.check.wait(self.health.status, self.began.elapsed())
    }

    /// Takes the end of the probe: its exit status, or why there is none. Gives the container's
    /// health where that is another now.
    pub(super) fn end_probe(
        &mut self,
        container: &Container,
        outcome: Result<i32, String>,
    ) -> Option<HealthStatus> {
        let probe = self.probe.take()?;
        if probe.is_void {
            return None;
        }
        let since = probe.began.saturating_duration_since(self.began);
        let changed = self.health.take(probe.result(&self.check, outcome), &self.check, since);
        // Nobody but who asks for it loses by a full disk.
        let _ = container.write_health(&self.health);
        changed
    }

    /// The program has ended.
    pub(super) fn end(mut self, container: &Container) {
        self.health.status = HealthStatus::Unhealthy;
        let _ = container.write_health(&self.health);
    }
}

/// Kills a program that was executed in a session of its own (setsid(2)), and whatever it has
/// started that has not left the session. The caller has not waited for it yet: nobody else has
/// its number.
pub(super) fn kill_session(leader: Pid) {
    for _ in 0..MAX_LOOKS {
        let members = members_of(leader);
        if members.is_empty() {
            break;
        }
        for pid in members {
            // The number may be another's by now: it is not where it is still of the session.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
                && session_of(pid) == Some(leader)
            {
                let _ = husk_sys::signal::send(pidfd.as_fd(), Signal::KILL.as_raw());
            }
        }
    }
    let _ = rustix::process::kill_process(leader, Signal::KILL);
}

/// The others of the session that live.
fn members_of(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        (pid != leader && session_of(pid) == Some(leader)).then_some(pid)
    });
    pids.collect()
}

/// The session of a process that lives (proc_pid_stat(5), fields 3 and 6).
fn session_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(2)?.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_and_told_with_the_limit() {
        let check = HealthCheck { timeout: 500_000_000, ..HealthCheck::default() };
        let mut probe = Probe::new(1);
        probe.hear(&[b'x'; MAX_OUTPUT - 1]);
        probe.hear(b"yz");
        let output = probe.result(&check, Ok(3)).output;
        assert_eq!(output.len(), MAX_OUTPUT + 3);
        assert!(output.ends_with("xy..."));
        let mut late = Probe::new(1);
        late.expire();
        let result = late.result(&check, Ok(137));
        assert_eq!(result.exit_code, -1);
        assert_eq!(result.output, "Health check exceeded timeout (500ms)");
    }

    #[test]
    fn times_are_as_go_writes_them() {
        for (millis, text) in [
            (500, "500ms"),
            (3000, "3s"),
            (1500, "1.5s"),
            (90_000, "1m30s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_session_is_killed_with_what_it_started() {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("setsid");
        command.args(["sh", "-c", "sleep 600 & exec sleep 600"]).process_group(0);
        // setsid(1) executes the program itself where it leads no group: it is made to fork
        // otherwise. So we take the session of its child, whichever that is.
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let own = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let leader = session_of(own).filter(|session| *session == own);
        match leader {
            Some(leader) => {
                assert_eq!(members_of(leader).len(), 1);
                kill_session(leader);
                assert!(members_of(leader).is_empty());
            }
            None => child.kill().unwrap(),
        }
        child.wait().unwrap();
    }
}
