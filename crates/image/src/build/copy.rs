//! COPY and ADD: from below one root to below another, by descriptors.
//!
//! Both roots are strangers' trees: the context's links and the image's. A path is
//! resolved in its root by the kernel (RESOLVE_IN_ROOT), so neither `..` nor a link
//! leaves it (CVE-2024-1753, CVE-2024-9675), and what is made is made in a directory that is open.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use husk_rootfs::resolve::open_at;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::ignore::{Ignore, matches_name};
use crate::pack::{TreeHash, attributes, names};
use crate::unpack::decompress::{Compression, Decoder};
use crate::unpack::tar_header::{BLOCK, Header};
use crate::unpack::{UnpackError, UnpackOptions, unpack};

/// Why something was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// No source matches.
    #[error("{0:?}: no such file or directory (or it is left out by .dockerignore)")]
    NoSource(String),
    /// A system call failed.
    #[error("{operation} {path:?}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what, below its root.
        path: String,
        /// The errno.
        source: io::Error,
    },
    /// ADD of an archive failed.
    #[error("{path:?}: {source}")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        source: UnpackError,
    },
    /// ADD of an archive with a compression that is not supported.
    #[error("{0:?} is {1}, which ADD does not unpack; unpack it with RUN")]
    Compression(String, &'static str),
    /// Directories lie too deep in each other.
    #[error("{0:?}: more than 255 directories deep")]
    Deep(String),
}

fn at<E: Into<io::Error>>(
    operation: &'static str,
    path: &str,
) -> impl FnOnce(E) -> CopyError + use<E> {
    let path = crate::digest::clip(path);
    move |source| CopyError::File { operation, path, source: source.into() }
}

/// Owner and mode of what is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: Option<u32>,
    /// What is copied keeps its own owner in place of this one.
    pub(crate) keep_owner: bool,
}

/// A tree that is copied from.
pub(crate) struct Source<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) ignore: Option<&'a Ignore>,
}

fn in_root() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
}

fn path_flags() -> OFlags {
    OFlags::PATH | OFlags::CLOEXEC
}

fn clean(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// Opens a path below a root as what it is.
fn resolve(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    open_at(root, path.as_bytes(), path_flags(), in_root())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Source<'_> {
    fn ignored(&self, path: &str) -> bool {
        !path.is_empty() && self.ignore.is_some_and(|ignore| ignore.is_ignored(path))
    }

    /// The paths that a source word means, sorted.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<String>, CopyError> {
        let mut found = vec![String::new()];
        for part in clean(pattern) {
            let join = |before: &str, name: &str| match before {
                "" => name.to_owned(),
                before => format!("{before}/{name}"),
            };
            let is_pattern = part.contains(['*', '?', '[', '\\']);
            let characters: Vec<char> = part.chars().collect();
            let mut next = Vec::new();
            for before in &found {
                if !is_pattern {
                    next.push(join(before, part));
                    continue;
                }
                let Ok(directory) = self.directory(before) else { continue };
                for name in names(&directory).map_err(at("list", before))? {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    if matches_name(&characters, &name.chars().collect::<Vec<_>>()) {
                        next.push(join(before, &name));
                    }
                }
            }
            found = next;
        }
        // What is ignored may hold something that is not.
        let kept = |path: &String| {
            let exceptions = self.ignore.is_some_and(Ignore::has_exceptions);
            let is_directory = || self.directory(path).is_ok();
            resolve(self.root, path).is_ok()
                && (!self.ignored(path) || (exceptions && is_directory()))
        };
        found.retain(kept);
        match found.is_empty() {
            true => Err(CopyError::NoSource(crate::digest::clip(pattern))),
            false => Ok(found),
        }
    }

    fn directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.is_empty() { "." } else { path };
        open_at(self.root, path.as_bytes(), flags, in_root())
    }

    /// Hashes what a path holds, under `name`, for the cache.
    pub(crate) fn hash(&self, hash: &mut TreeHash, path: &str) -> Result<(), CopyError> {
        let fd = resolve(self.root, path).map_err(at("open", path))?;
        // The last component's name is where a file is put; a directory's is not.
        hash.field(path.rsplit('/').next().unwrap_or(path).as_bytes());
        self.hash_entry(hash, &fd, path, 0)
    }

    fn hash_entry(
        &self,
        hash: &mut TreeHash,
        fd: &OwnedFd,
        path: &str,
        depth: usize,
    ) -> Result<(), CopyError> {
        let stat = fs::fstat(fd).map_err(at("stat", path))?;
        hash.field(&stat.st_mode.to_le_bytes());
        if kind(&stat) != FileType::Symlink {
            for (name, value) in attributes(fd.as_fd()).map_err(at("read attributes of", path))? {
                hash.field(&name);
                hash.field(&value);
            }
        }
        match kind(&stat) {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                hash.data(reopen(fd).map_err(at("open", path))?, size).map_err(at("read", path))
            }
            FileType::Directory => {
                for (name, child, below) in self.children(fd, path, depth)? {
                    hash.field(&name);
                    self.hash_entry(hash, &child, &below, depth + 1)?;
                }
                hash.field(b"");
                Ok(())
            }
            FileType::Symlink => {
                let target = fs::readlinkat(fd, "", Vec::new()).map_err(at("read", path))?;
                hash.field(target.to_bytes());
                Ok(())
            }
            _ => {
                hash.field(&stat.st_rdev.to_le_bytes());
                Ok(())
            }
        }
    }

    /// The entries of a directory that are not ignored.
    fn children(
        &self,
        directory: &OwnedFd,
        path: &str,
        depth: usize,
    ) -> Result<Vec<(Vec<u8>, OwnedFd, String)>, CopyError> {
        if depth > 255 {
            return Err(CopyError::Deep(crate::digest::clip(path)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = fs::openat(directory, ".", flags, Mode::empty()).map_err(at("open", path))?;
        let mut children = Vec::new();
        for name in names(&listed).map_err(at("list", path))? {
            let shown = String::from_utf8_lossy(&name);
            let below =
                if path.is_empty() { shown.into_owned() } else { format!("{path}/{shown}") };
            let flags = path_flags() | OFlags::NOFOLLOW;
            let child = fs::openat(&listed, name.as_slice(), flags, Mode::empty())
                .map_err(at("open", &below))?;
            if self.ignored(&below) {
                let stat = fs::fstat(&child).map_err(at("stat", &below))?;
                let exceptions = self.ignore.is_some_and(Ignore::has_exceptions);
                if kind(&stat) != FileType::Directory
                    || !exceptions
                    || !self.has_kept(&child, &below, depth + 1)?
                {
                    continue;
                }
            }
            children.push((name, child, below));
        }
        Ok(children)
    }

    fn has_kept(&self, directory: &OwnedFd, path: &str, depth: usize) -> Result<bool, CopyError> {
        Ok(!self.children(directory, path, depth)?.is_empty())
    }
}

/// The file behind an O_PATH descriptor, for reading.
fn reopen(fd: &OwnedFd) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(File::from(fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
}

/// A root file system that is copied into.
pub(crate) struct Target<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) attributes: Attributes,
    pub(crate) options: &'a UnpackOptions,
}

impl Target<'_> {
    /// Opens a directory below the root, making what is missing: mode 0755, owner 0:0.
    pub(crate) fn directory(&self, path: &str) -> Result<OwnedFd, CopyError> {
        let mut current = resolve(self.root, "").map_err(at("open", "/"))?;
        let mut prefix = String::new();
        for part in clean(path) {
            let parent = current;
            prefix.push('/');
            prefix.push_str(part);
            let flags = path_flags() | OFlags::DIRECTORY;
            // From the root each time, so that links on the way are the kernel's work.
            let open = || open_at(self.root, prefix.as_bytes(), flags, in_root());
            current = match open() {
                Err(Errno::NOENT) => {
                    fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755))
                        .map_err(at("mkdir", &prefix))?;
                    let made = open().map_err(at("open", &prefix))?;
                    fs::chmodat(&made, ".", Mode::from_raw_mode(0o755), AtFlags::empty())
                        .map_err(at("set the mode of", &prefix))?;
                    made
                }
                other => other.map_err(at("open", &prefix))?,
            };
        }
        Ok(current)
    }

    /// Whether there is a directory at a path.
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        resolve(self.root, path)
            .and_then(fs::fstat)
            .is_ok_and(|stat| kind(&stat) == FileType::Directory)
    }

    /// Copies `path` of `source` to `destination`: a directory's content into the
    /// directory there, a file as that file, or into it where `into` says so.
    pub(crate) fn copy(
        &self,
        source: &Source<'_>,
        path: &str,
        destination: &str,
        into: bool,
        add: bool,
    ) -> Result<(), CopyError> {
        let fd = resolve(source.root, path).map_err(at("open", path))?;
        let stat = fs::fstat(&fd).map_err(at("stat", path))?;
        if kind(&stat) == FileType::Directory {
            let new = !self.is_directory(destination);
            let target = self.directory(destination)?;
            if new {
                self.finish(target.as_fd(), &fd, &stat, destination)?;
            }
            return self.content(source, &fd, path, &target, 0);
        }
        if add && kind(&stat) == FileType::RegularFile && is_archive(&fd, path)? {
            let directory = self.directory(destination)?;
            return self.unpack(&fd, path, &directory);
        }
        let parts = clean(destination);
        let (parent, name) = match (into, parts.split_last()) {
            (false, Some((name, parents))) => (parents.join("/"), (*name).to_owned()),
            _ => {
                let name = path.rsplit('/').next().unwrap_or(path);
                (destination.to_owned(), name.to_owned())
            }
        };
        let parent = self.directory(&parent)?;
        self.entry(source, &fd, path, &parent, name.as_bytes(), 0)
    }

    /// Writes a file of the Dockerfile's own.
    pub(crate) fn write(
        &self,
        destination: &str,
        name: Option<&str>,
        content: &[u8],
    ) -> Result<(), CopyError> {
        let parts = clean(destination);
        let (parent, name) = match (name, parts.split_last()) {
            (Some(name), _) => (destination.to_owned(), name),
            (None, Some((name, parents))) => (parents.join("/"), *name),
            (None, None) => return Err(at("write", destination)(Errno::ISDIR)),
        };
        let parent = self.directory(&parent)?;
        let mut file = self.create(&parent, name.as_bytes(), destination)?;
        io::Write::write_all(&mut file, content).map_err(at("write", destination))?;
        self.own(file.as_fd(), self.attributes.mode.unwrap_or(0o644), destination)
    }

    fn create(&self, parent: &OwnedFd, name: &[u8], path: &str) -> Result<File, CopyError> {
        self.clear(parent, name, path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        fd.map(File::from).map_err(at("create", path))
    }

    /// Makes room for something that is no directory.
    fn clear(&self, parent: &OwnedFd, name: &[u8], path: &str) -> Result<(), CopyError> {
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(at("replace", path)(errno)),
        }
    }

    fn content(
        &self,
        source: &Source<'_>,
        directory: &OwnedFd,
        path: &str,
        target: &OwnedFd,
        depth: usize,
    ) -> Result<(), CopyError> {
        for (name, child, below) in source.children(directory, path, depth)? {
            self.entry(source, &child, &below, target, &name, depth + 1)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        source: &Source<'_>,
        fd: &OwnedFd,
        path: &str,
        parent: &OwnedFd,
        name: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        let stat = fs::fstat(fd).map_err(at("stat", path))?;
        let nofollow = path_flags() | OFlags::NOFOLLOW;
        let open = || fs::openat(parent, name, nofollow, Mode::empty()).map_err(at("open", path));
        match kind(&stat) {
            FileType::Directory => {
                match fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(at("mkdir", path)(errno)),
                }
                let flags = nofollow | OFlags::DIRECTORY;
                let made =
                    fs::openat(parent, name, flags, Mode::empty()).map_err(at("open", path))?;
                self.content(source, fd, path, &made, depth)?;
                self.finish(made.as_fd(), fd, &stat, path)
            }
            FileType::RegularFile => {
                let mut from = reopen(fd).map_err(at("open", path))?;
                let mut to = self.create(parent, name, path)?;
                io::copy(&mut from, &mut to).map_err(at("copy", path))?;
                drop(to);
                self.finish(open()?.as_fd(), fd, &stat, path)
            }
            FileType::Symlink => {
                let target = fs::readlinkat(fd, "", Vec::new()).map_err(at("read", path))?;
                self.clear(parent, name, path)?;
                fs::symlinkat(&target, parent, name).map_err(at("symlink", path))?;
                self.finish(open()?.as_fd(), fd, &stat, path)
            }
            FileType::Socket => Ok(()),
            other => {
                self.clear(parent, name, path)?;
                let mode = Mode::from_raw_mode(0o600);
                fs::mknodat(parent, name, other, mode, stat.st_rdev).map_err(at("mknod", path))?;
                self.finish(open()?.as_fd(), fd, &stat, path)
            }
        }
    }

    fn own(&self, fd: BorrowedFd<'_>, mode: u32, path: &str) -> Result<(), CopyError> {
        let Attributes { uid, gid, .. } = self.attributes;
        fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(at("chown", path))?;
        fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(at("set the mode of", path))
    }

    /// Owner, mode, attributes and times of something that was made, by O_PATH.
    fn finish(
        &self,
        made: BorrowedFd<'_>,
        from: &OwnedFd,
        stat: &Stat,
        path: &str,
    ) -> Result<(), CopyError> {
        let Attributes { mut uid, mut gid, mode, keep_owner } = self.attributes;
        if keep_owner {
            (uid, gid) = (stat.st_uid, stat.st_gid);
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fs::chownat(made, "", uid, gid, AtFlags::EMPTY_PATH).map_err(at("chown", path))?;
        if kind(stat) != FileType::Symlink {
            // O_PATH takes no fchmod and no fsetxattr; the magic link ends at the inode.
            let link = format!("/proc/self/fd/{}", made.as_raw_fd());
            let mode = Mode::from_raw_mode(mode.unwrap_or(stat.st_mode & 0o7777));
            fs::chmod(&link, mode).map_err(at("set the mode of", path))?;
            for (name, value) in attributes(from.as_fd()).map_err(at("read attributes of", path))? {
                match fs::setxattr(&link, name.as_slice(), &value, fs::XattrFlags::empty()) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(Errno::PERM) if !self.options.devices => {}
                    Err(errno) => return Err(at("set an attribute of", path)(errno)),
                }
            }
        }
        let time = fs::Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        };
        let times = fs::Timestamps { last_access: time, last_modification: time };
        fs::utimensat(made, "", &times, AtFlags::EMPTY_PATH).map_err(at("set the time of", path))
    }

    fn unpack(&self, fd: &OwnedFd, path: &str, directory: &OwnedFd) -> Result<(), CopyError> {
        let file = reopen(fd).map_err(at("open", path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            fs::openat(directory, ".", flags, Mode::empty()).map_err(at("open", path))?;
        unpack(BufReader::new(file), directory, None, self.options, &|_| {})
            .map(drop)
            .map_err(|source| CopyError::Archive { path: crate::digest::clip(path), source })
    }
}

/// Whether a file is a tar, plain or compressed, by its content.
fn is_archive(fd: &OwnedFd, path: &str) -> Result<bool, CopyError> {
    let mut start = Vec::new();
    let open = || reopen(fd).map_err(at("open", path));
    open()?.take(8).read_to_end(&mut start).map_err(at("read", path))?;
    match Compression::detect(&start) {
        Ok(_) => {}
        Err(name @ ("xz" | "bzip2")) => {
            return Err(CopyError::Compression(crate::digest::clip(path), name));
        }
        Err(_) => return Ok(false),
    }
    let mut block = [0; BLOCK];
    let Ok(mut decoder) = Decoder::new(BufReader::new(open()?)) else { return Ok(false) };
    if decoder.read_exact(&mut block).is_err() {
        return Ok(false);
    }
    Ok(matches!(Header::parse(&block), Ok(Some(_))))
}
