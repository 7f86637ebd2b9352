//! Making what was planned, or nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Entry};
use crate::controller::Controller;
use crate::delegation;
use crate::error::{Error, text};
use crate::kernfs;
use crate::layout::below;
use crate::plan::{CgroupPlan, Manager, V1, V2Plan};
use crate::process;
use crate::rdt::{Rdt, RdtPlan};
use crate::setting::{Refusal, Setting, hint};
use crate::systemd::{Placeholder, ScopePlan, Unit};
use crate::v2;

/// How often a directory is tried again whose parent another process removes.
const ATTEMPTS: u32 = 16;

impl CgroupPlan {
    /// Makes the directories, writes the limits and guards the devices.
    ///
    /// # Errors
    ///
    /// The first refusal; everything made until then is removed again.
    pub fn create(self) -> Result<Cgroup, Error> {
        let (mut cgroup, guard) = self.create_unguarded()?;
        let entry = cgroup.entry();
        match entry.and_then(|entry| guard.enforce(&mut cgroup, &entry, None)) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The error that led here is the one worth telling.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// As [`CgroupPlan::create`], but with v2 all devices can be used until the guard is
    /// enforced: the kernel takes a while to check its program, and the caller
    /// may have a process to make meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`CgroupPlan::create`].
    pub fn create_unguarded(self) -> Result<(Cgroup, DeviceGuard), Error> {
        let (program, rootless) = (self.device_filter.clone(), self.rootless);
        let (cgroup, new) = self.make()?;
        Ok((cgroup, DeviceGuard { program, rootless, new }))
    }

    /// The cgroup, and whether its v2 directory is new.
    fn make(self) -> Result<(Cgroup, bool), Error> {
        let mut made = Made::default();
        match self.build(&mut made) {
            Ok(done) => Ok(done),
            Err(error) => {
                made.undo();
                let forbidden =
                    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS));
                let advice = match &self.v2 {
                    Some(V2Plan { delegation: Some(delegated), .. }) if self.v1.is_empty() => {
                        delegation::advice(delegated)
                    }
                    _ => delegation::ADVICE_V1.to_owned(),
                };
                if self.dispensable && forbidden {
                    let mut warnings = self.warnings;
                    warnings.push(format!("no cgroup is made: {error}; {advice}"));
                    return Ok((Cgroup { warnings, ..Cgroup::none() }, false));
                }
                if self.rootless && forbidden {
                    return Err(Error::Forbidden { cause: Box::new(error), advice });
                }
                Err(error)
            }
        }
    }

    /// The record of what [`CgroupPlan::create`] is about to make, to be kept in
    /// case the caller is killed in between. Until then it may be another's.
    pub fn intended(&self) -> Cgroup {
        if self.manager == Manager::Disabled {
            return Cgroup::none();
        }
        // Where a user's manager makes it is not known yet: there the scope goes by itself
        // with its last process.
        let unit = self.scope.as_ref().map(ScopePlan::unit).filter(|unit| !unit.user);
        Cgroup {
            manager: self.manager,
            v1: self.v1.clone(),
            v2: self.v2.as_ref().map(|v2| v2.path.clone()),
            unit,
            ..Cgroup::none()
        }
    }

    fn build(&self, made: &mut Made) -> Result<(Cgroup, bool), Error> {
        let rdt = self.rdt.as_ref().map(RdtPlan::create).transpose()?;
        made.rdt.clone_from(&rdt);
        if self.manager == Manager::Disabled {
            let warnings = self.warnings.clone();
            return Ok((Cgroup { rdt, warnings, ..Cgroup::none() }, false));
        }
        let placeholder = match &self.scope {
            Some(_) => Placeholder::start()
                .map_err(|errno| Error::system("start a process for", "the scope", errno))?,
            None => Placeholder::default(),
        };
        let mut v1 = self.v1.clone();
        let mut v2_plan = self.v2.clone();
        if let (Some(scope), Some(pid)) = (&self.scope, placeholder.pid()) {
            let path = scope.start(pid)?;
            made.unit = Some(scope.unit());
            for directory in &mut v1 {
                directory.path = below(&directory.mount, &path);
            }
            if let Some(v2) = &mut v2_plan {
                v2.path = below(&v2.mount, &path);
            }
        }
        for directory in &v1 {
            let new = made.directory(&directory.mount, &directory.path)?;
            if directory.has(Controller::Cpuset) {
                fill_cpuset(&directory.mount, &directory.path, new)?;
            }
        }
        let mut new = false;
        if let Some(v2) = &v2_plan {
            new = made.directory(&v2.mount, &v2.path)?;
            hand_down(v2, &self.settings)?;
        }
        let mut cgroup = Cgroup {
            manager: self.manager,
            v1,
            v2: v2_plan.map(|v2| v2.path),
            unit: made.unit.clone(),
            rdt,
            warnings: self.warnings.clone(),
            placeholder,
        };
        let warnings = &mut cgroup.warnings;
        apply(&self.settings, &cgroup.v1, cgroup.v2.as_deref(), warnings)?;
        Ok((cgroup, new))
    }
}

/// The device rules of a v2 cgroup that are not in force yet.
#[derive(Debug)]
#[must_use = "until it is enforced every device can be used"]
pub struct DeviceGuard {
    program: Option<Vec<u64>>,
    rootless: bool,
    /// No program is there yet; at most one of another `create` that takes the same path at
    /// this moment, and then the rules of both are in force.
    new: bool,
}

impl DeviceGuard {
    /// Puts the rules in force. In the directory `memory`, which must be the caller's alone,
    /// is known which program for such rules is loaded already. A caller who may not is warned where it is rootless.
    ///
    /// # Errors
    ///
    /// The kernel's refusal of the program.
    pub fn enforce(
        self,
        cgroup: &mut Cgroup,
        entry: &Entry,
        memory: Option<&Path>,
    ) -> Result<(), Error> {
        let (Some(program), Some(path), Some(directory)) = (&self.program, &cgroup.v2, &entry.into)
        else {
            return Ok(());
        };
        let done = match memory.filter(|_| self.new) {
            Some(memory) => v2::devices::enforce(directory.as_fd(), path, program, memory),
            None => v2::devices::replace(path, program),
        };
        match done {
            Err(error) if self.rootless && error.errno() == Some(Errno::PERM) => {
                cgroup.warnings.push(format!(
                    "linux.resources.devices: not enforced: {error}; device nodes of the \
                     host stay guarded by their file permissions"
                ));
                Ok(())
            }
            done => done,
        }
    }
}

/// What was made so far, to be undone.
#[derive(Default)]
struct Made {
    /// Outermost first.
    directories: Vec<PathBuf>,
    rdt: Option<Rdt>,
    unit: Option<Unit>,
}

impl Made {
    /// Makes a cgroup and the parents it lacks, or takes over an empty one;
    /// tells whether it is new.
    fn directory(&mut self, mount: &Path, path: &Path) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    self.directories.push(path.to_owned());
                    return Ok(true);
                }
                // systemd has made it, with the placeholder inside.
                Err(Errno::EXIST) if self.unit.is_some() => return Ok(false),
                Err(Errno::EXIST) => return must_be_free(path).map(|()| false),
                Err(Errno::NOENT) => self.parents(mount, path)?,
                Err(errno) => return Err(Error::system("mkdir", path, errno)),
            }
        }
        Err(Error::system("mkdir", path, Errno::NOENT))
    }

    fn parents(&mut self, mount: &Path, path: &Path) -> Result<(), Error> {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|ancestor| *ancestor != mount && ancestor.starts_with(mount))
            .collect();
        missing.reverse();
        for ancestor in missing {
            match mkdirat(CWD, ancestor, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.directories.push(ancestor.to_owned()),
                Err(Errno::EXIST) => {}
                // Removed by another process in between: the caller tries again.
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(Error::system("mkdir", ancestor, errno)),
            }
        }
        Ok(())
    }

    fn undo(&self) {
        // The error that led here is the one worth telling.
        let _ = self.rdt.as_ref().map(Rdt::remove);
        let _ = self.unit.as_ref().map(Unit::stop);
        for path in self.directories.iter().rev() {
            // Another container may have moved into a parent meanwhile.
            let _ = unlinkat(CWD, path, AtFlags::REMOVEDIR);
        }
    }
}

/// Refuses a cgroup that somebody lives in: removing the container would kill them.
fn must_be_free(path: &Path) -> Result<(), Error> {
    let processes = process::list_below(path)?.len();
    if processes > 0 {
        return Err(Error::InUse { path: path.to_owned(), processes });
    }
    // The container's first process would stop before its first instruction.
    for file in ["freezer.self_freezing", "cgroup.freeze"] {
        let state = kernfs::read_if_there(&path.join(file))?;
        if state.is_some_and(|state| state.trim() == "1") {
            let reason = "exists and is frozen";
            return Err(Error::invalid("linux.cgroupsPath", path.display(), reason));
        }
    }
    Ok(())
}

/// Gives a v1 cpuset its parent's processors and memory nodes.
///
/// A new one has none of its own, and entering it would be ENOSPC (cpuset(7)).
fn fill_cpuset(mount: &Path, path: &Path, new: bool) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Some(parent) = path.parent().filter(|_| new) else {
            inherited(mount, path, file)?;
            continue;
        };
        let value = inherited(mount, parent, file)?;
        kernfs::write(&path.join(file), value.trim_end())?;
    }
    Ok(())
}

/// What a cpuset has, or gets from its parent.
fn inherited(mount: &Path, path: &Path, file: &str) -> Result<String, Error> {
    let at = path.join(file);
    let own = kernfs::read(&at)?;
    if !own.trim().is_empty() || path == mount {
        return Ok(own);
    }
    let Some(parent) = path.parent() else { return Ok(own) };
    let value = inherited(mount, parent, file)?;
    kernfs::write(&at, value.trim_end())?;
    Ok(value)
}

/// Enables the plan's controllers in every `cgroup.subtree_control` above the container.
pub(crate) fn hand_down(v2: &V2Plan, settings: &[Setting]) -> Result<(), Error> {
    let Some(parent) = v2.path.parent() else { return Ok(()) };
    if v2.enable.is_empty() || lacking(parent, &v2.enable)?.is_empty() {
        return Ok(());
    }
    let mut ancestors: Vec<&Path> =
        parent.ancestors().take_while(|ancestor| ancestor.starts_with(&v2.top)).collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let control = ancestor.join("cgroup.subtree_control");
        let missing = lacking(ancestor, &v2.enable)?;
        let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        if missing.is_empty() || kernfs::try_write(&control, &all).is_ok() {
            continue;
        }
        // One that cannot be enabled must not keep the others from it.
        for name in missing {
            let Err(errno) = kernfs::try_write(&control, &format!("+{name}")) else { continue };
            let needed = settings
                .iter()
                .find(|setting| setting.v2 && setting.controller.v2_name() == Some(name));
            if let Some(setting) = needed {
                return Err(not_handed_down(v2, setting, ancestor, errno));
            }
        }
    }
    Ok(())
}

fn lacking(directory: &Path, names: &[&'static str]) -> Result<Vec<&'static str>, Error> {
    let enabled = kernfs::read(&directory.join("cgroup.subtree_control"))?;
    Ok(names
        .iter()
        .copied()
        .filter(|name| !enabled.split_whitespace().any(|other| other == *name))
        .collect())
}

fn not_handed_down(v2: &V2Plan, setting: &Setting, ancestor: &Path, errno: Errno) -> Error {
    let why = match errno {
        Errno::BUSY => format!("{} holds processes itself", ancestor.display()),
        Errno::NOENT => format!("{} does not have it", ancestor.display()),
        errno => format!("{}: {}", ancestor.display(), text(errno)),
    };
    let advice = match &v2.delegation {
        Some(delegated) => format!("; {}", delegation::advice(delegated)),
        None => String::new(),
    };
    Error::Unsupported {
        property: setting.property.to_string(),
        value: setting.value.clone(),
        file: setting.file.to_string(),
        controller: setting.controller_name(),
        reason: format!("cannot be enabled in cgroup.subtree_control: {why}{advice}"),
    }
}

/// Writes settings in order.
///
/// Some values bound each other (memory and memory with swap, quota and period
/// and burst), and which order the kernel takes depends on what stands there:
/// one that is refused waits until the rest of its controller is written, and
/// is tried again as long as that helps.
pub(crate) fn apply(
    settings: &[Setting],
    v1: &[V1],
    v2: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let mut file = OpenFile::default();
    for group in settings.chunk_by(|a, b| (a.controller, a.v2) == (b.controller, b.v2)) {
        let mut rest: Vec<&Setting> = group.iter().collect();
        loop {
            let before = rest.len();
            let mut refusals = Vec::new();
            for setting in rest {
                let directory = place(setting, v1, v2)?;
                match file.write(directory, setting) {
                    Ok(()) if &*setting.file == "memory.kmem.limit_in_bytes" => {
                        void(directory, setting, warnings)?;
                    }
                    Ok(()) => {}
                    Err((path, errno)) => refusals.push((setting, path, errno)),
                }
            }
            let order = |errno: &Errno| matches!(*errno, Errno::INVAL | Errno::BUSY);
            let again = refusals.len() < before && refusals.iter().any(|(.., e)| order(e));
            if !again {
                for (setting, path, errno) in refusals {
                    refused(setting, path, errno, warnings)?;
                }
                break;
            }
            rest = refusals.into_iter().map(|(setting, ..)| setting).collect();
        }
    }
    Ok(())
}

/// Warns of a limit of kernel memory that was taken and forgotten (Linux 6.1).
fn void(directory: &Path, setting: &Setting, warnings: &mut Vec<String>) -> Result<(), Error> {
    let now = kernfs::read(&directory.join(&*setting.file))?;
    // Limits are kept in whole pages.
    let kept = |value: &str| value.trim().parse::<u64>().is_ok_and(|value| value < 1 << 62);
    if kept(&setting.value) && !kept(&now) {
        let (property, value) = (&setting.property, &setting.value);
        warnings.push(format!("{property}: {value}: this kernel no longer limits it by itself"));
    }
    Ok(())
}

/// The file written last: lists such as that of devices go to one file, which
/// is opened once.
#[derive(Default)]
struct OpenFile(Option<(PathBuf, OwnedFd)>);

impl OpenFile {
    fn write(&mut self, directory: &Path, setting: &Setting) -> Result<(), (PathBuf, Errno)> {
        let first = self.write_to(directory.join(&*setting.file), &setting.value);
        match (first, &setting.otherwise) {
            (Err((_, Errno::NOENT)), Some((file, value))) => {
                self.write_to(directory.join(file), value)
            }
            (first, _) => first,
        }
    }

    fn write_to(&mut self, path: PathBuf, value: &str) -> Result<(), (PathBuf, Errno)> {
        if let Some((last, fd)) = &self.0
            && *last == path
        {
            return kernfs::write_fd(fd, value).map_err(|errno| (path, errno));
        }
        match kernfs::open_for_write(&path) {
            Ok(fd) => {
                let result = kernfs::write_fd(&fd, value).map_err(|errno| (path.clone(), errno));
                self.0 = Some((path, fd));
                result
            }
            Err(errno) => Err((path, errno)),
        }
    }
}

/// The container's directory that a setting is for.
pub(crate) fn place<'a>(
    setting: &Setting,
    v1: &'a [V1],
    v2: Option<&'a Path>,
) -> Result<&'a Path, Error> {
    let directory = if setting.v2 {
        v2
    } else {
        v1.iter()
            .find(|directory| directory.has(setting.controller))
            .map(|directory| directory.path.as_path())
    };
    directory.ok_or_else(|| Error::Unsupported {
        property: setting.property.to_string(),
        value: setting.value.clone(),
        file: setting.file.to_string(),
        controller: setting.controller_name(),
        reason: "the container has no cgroup there".into(),
    })
}

pub(crate) fn refused(
    setting: &Setting,
    path: PathBuf,
    errno: Errno,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let error = Error::Setting {
        property: setting.property.to_string(),
        value: setting.value.clone(),
        path,
        controller: setting.controller_name(),
        hint: hint(setting, errno),
        errno,
    };
    match setting.refusal {
        Refusal::NoneIfAbsent if errno == Errno::NOENT => Ok(()),
        Refusal::Warning => {
            warnings.push(error.to_string());
            Ok(())
        }
        Refusal::Error | Refusal::NoneIfAbsent => Err(error),
    }
}
