//! Whether what CRIU has restored is what the configuration says.
//!
//! Images say by themselves which capabilities, filters and mounts their processes have, and
//! whoever wrote them may have written anything. So before a restored process goes on, the
//! kernel is asked what it has become, and what exceeds today's configuration ends the restore.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use husk_spec::NamespaceType;
use rustix::fs::{Mode, OFlags, fstat};

use super::names::{MountLine, mounts_of};
use crate::host::cgroup_error;
use crate::mech::namespace::Opened;
use crate::mech::resolve;
use crate::plan::{LaunchPlan, MountSource};
use crate::report::{Code, Error, Result};
use crate::state::record::{Record, process_start};

/// Mount attributes, `MOUNT_ATTR_*` of linux/mount.h, and their words in mountinfo.
const ATTRIBUTES: [(u64, &str); 4] = [(1, "ro"), (2, "nosuid"), (4, "nodev"), (8, "noexec")];

/// Filesystems that CRIU makes anew or fills: none of them shows the host's files.
const OWN: [&str; 10] = [
    "tmpfs",
    "proc",
    "sysfs",
    "mqueue",
    "devpts",
    "cgroup",
    "cgroup2",
    "binfmt_misc",
    "fusectl",
    "securityfs",
];

/// Looks at all processes of a restored container. CRIU, which is in its cgroup as well until it
/// ends, is `worker`.
pub(crate) fn verify(
    plan: &LaunchPlan,
    joined: &[Opened],
    record: &Record,
    worker: i32,
) -> Result<()> {
    let init = record.pid;
    namespaces(plan, joined, init)?;
    let listed = record.cgroup.processes().map_err(cgroup_error)?;
    if !listed.contains(&init) {
        return differs(
            "linux.cgroupsPath",
            "the restored process is not in the container's cgroup",
        );
    }
    let listed: BTreeSet<i32> = listed.into_iter().collect();
    // A zombie is in the namespace until it is waited for, and in no list of a cgroup.
    let outside = |pid: &i32| !listed.contains(pid) && is_alive(*pid);
    for pid in with_same("pid", init).into_iter().filter(outside) {
        if plan.namespaces.makes(NamespaceType::Pid) {
            return differs(
                "linux.cgroupsPath",
                format_args!("process {pid} is not in the container's cgroup"),
            );
        }
    }
    for pid in listed.into_iter().filter(|pid| *pid != worker) {
        privileges(plan, pid, worker, pid == init)?;
    }
    mounts(plan, init)
}

fn differs(property: impl std::fmt::Display, why: impl std::fmt::Display) -> Result<()> {
    Err(Error::new(
        Code::InvalidConfig,
        format_args!("checkpoint differs from the configuration: {property}"),
        why,
    ))
}

fn link(pid: impl std::fmt::Display, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Processes in the same namespace as another one.
fn with_same(kind: &str, of: i32) -> Vec<i32> {
    let Some(namespace) = link(of, kind) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| link(*pid, kind).is_some_and(|other| other == namespace))
        .collect()
}

fn is_alive(pid: i32) -> bool {
    process_start(pid).is_ok_and(|(state, _)| !matches!(state, b'Z' | b'X'))
}

fn file_name(kind: NamespaceType) -> &'static str {
    match kind {
        NamespaceType::Mount => "mnt",
        NamespaceType::Network => "net",
        kind => kind.name(),
    }
}

/// A namespace that the configuration asks for is not the host's, and one that it names is the one.
fn namespaces(plan: &LaunchPlan, joined: &[Opened], init: i32) -> Result<()> {
    for kind in NamespaceType::ALL.into_iter().filter(|kind| plan.namespaces.makes(*kind)) {
        let name = file_name(kind);
        let (own, restored) = (link("self", name), link(init, name));
        // CRIU restores no cgroup namespace of a container that it has put into a cgroup.
        if kind != NamespaceType::Cgroup && restored.is_some() && own == restored {
            return differs(
                format_args!("linux.namespaces ({})", kind.name()),
                "the restored process is in the host's",
            );
        }
    }
    for one in joined {
        let inode = fstat(&one.file).map(|status| status.st_ino).unwrap_or_default();
        let restored = link(init, file_name(one.kind)).unwrap_or_default();
        if !restored.ends_with(&format!("[{inode}]")) {
            return differs(
                format_args!("linux.namespaces[{}].path", one.index),
                "the restored process is in another one",
            );
        }
    }
    Ok(())
}

/// What a process may do: no more than the configuration allows.
fn privileges(plan: &LaunchPlan, pid: i32, worker: i32, is_init: bool) -> Result<()> {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else { return Ok(()) };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    // A child of CRIU's is none of the container's, whose first process is ours.
    if value("PPid").parse() == Ok(worker) {
        return Ok(());
    }
    let process = &plan.process;
    let bounding = u64::from_str_radix(value("CapBnd"), 16).unwrap_or(u64::MAX);
    let mapped = plan.user_namespace.is_some() || plan.namespaces.joins(NamespaceType::User);
    for name in ["CapBnd", "CapPrm"] {
        let set = u64::from_str_radix(value(name), 16).unwrap_or(bounding);
        let more = set & !(process.capabilities.bounding | process.capabilities.permitted);
        if more != 0 && !mapped {
            let names = crate::plan::CapabilitySets::names_of(more).join(" ");
            return differs(
                "process.capabilities.bounding",
                format_args!("process {pid} has {names} as well"),
            );
        }
    }
    if process.no_new_privileges && value("NoNewPrivs") == "0" {
        return differs("process.noNewPrivileges", format_args!("process {pid} does not have it"));
    }
    if process.seccomp.is_some() && value("Seccomp") != "2" {
        return differs("linux.seccomp", format_args!("process {pid} has no filter"));
    }
    let ids: Vec<&str> = value("Uid").split_whitespace().collect();
    if is_init && process.uid != 0 && !mapped && ids.contains(&"0") {
        return differs(
            format_args!("process.user.uid ({})", process.uid),
            "the restored process is root",
        );
    }
    if let Some(profile) = &process.apparmor {
        let label = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"))
            .or_else(|_| fs::read_to_string(format!("/proc/{pid}/attr/current")))
            .unwrap_or_default();
        let wanted = profile.to_string_lossy();
        if label.split(' ').next().is_none_or(|name| name.trim() != wanted) {
            return differs(
                format_args!("process.apparmorProfile ({wanted})"),
                format_args!("process {pid} has {}", label.trim()),
            );
        }
    }
    Ok(())
}

fn mounts(plan: &LaunchPlan, init: i32) -> Result<()> {
    if !plan.namespaces.makes(NamespaceType::Mount) {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{init}/root"), flags, Mode::empty())
        .map_err(|errno| Error::kernel(format_args!("/proc/{init}/root"), "open", errno))?;
    let table = mounts_of(&init.to_string())?;
    let at = |path: &[u8]| point_of(&root, &table, path);
    if plan.root.readonly && !at(b"/").is_some_and(|line| has(line, "ro")) {
        return differs("root.readonly", "the restored root can be written");
    }
    let mut planned = BTreeSet::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let Some(line) = at(mount.destination.as_bytes()) else { continue };
        planned.insert(line.point.as_slice());
        if !matches!(mount.source, MountSource::Bind { .. }) {
            continue;
        }
        let asked = mount.attributes.set | mount.recursive_attributes.set;
        for (_, word) in ATTRIBUTES.iter().filter(|(bit, _)| asked & bit != 0) {
            if !has(line, word) {
                return differs(
                    format_args!("mounts[{index}].options ({word})"),
                    "the restored mount does not have it",
                );
            }
        }
    }
    // What the container's own program has made since may be called as a path that was not there.
    let of_kernel = |path: &[u8]| path.starts_with(b"/proc/") || path.starts_with(b"/sys/");
    let bare =
        |path: &CString| of_kernel(path.as_bytes()) && resolve::open(root.as_fd(), path).is_ok();
    for (index, path) in &plan.masked_paths {
        let masks = match at(path.as_bytes()) {
            Some(line) => {
                planned.insert(line.point.as_slice());
                line.root.ends_with(b"/null") || (line.kind == "tmpfs" && has(line, "ro"))
            }
            None => !bare(path),
        };
        if !masks {
            return differs(
                format_args!("linux.maskedPaths[{index}] ({})", path.to_string_lossy()),
                "not masked in the restored container",
            );
        }
    }
    for (index, path) in &plan.readonly_paths {
        let readonly = match at(path.as_bytes()) {
            Some(line) => has(line, "ro"),
            None => !bare(path),
        };
        if !readonly {
            return differs(
                format_args!("linux.readonlyPaths[{index}] ({})", path.to_string_lossy()),
                "writable in the restored container",
            );
        }
    }
    foreign_mounts(plan, &table, &planned)
}

/// A mount of a filesystem of the host's at a place that the configuration does not name.
fn foreign_mounts(plan: &LaunchPlan, table: &[MountLine], planned: &BTreeSet<&[u8]>) -> Result<()> {
    let root = table.iter().find(|line| line.point == b"/");
    for line in table.iter().filter(|line| !OWN.contains(&line.kind.as_str())) {
        let below = |point: &&&[u8]| {
            let rest = line.point.strip_prefix(**point);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let of_root = root.is_some_and(|root| {
            line.device == root.device
                && line.root.strip_prefix(root.root.as_slice()).is_some_and(|rest| {
                    rest.is_empty() || root.root == b"/" || rest.starts_with(b"/")
                })
        });
        let device = plan.devices.iter().any(|device| {
            device.path.as_bytes() == line.point && line.root.ends_with(&line.point[4..])
        });
        if !of_root && !device && planned.iter().find(below).is_none() {
            let point = String::from_utf8_lossy(&line.point);
            return differs(
                "mounts",
                format_args!("{point} is a mount of {} that it does not name", line.kind),
            );
        }
    }
    Ok(())
}

/// The mount whose mount point a path of the container is; None where it is none.
fn point_of<'a>(root: &OwnedFd, table: &'a [MountLine], path: &[u8]) -> Option<&'a MountLine> {
    let path = CString::new(path).ok()?;
    let found = resolve::open(root.as_fd(), &path).ok()?;
    super::names::line_of(&found, table).ok().flatten()
}

fn has(line: &MountLine, word: &str) -> bool {
    line.options.split(',').any(|option| option == word)
}
