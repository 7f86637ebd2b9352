//! This machine's programs as the root of a container that others look into: its libraries and
//! programs, read-only, and no other file of it.
//!
//! Processes of a shared pid namespace reach each other's root by `/proc/PID/root`: with
//! `CAP_SYS_PTRACE`, or where user and capabilities are the same. So nothing may be there that the
//! container beside is not to read. The programs are below read-only overlays, which no
//! capability in a container makes writable.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use husk_image::overlay::OverlayPlan;
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags};

use crate::container::config::{BindRecursive, Config, Mount};
use crate::error::{Result, file};
use crate::home::make_directory;
use crate::rootfs;

/// Where programs are, in `/`: directories, or links into `usr`.
const PROGRAMS: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr"];

/// What programs need of `/etc`, with nothing in it that is not in every system of this kind.
const SETTINGS: [&str; 4] = ["ld.so.cache", "nsswitch.conf", "protocols", "services"];

/// Directories of the root that have nothing in them.
const EMPTY: [(&str, u32); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Makes the root of a container in its run directory, for [`crate::container::Source::Tree`], and
/// adds the mounts to `config`. [`rootfs::discard_below`] takes it away.
///
/// # Errors
/// The path with what the kernel refused.
pub fn place(run: &Path, config: &mut Config) -> Result<()> {
    let tree = rootfs::tree_below(run);
    make_directory(&tree)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &tree, "tmpfs", flags, c"mode=0755")
        .map_err(file("mount a tmpfs at", &tree))?;
    for (name, mode) in EMPTY {
        let path = tree.join(name);
        fs::create_dir(&path).map_err(file("make", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(file("chmod", &path))?;
    }
    for name in PROGRAMS {
        let own = Path::new("/").join(name);
        let path = tree.join(name);
        if let Ok(target) = fs::read_link(&own) {
            symlink(&target, &path).map_err(file("link", &path))?;
        } else if own.is_dir() {
            fs::create_dir(&path).map_err(file("make", &path))?;
            mount_programs(run, own, &path)?;
            config.mounts.push(Mount::Bind {
                source: path.display().to_string(),
                target: format!("/{name}"),
                read_only: true,
                propagation: String::new(),
                recursive: BindRecursive::default(),
                resolved: String::new(),
            });
        }
    }
    let etc = tree.join("etc");
    for name in SETTINGS {
        let path = etc.join(name);
        match fs::copy(Path::new("/etc").join(name), &path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(file("copy", &path)(error));
            }
            _ => {}
        }
    }
    for (name, text) in [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")] {
        let path = etc.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
    }
    link_alternatives(&etc.join("alternatives"))
}

/// A directory of programs, without what is mounted below it.
fn mount_programs(run: &Path, own: PathBuf, path: &Path) -> Result<()> {
    // Without an upper directory overlayfs asks for two.
    let mut plan = OverlayPlan::read_only(&[], run)?;
    plan.lower.truncate(1);
    plan.lower.insert(0, own);
    let overlay = plan.mount()?;
    rustix::mount::move_mount(&overlay, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(file("mount this machine's programs at", path))
}

/// The links of update-alternatives(1), by which Debian has one name for several programs.
fn link_alternatives(path: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir("/etc/alternatives") else { return Ok(()) };
    fs::create_dir(path).map_err(file("make", path))?;
    for entry in entries.flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            let link = path.join(entry.file_name());
            symlink(target, &link).map_err(file("link", &link))?;
        }
    }
    Ok(())
}
