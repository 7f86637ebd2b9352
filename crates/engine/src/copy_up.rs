//! Filling a new volume with what the image has at its place, as Docker does.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use husk_image::tree::copy::{Copier, Rules};
use husk_image::tree::walk::Walk;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Result, file};

/// Copies what is at `target` in the tree `root` to the directory `data`, if that is
/// empty. What is not there, or no directory, is nothing to copy. Links of the image's on
/// the way to `target` are resolved in its root, those below it are copied.
///
/// # Errors
/// The errno, with the path.
pub fn fill(root: BorrowedFd<'_>, target: &str, data: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(data).map_err(file("list", data))?;
    if entries.next().is_some() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match rustix::fs::openat2(root, target, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(file("open the image's", target)(errno)),
    };
    let parent = data.parent().unwrap_or(data);
    let to = rustix::fs::open(parent, flags, Mode::empty()).map_err(file("open", parent))?;
    let name = data.file_name().unwrap_or_default().as_encoded_bytes();
    let rules = Rules { owner: None, mode: None, privileges: true, lenient: false, devices: true };
    let shown = parent.display().to_string();
    let mut copier = Copier::new(rules, Walk::LIVE);
    Ok(copier.copy(from.as_fd(), to.as_fd(), name, target, &shown)?)
}
