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

/// How often openat2(2) is asked again after EAGAIN.
pub const ATTEMPTS: usize = 1000;

/// A path below a root: `..` and absolute links stay inside, magic links are refused.
pub const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// What to make where a path leads to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Opens a path below `root` as `O_PATH`.
///
/// # Errors
/// The errno of openat2(2).
pub fn open(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH)
}

/// Opens a path below `root`.
///
/// # Errors
/// The errno of openat2(2).
pub fn open_with(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_at(root, path.to_bytes(), flags, IN_ROOT)
}

/// openat2(2) with the answer EAGAIN dealt with: every such call of ours goes through here.
/// `flags` get `O_CLOEXEC`.
///
/// # Errors
/// The errno of openat2(2); EAGAIN only with a `resolve` other than [`IN_ROOT`], where renames
/// never pause for [`ATTEMPTS`] calls.
pub fn open_at(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::CLOEXEC;
    let opened = retry(|| fs::openat2(root, path, flags, Mode::empty(), resolve));
    match opened {
        // Somebody renames without end. Our own walk looks nothing up by `..`, so it cannot be
        // kept from its goal.
        Err(Errno::AGAIN) if resolve == IN_ROOT => Walk::new(root)?.find(path, flags),
        done => done,
    }
}

/// Opens a directory below `root` whose path must not go through any symbolic link.
///
/// # Errors
/// The errno of openat2(2); ELOOP where there is a link.
pub fn open_plain_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = IN_ROOT | ResolveFlags::NO_SYMLINKS;
    open_at(root, path.to_bytes(), flags, resolve)
}

/// Opens a name of the filesystem that `directory` is on: no link, nothing that
/// is mounted over it.
///
/// # Errors
/// The errno of openat2(2).
pub fn open_same(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    open_at(directory, name.to_bytes(), flags, resolve)
}

/// Opens an absolute path of the host in which no part may be a symbolic link: it was
/// resolved before, and whoever may write to a directory of it may have put a link there
/// since. `flags` are those of open(2).
///
/// # Errors
/// The errno of openat2(2); ELOOP where there is a link.
pub fn open_unlinked(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_at(fs::CWD, path.as_os_str().as_encoded_bytes(), flags, ResolveFlags::NO_SYMLINKS)
}

/// With `RESOLVE_IN_ROOT` and `RESOLVE_BENEATH` the kernel answers EAGAIN where a rename or a
/// mount anywhere on the machine makes it unsure about a `..` (openat2(2)).
fn retry(mut open: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a path below `root` as `O_PATH` and makes what is missing of it:
/// directories on the way with mode 0755, and at its end what `missing` says.
///
/// # Errors
/// The errno of what failed.
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
///
/// # Errors
/// The errno of what failed; EINVAL where the last component is no name.
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

    fn make(self, path: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
        self.run(path.to_bytes(), Some(missing), OFlags::PATH)
    }

    /// Opens what is there, as openat2(2) with `RESOLVE_IN_ROOT` would.
    fn find(self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let found = self.run(path, None, flags)?;
        if flags.contains(OFlags::PATH) {
            return match fs::fstat(&found)?.st_mode {
                mode if flags.contains(OFlags::DIRECTORY)
                    && FileType::from_raw_mode(mode) != FileType::Directory =>
                {
                    Err(Errno::NOTDIR)
                }
                _ => Ok(found),
            };
        }
        // The very inode that was found, wherever its name leads by now.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        fs::open(path, flags.difference(OFlags::NOFOLLOW), Mode::empty())
    }

    fn run(
        mut self,
        path: &[u8],
        missing: Option<Missing>,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        // A stack of components still to walk, the next one last.
        let mut ahead = components(path);
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
            let wanted = missing.map(|missing| if last { missing } else { Missing::Directory });
            let next = self.step(&component, wanted)?;
            match FileType::from_raw_mode(fs::fstat(&next)?.st_mode) {
                FileType::Symlink if last && flags.contains(OFlags::NOFOLLOW) => {
                    return if flags.contains(OFlags::PATH) { Ok(next) } else { Err(Errno::LOOP) };
                }
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
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                fs::openat(self.root, c".", flags, Mode::empty())
            }
        }
    }

    /// Opens one component, itself if it is a link, and makes it if it is missing.
    fn step(&self, name: &CStr, missing: Option<Missing>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Several rounds, since another process may make or remove it in between.
        for _ in 0..16 {
            let missing = match (fs::openat(self.here(), name, flags, Mode::empty()), missing) {
                (Err(Errno::NOENT), Some(missing)) => missing,
                (done, _) => return done,
            };
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
///
/// # Errors
/// The errno of fstat(2).
pub fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (a, b) = (fs::fstat(a)?, fs::fstat(b)?);
    Ok(a.st_dev == b.st_dev && a.st_ino == b.st_ino)
}

/// Removes a name from a directory; that it is not there is fine.
///
/// # Errors
/// The errno of unlinkat(2).
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

    /// Renames something of no concern, as any program on the machine may.
    struct Renamer(std::sync::Arc<std::sync::atomic::AtomicBool>, Vec<std::thread::JoinHandle<()>>);

    impl Renamer {
        fn new(directory: &std::path::Path) -> Self {
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let threads = (0..2)
                .map(|number| {
                    let (a, b) = (
                        directory.join(format!("a{number}")),
                        directory.join(format!("b{number}")),
                    );
                    std::fs::create_dir(&a).unwrap();
                    let stop = std::sync::Arc::clone(&stop);
                    std::thread::spawn(move || {
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            std::fs::rename(&a, &b).unwrap();
                            std::fs::rename(&b, &a).unwrap();
                        }
                    })
                })
                .collect();
            Self(stop, threads)
        }
    }

    impl Drop for Renamer {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            for thread in self.1.drain(..) {
                thread.join().unwrap();
            }
        }
    }

    /// openat2(2) answers EAGAIN for a path with `..` while anything is renamed anywhere.
    #[test]
    fn renames_elsewhere_do_not_fail_a_path_with_dots() {
        let (tree, root) = Tree::new("renames");
        std::fs::create_dir_all(tree.0.join("root/usr/lib")).unwrap();
        std::fs::write(tree.0.join("root/usr/lib/os-release"), "").unwrap();
        symlink("../usr/lib/os-release", tree.0.join("root/etc/os-release")).unwrap();
        let _renamer = Renamer::new(&tree.0);
        let bare = || fs::openat2(&root, c"etc/os-release", OFlags::PATH, Mode::empty(), IN_ROOT);
        let mut refused = 0;
        for _ in 0..2_000 {
            refused += usize::from(bare().is_err_and(|errno| errno == Errno::AGAIN));
            open(root.as_fd(), c"etc/os-release").unwrap();
        }
        // Not asserted, since it is the kernel's to do so: the reason for this test.
        eprintln!("openat2(2) alone: EAGAIN {refused} times of 2000");
    }

    #[test]
    fn the_walk_finds_what_the_kernel_finds() {
        let (tree, root) = Tree::new("walk");
        std::fs::create_dir_all(tree.0.join("root/usr/lib")).unwrap();
        std::fs::write(tree.0.join("root/usr/lib/x"), "text").unwrap();
        symlink("/usr/lib", tree.0.join("root/lib")).unwrap();
        symlink("../../../lib/x", tree.0.join("root/etc/x")).unwrap();
        symlink("nowhere", tree.0.join("root/etc/dangling")).unwrap();
        for path in [
            "etc/x",
            "/lib/../lib/x",
            "/etc/../..",
            ".",
            "lib",
            "etc/dangling",
            "usr/lib/x/y",
            "no",
        ] {
            for flags in [
                OFlags::PATH,
                OFlags::PATH | OFlags::NOFOLLOW,
                OFlags::PATH | OFlags::DIRECTORY,
                OFlags::RDONLY,
                OFlags::RDONLY | OFlags::NOFOLLOW,
            ] {
                let flags = flags | OFlags::CLOEXEC;
                let id = |fd: OwnedFd| fs::fstat(&fd).map(|stat| stat.st_ino).unwrap();
                let kernel = fs::openat2(&root, path, flags, Mode::empty(), IN_ROOT).map(id);
                let own = Walk::new(root.as_fd()).unwrap().find(path.as_bytes(), flags).map(id);
                assert_eq!(own, kernel, "{path} {flags:?}");
            }
        }
    }

    #[test]
    fn a_link_on_the_way_to_a_path_of_the_host_is_refused() {
        let (tree, _) = Tree::new("unlinked");
        symlink("root", tree.0.join("link")).unwrap();
        let base = tree.0.canonicalize().unwrap();
        assert!(open_unlinked(&base.join("root/etc"), OFlags::PATH).is_ok());
        for path in ["link", "link/etc"] {
            let error = open_unlinked(&base.join(path), OFlags::PATH).err();
            assert_eq!(error, Some(Errno::LOOP), "{path}");
        }
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
