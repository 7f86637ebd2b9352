//! The places that the runtime makes in a step's root to mount over them. They are no
//! change of the step's: what was not there before it and is empty after it is removed.

use std::os::fd::{AsFd, OwnedFd};

use husk_rootfs::resolve::open_at;
use rustix::fs::{
    AtFlags, FileType, OFlags, ResolveFlags, Stat, Timespec, Timestamps, fstat, statat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::error::{Result, file};
use crate::spec::MOUNT_POINTS;

/// Those that were missing.
#[derive(Debug)]
pub(super) struct MountPoints {
    missing: Vec<String>,
}

fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    // A link is what it is: only real directories of the root are walked.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    open_at(root.as_fd(), path.as_bytes(), flags | OFlags::PATH, resolve)
}

fn parts(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

impl MountPoints {
    /// Looks before the step; `more` are the places of its own mounts.
    pub(super) fn missing(root: &OwnedFd, more: &[&str]) -> Result<Self> {
        let mut places: Vec<String> =
            MOUNT_POINTS.iter().map(|path| path[1..].to_owned()).collect();
        for target in more {
            // With the directories above it, which may be made for it too.
            let mut path = target.trim_matches('/');
            while !path.is_empty() {
                places.push(path.to_owned());
                path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            }
        }
        places.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        places.dedup();
        let mut found = Self { missing: Vec::new() };
        for path in places {
            let (parent, name) = parts(&path);
            let directory = match open(root, parent, OFlags::DIRECTORY) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => {
                    found.missing.push(path);
                    continue;
                }
                // A link or a file: what is made behind it is not ours to judge.
                Err(_) => continue,
            };
            match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => found.missing.push(path),
                Err(errno) => return Err(file("look at the step's", &path)(errno)),
                Ok(_) => {}
            }
        }
        Ok(found)
    }

    /// Removes after the step what is still as empty as the runtime made it.
    pub(super) fn remove(&self, root: &OwnedFd) -> Result<()> {
        for path in &self.missing {
            let (parent, name) = parts(path);
            let Ok(directory) = open(root, parent, OFlags::DIRECTORY) else { continue };
            let before = fstat(&directory).map_err(file("look at the step's", parent))?;
            let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let removed = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => unlinkat(&directory, name, AtFlags::REMOVEDIR),
                FileType::RegularFile if stat.st_size == 0 => {
                    unlinkat(&directory, name, AtFlags::empty())
                }
                _ => continue,
            };
            match removed {
                // That we removed it is no change either.
                Ok(()) => utimensat(&directory, "", &times(&before), AtFlags::EMPTY_PATH)
                    .map_err(file("set the time of the step's", parent))?,
                // The step has put something there.
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(file("remove the step's", path)(errno)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_empty_goes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/hosts"), "").unwrap();
        std::fs::write(root.join("etc/own"), "").unwrap();
        let fd = OwnedFd::from(std::fs::File::open(root).unwrap());
        let points = MountPoints::missing(&fd, &["/mnt/in/side"]).unwrap();
        for name in ["proc", "sys", "dev", "mnt/in/side"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join("etc/resolv.conf"), "").unwrap();
        std::fs::write(root.join("etc/hostname"), "the step's own").unwrap();
        std::fs::write(root.join("dev/kept"), "").unwrap();
        let before = std::fs::metadata(root.join("etc")).unwrap().modified().unwrap();
        points.remove(&fd).unwrap();
        let mut left: Vec<String> = ["", "etc", "dev"]
            .iter()
            .flat_map(|below| std::fs::read_dir(root.join(below)).unwrap())
            .map(|entry| entry.unwrap().path().strip_prefix(root).unwrap().display().to_string())
            .collect();
        left.sort();
        assert_eq!(left, ["dev", "dev/kept", "etc", "etc/hostname", "etc/hosts", "etc/own"]);
        assert_eq!(std::fs::metadata(root.join("etc")).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_link_does_not_lead_out() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("etc")).unwrap();
        std::fs::create_dir(outer.path().join("outside")).unwrap();
        let fd = OwnedFd::from(std::fs::File::open(&root).unwrap());
        let points = MountPoints::missing(&fd, &["/mnt/in/side"]).unwrap();
        std::fs::write(outer.path().join("outside/hosts"), "").unwrap();
        points.remove(&fd).unwrap();
        assert!(outer.path().join("outside/hosts").exists());
    }
}
