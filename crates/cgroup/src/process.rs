//! The processes of a cgroup, and how to signal or end all of them.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::kernfs;

/// How often the list of a v1 cgroup is killed before giving up; a fork bomb is
/// frozen while it is listed and takes two or three.
const ROUNDS: u32 = 50;

impl Cgroup {
    /// The processes of the whole tree, as numbers of the caller's pid namespace.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        self.census().map_or_else(|| Ok(Vec::new()), list_below)
    }

    /// Sends a signal to every process of the tree.
    ///
    /// SIGKILL is [`Cgroup::kill_all`]. Any other one reaches the processes
    /// that are listed now, for a new one is not the caller's to signal.
    pub fn kill(&self, signal: Signal) -> Result<(), Error> {
        if signal == Signal::KILL {
            return self.kill_all();
        }
        for pid in self.processes()? {
            send(pid, signal)?;
        }
        Ok(())
    }

    /// Kills every process of the tree, also those that fork meanwhile.
    ///
    /// Returns when all have been sent SIGKILL; [`Cgroup::remove`] waits for their end.
    pub fn kill_all(&self) -> Result<(), Error> {
        let Some(v2) = &self.v2 else { return self.kill_frozen() };
        let path = v2.join("cgroup.kill");
        match kernfs::try_write(&path, "1") {
            Ok(()) => {}
            // Removed already, by a delete that was killed on its way.
            Err(Errno::NOENT | Errno::NODEV) if !v2.exists() => {}
            Err(errno) => return Err(Error::system("write", path, errno)),
        }
        let Some(freezer) = self.freezer_v1().filter(|directory| directory.exists()) else {
            return Ok(());
        };
        // On a hybrid host a process may have left the v2 cgroup alone; and one
        // that the v1 freezer holds dies when it is let go.
        for pid in list_below(&freezer)? {
            send(pid, Signal::KILL)?;
        }
        self.thaw()
    }

    fn kill_frozen(&self) -> Result<(), Error> {
        for round in 0..ROUNDS {
            // Nothing forks in a frozen cgroup, so one list has them all. A
            // freeze that hangs on a process in uninterruptible sleep still
            // holds the others.
            let frozen = self.freeze();
            let pids = self.processes();
            let killed = pids.and_then(|pids| {
                pids.iter().try_for_each(|pid| send(*pid, Signal::KILL)).map(|()| pids.is_empty())
            });
            let thawed = self.thaw();
            if killed? {
                return Ok(());
            }
            thawed?;
            if round + 1 == ROUNDS {
                frozen?;
            }
            sleep(Duration::from_millis(u64::from(round.min(20))));
        }
        Err(Error::Timeout {
            what: "kill all processes of",
            path: self.census().unwrap_or(Path::new("")).to_owned(),
            seconds: 1,
        })
    }
}

fn send(pid: i32, signal: Signal) -> Result<(), Error> {
    let Some(target) = Pid::from_raw(pid) else { return Ok(()) };
    match kill_process(target, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::system("kill a process of", format!("pid {pid}"), errno)),
    }
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
