//! A container's cgroup while it exists: the record of where it is, and the ways in.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::controller::Controller;
use crate::error::Error;
use crate::kernfs;
use crate::path;
use crate::plan::{Manager, V1};
use crate::rdt::Rdt;
use crate::systemd::{Placeholder, Unit};

/// Where a container's cgroup is, to be kept with the container's state.
///
/// Deserializing the record opens the cgroup again: everything is found by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Who made it.
    pub manager: Manager,
    /// Its directories in the v1 hierarchies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v1: Vec<V1>,
    /// Its directory in the v2 hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<PathBuf>,
    /// Its scope, where systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Its group of the resctrl filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Rdt>,
    /// What the caller should be told about its making, one line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Keeps a new scope alive; see [`Cgroup::entered`].
    #[serde(skip)]
    pub placeholder: Placeholder,
}

/// How a process gets into the cgroup.
#[derive(Debug)]
pub struct Entry {
    /// The v2 directory, for clone3(2) with `CLONE_INTO_CGROUP` and for its device rules.
    pub into: Option<OwnedFd>,
    /// The `tasks` files of the v1 hierarchies and of resctrl, with their paths: the new
    /// process writes "0" to each while it is single-threaded. A write to
    /// `cgroup.procs` would wait for an RCU grace period instead, milliseconds.
    pub tasks: Vec<(String, OwnedFd)>,
}

impl Cgroup {
    /// The record of a container without a cgroup of its own.
    pub fn none() -> Self {
        Self {
            manager: Manager::Disabled,
            v1: Vec::new(),
            v2: None,
            unit: None,
            rdt: None,
            warnings: Vec::new(),
            placeholder: Placeholder::default(),
        }
    }

    /// Whether the container has no cgroup of its own.
    pub fn is_none(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// Opens the ways in.
    pub fn entry(&self) -> Result<Entry, Error> {
        if let Some(path) = &self.v2 {
            self.placeholder.make_room(path)?;
        }
        let into = match &self.v2 {
            Some(path) => Some(
                openat(
                    CWD,
                    path,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .map_err(|errno| Error::system("open", path, errno))?,
            ),
            None => None,
        };
        let mut tasks = Vec::with_capacity(self.v1.len());
        let v1 = self.v1.iter().map(|directory| directory.path.join("tasks"));
        for path in v1.chain(self.rdt.iter().flat_map(Rdt::tasks)) {
            let fd = kernfs::open_for_write(&path)
                .map_err(|errno| Error::system("open", &path, errno))?;
            tasks.push((path.display().to_string(), fd));
        }
        Ok(Entry { into, tasks })
    }

    /// To be called when the container's first process is in the cgroup.
    ///
    /// Until then a process of ours keeps a new scope alive, which would end
    /// with its last process; here it is ended and reaped. Without systemd
    /// there is none, and nothing happens.
    pub fn entered(&mut self) {
        self.placeholder = Placeholder::default();
    }

    /// Moves a process in by the plain write to `cgroup.procs`.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        for directory in self.directories() {
            kernfs::write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        for tasks in self.rdt.iter().flat_map(Rdt::tasks) {
            kernfs::write(&tasks, &pid.to_string())?;
        }
        Ok(())
    }

    /// A cgroup below this one, for `exec --cgroup [CONTROLLERS:]PATH`.
    ///
    /// `CONTROLLERS` is a comma-separated list of v1 hierarchies' names, or
    /// empty for v2; without it the path holds for all of them.
    pub fn sub(&self, paths: &[impl AsRef<str>]) -> Result<Self, Error> {
        let mut sub = self.clone();
        for given in paths.iter().map(AsRef::as_ref) {
            let (names, path) = match given.split_once(':') {
                Some((names, path)) => (Some(names), path),
                None => (None, given),
            };
            let below = path::resolve_sub(path)?;
            let Some(names) = names else {
                for (to, from) in sub.v1.iter_mut().zip(&self.v1) {
                    to.path = from.path.join(&below);
                }
                sub.v2 = self.v2.as_ref().map(|path| path.join(&below));
                continue;
            };
            for name in names.split(',') {
                if name.is_empty() {
                    sub.v2 = self.v2.as_ref().map(|path| path.join(&below));
                    continue;
                }
                let at = self.v1.iter().position(|directory| {
                    directory
                        .controllers
                        .iter()
                        .any(|own| own == name || own.strip_prefix("name=") == Some(name))
                });
                let Some(at) = at else {
                    return Err(Error::invalid(
                        "--cgroup",
                        given,
                        format!("no v1 hierarchy has the controller {name}"),
                    ));
                };
                sub.v1[at].path = self.v1[at].path.join(&below);
            }
        }
        for directory in sub.directories() {
            rustix::fs::stat(directory)
                .map_err(|errno| Error::system("enter", directory, errno))?;
        }
        Ok(sub)
    }

    /// The cgroup that a process of the container is in now: where `entry` is
    /// refused with EBUSY because the container has handed controllers down
    /// inside its own v2 cgroup, a new process joins the container's first one.
    pub fn of_process(&self, pid: i32) -> Result<Self, Error> {
        let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = kernfs::read(&file)?;
        let mut found = self.clone();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(at)) = (fields.next(), fields.next(), fields.next())
            else {
                return Err(Error::Malformed { path: file, text: line.to_owned() });
            };
            let at = at.trim_end_matches(" (deleted)");
            if names.is_empty() {
                if let Some(own) = &self.v2
                    && let Some(mount) = mount_of(own)
                {
                    let path = crate::layout::below(&mount, Path::new(at));
                    if path.starts_with(own) {
                        found.v2 = Some(path);
                    }
                }
            } else if let Some(directory) =
                found.v1.iter_mut().find(|directory| directory.controllers.join(",") == names)
            {
                let path = crate::layout::below(&directory.mount, Path::new(at));
                if path.starts_with(&directory.path) {
                    directory.path = path;
                }
            }
        }
        Ok(found)
    }

    /// Every directory, the v1 ones first.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|directory| directory.path.as_path()).chain(self.v2.as_deref())
    }

    /// The directory to ask for the container's processes: v2 where there is
    /// one, since it can report their end; else any v1 one.
    pub(crate) fn census(&self) -> Option<&Path> {
        self.v2.as_deref().or_else(|| {
            let freezer = self.v1.iter().find(|directory| directory.has(Controller::Freezer));
            freezer.or(self.v1.first()).map(|directory| directory.path.as_path())
        })
    }

    /// Whether the cgroup is still there.
    pub fn exists(&self) -> bool {
        self.directories().any(|path| rustix::fs::stat(path).err() != Some(Errno::NOENT))
    }
}

/// The mount of the v2 hierarchy above one of its directories.
fn mount_of(path: &Path) -> Option<PathBuf> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    path.ancestors()
        .take_while(|ancestor| rustix::fs::stat(*ancestor).is_ok_and(|s| s.st_dev == device))
        .last()
        .map(Path::to_owned)
}
