//! Removing a container's cgroup once its last process is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::freeze::Events;
use crate::kernfs;
use crate::layout;
use crate::process;
use crate::rdt::Rdt;
use crate::systemd::Unit;
use crate::wait;

/// How long killed processes may take to go: one in uninterruptible sleep on a
/// dead server does not go at all.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes the cgroup with all below it, waiting for processes that were
    /// killed to be gone. What is gone already is no error.
    ///
    /// Directories above it stay, as with other runtimes: they may be shared.
    pub fn remove(&self) -> Result<(), Error> {
        if let Some(v2) = &self.v2 {
            remove_tree(v2, Some(v2))?;
        }
        // The processes are gone now on a hybrid host: these wait at most for
        // the kernel's bookkeeping.
        let mut first = self.rdt.as_ref().map_or(Ok(()), Rdt::remove);
        for directory in &self.v1 {
            let result = remove_tree(&directory.path, None);
            if first.is_ok() {
                first = result;
            }
        }
        // Removed under its hands, the scope would stay: it waits for an event
        // of the cgroup that is gone. One that is busy may be another container's.
        first?;
        self.unit.as_ref().map_or(Ok(()), Unit::stop)
    }
}

impl Cgroup {
    /// Removes a v2 cgroup that is all there is of the container's and that has neither
    /// processes nor children; tells whether it was one.
    pub fn remove_empty(&self) -> bool {
        let (Some(v2), true, None, None) = (&self.v2, self.v1.is_empty(), &self.unit, &self.rdt)
        else {
            return false;
        };
        unlinkat(CWD, v2, AtFlags::REMOVEDIR).is_ok()
    }
}

fn remove_tree(path: &Path, events_of: Option<&Path>) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        match remove_once(path) {
            Ok(true) => return Ok(()),
            // Looked at, since nothing else tells it from a directory that was only out of sight.
            Ok(false) if rustix::fs::stat(path).err() == Some(Errno::NOENT) => {
                return check_in_sight(path);
            }
            Ok(false) | Err((_, Errno::BUSY | Errno::NOTEMPTY)) if Instant::now() < deadline => {}
            Ok(false) | Err((_, Errno::BUSY | Errno::NOTEMPTY)) => {
                let seconds = PATIENCE.as_secs();
                let what = "wait for the last process of";
                return Err(Error::Timeout { what, path: path.to_owned(), seconds });
            }
            Err((at, errno)) => return Err(Error::system("rmdir", at, errno)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match events_of.map(Events::open) {
            Some(Ok(mut events)) => {
                events.wait_for("populated", "0", left, "wait for the last process of")?;
            }
            _ => wait::wait_for_ends(&process::list_below(path)?, left),
        }
        // An end is told a moment before rmdir(2) succeeds.
        wait::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Whether a cgroup that is not there is gone, and not hidden: with another file system mounted over
/// its hierarchy, as a program that looks for cgroup v2 alone does, nothing is found there either.
fn check_in_sight(path: &Path) -> Result<(), Error> {
    let Some(above) = path.ancestors().skip(1).find(|above| above.exists()) else {
        return Ok(());
    };
    if layout::is_hierarchy(above)? {
        return Ok(());
    }
    let mounts = kernfs::read(Path::new("/proc/self/mountinfo"))?;
    // A hierarchy that is mounted nowhere on the way is none any more, as after a reboot.
    match mounts.lines().filter_map(hierarchy_at).any(|mount| path.starts_with(mount)) {
        false => Ok(()),
        true => Err(Error::Hidden { path: path.to_owned(), at: above.to_owned() }),
    }
}

/// The mount point in a line of proc_pid_mountinfo(5) that is of a hierarchy.
fn hierarchy_at(line: &str) -> Option<&Path> {
    let (mount, rest) = line.split_once(" - ")?;
    let typ = rest.split(' ').next()?;
    matches!(typ, "cgroup" | "cgroup2").then_some(())?;
    mount.split(' ').nth(4).map(Path::new)
}

/// Removes what can be removed at once; whether the directory itself was, and not by another.
fn remove_once(path: &Path) -> Result<bool, (std::path::PathBuf, Errno)> {
    let rmdir = |directory: &Path| match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err((directory.to_owned(), errno)),
    };
    // Most have no children; one with children answers EBUSY (or ENOTEMPTY).
    match rmdir(path) {
        Err((_, Errno::BUSY | Errno::NOTEMPTY)) => {}
        result => return result,
    }
    let tree = process::tree(path)
        .map_err(|error| (path.to_owned(), error.errno().unwrap_or(Errno::IO)))?;
    let mut is_removed = false;
    for directory in tree.iter().rev() {
        is_removed = rmdir(directory)? && directory == path;
    }
    Ok(is_removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_hierarchies() {
        let v2 = "35 34 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy_at(v2), Some(Path::new("/sys/fs/cgroup/unified")));
        let v1 = "36 34 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        assert_eq!(hierarchy_at(v1), Some(Path::new("/sys/fs/cgroup/pids")));
        assert_eq!(hierarchy_at("34 30 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw"), None);
        assert_eq!(hierarchy_at(""), None);
    }
}
