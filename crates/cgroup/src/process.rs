//! The processes of a cgroup, and how to signal or end all of them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::freeze::{freeze_v1, thaw_v1};
use crate::kernfs;
use crate::wait::{AT_ONCE, wait_for_ends};

const SIGKILL: i32 = 9;
/// How often the list of a v1 cgroup is killed before giving up.
const ROUNDS: u32 = 50;
/// From which round on the tree is frozen while it is listed: it forks faster than that.
const FREEZES_FROM: u32 = 3;
/// How many rounds without a new process mean that those that are left only wait for
/// the end of a system call.
const QUIET: u32 = 3;
/// How long one round waits for all to stand still.
const STILL: Duration = Duration::from_millis(100);

impl Cgroup {
    /// The processes of the whole tree, as numbers of the caller's pid namespace.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        self.census().map_or_else(|| Ok(Vec::new()), list_below)
    }

    /// Sends a signal, by its number, to every process of the tree.
    ///
    /// SIGKILL is [`Cgroup::kill_all`]. Any other one reaches the processes
    /// that are listed now, for a new one is not the caller's to signal.
    ///
    /// # Errors
    ///
    /// The first refusal; the other processes have their signal.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        if signal == SIGKILL {
            return self.kill_all();
        }
        signal_listed(&self.processes()?, signal, || self.processes(), refused)
    }

    /// Kills every process of the tree, also those that fork meanwhile.
    ///
    /// Returns when all have been sent SIGKILL and none is held by a freezer;
    /// [`Cgroup::remove`] waits for their end.
    pub fn kill_all(&self) -> Result<(), Error> {
        if let Some(v2) = &self.v2 {
            let path = v2.join("cgroup.kill");
            match kernfs::try_write(&path, "1") {
                Ok(()) => {}
                // Removed already, by a delete that was killed on its way.
                Err(Errno::NOENT | Errno::NODEV) if !v2.exists() => {}
                Err(errno) => return Err(Error::system("write", path, errno)),
            }
        }
        // On a hybrid host a process may have left the v2 cgroup alone; and one
        // that the v1 freezer holds dies when it is let go.
        let freezer = self.freezer_v1();
        let first = self.census().filter(|_| self.v2.is_none()).map(Path::to_owned);
        match freezer.clone().or(first) {
            Some(directory) => kill_below(&directory, freezer.is_some()),
            None => Ok(()),
        }
    }
}

/// Kills what is in a v1 cgroup and below: no file of v1 does it.
///
/// Nothing is frozen before all that is listed has SIGKILL pending, so that what a caller leaves
/// frozen that dies on its way can be told from what somebody has paused ([`Cgroup::release`]).
fn kill_below(directory: &Path, has_freezer: bool) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    let mut quiet = 0;
    for round in 0..ROUNDS {
        let listed = list_below(directory)?;
        if listed.is_empty() {
            return Ok(());
        }
        let kill =
            |listed: &[i32]| signal_listed(listed, SIGKILL, || list_below(directory), refused);
        kill(&listed)?;
        let mut new = listed.iter().filter(|pid| known.insert(**pid)).count();
        if has_freezer {
            // Nothing forks in a frozen cgroup, nor with SIGKILL pending: one list has them all.
            // A freeze that hangs on a process in uninterruptible sleep still holds the others.
            let freezes = round >= FREEZES_FROM && new > 0;
            let still = freezes && freeze_v1(directory, STILL).is_ok();
            let killed = match freezes {
                true => list_below(directory).and_then(|listed| {
                    new += listed.iter().filter(|pid| known.insert(**pid)).count();
                    kill(&listed)
                }),
                false => Ok(()),
            };
            thaw_below(directory)?;
            killed?;
            if still {
                return Ok(());
            }
        }
        quiet = if new == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET {
            return Ok(());
        }
        wait_for_ends(&listed, Duration::from_millis(u64::from(1 + round.min(20))));
    }
    let what = "kill all processes of";
    Err(Error::Timeout { what, path: directory.to_owned(), seconds: 1 })
}

/// Thaws a v1 cgroup and all below it: a container may have frozen cgroups of its own there.
pub(crate) fn thaw_below(directory: &Path) -> Result<(), Error> {
    tree(directory)?.iter().try_for_each(|below| thaw_v1(below))
}

/// Sends a signal to each process of a list that `list` still names when it is held by a
/// pidfd: a number may have become another process's since.
///
/// # Errors
///
/// What `refused` makes of the first refusal: the system call, the process and the errno. The
/// other processes have their signal.
pub fn signal_listed<E>(
    listed: &[i32],
    signal: i32,
    list: impl Fn() -> Result<Vec<i32>, E>,
    refused: impl Fn(&'static str, i32, Errno) -> E,
) -> Result<(), E> {
    let mut first = Ok(());
    for some in listed.chunks(AT_ONCE) {
        let mut held: Vec<(i32, OwnedFd)> = Vec::with_capacity(some.len());
        for pid in some {
            let number = if *pid > 0 { Pid::from_raw(*pid) } else { None };
            match number.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                Some(Ok(pidfd)) => held.push((*pid, pidfd)),
                Some(Err(Errno::SRCH)) | None => {}
                Some(Err(errno)) => first = first.and(Err(refused("pidfd_open", *pid, errno))),
            }
        }
        let still: BTreeSet<i32> = list()?.into_iter().collect();
        for (pid, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
            match husk_sys::signal::send(pidfd.as_fd(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => {
                    first = first.and(Err(refused("pidfd_send_signal", *pid, errno)));
                }
            }
        }
    }
    first
}

fn refused(operation: &'static str, pid: i32, errno: Errno) -> Error {
    Error::system(operation, format!("process {pid}"), errno)
}

/// The processes of a cgroup and of all below it; none if it is gone.
pub(crate) fn list_below(path: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for directory in tree(path)? {
        let file = directory.join("cgroup.procs");
        match kernfs::read_pids(&file) {
            Ok(own) => pids.extend(own),
            // A threaded v2 cgroup lists its processes at the domain above it.
            Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pids)
}

/// A cgroup and all below it, each before its children; empty if it is gone.
pub(crate) fn tree(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        match children(&directory) {
            Ok(children) => {
                found.extend(children);
                next += 1;
            }
            Err(Errno::NOENT | Errno::NODEV) => {
                found.remove(next);
            }
            Err(errno) => return Err(Error::system("list", directory, errno)),
        }
    }
    Ok(found)
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, Errno> {
    // The number of links of a kernfs directory counts its children: most
    // containers have none, and reading some hundred file names is spared.
    if rustix::fs::stat(directory)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            children.push(entry.path());
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's failure")]

    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Between list and signal a process ends, and a stranger gets its number.
    #[test]
    fn a_number_that_is_anothers_by_now_is_not_signalled() {
        let mut sleepers = [(); 2].map(|()| Command::new("sleep").arg("1000").spawn().unwrap());
        let [own, stranger] = sleepers.each_ref().map(|child| child.id().cast_signed());
        signal_listed(&[stranger, own], SIGKILL, || Ok(vec![own]), refused).unwrap();
        assert_eq!(sleepers[0].wait().unwrap().signal(), Some(SIGKILL));
        // It is alive, or it would not end by this signal.
        signal_listed(&[stranger], 15, || Ok(vec![stranger]), refused).unwrap();
        assert_eq!(sleepers[1].wait().unwrap().signal(), Some(15));
    }

    /// More processes than descriptors are held at once, and one that is gone.
    #[test]
    fn every_process_of_a_long_list_has_its_signal() {
        let count = AT_ONCE + 2;
        let mut sleepers: Vec<_> =
            (0..count).map(|_| Command::new("sleep").arg("1000").spawn().unwrap()).collect();
        let mut listed: Vec<i32> = sleepers.iter().map(|child| child.id().cast_signed()).collect();
        // Beyond the largest number that a process can have (PID_MAX_LIMIT).
        listed.insert(1, 1 << 23);
        signal_listed(&listed, 37, || Ok(listed.clone()), refused).unwrap();
        for sleeper in &mut sleepers {
            assert_eq!(sleeper.wait().unwrap().signal(), Some(37));
        }
    }
}
