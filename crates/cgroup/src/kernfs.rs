//! Whole-value reads and writes of cgroup files: one open, one call, one close.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::Error;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    try_read(path).map_err(|errno| Error::system("read", path, errno))
}

/// Reads a file, with `None` for one that this kernel or cgroup does not have.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match try_read(path) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(Error::system("read", path, errno)),
    }
}

pub(crate) fn try_read(path: &Path) -> Result<String, Errno> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_fd(fd)
}

/// Reads what is left of an open file.
fn read_fd(fd: OwnedFd) -> Result<String, Errno> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(&fd, &mut buffer) {
            Ok(count) => {
                text.extend(&buffer[..count]);
                // Less than half a page is the end: the kernel fills a page
                // unless the next line does not fit, and no line is that long.
                if count < buffer.len() / 2 {
                    return String::from_utf8(text).map_err(|_| Errno::ILSEQ);
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Opens a file for writing.
pub(crate) fn open_for_write(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Writes a value with one write(2), as cgroup files demand.
pub(crate) fn write_fd(fd: impl AsFd, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(&fd, value.as_bytes()) {
            Ok(written) if written == value.len() => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Opens and writes a file.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    try_write(path, value).map_err(|errno| Error::system("write", path, errno))
}

pub(crate) fn try_write(path: &Path, value: &str) -> Result<(), Errno> {
    write_fd(open_for_write(path)?, value)
}

/// The whole numbers of a file with one on each line, such as `cgroup.procs`.
pub(crate) fn read_pids(path: &Path) -> Result<Vec<i32>, Error> {
    // A directory that is being removed answers ENODEV, a removed one ENOENT: both are empty.
    let Some(text) = read_if_there(path)? else { return Ok(Vec::new()) };
    text.lines()
        // 0 stands for a process of another pid namespace that has no number in ours.
        .filter(|line| *line != "0")
        .map(|line| {
            line.parse()
                .map_err(|_| Error::Malformed { path: path.to_owned(), text: line.to_owned() })
        })
        .collect()
}
