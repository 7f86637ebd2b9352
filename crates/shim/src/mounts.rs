//! The mounts of a container's root filesystem, which containerd describes and the shim makes.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::message::Mount;
use crate::ttrpc::{Code, Failure};

/// mount(2) takes one page of options, and its last byte must be zero.
const PAGE: usize = 4095;

/// Mounts all on `rootfs`, in their order; on a failure what was mounted is unmounted.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(rootfs)
        .map_err(|error| format!("create {}: {error}", rootfs.display()))?;
    for (index, mount) in mounts.iter().enumerate() {
        if let Err(failure) = mount_one(mount, rootfs) {
            let _ = unmount_all(rootfs);
            let message = format!(
                "rootfs[{index}] ({} {} on {}): {}",
                mount.kind,
                mount.source,
                rootfs.display(),
                failure.message
            );
            return Err(Failure::new(failure.code, message));
        }
    }
    Ok(())
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<(), Failure> {
    // Held until the mount is made: the path is that of the descriptor.
    let (_below, target) = target_of(mount, rootfs)?;
    let (flags, propagation, data) = parse(&mount.options);
    let (directory, data) = match mount.kind.as_str() {
        "overlay" if data.len() >= PAGE => shorten(&data),
        _ => (None, data),
    };
    let _back = directory.as_deref().map(WorkingDirectory::enter).transpose()?;
    let binds = flags.intersects(MountFlags::BIND | MountFlags::REC)
        || matches!(mount.kind.as_str(), "bind" | "rbind");
    let data = std::ffi::CString::new(data)
        .map_err(|_| Failure::new(Code::InvalidArgument, "an option holds a NUL"))?;
    if binds {
        let recursive = flags & MountFlags::REC;
        let recursive = if mount.kind == "rbind" { recursive | MountFlags::REC } else { recursive };
        rustix::mount::mount(&mount.source, &target, "", MountFlags::BIND | recursive, None)?;
        // A bind mount takes its flags by a second call.
        let rest = flags - MountFlags::BIND - MountFlags::REC;
        if !rest.is_empty() {
            rustix::mount::mount_remount(&target, MountFlags::BIND | rest, "")?;
        }
    } else {
        rustix::mount::mount(&mount.source, &target, mount.kind.as_str(), flags, data.as_c_str())?;
    }
    if let Some(propagation) = propagation {
        rustix::mount::mount_change(&target, propagation)?;
    }
    Ok(())
}

/// The options of an overlay of many layers, with lower directories relative to the directory
/// that they share.
fn shorten(data: &str) -> (Option<String>, String) {
    let lower = data.split(',').find_map(|option| option.strip_prefix("lowerdir="));
    let Some(lower) = lower else { return (None, data.to_owned()) };
    let layers: Vec<&str> = lower.split(':').collect();
    let Some(first) = layers.first() else { return (None, data.to_owned()) };
    let shared = layers.iter().fold(first.len(), |length, layer| {
        let same = first.bytes().zip(layer.bytes()).take_while(|(a, b)| a == b).count();
        length.min(same)
    });
    let Some(end) = first.get(..shared).and_then(|shared| shared.rfind('/')) else {
        return (None, data.to_owned());
    };
    let Some(directory) = first.get(..end).filter(|directory| directory.starts_with('/')) else {
        return (None, data.to_owned());
    };
    let relative: Vec<&str> = layers.iter().filter_map(|layer| layer.get(end + 1..)).collect();
    let shorter = data.replacen(lower, &relative.join(":"), 1);
    (Some(directory.to_owned()), shorter)
}

/// Another working directory, until this is dropped.
struct WorkingDirectory(std::os::fd::OwnedFd);

impl WorkingDirectory {
    fn enter(directory: &str) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before = rustix::fs::open(".", flags, Mode::empty())?;
        rustix::process::chdir(directory).map_err(|errno| format!("{directory}: {errno}"))?;
        Ok(Self(before))
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        let _ = rustix::process::fchdir(&self.0);
    }
}

/// Where a mount goes: the root filesystem, or a path below it, without following a link.
fn target_of(
    mount: &Mount,
    rootfs: &Path,
) -> Result<(Option<std::os::fd::OwnedFd>, String), Failure> {
    if mount.target.is_empty() || mount.target == "/" {
        return Ok((None, rootfs.display().to_string()));
    }
    use rustix::fs::ResolveFlags;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let below = rustix::fs::openat2(&root, &mount.target, flags, Mode::empty(), resolve)
        .map_err(|errno| format!("{}: {errno}", mount.target))?;
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", below.as_raw_fd());
    Ok((Some(below), path))
}

/// Unmounts everything on `rootfs`, the topmost first.
pub(crate) fn unmount_all(rootfs: &Path) -> Result<(), Failure> {
    loop {
        match rustix::mount::unmount(rootfs, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not mounted, or not there.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::BUSY) => {
                let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
                rustix::mount::unmount(rootfs, flags)
                    .map_err(|errno| format!("unmount {}: {errno}", rootfs.display()))?;
            }
            Err(errno) => return Err(format!("unmount {}: {errno}", rootfs.display()).into()),
        }
    }
}

/// Options in the words of mount(8): flags, a propagation, and what is the filesystem's own.
fn parse(options: &[String]) -> (MountFlags, Option<MountPropagationFlags>, String) {
    let mut flags = MountFlags::empty();
    let mut propagation = None;
    let mut data: Vec<&str> = Vec::new();
    for option in options {
        let (flag, on) = match option.as_str() {
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "diratime" => (MountFlags::NODIRATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "bind" => (MountFlags::BIND, true),
            "rbind" => (MountFlags::BIND | MountFlags::REC, true),
            "defaults" => continue,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" | "unbindable"
            | "runbindable" => {
                let name = option.trim_start_matches('r');
                let kind = match name {
                    "shared" => MountPropagationFlags::SHARED,
                    "slave" => MountPropagationFlags::DOWNSTREAM,
                    "private" => MountPropagationFlags::PRIVATE,
                    _ => MountPropagationFlags::UNBINDABLE,
                };
                let recursive = match option.starts_with('r') {
                    true => MountPropagationFlags::REC,
                    false => MountPropagationFlags::empty(),
                };
                propagation = Some(kind | recursive);
                continue;
            }
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(flag, on);
    }
    (flags, propagation, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_are_named_from_their_directory() {
        let data = "workdir=/s/9/work,upperdir=/s/9/fs,lowerdir=/s/12/fs:/s/1/fs:/s/2/fs,index=off";
        let (directory, shorter) = shorten(data);
        assert_eq!(directory.as_deref(), Some("/s"));
        assert_eq!(
            shorter,
            "workdir=/s/9/work,upperdir=/s/9/fs,lowerdir=12/fs:1/fs:2/fs,index=off"
        );
    }

    #[test]
    fn options_in_the_words_of_mount() {
        let words = ["rbind", "ro", "nosuid", "rprivate", "lowerdir=/a:/b"];
        let (flags, propagation, data) = parse(&words.map(str::to_owned));
        let expected = MountFlags::BIND | MountFlags::REC | MountFlags::RDONLY | MountFlags::NOSUID;
        assert_eq!(flags, expected);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        assert_eq!(propagation, Some(private));
        assert_eq!(data, "lowerdir=/a:/b");
    }
}
