//! Where the time of one command goes: `--timings`.
//!
//! Both processes that make a container note when they are done with a phase, in memory that
//! they share, so that neither waits for the other on this account. Without the flag a
//! note is a comparison.

mod spans;
mod waterfall;

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::report::{self, Error, Result};

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Runtime,
    Container,
}

/// What is done: in the order in which each process does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// Reading the configuration, or the container's record.
    Read,
    /// Making the plan.
    Plan,
    /// The state directory and what is kept in it.
    Record,
    /// The cgroup and its limits.
    Cgroup,
    /// clone3(2), with all namespaces.
    Clone,
    /// Device rules of cgroup v2, and the record of the process.
    Devices,
    /// Until the container's process is ready; the hooks of the runtime namespace.
    Setup,
    /// Until the program runs.
    Exec,
    /// The program itself.
    Program,
    /// Taking everything away.
    Remove,
    /// Joining namespaces and cgroups, names, loopback.
    Enter,
    /// The root filesystem and its mounts.
    Mounts,
    /// Device nodes and links.
    Nodes,
    /// Masked and read-only paths.
    Masks,
    /// pivot_root(2) and the end of the old root.
    Pivot,
    /// The user, capabilities, filters, descriptors, finding the program.
    Confine,
}

impl Phase {
    const ALL: [Self; 16] = [
        Self::Read,
        Self::Plan,
        Self::Record,
        Self::Cgroup,
        Self::Clone,
        Self::Devices,
        Self::Setup,
        Self::Exec,
        Self::Program,
        Self::Remove,
        Self::Enter,
        Self::Mounts,
        Self::Nodes,
        Self::Masks,
        Self::Pivot,
        Self::Confine,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Plan => "plan",
            Self::Record => "state directory",
            Self::Cgroup => "cgroup",
            Self::Clone => "clone3",
            Self::Devices => "device rules",
            Self::Setup => "wait for container",
            Self::Exec => "execve",
            Self::Program => "program",
            Self::Remove => "remove",
            Self::Enter => "namespaces",
            Self::Mounts => "mounts",
            Self::Nodes => "devices",
            Self::Masks => "masked paths",
            Self::Pivot => "pivot_root",
            Self::Confine => "confinement",
        }
    }

    fn process(self) -> Process {
        match self {
            Self::Enter
            | Self::Mounts
            | Self::Nodes
            | Self::Masks
            | Self::Pivot
            | Self::Confine => Process::Container,
            _ => Process::Runtime,
        }
    }
}

/// When a phase was, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
struct Lap {
    phase: Phase,
    start: u64,
    end: u64,
}

/// Ends of phases; the last word is the beginning of it all. Zero: it has not been.
static ENDS: OnceLock<&[AtomicU64]> = OnceLock::new();
static CONTAINER: OnceLock<String> = OnceLock::new();

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Phases that `--debug` has told of, bit n for phase n.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Begins to take the time, unless that was done.
pub fn begin() -> Result<()> {
    if ENDS.get().is_some() {
        return Ok(());
    }
    let words = husk_sys::shared::words(Phase::ALL.len() + 1)
        .map_err(|errno| Error::kernel("--timings", "mmap", errno))?;
    if let Some(begin) = words.last() {
        begin.store(now(), Ordering::Relaxed);
    }
    let _ = ENDS.set(words);
    Ok(())
}

/// Says which container it is about.
pub fn about(container: &str) {
    if ENDS.get().is_some() {
        let _ = CONTAINER.set(container.to_owned());
    }
}

/// A phase is done. The next one of the same process begins.
pub fn done(phase: Phase) {
    if let Some(end) = ENDS.get().and_then(|ends| ends.get(phase as usize)) {
        end.store(now(), Ordering::Relaxed);
        // The container's process has no log: what it does is told with the runtime's next phase.
        if phase.process() == Process::Runtime {
            tell_steps();
        }
    }
}

/// Tells, with `--debug`, of each phase that has ended since the last time, in the order of
/// their ends.
pub fn tell_steps() {
    let Some(ends) = ENDS.get().filter(|_| report::is_debug()) else { return };
    let ends: Vec<u64> = ends.iter().map(|end| end.load(Ordering::Relaxed)).collect();
    let begin = ends.last().copied().unwrap_or_default();
    let told = TOLD.load(Ordering::Relaxed);
    let mut new = laps(&ends);
    new.retain(|lap| told >> lap.phase as usize & 1 == 0);
    new.sort_by_key(|lap| lap.end);
    for lap in &new {
        TOLD.fetch_or(1 << lap.phase as usize, Ordering::Relaxed);
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        report::debug(|| {
            let process = match lap.phase.process() {
                Process::Runtime => "",
                Process::Container => " (container process)",
            };
            format!(
                "{}{process}: took {:.3} ms, done {:.3} ms after the start",
                lap.phase.name(),
                milliseconds(lap.end - lap.start),
                milliseconds(lap.end.saturating_sub(begin))
            )
        });
    }
}

/// The phases that were, by process and in order.
fn laps(ends: &[u64]) -> Vec<Lap> {
    let begin = ends.last().copied().unwrap_or_default();
    let at = |phase: Phase| ends.get(phase as usize).copied().filter(|end| *end != 0);
    let mut laps = Vec::new();
    let mut last = begin;
    let mut process = Process::Runtime;
    for phase in Phase::ALL {
        if phase.process() != process {
            process = phase.process();
            // Born by clone3(2); what that took is the runtime's.
            last = at(Phase::Clone).unwrap_or(begin);
        }
        let Some(end) = at(phase) else { continue };
        // The new process may be at work before its parent notes that it is there.
        laps.push(Lap { phase, start: last.min(end), end });
        last = end;
    }
    laps
}

/// Tells what was noted: as a waterfall on stderr, or as spans in a file.
pub fn tell(command: &str, spans: Option<&mut File>) -> Result<()> {
    let Some(ends) = ENDS.get() else { return Ok(()) };
    let ends: Vec<u64> = ends.iter().map(|end| end.load(Ordering::Relaxed)).collect();
    let (begin, end) = (ends.last().copied().unwrap_or_default(), now());
    let laps = laps(&ends);
    match spans {
        // Where nobody listens any more, that is no failure: eprint! would end in a panic.
        None => {
            let text = waterfall::draw(command, begin, end, &laps);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        Some(file) => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let epoch = (since_epoch.as_nanos() as u64).saturating_sub(end);
            let container = CONTAINER.get().map_or("", String::as_str);
            let trace = spans::Trace::from_environment();
            spans::write(file, &trace, (command, container), (begin, end, epoch), &laps)
                .map_err(|error| Error::io(report::Code::Kernel, "--timings", &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_where_the_one_before_it_ended() {
        let mut ends = [0; Phase::ALL.len() + 1];
        let set = [(Phase::Read, 20), (Phase::Clone, 50), (Phase::Exec, 90), (Phase::Enter, 45)];
        for (phase, end) in set {
            ends[phase as usize] = end;
        }
        ends[Phase::ALL.len()] = 10;
        let laps: Vec<_> =
            laps(&ends).into_iter().map(|lap| (lap.phase, lap.start, lap.end)).collect();
        assert_eq!(
            laps,
            [
                (Phase::Read, 10, 20),
                (Phase::Clone, 20, 50),
                (Phase::Exec, 50, 90),
                (Phase::Enter, 45, 45),
            ]
        );
    }

    #[test]
    fn phases_are_numbered_in_order() {
        assert!(Phase::ALL.iter().enumerate().all(|(at, phase)| *phase as usize == at));
    }
}
