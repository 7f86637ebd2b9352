//! The directory a layer is unpacked into, walked by file descriptors only.
//!
//! A layer's own symbolic links are honoured inside it, as every engine does (an entry
//! `lib/x` after a link `lib -> usr/lib` lies in `usr/lib`), but the kernel never
//! follows one: each component is opened with O_NOFOLLOW, a link's text is read and
//! walked from the layer's root, and `..` pops a descriptor and stops at the root. So
//! no text of a layer reaches a path outside it (CVE-2021-32760, CVE-2026-17106).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Deepest path. Each level holds a descriptor while its entries are unpacked.
pub(crate) const MAX_DEPTH: usize = 255;
/// The kernel's own limit on links in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Splits the name of an entry, or of a hard link's target, into components below the root
/// of the layer, as Docker, containerd and umoci read it: an absolute name counts from that
/// root, which `..` does not leave, and a `..` within a relative name takes back what is before
/// it. A relative name that leads out is refused.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.contains(&0) {
        return Err("a path with a NUL");
    }
    if path.len() > 4095 {
        return Err("a path longer than 4095 bytes");
    }
    let absolute = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_some() || absolute => {}
            b".." => return Err("a path with \"..\" that leads out"),
            part => parts.push(part),
        }
    }
    match parts.len() > MAX_DEPTH {
        true => Err("a path of more than 255 components"),
        false => Ok(parts),
    }
}

struct Level {
    name: Vec<u8>,
    fd: OwnedFd,
}

/// A directory tree with a current directory in it.
pub(crate) struct Tree {
    root: OwnedFd,
    /// From the root down to the current directory; no level is a symbolic link.
    stack: Vec<Level>,
    /// Directories made because an entry lay below them, in resolved form.
    implied: BTreeSet<Vec<u8>>,
    opaque: &'static str,
}

impl Tree {
    /// `opaque` is the name of overlayfs's opaque attribute.
    pub(crate) fn new(root: OwnedFd, opaque: &'static str) -> Tree {
        Tree { root, stack: Vec::new(), implied: BTreeSet::new(), opaque }
    }

    /// The current directory.
    pub(crate) fn current(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.root.as_fd(), |level| level.fd.as_fd())
    }

    /// Its path below the root, resolved; empty for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.stack.iter().map(|level| level.name.as_slice()).collect();
        names.join(&b'/')
    }

    /// The resolved path of `name` in the current directory.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        match self.stack.is_empty() {
            true => name.to_vec(),
            false => [self.path().as_slice(), name].join(&b'/'),
        }
    }

    /// Makes the directory of `components` the current one; where `create`, missing
    /// ones are made with mode 0755 and noted as implied.
    pub(crate) fn enter(&mut self, components: &[&[u8]], create: bool) -> io::Result<()> {
        let known = self.stack.iter().zip(components);
        let common = known.take_while(|(level, part)| level.name == **part).count();
        self.stack.truncate(common);
        let rest = components.get(common..).unwrap_or_default();
        let mut pending: VecDeque<Vec<u8>> = rest.iter().map(|part| part.to_vec()).collect();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    self.stack.pop();
                    continue;
                }
                _ => {}
            }
            match open_directory(self.current(), &part) {
                Ok(fd) => self.push(part, fd)?,
                Err(Errno::NOENT) if create => self.make_implied(part)?,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let found = fs::statat(self.current(), &part, AtFlags::SYMLINK_NOFOLLOW)?;
                    match FileType::from_raw_mode(found.st_mode) {
                        FileType::Symlink => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Errno::LOOP.into());
                            }
                            let target = fs::readlinkat(self.current(), &part, Vec::new())?;
                            let target = target.to_bytes();
                            if target.starts_with(b"/") {
                                self.stack.clear();
                            }
                            for part in target.split(|byte| *byte == b'/').rev() {
                                pending.push_front(part.to_vec());
                            }
                        }
                        FileType::CharacterDevice if found.st_rdev == 0 && create => {
                            fs::unlinkat(self.current(), &part, AtFlags::empty())?;
                            self.make_implied(part)?;
                            self.mark_opaque()?;
                        }
                        _ => return Err(Errno::NOTDIR.into()),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn make_implied(&mut self, part: Vec<u8>) -> io::Result<()> {
        fs::mkdirat(self.current(), &part, Mode::from_raw_mode(0o755))?;
        let fd = open_directory(self.current(), &part)?;
        // The umask of the caller must not reach the image.
        fs::chmodat(&fd, ".", Mode::from_raw_mode(0o755), AtFlags::empty())?;
        self.push(part, fd)?;
        let path = self.path();
        self.implied.insert(path);
        Ok(())
    }

    /// Makes `fd`, just opened as `name` of the current directory, the current one.
    pub(crate) fn push(&mut self, name: Vec<u8>, fd: OwnedFd) -> io::Result<()> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.stack.push(Level { name, fd });
        Ok(())
    }

    /// An entry of its own has named the directory at `path`.
    pub(crate) fn not_implied(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// The directories that no entry named, in resolved form, parents first.
    pub(crate) fn into_implied(self) -> Vec<Vec<u8>> {
        self.implied.into_iter().collect()
    }

    /// Hides what lower layers have in the current directory.
    pub(crate) fn mark_opaque(&self) -> io::Result<()> {
        let fd = open_directory_for_reading(self.current(), b".")?;
        fs::fsetxattr(fd, self.opaque, b"y", fs::XattrFlags::empty())?;
        Ok(())
    }

    /// Opens the directory of a resolved path, or `None` where another thing is there.
    pub(crate) fn open_resolved(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = fs::ResolveFlags::BENEATH | fs::ResolveFlags::NO_SYMLINKS;
        let path = if path.is_empty() { b"." } else { path };
        match husk_rootfs::resolve::open_at(self.root.as_fd(), path, flags, beneath) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes `name` from the current directory, with all below it.
    pub(crate) fn remove(&mut self, name: &[u8]) -> io::Result<()> {
        match fs::unlinkat(self.current(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                let gone = self.path_of(name);
                self.implied.remove(&gone);
                let below: Vec<Vec<u8>> = self.implied.range(below(&gone)).cloned().collect();
                for path in below {
                    self.implied.remove(&path);
                }
                Ok(husk_rootfs::remove::entry(self.current(), name)?)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The paths below `directory`, in the order of bytes: a layer may hold a million
/// directories and replace as many, so none looks through all of them.
pub(crate) fn below(directory: &[u8]) -> Range<Vec<u8>> {
    let next = b'/' + 1;
    [directory, b"/"].concat()..[directory, &[next]].concat()
}

pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

pub(crate) fn open_directory_for_reading(
    parent: BorrowedFd<'_>,
    name: &[u8],
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_root_are_refused() {
        assert_eq!(components(b"./a//b/").unwrap(), [b"a", b"b"]);
        assert!(components(b"./").unwrap().is_empty());
        assert_eq!(components(b"/a//b").unwrap(), [b"a", b"b"]);
        assert_eq!(components(b"/../../a/../b").unwrap(), [b"b"]);
        assert_eq!(components(b"x/../y/z").unwrap(), [b"y", b"z"]);
        assert!(components(b"a/..").unwrap().is_empty() && components(b"/").unwrap().is_empty());
        let deep = b"a/".repeat(256);
        for bad in [&b".."[..], b"a/../../x", b"./../a", b"../a/b", b"a\0b", &deep] {
            assert!(components(bad).is_err(), "{bad:?}");
        }
        assert_eq!(components(b"..a/b..").unwrap(), [&b"..a"[..], b"b.."]);
    }

    #[test]
    fn below_is_by_components() {
        let is_below = |path: &[u8]| below(b"a").contains(&path.to_vec());
        assert!(is_below(b"a/b") && is_below(b"a/\xff/x") && is_below(b"a/"));
        for other in [&b"a"[..], b"ab", b"a-b/c", b"a0", b"b/a"] {
            assert!(!is_below(other), "{other:?}");
        }
    }
}
