//! Which cgroup hierarchies this host has, and where they are mounted.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statfs};
use rustix::io::Errno;

use crate::controller::Controller;
use crate::error::Error;
use crate::kernfs;

/// Where every distribution mounts cgroups (file-hierarchy(7)).
const MOUNT: &str = "/sys/fs/cgroup";
/// Where resctrl belongs (arch/x86/resctrl.rst).
const RESCTRL: &str = "/sys/fs/resctrl";
/// `f_type` of resctrl, statfs(2).
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;
/// `f_type` of a v1 hierarchy, statfs(2).
const CGROUP_SUPER_MAGIC: i64 = 0x0027_e0eb;
/// `f_type` of the v2 hierarchy, statfs(2).
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// The cgroup hierarchies of this host, as the calling process sees them.
///
/// Pure v2 has only `v2`, a legacy host only `v1`, a hybrid one both: a
/// controller that is in a v1 hierarchy is used there, any other one where v2
/// offers it. Neither means that cgroups are not mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The v1 hierarchies, in the order of `/proc/self/cgroup`.
    pub v1: Vec<Hierarchy>,
    /// The v2 hierarchy.
    pub v2: Option<Unified>,
}

/// One v1 hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, or `name=...` for one without (cgroups(7)).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Whether the mount refuses writes.
    pub read_only: bool,
    /// The caller's own cgroup, from the mounted root, once it is looked for.
    pub own: Option<PathBuf>,
}

/// The v2 hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unified {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Whether the mount refuses writes.
    pub read_only: bool,
    /// The caller's own cgroup, from the mounted root, once it is looked for.
    pub own: Option<PathBuf>,
    /// `cgroup.controllers` of the root, or of the delegated cgroup.
    pub controllers: Vec<String>,
    /// Set where the caller may not write the root: all it may use.
    pub delegated: Option<Delegated>,
}

/// The part of the v2 hierarchy that an unprivileged caller may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegated {
    /// The cgroup below which new ones can be made, from the mounted root;
    /// `None` where not even the caller's own cgroup is writable.
    pub base: Option<String>,
    /// The controllers that exist on the host but not in `base`.
    pub missing: Vec<String>,
}

impl Layout {
    /// Looks at `/sys/fs/cgroup` and, where that does not tell all, `/proc/self/cgroup`.
    ///
    /// Reads no mount table: on a busy host that is the slowest file of them
    /// all (78 µs with 30 mounts), and the places are fixed by convention.
    pub fn detect() -> Result<Self, Error> {
        let mount = Path::new(MOUNT);
        let mut layout = Self::default();
        if filesystem_type(mount)? == Some(CGROUP2_SUPER_MAGIC) {
            layout.v2 = Some(Unified::detect(mount.to_owned())?);
            return Ok(layout);
        }
        for (names, _) in own_cgroups()? {
            if names.is_empty() {
                let at = mount.join("unified");
                if filesystem_type(&at)? == Some(CGROUP2_SUPER_MAGIC) {
                    layout.v2 = Some(Unified::detect(at)?);
                }
            } else if let Some(hierarchy) = Hierarchy::detect(mount, &names)? {
                layout.v1.push(hierarchy);
            }
        }
        Ok(layout)
    }

    /// Looks for the caller's own cgroups, below which that of a container without
    /// `linux.cgroupsPath` is made. One that is out of sight, as it is in a container without a
    /// cgroup namespace, counts as none.
    pub fn find_own(&mut self) -> Result<(), Error> {
        let visible = |mount: &Path, path: PathBuf| {
            let plain = !path.components().any(|part| part == Component::ParentDir);
            (plain && rustix::fs::stat(below(mount, &path)).is_ok()).then_some(path)
        };
        for (names, path) in own_cgroups()? {
            if names.is_empty() {
                if let Some(unified) = &mut self.v2 {
                    unified.own = visible(&unified.mount, path);
                }
            } else if let Some(hierarchy) =
                self.v1.iter_mut().find(|hierarchy| hierarchy.controllers.join(",") == names)
            {
                hierarchy.own = visible(&hierarchy.mount, path);
            }
        }
        Ok(())
    }

    /// Where a controller is to be used.
    pub(crate) fn home(&self, controller: Controller) -> Home {
        if let Some(at) = self.v1.iter().position(|hierarchy| {
            hierarchy.controllers.iter().any(|name| name == controller.v1_name())
        }) {
            return Home::V1(at);
        }
        match &self.v2 {
            // Devices are guarded by an eBPF program and the freezer is part of
            // the core: neither is listed as a controller.
            Some(_) if matches!(controller, Controller::Devices | Controller::Freezer) => Home::V2,
            Some(unified)
                if controller
                    .v2_name()
                    .is_some_and(|name| unified.controllers.iter().any(|other| other == name)) =>
            {
                Home::V2
            }
            _ => Home::Nowhere,
        }
    }

    /// The layout in one phrase, for messages and `--debug`.
    pub fn describe(&self) -> String {
        let mut text = match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => "cgroup v2".to_owned(),
            (Some(_), false) => "cgroup v1 and v2 (hybrid)".to_owned(),
            (None, false) => "cgroup v1".to_owned(),
            (None, true) => return "no cgroup hierarchy is mounted below /sys/fs/cgroup".into(),
        };
        let names: Vec<&str> = self
            .v1
            .iter()
            .flat_map(|hierarchy| &hierarchy.controllers)
            .map(String::as_str)
            .collect();
        if !names.is_empty() {
            let _ = write!(text, ", v1: {}", names.join(" "));
        }
        if let Some(unified) = &self.v2 {
            let names = match unified.controllers.is_empty() {
                true => "no controllers".to_owned(),
                false => unified.controllers.join(" "),
            };
            let _ = write!(text, ", v2: {names}");
            match &unified.delegated {
                Some(Delegated { base: Some(base), .. }) => {
                    let _ = write!(text, ", delegated to us from {base}");
                }
                Some(Delegated { base: None, .. }) => text.push_str(", not writable for us"),
                None => {}
            }
        }
        if self.read_only() {
            text.push_str(", mounted read-only");
        }
        text
    }

    /// Whether no hierarchy can be written to.
    pub fn read_only(&self) -> bool {
        let v2 = self.v2.as_ref().is_none_or(|unified| unified.read_only);
        (self.v2.is_some() || !self.v1.is_empty())
            && v2
            && self.v1.iter().all(|hierarchy| hierarchy.read_only)
    }
}

/// Where the resctrl filesystem is mounted, for `linux.intelRdt`.
pub(crate) fn resctrl() -> Result<Option<&'static Path>, Error> {
    let mount = Path::new(RESCTRL);
    Ok((filesystem_type(mount)? == Some(RDTGROUP_SUPER_MAGIC)).then_some(mount))
}

/// Which hierarchy a controller is used in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// The v1 hierarchy with this place in [`Layout::v1`].
    V1(usize),
    V2,
    Nowhere,
}

impl Hierarchy {
    fn detect(mount: &Path, names: &str) -> Result<Option<Self>, Error> {
        // "cpu,cpuacct" is one directory, with links from "cpu" and "cpuacct";
        // which of the two comes first in its name differs between hosts.
        let first = names.split(',').next().unwrap_or(names);
        let candidates = [names.strip_prefix("name=").unwrap_or(names), first];
        for name in candidates {
            let at = mount.join(name);
            if let Some((CGROUP_SUPER_MAGIC, read_only)) = filesystem(&at)? {
                return Ok(Some(Self {
                    controllers: names.split(',').map(str::to_owned).collect(),
                    read_only,
                    own: None,
                    mount: at,
                }));
            }
        }
        Ok(None)
    }
}

impl Unified {
    fn detect(mount: PathBuf) -> Result<Self, Error> {
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let host = words(kernfs::read(&mount.join("cgroup.controllers"))?);
        let mut unified = Self { controllers: host, mount, ..Self::default() };
        match writable(&unified.mount)? {
            Writable::Yes => return Ok(unified),
            Writable::ReadOnly => {
                unified.read_only = true;
                return Ok(unified);
            }
            Writable::No => {}
        }
        // No internal processes: controllers cannot be handed down from a cgroup
        // that holds the caller itself, so its parent is the better base.
        let own = own_cgroups()?.into_iter().find(|(names, _)| names.is_empty());
        let own = own.map_or(PathBuf::from("/"), |(_, path)| path);
        let parent = own.parent().filter(|parent| parent.parent().is_some());
        for base in [parent, Some(own.as_path())].into_iter().flatten() {
            let at = below(&unified.mount, base);
            if writable(&at)? == Writable::Yes {
                let there = words(kernfs::read(&at.join("cgroup.controllers"))?);
                let missing = unified
                    .controllers
                    .iter()
                    .filter(|name| !there.contains(name))
                    .cloned()
                    .collect();
                unified.delegated =
                    Some(Delegated { base: Some(base.to_string_lossy().into_owned()), missing });
                unified.controllers = there;
                return Ok(unified);
            }
        }
        let missing = std::mem::take(&mut unified.controllers);
        unified.delegated = Some(Delegated { base: None, missing });
        Ok(unified)
    }
}

/// The cgroups of the calling process: the controllers of each hierarchy, none for v2,
/// and the path from its root.
fn own_cgroups() -> Result<Vec<(String, PathBuf)>, Error> {
    let file = Path::new("/proc/self/cgroup");
    let mut cgroups = Vec::new();
    for line in kernfs::read(file)?.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            return Err(Error::Malformed { path: file.into(), text: line.to_owned() });
        };
        cgroups.push((names.to_owned(), path.into()));
    }
    Ok(cgroups)
}

/// The directory of an absolute cgroup path below a mount.
pub(crate) fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

#[derive(PartialEq, Eq)]
enum Writable {
    Yes,
    No,
    ReadOnly,
}

fn writable(directory: &Path) -> Result<Writable, Error> {
    // cgroup.procs of a new child's common ancestor must be writable too, but a
    // delegation hands over both (systemd.resource-control(5), "Delegate=").
    match accessat(CWD, directory, Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(Writable::Yes),
        Err(Errno::ROFS) => Ok(Writable::ReadOnly),
        // A cgroup of another namespace shows as "/../x": not there for us.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => Ok(Writable::No),
        Err(errno) => Err(Error::system("access", directory, errno)),
    }
}

/// Whether a directory is of a hierarchy of cgroups.
pub(crate) fn is_hierarchy(path: &Path) -> Result<bool, Error> {
    let kind = filesystem_type(path)?;
    Ok(matches!(kind, Some(CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC | RDTGROUP_SUPER_MAGIC)))
}

/// What is mounted there, `f_type` of statfs(2).
fn filesystem_type(path: &Path) -> Result<Option<i64>, Error> {
    Ok(filesystem(path)?.map(|(kind, _)| kind))
}

/// What is mounted there, and whether it refuses writes.
fn filesystem(path: &Path) -> Result<Option<(i64, bool)>, Error> {
    match statfs(path) {
        Ok(stat) => {
            let flags = StatVfsMountFlags::from_bits_retain(stat.f_flags as u64);
            Ok(Some((stat.f_type, flags.contains(StatVfsMountFlags::RDONLY))))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(Error::system("statfs", path, errno)),
    }
}
