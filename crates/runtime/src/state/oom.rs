//! What is told of a container in which the kernel's OOM killer was.

use std::os::fd::AsFd;

use husk_cgroup::{Cgroup, OomWatch};
use rustix::event::PollFd;

use crate::state::record::Record;

/// Whether the kernel killed in a container for want of memory, in words.
pub fn oom_killed(record: &Record) -> Option<String> {
    match record.cgroup.oom_kills().ok().flatten() {
        None | Some(0) => None,
        Some(_) => Some(killed(record.cgroup.memory_limit().ok().flatten())),
    }
}

fn killed(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("killed by the OOM killer (memory limit {})", size(limit)),
        None => "killed by the OOM killer".to_owned(),
    }
}

/// The same, watched for while the container runs: systemd removes a scope with its last
/// process, and with it what the kernel has counted.
#[derive(Debug)]
pub struct OomWitness {
    watch: OomWatch,
    cgroup: Cgroup,
    limit: Option<u64>,
    seen: bool,
}

impl OomWitness {
    /// `None` where nobody but us removes the cgroup: it tells afterwards.
    pub fn of(record: &Record) -> Option<Self> {
        record.cgroup.unit.as_ref()?;
        let cgroup = record.cgroup.clone();
        let watch = cgroup.oom_watch().ok().flatten()?;
        // The program runs already, and may have been killed since.
        let seen = cgroup.oom_kills().ok().flatten().is_some_and(|kills| kills > 0);
        Some(Self { watch, limit: cgroup.memory_limit().ok().flatten(), cgroup, seen })
    }

    /// What to poll, and for what.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.watch.as_fd(), self.watch.interest())
    }

    /// Looks; false when there is nothing left to be seen.
    pub fn look(&mut self) -> bool {
        if let Ok(Some(limit)) = self.cgroup.memory_limit() {
            self.limit = Some(limit);
        }
        self.seen |= self.watch.kills().is_ok_and(|kills| kills > 0);
        self.cgroup.exists()
    }

    /// What was seen, in words.
    pub fn words(&self) -> Option<String> {
        self.seen.then(|| killed(self.limit))
    }
}

/// Bytes in the largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift)) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}
