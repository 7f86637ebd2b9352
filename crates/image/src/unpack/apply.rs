//! Entries of a layer onto a directory, in overlayfs's form.
//!
//! A whiteout `.wh.x` becomes a character device 0:0, `.wh..wh..opq` the opaque
//! attribute (kernel: Documentation/filesystems/overlayfs.rst; image-spec "layer.md").
//! Both hide lower layers only, whatever their order in the archive.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::entry::{Entry, Kind, TarReader, shown};
use super::tree::{Tree, below, components, open_directory_for_reading};
use super::{Owners, UnpackError, UnpackOptions, UnpackReport};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names that AUFS kept its own things under; Docker skips them.
const AUFS: &[u8] = b".wh..wh.";
const MAX_WARNINGS: usize = 50;

pub(crate) struct Apply<'a> {
    tree: Tree,
    options: &'a UnpackOptions,
    /// Modification times (and modes, where the caller is not privileged) of
    /// directories, set last: each entry made in one changes its time.
    directories: BTreeMap<Vec<u8>, DirectoryEnd>,
    report: UnpackReport,
}

struct DirectoryEnd {
    mtime: (i64, u32),
    mode: u32,
}

/// Where the failed step was: an operation on an entry.
fn at<E: Into<io::Error>>(
    entry: &Entry,
    operation: &'static str,
) -> impl FnOnce(E) -> UnpackError + use<E> {
    let path = shown(&entry.path);
    move |source| UnpackError::Entry { path, operation, source: source.into() }
}

fn refuse(entry: &Entry, problem: impl Into<String>) -> UnpackError {
    UnpackError::Refused { path: shown(&entry.path), problem: problem.into() }
}

fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl<'a> Apply<'a> {
    pub(crate) fn new(root: OwnedFd, options: &'a UnpackOptions) -> Apply<'a> {
        Apply {
            tree: Tree::new(root, options.whiteouts.opaque_attribute()),
            options,
            directories: BTreeMap::new(),
            report: UnpackReport::default(),
        }
    }

    /// Makes one entry; `reader` stands before its data.
    pub(crate) fn entry<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let parts = components(&entry.path).map_err(|problem| refuse(entry, problem))?;
        self.report.entries += 1;
        let Some((name, parents)) = parts.split_last() else {
            return self.root(entry);
        };
        // `.wh.x/y` would be a child of something that is not there.
        if parents.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Err(refuse(entry, "lies below a whiteout"));
        }
        self.tree.enter(parents, true).map_err(at(entry, "open the directory of"))?;
        if name.starts_with(WHITEOUT) {
            return self.whiteout(entry, name);
        }
        match entry.kind {
            Kind::Directory => return self.directory(entry, name),
            Kind::Hardlink => return self.hardlink(entry, parents, name),
            Kind::Regular => self.regular(entry, name, reader)?,
            Kind::Symlink => self.symlink(entry, name)?,
            Kind::Character | Kind::Block | Kind::Fifo => {
                if !self.special(entry, name)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(refuse(entry, "the root must be a directory"));
        }
        self.tree.enter(&[], false).map_err(at(entry, "open"))?;
        let fd =
            open_directory_for_reading(self.tree.current(), b".").map_err(at(entry, "open"))?;
        self.report.names_root = true;
        self.directory_attributes(entry, &fd, Vec::new())
    }

    fn whiteout(&mut self, entry: &Entry, name: &[u8]) -> Result<(), UnpackError> {
        if name == OPAQUE {
            if self.tree.path().is_empty() {
                // overlayfs does not look at the attribute on a layer's root.
                self.report.opaque_root = true;
                return Ok(());
            }
            return self.tree.mark_opaque().map_err(at(entry, "mark opaque the directory of"));
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        let hidden = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refuse(entry, "a whiteout of no name"));
        }
        match fs::statat(self.tree.current(), hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(entry, "look up")(errno)),
            // This layer's own directory stays, without what lies below it elsewhere.
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                let fd = open_directory_for_reading(self.tree.current(), hidden);
                let set = fd.and_then(|fd| {
                    let name = self.options.whiteouts.opaque_attribute();
                    fs::fsetxattr(fd, name, b"y", XattrFlags::empty())
                });
                return set.map_err(at(entry, "mark opaque"));
            }
            Ok(_) => return Ok(()),
        }
        self.make_node(hidden, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(at(entry, "make the whiteout"))
    }

    fn make_node(&self, name: &[u8], kind: FileType, mode: Mode, device: u64) -> io::Result<()> {
        Ok(fs::mknodat(self.tree.current(), name, kind, mode, device)?)
    }

    /// Removes what an earlier entry left under `name`; tells whether it was a whiteout.
    fn replace(&mut self, entry: &Entry, name: &[u8]) -> Result<bool, UnpackError> {
        let found = match fs::statat(self.tree.current(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(at(entry, "look up")(errno)),
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Directory {
            let gone = self.tree.path_of(name);
            self.directories.remove(&gone);
            let below: Vec<Vec<u8>> =
                self.directories.range(below(&gone)).map(|(path, _)| path.clone()).collect();
            for path in below {
                self.directories.remove(&path);
            }
        }
        self.tree.remove(name).map_err(at(entry, "replace"))?;
        Ok(kind == FileType::CharacterDevice && found.st_rdev == 0)
    }

    fn directory(&mut self, entry: &Entry, name: &[u8]) -> Result<(), UnpackError> {
        let mode = Mode::from_raw_mode(0o700);
        let mut hides = false;
        match fs::mkdirat(self.tree.current(), name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let found = fs::statat(self.tree.current(), name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(at(entry, "look up"))?;
                if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                    hides = self.replace(entry, name)?;
                    fs::mkdirat(self.tree.current(), name, mode).map_err(at(entry, "mkdir"))?;
                }
            }
            Err(errno) => return Err(at(entry, "mkdir")(errno)),
        }
        let fd =
            open_directory_for_reading(self.tree.current(), name).map_err(at(entry, "open"))?;
        let path = self.tree.path_of(name);
        self.tree.not_implied(&path);
        self.directory_attributes(entry, &fd, path)?;
        // The next entries most often lie in this directory.
        self.tree.push(name.to_vec(), fd).map_err(at(entry, "enter"))?;
        if hides {
            self.tree.mark_opaque().map_err(at(entry, "mark opaque"))?;
        }
        Ok(())
    }

    fn directory_attributes(
        &mut self,
        entry: &Entry,
        fd: &OwnedFd,
        path: Vec<u8>,
    ) -> Result<(), UnpackError> {
        // Without privileges a mode of 0555 would keep this layer's own entries out.
        let mode = if self.options.owners == Owners::Squash { 0o700 } else { entry.mode };
        self.owner_and_mode(entry, fd, mode)?;
        self.attributes(entry, Some(fd.as_fd()), b".")?;
        let end = DirectoryEnd { mtime: entry.mtime, mode: entry.mode };
        self.directories.insert(path, end);
        Ok(())
    }

    fn regular<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            |tree: &Tree| fs::openat(tree.current(), name, flags, Mode::from_raw_mode(0o600));
        let fd = match open(&self.tree) {
            Err(Errno::EXIST) => {
                self.replace(entry, name)?;
                open(&self.tree)
            }
            other => other,
        };
        let fd = fd.map_err(at(entry, "create"))?;
        match &entry.sparse {
            Some(map) => {
                fs::ftruncate(&fd, map.real_size).map_err(at(entry, "set the size of"))?;
                for (offset, length) in &map.segments {
                    self.data(entry, &fd, reader, *offset, *length)?;
                }
            }
            None => self.data(entry, &fd, reader, 0, entry.size)?,
        }
        self.owner_and_mode(entry, &fd, entry.mode)?;
        self.attributes(entry, Some(fd.as_fd()), name)?;
        fs::futimens(&fd, &times(entry.mtime)).map_err(at(entry, "set the time of"))
    }

    fn data<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        fd: &OwnedFd,
        reader: &mut TarReader<R>,
        mut offset: u64,
        mut length: u64,
    ) -> Result<(), UnpackError> {
        while length > 0 {
            let taken = reader.with_data(length, |mut bytes| {
                while !bytes.is_empty() {
                    let written =
                        rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, bytes, offset))
                            .map_err(at(entry, "write"))?;
                    offset += written as u64;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Ok::<(), UnpackError>(())
            })?;
            if taken == 0 {
                return Err(refuse(entry, "the archive holds less data than the file"));
            }
            self.report.bytes += taken;
            length -= taken;
        }
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, name: &[u8]) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(refuse(entry, "a symbolic link without a target"));
        }
        let make = |tree: &Tree| fs::symlinkat(entry.link.as_slice(), tree.current(), name);
        let made = match make(&self.tree) {
            Err(Errno::EXIST) => {
                self.replace(entry, name)?;
                make(&self.tree)
            }
            other => other,
        };
        made.map_err(at(entry, "symlink"))?;
        self.node_attributes(entry, name, false)
    }

    /// A hard link goes to an inode that this layer has unpacked, or nowhere.
    fn hardlink(
        &mut self,
        entry: &Entry,
        parents: &[&[u8]],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        // Targets are names in the archive; some writers put a slash in front of them.
        let target = entry.link.strip_prefix(b"/").unwrap_or(&entry.link);
        let target =
            components(target).map_err(|problem| refuse(entry, format!("links to {problem}")))?;
        let Some((target_name, target_parents)) = target.split_last() else {
            return Err(refuse(entry, "links to the root"));
        };
        let missing = |error: io::Error| match error.raw_os_error() {
            Some(code) if code == Errno::NOENT.raw_os_error() => refuse(
                entry,
                format!("links to {:?}, which this layer does not hold", shown(&entry.link)),
            ),
            _ => at(entry, "find the target of the link")(error),
        };
        self.tree.enter(target_parents, false).map_err(missing)?;
        let path_flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = fs::openat(self.tree.current(), ".", path_flags, Mode::empty())
            .map_err(at(entry, "find the target of the link"))?;
        let found = fs::statat(&source, *target_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| missing(errno.into()))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Directory {
            return Err(refuse(entry, "a hard link to a directory"));
        }
        if kind == FileType::CharacterDevice && found.st_rdev == 0 {
            return Err(refuse(entry, "a hard link to a whiteout"));
        }
        self.tree.enter(parents, true).map_err(at(entry, "open the directory of"))?;
        let here = fs::fstat(self.tree.current()).map_err(at(entry, "look up"))?;
        let there = fs::fstat(&source).map_err(at(entry, "look up"))?;
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) && *target_name == name {
            return Err(refuse(entry, "a hard link to itself"));
        }
        let link =
            |tree: &Tree| fs::linkat(&source, *target_name, tree.current(), name, AtFlags::empty());
        let linked = match link(&self.tree) {
            Err(Errno::EXIST) => {
                self.replace(entry, name)?;
                link(&self.tree)
            }
            other => other,
        };
        linked.map_err(at(entry, "link"))
    }

    /// A device or a fifo. Devices need the host's CAP_MKNOD: without it they are left
    /// out with a warning, as Docker and podman do, because a container gets its /dev
    /// from the runtime and images of whole distributions carry a few.
    fn special(&mut self, entry: &Entry, name: &[u8]) -> Result<bool, UnpackError> {
        let kind = match entry.kind {
            Kind::Character => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if kind == FileType::CharacterDevice && entry.device == (0, 0) {
            self.warn(entry, "left out: a character device 0:0 is overlayfs's whiteout");
            return Ok(false);
        }
        if kind != FileType::Fifo && !self.options.devices {
            self.warn(entry, "device left out: making it needs root on the host");
            return Ok(false);
        }
        let device = fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::from_raw_mode(0o600);
        let made = match self.make_node(name, kind, mode, device) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.replace(entry, name)?;
                self.make_node(name, kind, mode, device)
            }
            other => other,
        };
        made.map_err(at(entry, "mknod"))?;
        self.node_attributes(entry, name, true)?;
        Ok(true)
    }

    /// Attributes of what cannot be opened: links, devices, fifos.
    fn node_attributes(
        &mut self,
        entry: &Entry,
        name: &[u8],
        has_mode: bool,
    ) -> Result<(), UnpackError> {
        if let Some((uid, gid)) = self.options.owners.owner(entry.uid, entry.gid) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            fs::chownat(self.tree.current(), name, Some(uid), Some(gid), nofollow)
                .map_err(|errno| self.chown_error(entry, errno))?;
        }
        if has_mode {
            let mode = Mode::from_raw_mode(entry.mode);
            fs::chmodat(self.tree.current(), name, mode, AtFlags::empty())
                .map_err(at(entry, "set the mode of"))?;
        }
        self.attributes(entry, None, name)?;
        let when = times(entry.mtime);
        fs::utimensat(self.tree.current(), name, &when, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(at(entry, "set the time of"))
    }

    /// chown first: it clears set-id bits and file capabilities.
    fn owner_and_mode(&self, entry: &Entry, fd: &OwnedFd, mode: u32) -> Result<(), UnpackError> {
        if let Some((uid, gid)) = self.options.owners.owner(entry.uid, entry.gid) {
            fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|errno| self.chown_error(entry, errno))?;
        }
        fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(at(entry, "set the mode of"))
    }

    fn chown_error(&self, entry: &Entry, errno: Errno) -> UnpackError {
        match errno {
            Errno::INVAL => {
                UnpackError::Unmapped { path: shown(&entry.path), uid: entry.uid, gid: entry.gid }
            }
            errno => at(entry, "chown")(errno),
        }
    }

    fn attributes(
        &mut self,
        entry: &Entry,
        fd: Option<BorrowedFd<'_>>,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        for (key, value) in &entry.xattrs {
            if let Some(why) = unwanted(key) {
                self.warn(entry, &format!("attribute {:?} left out: {why}", shown(key)));
                continue;
            }
            let set = match fd {
                Some(fd) => fs::fsetxattr(fd, key.as_slice(), value, XattrFlags::empty()),
                None => self.set_attribute_of_node(name, key, value),
            };
            match set {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => {
                    let text = format!("attribute {:?}: not supported by the store", shown(key));
                    self.warn(entry, &text);
                }
                Err(Errno::PERM) if !self.options.devices => {
                    let text = format!("attribute {:?}: needs root on the host", shown(key));
                    self.warn(entry, &text);
                }
                Err(errno) => return Err(at(entry, "set an attribute of")(errno)),
            }
        }
        Ok(())
    }

    fn set_attribute_of_node(&self, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(self.tree.current(), name, flags, Mode::empty())?;
        // The kernel has no fsetxattr on O_PATH; the magic link ends at this very inode.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        fs::setxattr(path, key, value, XattrFlags::empty())
    }

    fn warn(&mut self, entry: &Entry, text: &str) {
        self.report.warning_count += 1;
        if self.report.warnings.len() < MAX_WARNINGS {
            self.report.warnings.push(format!("{:?}: {text}", shown(&entry.path)));
        }
    }

    /// Sets what must come last and gives the report.
    pub(crate) fn finish(mut self) -> Result<UnpackReport, UnpackError> {
        // Children first: a parent's final mode may shut this process out of it.
        for (path, end) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = |operation| {
                let path = shown(&path);
                move |source: io::Error| UnpackError::Entry { path, operation, source }
            };
            let Some(fd) = self.tree.open_resolved(&path).map_err(failed("open"))? else {
                continue;
            };
            if self.options.owners == Owners::Squash {
                let mode = Mode::from_raw_mode(end.mode);
                let set = fs::chmodat(&fd, ".", mode, AtFlags::empty());
                set.map_err(|e| failed("set the mode of")(e.into()))?;
            }
            // AT_EMPTY_PATH: works on O_PATH and needs no search permission.
            let set = fs::utimensat(&fd, "", &times(end.mtime), AtFlags::EMPTY_PATH);
            set.map_err(|e| failed("set the time of")(e.into()))?;
        }
        self.report.implied = self.tree.into_implied();
        Ok(self.report)
    }
}

/// Attributes that the host or overlayfs itself gives meaning to.
fn unwanted(key: &[u8]) -> Option<&'static str> {
    if key.starts_with(b"trusted.overlay.") || key.starts_with(b"user.overlay.") {
        // redirect and metacopy would let one layer reach into another's files.
        return Some("it is overlayfs's own");
    }
    match key {
        b"security.selinux" => Some("labels are the host's to give"),
        b"security.ima" | b"security.evm" => Some("it is bound to another machine"),
        _ if key.is_empty() || key.contains(&0) => Some("it has no name"),
        _ => None,
    }
}
