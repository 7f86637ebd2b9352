//! Sealing the runtime's own executable: what runs here is entered by container
//! processes, and one that reaches `/proc/PID/exe` must not be able to write
//! through it (CVE-2019-5736).
//!
//! The link leads through the mount that the program was executed from. So it is
//! executed once more from a private, read-only copy of that mount. Where the
//! mount is read-only already, nothing is needed: a caller that keeps such a
//! copy saves the second execution.
//!
//! It is the first that a command does which a container's process could reach.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use husk_sys::exec::{CStringArray, fexecve};
use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::report::{Error, Result};

const OWN: &std::ffi::CStr = c"/proc/self/exe";

/// Returns in a sealed executable, or not at all but with an error.
pub fn ensure() -> Result<()> {
    let failed =
        |op: &'static str| move |errno| Error::kernel("sealing the own executable", op, errno);
    if is_sealed().map_err(failed("statvfs"))? {
        return Ok(());
    }
    let sealed = match readonly_copy_of_mount() {
        Ok(sealed) => sealed,
        // Without CAP_SYS_ADMIN no mount can be made.
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS) => memory_copy()?,
        Err(errno) => return Err(failed("open_tree")(errno)),
    };
    let strings = |strings: Vec<std::ffi::OsString>| {
        let strings = strings.into_iter().filter_map(|one| CString::new(one.into_vec()).ok());
        CStringArray::new(strings.collect())
    };
    let arguments = strings(std::env::args_os().collect());
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let environment = strings(environment.collect());
    Err(failed("execveat")(fexecve(sealed.as_fd(), &arguments, &environment)))
}

fn is_sealed() -> Result<bool, Errno> {
    if rustix::fs::statvfs(OWN)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Seals are of memfds alone; any other file answers EINVAL.
    let readable = rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fcntl_get_seals(&readable).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn readonly_copy_of_mount() -> Result<OwnedFd, Errno> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, OWN, flags)?;
    let readonly = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(copy.as_fd(), c"", false, &readonly)?;
    Ok(copy)
}

/// The whole program in memory, sealed against every change: memfd_create(2).
fn memory_copy() -> Result<OwnedFd> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::kernel("sealing the own executable", "memfd", errno)
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create(c"husk-oci", flags | MemfdFlags::EXEC)
        // MFD_EXEC is of Linux 6.3.
        .or_else(|_| rustix::fs::memfd_create(c"husk-oci", flags))
        .map_err(|errno| failed(errno.into()))?;
    let mut copy = std::fs::File::from(copy);
    let mut own = std::fs::File::open("/proc/self/exe").map_err(failed)?;
    let mut program = Vec::new();
    own.read_to_end(&mut program).map_err(failed)?;
    copy.write_all(&program).map_err(failed)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(|errno| failed(errno.into()))?;
    Ok(copy.into())
}
