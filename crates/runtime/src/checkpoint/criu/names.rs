//! What comes from outside of the images: mounts, and the names by which CRIU knows them.
//!
//! CRIU is told of a mount as `mnt[KEY]:VALUE`, finds an entry by its beginning, and takes what
//! follows the first `]:` as the value. KEY is a path that an image may have named: a directory
//! called `a]:/etc` would have the host's /etc bound in its place (CVE-2026-119614). So no key
//! and no value may contain what separates them.
//!
//! The key at checkpoint is where the kernel says the mount is, found by a descriptor resolved in
//! the container's root. The name under which it is kept is the destination in the
//! configuration, so that restore needs not look at what the rootfs has become.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use husk_cgroup::Cgroup;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use crate::mech::resolve::{self, Missing};
use crate::mech::{cgroup_mount, rootfs};
use crate::plan::{CgroupMount, LaunchPlan, MountSource};
use crate::report::{Code, Error, Result};

/// One line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
#[derive(Debug)]
pub(crate) struct MountLine {
    id: u64,
    /// Device of the filesystem, MAJOR:MINOR.
    pub(crate) device: String,
    /// What of the filesystem is mounted.
    pub(crate) root: Vec<u8>,
    /// Where, as the process sees it.
    pub(crate) point: Vec<u8>,
    /// Options of the mount: `ro`, `nosuid` and so on.
    pub(crate) options: String,
    /// Type of the filesystem.
    pub(crate) kind: String,
}

/// The mounts of a process.
pub(crate) fn mounts_of(pid: &str) -> Result<Vec<MountLine>> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = std::fs::read(&path).map_err(|error| Error::io(Code::Kernel, path, &error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

fn parse_line(line: &[u8]) -> Option<MountLine> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let whole = String::from_utf8_lossy(line);
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8_lossy(fields.nth(1)?).into_owned();
    let (root, point) = (fields.next()?, fields.next()?);
    let options = String::from_utf8_lossy(fields.next()?).into_owned();
    let (_, after) = whole.split_once(" - ")?;
    Some(MountLine {
        id,
        device,
        root: rootfs::unescape(text(root)?),
        point: rootfs::unescape(text(point)?),
        options,
        kind: after.split(' ').next()?.to_owned(),
    })
}

/// `mnt[KEY]:VALUE`, for `external` of a request.
fn entry(property: &str, key: &[u8], value: &[u8]) -> Result<String> {
    let text = |part: &[u8]| -> Result<String> {
        let shown = String::from_utf8_lossy(part);
        let refuse = |why: &str| {
            Err(Error::new(Code::Unsupported, format_args!("{property} ({shown})"), why)
                .hint("such a name would tell CRIU of another mount"))
        };
        match std::str::from_utf8(part) {
            Err(_) => refuse("not UTF-8, which a mount of a checkpoint must be"),
            Ok(name) if name.contains(['[', ']', ':']) || name.contains(char::is_control) => {
                refuse(
                    "a mount of a checkpoint must not have [, ], : or a control character in its path",
                )
            }
            Ok(name) => Ok(name.to_owned()),
        }
    };
    Ok(format!("mnt[{}]:{}", text(key)?, text(value)?))
}

/// A destination without what does not count: `//a/./b/` is `/a/b`.
fn plain(destination: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(destination.len());
    for part in destination.split(|byte| *byte == b'/') {
        if !matches!(part, b"" | b".") {
            path.push(b'/');
            path.extend_from_slice(part);
        }
    }
    path
}

fn property(index: usize) -> String {
    format!("mounts[{index}].destination")
}

/// The external mounts of a container that runs: where each is, and its name.
pub(crate) fn of_running(plan: &LaunchPlan, pid: i32, root: &OwnedFd) -> Result<Vec<String>> {
    let table = mounts_of(&pid.to_string())?;
    let at = |path: &[u8]| locate(root, &table, path);
    let mut external = Vec::new();
    let mut known: Vec<&[u8]> = Vec::new();
    for mount in &plan.mounts {
        known.extend(at(mount.destination.as_bytes())?.map(|line| line.point.as_slice()));
    }
    for (index, mount) in plan.mounts.iter().enumerate() {
        let property = property(index);
        let name = plain(mount.destination.as_bytes());
        match &mount.source {
            MountSource::Bind { recursive, .. } => {
                if mount.id_map.is_some() {
                    return Err(id_mapped(index));
                }
                let Some(line) = at(mount.destination.as_bytes())? else { continue };
                external.push(entry(&property, &line.point, &name)?);
                let below = |other: &&MountLine| {
                    is_below(&other.point, &line.point) && !known.contains(&other.point.as_slice())
                };
                for other in table.iter().filter(below).filter(|_| *recursive) {
                    let rest = other.point.get(line.point.len()..).unwrap_or_default();
                    let name = [&name, rest].concat();
                    external.push(entry(&property, &other.point, &name)?);
                }
            }
            MountSource::Cgroup(source) => {
                for name in cgroup_destinations(&name, source) {
                    if let Some(line) = at(&name)? {
                        external.push(entry(&property, &line.point, &name)?);
                    }
                }
            }
            MountSource::Filesystem { .. } | MountSource::Remount { .. } => {}
        }
    }
    for (index, path) in &plan.masked_paths {
        if let Some(line) = at(path.as_bytes())?
            && line.root.ends_with(b"/null")
        {
            let property = format!("linux.maskedPaths[{index}]");
            external.push(entry(&property, &line.point, NULL.as_bytes())?);
        }
    }
    for device in plan.devices.iter().filter(|device| device.bound) {
        if let Some(line) = at(device.path.as_bytes())? {
            let property = format!("linux.devices[{}].path", device.index);
            external.push(entry(&property, &line.point, device.path.as_bytes())?);
        }
    }
    Ok(external)
}

const NULL: &str = "/dev/null";

/// The mount that a path of the container leads to; None where there is no mount.
fn locate<'a>(
    root: &OwnedFd,
    table: &'a [MountLine],
    path: &[u8],
) -> Result<Option<&'a MountLine>> {
    let failed =
        |op: &'static str| move |errno| Error::kernel(String::from_utf8_lossy(path), op, errno);
    let name = CString::new(path).map_err(|_| failed("openat2")(Errno::INVAL))?;
    let found = match resolve::open(root.as_fd(), &name) {
        // The program has taken it away, or put something else in its place.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
        done => done.map_err(failed("openat2"))?,
    };
    let line = line_of(&found, table).map_err(failed("statx"))?;
    Ok(line.filter(|line| line.point != b"/"))
}

/// The line of the mount whose root a descriptor is; None where it is none's.
pub(crate) fn line_of<'a>(
    found: &OwnedFd,
    table: &'a [MountLine],
) -> Result<Option<&'a MountLine>, Errno> {
    let status = statx(found, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let is_mount = status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(table.iter().find(|line| is_mount && line.id == status.stx_mnt_id))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Where the mounts of a cgroup mount are that are bound from the host's.
fn cgroup_destinations(destination: &[u8], source: &CgroupMount) -> Vec<Vec<u8>> {
    match source {
        CgroupMount::Unified { .. } => Vec::new(),
        CgroupMount::BoundUnified { .. } => vec![destination.to_vec()],
        CgroupMount::Legacy { hierarchies, .. } => hierarchies
            .iter()
            .map(|hierarchy| [destination, b"/", hierarchy.directory.as_bytes()].concat())
            .collect(),
    }
}

fn id_mapped(index: usize) -> Error {
    Error::new(
        Code::Unsupported,
        format_args!("mounts[{index}].uidMappings"),
        "an idmapped mount cannot be checkpointed: CRIU does not know them",
    )
}

/// The external mounts of a container that is to be restored: each name, and what the
/// configuration of today has as its source.
pub(crate) fn for_restore(plan: &LaunchPlan, cgroup: &Cgroup) -> Result<Vec<String>> {
    let table = mounts_of("self")?;
    let mut external = vec![entry("linux.maskedPaths", NULL.as_bytes(), NULL.as_bytes())?];
    for (index, mount) in plan.mounts.iter().enumerate() {
        let property = property(index);
        let name = plain(mount.destination.as_bytes());
        match &mount.source {
            MountSource::Bind { path, recursive, links } => {
                if mount.id_map.is_some() {
                    return Err(id_mapped(index));
                }
                let source = source_path(index, path, *links)?;
                external.push(entry(&property, &name, &source)?);
                let below = table.iter().filter(|other| is_below(&other.point, &source));
                for other in below.filter(|_| *recursive) {
                    let rest = other.point.get(source.len()..).unwrap_or_default();
                    // What cannot be named was refused at checkpoint, if it was there.
                    external.extend(entry(&property, &[&name, rest].concat(), &other.point).ok());
                }
            }
            MountSource::Cgroup(CgroupMount::Legacy { hierarchies, .. }) => {
                for hierarchy in hierarchies {
                    let name = [&name, &b"/"[..], hierarchy.directory.as_bytes()].concat();
                    let own = cgroup_mount::own_below(&hierarchy.mount_point, cgroup);
                    let source = own.as_ref().unwrap_or(&hierarchy.mount_point);
                    external.push(entry(&property, &name, source.as_bytes())?);
                }
            }
            MountSource::Cgroup(CgroupMount::BoundUnified { mount_point }) => {
                let own = cgroup_mount::own_below(mount_point, cgroup);
                let source = own.as_ref().unwrap_or(mount_point);
                external.push(entry(&property, &name, source.as_bytes())?);
            }
            _ => {}
        }
    }
    for device in plan.devices.iter().filter(|device| device.bound) {
        let path = device.path.as_bytes();
        external.push(entry(&format!("linux.devices[{}].path", device.index), path, path)?);
    }
    Ok(external)
}

/// The source of a bind mount as a path without links: what the rules for sources let through.
fn source_path(index: usize, path: &CString, links: bool) -> Result<Vec<u8>> {
    let property = || format!("mounts[{index}].source ({})", path.to_string_lossy());
    let source = match links {
        true => rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
        false => {
            resolve::open_unlinked(Path::new(OsStr::from_bytes(path.to_bytes())), OFlags::PATH)
        }
    };
    let source = source.map_err(|errno| Error::kernel(property(), "open", errno))?;
    let link = format!("/proc/self/fd/{}", source.as_raw_fd());
    let resolved =
        std::fs::read_link(link).map_err(|error| Error::io(Code::Kernel, property(), &error))?;
    Ok(resolved.as_os_str().as_bytes().to_vec())
}

/// Makes the mount points that a fresh rootfs lacks. Below another mount they are in that one,
/// whose content is in the images or on the host.
pub(crate) fn make_mount_points(plan: &LaunchPlan, root: &OwnedFd) -> Result<()> {
    let destinations: Vec<Vec<u8>> =
        plan.mounts.iter().map(|mount| plain(mount.destination.as_bytes())).collect();
    for (index, (mount, destination)) in plan.mounts.iter().zip(&destinations).enumerate() {
        let covered = destinations.iter().any(|other| is_below(destination, other));
        if covered || matches!(mount.source, MountSource::Remount { .. }) {
            continue;
        }
        let missing = match &mount.source {
            MountSource::Bind { path, .. } if !is_directory(path) => Missing::File,
            _ => Missing::Directory,
        };
        resolve::open_or_make(root.as_fd(), &mount.destination, missing).map_err(|errno| {
            let shown = mount.destination.to_string_lossy();
            Error::kernel(format_args!("mounts[{index}].destination ({shown})"), "mkdirat", errno)
        })?;
    }
    Ok(())
}

fn is_directory(path: &CString) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_say_more_than_a_name() {
        assert_eq!(entry("x", b"/a b", b"/srv/data").unwrap(), "mnt[/a b]:/srv/data");
        for name in ["/a]:/etc", "/a]", "/[a", "/a:b", "/a\nb", "/a\0"] {
            assert!(entry("x", name.as_bytes(), b"/b").is_err(), "{name}");
            assert!(entry("x", b"/b", name.as_bytes()).is_err(), "{name}");
        }
        assert!(entry("x", b"/\xff", b"/b").is_err());
    }

    #[test]
    fn destinations_are_plain() {
        assert_eq!(plain(b"//a/./b/"), b"/a/b");
        assert!(is_below(b"/a/b", b"/a") && !is_below(b"/ab", b"/a") && !is_below(b"/a", b"/a"));
    }

    #[test]
    fn lines_of_mountinfo() {
        let line = br"23 1 0:21 /x\040y /a\134b rw,nosuid shared:7 - tmpfs none rw";
        let line = parse_line(line).unwrap();
        assert_eq!(
            (line.id, line.kind.as_str(), line.options.as_str()),
            (23, "tmpfs", "rw,nosuid")
        );
        assert_eq!((line.root.as_slice(), line.point.as_slice()), (&b"/x y"[..], &br"/a\b"[..]));
    }
}
