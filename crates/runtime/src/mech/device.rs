//! Device nodes and the links of /dev.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::mount::{move_onto, open_bind};
use super::resolve::{self, Missing};
use crate::inject;
use crate::plan::{DEFAULT_LINKS, Device, DeviceKind};
use crate::sync::fault::{Context, Fault, Refused, Step};

/// Makes all devices and the links of /dev. The umask must be 0.
pub fn populate(devices: &[Device], root: BorrowedFd<'_>) -> Result<(), Fault> {
    // Most are in /dev: opened once, not once for each.
    let dev = resolve::open_or_make(root, c"/dev", Missing::Directory).at(
        Step::Device,
        0,
        "openat2 /dev",
    )?;
    make_all(devices, root, dev.as_fd())?;
    make_links(dev.as_fd())
}

fn make_all(devices: &[Device], root: BorrowedFd<'_>, dev: BorrowedFd<'_>) -> Result<(), Fault> {
    for device in devices {
        let made = match device.path.as_bytes().strip_prefix(b"/dev/") {
            Some(name) if !name.contains(&b'/') => {
                match CStr::from_bytes_with_nul(&device.path.as_bytes_with_nul()[b"/dev/".len()..])
                {
                    Ok(name) => make(device, dev, name),
                    Err(_) => Err(Refused::because("not a name")),
                }
            }
            _ => resolve::parent(root, &device.path)
                .op("openat2")
                .and_then(|(directory, name)| make(device, directory.as_fd(), &name)),
        };
        made.map_err(|refused| refused.at(Step::Device, device.index))?;
        inject::after(Step::Device, device.index)?;
    }
    Ok(())
}

fn make(device: &Device, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Refused> {
    if device.bound {
        return bind(device, directory, name);
    }
    let kind = file_type(device.kind);
    let number = fs::makedev(device.number.0, device.number.1);
    match fs::mknodat(directory, name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let there = open_node(directory, name).op("openat")?;
            return check(device, &there);
        }
        Err(errno) => return Err(errno).op("mknodat"),
    }
    if device.owner == (0, 0) {
        return Ok(());
    }
    // What was made, and not what a neighbour may have put in its place since.
    let node = open_node(directory, name).op("openat")?;
    check(device, &node)?;
    let (uid, gid) = device.owner;
    fs::chownat(&node, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
        .op("fchownat")
}

/// The host's node of the same path, over an empty file.
fn bind(device: &Device, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Refused> {
    let tree = open_bind(&device.path, false)?;
    check(device, &tree)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    match fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).op("openat"),
    }
    let target = open_node(directory, name).op("openat")?;
    let status = fs::fstat(&target).op("fstat")?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => move_onto(&tree, target.as_fd()),
        _ => check(device, &target),
    }
}

fn open_node(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::empty())
}

/// Whether a node is the one asked for; config-linux.md, "Devices", wants an
/// error where a file that does not match is already there.
fn check(device: &Device, node: &OwnedFd) -> Result<(), Refused> {
    let status = fs::fstat(node).op("fstat")?;
    let kind = FileType::from_raw_mode(status.st_mode);
    let number = fs::makedev(device.number.0, device.number.1);
    if kind != file_type(device.kind)
        || (device.kind != DeviceKind::Fifo && status.st_rdev != number)
    {
        return Err(Refused::because("another file is already there"));
    }
    Ok(())
}

fn file_type(kind: DeviceKind) -> FileType {
    match kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Makes the links of /dev. One that is there stays, but for ptmx: that of the
/// image could belong to another devpts. A device node stays, too: it leads to the devpts
/// beside it (Linux 4.7), and where the root is the host's own it is the host's.
fn make_links(dev: BorrowedFd<'_>) -> Result<(), Fault> {
    for (name, target) in DEFAULT_LINKS {
        match fs::symlinkat(target, dev, name) {
            Err(Errno::EXIST) if name == c"ptmx" && !is_ptmx(dev) => {
                resolve::unlink(dev, name).at(Step::DeviceLink, 0, "unlinkat")?;
                fs::symlinkat(target, dev, name)
            }
            Err(Errno::EXIST) => Ok(()),
            done => done,
        }
        .at(Step::DeviceLink, 0, "symlinkat")?;
    }
    Ok(())
}

/// Whether `ptmx` in `dev` is the device node itself, character device 5:2.
fn is_ptmx(dev: BorrowedFd<'_>) -> bool {
    fs::statat(dev, c"ptmx", AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == fs::makedev(5, 2)
    })
}
