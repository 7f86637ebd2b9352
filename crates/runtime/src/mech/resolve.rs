//! Paths inside the container: every one is resolved below a descriptor of its
//! root, and what comes out is a descriptor, never a path again.
//!
//! openat2(2) with `RESOLVE_IN_ROOT` keeps `..` and absolute links inside, and
//! `RESOLVE_NO_MAGICLINKS` refuses the links of /proc that lead elsewhere.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// What to make where a path leads to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Opens a path below `root` as `O_PATH`.
pub fn open(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH)
}

/// Opens a path below `root`.
pub fn open_with(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    retry(|| fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), IN_ROOT))
}

/// Opens a directory below `root` whose path must not go through any symbolic link.
pub fn open_plain_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = IN_ROOT | ResolveFlags::NO_SYMLINKS;
    retry(|| fs::openat2(root, path, flags, Mode::empty(), resolve))
}

/// Opens a name of the filesystem that `directory` is on: no link, nothing that
/// is mounted over it.
pub fn open_same(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    retry(|| fs::openat2(directory, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// With `RESOLVE_IN_ROOT` the kernel answers EAGAIN where a rename elsewhere
/// makes it unsure about a `..` (openat2(2)); a hostile neighbour can cause
/// that without end.
fn retry(mut open: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 0..1000 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a path below `root` as `O_PATH` and makes what is missing of it:
/// directories on the way with mode 0755, and at its end what `missing` says.
pub fn open_or_make(root: BorrowedFd<'_>, path: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::NOENT) => {}
        done => return done,
    }
    if missing == Missing::Directory
        && let Ok(made) = make_last(root, path)
    {
        return Ok(made);
    }
    Walk::new(root)?.make(path, missing)
}

/// Makes a directory in one that is there, which is what most destinations lack.
/// Anything else, a dangling link in its place too, is for the walk.
fn make_last(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let (directory, name) = split(path)?;
    let directory = open(root, &directory)?;
    fs::mkdirat(&directory, &name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(&directory, &name, flags, Mode::empty())
}

/// The directory that a path's last component is in, made where missing, and
/// that component.
pub fn parent(root: BorrowedFd<'_>, path: &CStr) -> Result<(OwnedFd, CString), Errno> {
    let (directory, name) = split(path)?;
    Ok((open_or_make(root, &directory, Missing::Directory)?, name))
}

/// All but the last component of a path, and that; EINVAL where it is no name.
fn split(path: &CStr) -> Result<(CString, CString), Errno> {
    let bytes = path.to_bytes();
    let (directory, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&bytes[..=at], &bytes[at + 1..]),
        None => (&b"/"[..], bytes),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::INVAL);
    }
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let directory = CString::new(directory).map_err(|_| Errno::INVAL)?;
    Ok((directory, name))
}

/// A walk by single components, for paths that lead to nothing yet: no system
/// call makes the missing parts of a path while it keeps to a root. A link is
/// read and walked here, so that a dangling one leads to a place inside.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories from the root down to here, so that `..` needs no look-up.
    above: Vec<OwnedFd>,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>) -> Result<Self, Errno> {
        Ok(Self { root, above: Vec::new() })
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, AsFd::as_fd)
    }

    fn make(mut self, path: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
        // A stack of components still to walk, the next one last.
        let mut ahead = components(path.to_bytes());
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            match component.as_bytes() {
                b"." => continue,
                b".." => {
                    self.above.pop();
                    continue;
                }
                _ => {}
            }
            let last = ahead.is_empty();
            let next = self.step(&component, if last { missing } else { Missing::Directory })?;
            match FileType::from_raw_mode(fs::fstat(&next)?.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = fs::readlinkat(&next, c"", Vec::new())?;
                    if target.to_bytes().starts_with(b"/") {
                        self.above.clear();
                    }
                    ahead.extend(components(target.to_bytes()));
                }
                FileType::Directory => self.above.push(next),
                _ if last => return Ok(next),
                _ => return Err(Errno::NOTDIR),
            }
        }
        match self.above.pop() {
            Some(here) => Ok(here),
            None => open(self.root, c"."),
        }
    }

    /// Opens one component, itself if it is a link, and makes it if it is missing.
    fn step(&self, name: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Several rounds, since another process may make or remove it in between.
        for _ in 0..16 {
            match fs::openat(self.here(), name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                done => return done,
            }
            let made = match missing {
                Missing::Directory => fs::mkdirat(self.here(), name, Mode::from_raw_mode(0o755)),
                Missing::File => fs::openat(
                    self.here(),
                    name,
                    OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o644),
                )
                .map(drop),
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::AGAIN)
    }
}

/// The components of a path, the last one first.
fn components(path: &[u8]) -> Vec<CString> {
    path.split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
        .filter_map(|component| CString::new(component).ok())
        .rev()
        .collect()
}

/// Whether two descriptors refer to the same file.
pub fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (a, b) = (fs::fstat(a)?, fs::fstat(b)?);
    Ok(a.st_dev == b.st_dev && a.st_ino == b.st_ino)
}

/// Removes a name from a directory; that it is not there is fine.
pub fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> (Self, OwnedFd) {
            let path =
                std::env::temp_dir().join(format!("husk-resolve-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("root/etc")).unwrap();
            let root = fs::open(path.join("root"), OFlags::PATH, Mode::empty()).unwrap();
            (Self(path), root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn missing_parts_are_made() {
        let (tree, root) = Tree::new("made");
        open_or_make(root.as_fd(), c"/a/b/../c/file", Missing::File).unwrap();
        assert!(tree.0.join("root/a/b").is_dir());
        assert!(tree.0.join("root/a/c/file").is_file());
    }

    #[test]
    fn a_dangling_link_leads_to_a_place_inside() {
        let (tree, root) = Tree::new("dangling");
        symlink("../../../run/stub/resolv.conf", tree.0.join("root/etc/resolv.conf")).unwrap();
        symlink("/outside", tree.0.join("root/abs")).unwrap();
        open_or_make(root.as_fd(), c"/etc/resolv.conf", Missing::File).unwrap();
        open_or_make(root.as_fd(), c"/abs/below", Missing::Directory).unwrap();
        assert!(tree.0.join("root/run/stub/resolv.conf").is_file());
        assert!(tree.0.join("root/outside/below").is_dir());
        assert!(!tree.0.join("run").exists());
    }

    #[test]
    fn a_loop_ends() {
        let (tree, root) = Tree::new("loop");
        symlink("b", tree.0.join("root/a")).unwrap();
        symlink("a", tree.0.join("root/b")).unwrap();
        assert_eq!(
            open_or_make(root.as_fd(), c"/a/x", Missing::Directory).err(),
            Some(Errno::LOOP)
        );
    }

    #[test]
    fn a_file_on_the_way_is_refused() {
        let (tree, root) = Tree::new("file");
        std::fs::write(tree.0.join("root/f"), "").unwrap();
        assert_eq!(
            open_or_make(root.as_fd(), c"/f/x", Missing::Directory).err(),
            Some(Errno::NOTDIR)
        );
    }
}
