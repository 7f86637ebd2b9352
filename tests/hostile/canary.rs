//! Things outside a container that must stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use husk_tests::case::Case;
use husk_tests::host;
use husk_tests::runtime::built;

/// A directory of canaries beside the bundles, and what it looked like.
pub(crate) struct Canaries {
    dir: PathBuf,
    before: BTreeMap<PathBuf, Look>,
    mounts: Vec<PathBuf>,
}

/// All that can be changed of a file. The time of its last change tells of a
/// chown to the same owner, too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    device: u64,
    links: u64,
    changed: (i64, i64),
    content: Vec<u8>,
}

impl Look {
    fn of(path: &Path) -> Look {
        let status = fs::symlink_metadata(path).unwrap();
        let kind = status.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(path).unwrap()
        } else {
            assert!(!kind.is_socket() || status.len() == 0);
            Vec::new()
        };
        Look {
            inode: (status.dev(), status.ino()),
            mode: status.mode(),
            owner: (status.uid(), status.gid()),
            device: status.rdev(),
            links: status.nlink(),
            changed: (status.ctime(), status.ctime_nsec()),
            content,
        }
    }
}

impl Canaries {
    /// Makes `outside/` in the case's directory: a file, a directory with every
    /// name that a runtime looks for in /dev, /proc and /sys, and a program.
    pub(crate) fn new(case: &Case) -> Canaries {
        let dir = case.directory("outside");
        fs::write(dir.join("file"), "canary\n").unwrap();
        // No script: its interpreter would have to open it once more, inside.
        fs::copy(built("husk-probe"), dir.join("program")).unwrap();
        let inner = dir.join("dir");
        for name in ["pts", "shm", "mqueue", "self/attr", "sys/kernel", "fs/cgroup", "bin"] {
            fs::create_dir_all(inner.join(name)).unwrap();
        }
        for name in [
            "null",
            "zero",
            "tty",
            "console",
            "ptmx",
            "pts/ptmx",
            "pts/0",
            "self/attr/exec",
            "sys/kernel/domainname",
            "passwd",
        ] {
            fs::write(inner.join(name), format!("canary {name}\n")).unwrap();
        }
        symlink("../file", inner.join("link")).unwrap();
        Canaries { before: look(&dir), mounts: host::mounts_below(case.dir()), dir }
    }

    /// A path among the canaries.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The same as a link in a rootfs says it, by going up to the host's root.
    pub(crate) fn upwards(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        Path::new("../../../../../../../../../../../..").join(path.strip_prefix("/").unwrap())
    }

    /// Fails the test when anything is different from the beginning.
    pub(crate) fn assert_untouched(&self, case: &Case, what: &str) {
        let after = look(&self.dir);
        for (path, look) in &self.before {
            match after.get(path) {
                Some(now) => assert_eq!(look, now, "{what}: {} was changed", path.display()),
                None => panic!("{what}: {} is gone", path.display()),
            }
        }
        let new: Vec<_> = after.keys().filter(|path| !self.before.contains_key(*path)).collect();
        assert!(new.is_empty(), "{what}: made outside: {new:?}");
        assert_eq!(self.mounts, host::mounts_below(case.dir()), "{what}: mounts");
    }
}

fn look(dir: &Path) -> BTreeMap<PathBuf, Look> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(path) = ahead.pop() {
        let look = Look::of(&path);
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, look);
    }
    found
}
