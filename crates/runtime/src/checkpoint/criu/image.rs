//! The directory of a checkpoint's images, and the one that CRIU works in.
//!
//! CRIU opens what it finds there by name and follows links, as root. So at restore there may be
//! nothing in it but regular files, and the log goes to a directory of the runtime's own unless
//! the caller names another.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use husk_rootfs::walk;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::pages;
use crate::report::{Code, Error, Result};

/// The link by which CRIU finds the pages of an earlier pre-dump.
const PARENT: &[u8] = b"parent";
/// What every checkpoint has.
const INVENTORY: &str = "inventory.img";
/// How many pre-dumps may lie one below the other.
const MAX_PARENTS: usize = 64;

/// An open directory with its path.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
    /// What a failed dump takes away again.
    leaves: Leaves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// The directory, which was made for it.
    Directory,
    /// What is in it, which was empty.
    Content,
    Nothing,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn absolute(flag: &str, path: &str) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::io(Code::Usage, format_args!("--{flag} ({path})"), &error))
}

impl Directory {
    /// Opens a directory to write to, and makes it where it is missing.
    pub(crate) fn make(flag: &str, path: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let shown = format!("--{flag} ({path})");
        let path = absolute(flag, path)?;
        let missing = fs::stat(&path).err() == Some(Errno::NOENT);
        if missing {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|error| Error::io(Code::Kernel, &shown, &error))?;
        }
        let failed = |op: &'static str| {
            let shown = shown.clone();
            move |errno| Error::kernel(shown, op, errno)
        };
        let fd = fs::open(&path, FLAGS, Mode::empty()).map_err(failed("open"))?;
        let empty = walk::names(fd.as_fd()).map_err(failed("getdents64"))?.is_empty();
        let leaves = match (missing, empty) {
            (true, _) => Leaves::Directory,
            (false, true) => Leaves::Content,
            (false, false) => Leaves::Nothing,
        };
        Ok(Self { fd, path, leaves })
    }

    /// Takes away what a dump that failed has left.
    pub(crate) fn discard(&self) {
        if self.leaves != Leaves::Nothing {
            let _ = husk_rootfs::remove::content(self.fd.as_fd());
        }
        if self.leaves == Leaves::Directory {
            let _ = fs::rmdir(&self.path);
        }
    }

    /// Opens the same directory in the mount namespace that the caller is in by now: CRIU mounts
    /// below it, which a descriptor of another namespace does not allow.
    pub(crate) fn reopen(&self) -> Result<OwnedFd> {
        let failed = |op: &'static str| move |errno| Error::kernel(self.path.display(), op, errno);
        let fd = fs::open(&self.path, FLAGS, Mode::empty()).map_err(failed("open"))?;
        match husk_rootfs::resolve::same_file(fd.as_fd(), self.fd.as_fd()) {
            Ok(true) => Ok(fd),
            Ok(false) => Err(failed("open")(Errno::STALE)),
            Err(errno) => Err(failed("fstat")(errno)),
        }
    }

    /// Opens the images of a checkpoint and looks at what they are.
    pub(crate) fn open(path: &str) -> Result<Self> {
        let shown = format!("--image-path ({path})");
        let path = absolute("image-path", path)?;
        let fd = fs::open(&path, FLAGS, Mode::empty())
            .map_err(|errno| Error::kernel(&shown, "open", errno))?;
        if fs::statat(&fd, INVENTORY, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return Err(Error::new(
                Code::InvalidConfig,
                shown,
                format_args!("not a checkpoint: it has no {INVENTORY}"),
            ));
        }
        check(&shown, &fd, MAX_PARENTS)?;
        pages::check(&shown, &fd)?;
        Ok(Self { fd, path, leaves: Leaves::Nothing })
    }
}

/// Refuses what is not a regular file, and a directory that anybody may change meanwhile.
fn check(shown: &str, directory: &OwnedFd, parents: usize) -> Result<()> {
    let failed = |op: &'static str| move |errno| Error::kernel(shown, op, errno);
    let refuse = |why: std::fmt::Arguments<'_>| Err(Error::new(Code::InvalidConfig, shown, why));
    let status = fs::fstat(directory).map_err(failed("fstat"))?;
    if status.st_mode & 0o002 != 0 && status.st_mode & 0o1000 == 0 {
        return refuse(format_args!("any user may write to it, and CRIU reads it as root"));
    }
    for name in walk::names(directory.as_fd()).map_err(failed("getdents64"))? {
        let cname = CString::new(name.as_slice()).map_err(|_| failed("open")(Errno::INVAL))?;
        let status =
            fs::statat(directory, &cname, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("fstatat"))?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            // CRIU opens no path in one.
            FileType::RegularFile | FileType::Directory => continue,
            FileType::Symlink if name == PARENT && parents > 0 => {
                check(shown, &parent(directory).map_err(failed("openat2 parent"))?, parents - 1)?;
                continue;
            }
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        let name = String::from_utf8_lossy(&name);
        return refuse(format_args!("{name} is {kind}, where a checkpoint has regular files only"));
    }
    Ok(())
}

/// The directory of the pre-dump before: one beside this one or below it, as `--parent-path`
/// makes it, and no absolute path that whoever packed the images has chosen.
fn parent(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let target = fs::readlinkat(directory, PARENT, Vec::new())?;
    if target.to_bytes().starts_with(b"/") {
        return Err(Errno::XDEV);
    }
    let resolve = ResolveFlags::NO_MAGICLINKS;
    fs::openat2(directory, &target, FLAGS, Mode::empty(), resolve)
}

/// Opens the directory that CRIU writes its log to: `--work-path`, or one of the container's.
pub(crate) fn open_work(
    given: Option<&str>,
    own: impl FnOnce() -> Result<(OwnedFd, PathBuf)>,
) -> Result<Directory> {
    let Some(path) = given else {
        let (fd, path) = own()?;
        return Ok(Directory { fd, path, leaves: Leaves::Nothing });
    };
    let directory = Directory::make("work-path", path)?;
    // Those of an earlier attempt, whose errors are not this one's; and a link that somebody may
    // have put there is not followed.
    for name in ["dump.log", "restore.log", "pre-dump.log", "stats-dump", "stats-restore"] {
        match fs::unlinkat(&directory.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(Error::kernel(directory.path.join(name).display(), "unlink", errno));
            }
        }
    }
    Ok(directory)
}

/// Whether `--parent-path` is a path from the image directory to one that is there.
pub(crate) fn check_parent(images: &Directory, parent: &str) -> Result<()> {
    let refuse =
        |why: &str| Err(Error::new(Code::Usage, format_args!("--parent-path ({parent})"), why));
    if Path::new(parent).is_absolute() {
        return refuse("must be relative to --image-path");
    }
    match fs::openat(&images.fd, parent, FLAGS, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => refuse("not there, seen from --image-path"),
        Err(errno) => Err(Error::kernel(format_args!("--parent-path ({parent})"), "open", errno)),
    }
}
