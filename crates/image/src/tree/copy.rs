//! Copying files and directories by descriptors.
//!
//! Either side may be changed meanwhile by the programs of a container. So what is copied
//! is opened first as what it is (O_PATH, no link followed) and looked at after; what is
//! made is made in a directory that is open, never by following a link; and only regular
//! files are opened for reading. The number of open descriptors depends neither on how
//! many files there are nor on how deep they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::descent::Descent;
use super::mode::ModeChange;
use super::walk::{Entry, Visitor, Walk};
use super::{TreeError, at, identity, kind, magic_link, open_entry, open_file};
use crate::pack::attributes;

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// What of an inode is copied besides its content.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The owner of everything; `None` keeps the owners.
    pub owner: Option<(Uid, Gid)>,
    /// What becomes of the modes.
    pub mode: Option<ModeChange>,
    /// Keep set-user-id, set-group-id and extended attributes, capabilities among them.
    pub privileges: bool,
    /// Extended attributes that this process may not set are left out; otherwise they are an
    /// error.
    pub lenient: bool,
    /// Make device nodes.
    pub devices: bool,
}

/// Where the first copy of a file with several names is.
struct First {
    /// Below the directory that the copy began in.
    path: Vec<u8>,
    /// The inode that was made.
    made: (u64, u64),
}

/// Copies trees. Hard links among the files of one call are hard links in the copy.
pub struct Copier<'w> {
    rules: Rules,
    walk: Walk<'w>,
    /// Bytes of file data.
    pub bytes: u64,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// One call's state.
struct Copy<'c, 'w> {
    copier: &'c mut Copier<'w>,
    /// Where the copy began: what [`First::path`] starts from.
    base: BorrowedFd<'c>,
    target: Descent,
    /// Names from `base` to the current target directory.
    below: Vec<Vec<u8>>,
    /// The path of the current target directory, for messages.
    shown: String,
    /// The length of `shown` for each directory above.
    above: Vec<usize>,
    firsts: HashMap<(u64, u64), First>,
}

impl<'w> Copier<'w> {
    /// Makes one that goes by `rules`. A `walk` that is not `live` fails where the source
    /// changes while it is copied.
    #[must_use]
    pub fn new(rules: Rules, walk: Walk<'w>) -> Self {
        Self { rules, walk, bytes: 0, left_out: Vec::new() }
    }

    /// Copies an inode, with all below it, to `name` in `parent`. A directory that is there is
    /// added to, another file replaced. `path` is the source's and `shown` that of `parent`, for
    /// messages; the filter gets paths that begin with `path`.
    ///
    /// # Errors
    /// [`TreeError`], with the path on whose side it failed.
    pub fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &str,
        shown: &str,
    ) -> Result<(), TreeError> {
        let stat = fs::fstat(from).map_err(at("stat", path))?;
        let walk = self.walk;
        let mut copy = Copy::begin(self, parent, shown)?;
        let entry = Entry { name, path, inode: from, stat: &stat };
        copy.visit(&entry)?;
        if kind(&stat) == FileType::Directory {
            walk.walk(from, path, &mut copy)?;
            copy.leave(&entry)?;
        }
        Ok(())
    }

    /// Copies what is in the directory `from` into the directory `to`.
    ///
    /// # Errors
    /// As [`Copier::copy`].
    pub fn content(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &str,
        shown: &str,
    ) -> Result<(), TreeError> {
        let walk = self.walk;
        let mut copy = Copy::begin(self, to, shown)?;
        walk.walk(from, path, &mut copy)
    }

    /// Writes a regular file's content over another's, whose inode stays: it may be a mount.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn overwrite(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &str,
        shown: &str,
    ) -> Result<(), TreeError> {
        let stat = fs::fstat(from).map_err(at("stat", path))?;
        let mut source = open_file(from, OFlags::RDONLY).map_err(at("open", path))?;
        let mut target =
            open_file(to, OFlags::WRONLY | OFlags::TRUNC).map_err(at("open for writing", shown))?;
        self.bytes += data(&mut source, &mut target, path, shown)?;
        self.finish(from, to, &stat, shown)
    }

    /// Gives `to`, an O_PATH descriptor, the owner, attributes, mode and times of `from`, in
    /// this order: chown(2) clears set-user-id and capabilities, and everything changes times.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn finish(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
        shown: &str,
    ) -> Result<(), TreeError> {
        let kept = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let (uid, gid) = self.rules.owner.unwrap_or(kept);
        fs::chownat(to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(at("change the owner of", shown))?;
        if kind(stat) != FileType::Symlink {
            let link = magic_link(to);
            let mut mode = stat.st_mode & 0o7777;
            match self.rules.privileges {
                true => self.extended(from, &link, shown)?,
                false => mode &= !SET_ID,
            }
            if let Some(change) = &self.rules.mode {
                mode = change.apply(mode, kind(stat) == FileType::Directory);
            }
            fs::chmod(&link, Mode::from_raw_mode(mode)).map_err(at("set the mode of", shown))?;
        }
        fs::utimensat(to, "", &times(stat), AtFlags::EMPTY_PATH)
            .map_err(at("set the times of", shown))
    }

    fn extended(&self, from: BorrowedFd<'_>, link: &str, shown: &str) -> Result<(), TreeError> {
        let found = attributes(from).map_err(at("read the attributes for", shown))?;
        for (name, value) in found {
            match fs::setxattr(link, name.as_slice(), &value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(Errno::PERM) if self.rules.lenient => {}
                Err(errno) => return Err(at("set an attribute of", shown)(errno)),
            }
        }
        Ok(())
    }
}

impl<'c, 'w> Copy<'c, 'w> {
    fn begin(
        copier: &'c mut Copier<'w>,
        base: BorrowedFd<'c>,
        shown: &str,
    ) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(base, ".", flags, Mode::empty()).map_err(at("open", shown))?;
        Ok(Self {
            copier,
            base,
            target: Descent::new(opened).map_err(at("stat", shown))?,
            below: Vec::new(),
            above: Vec::new(),
            shown: shown.to_owned(),
            firsts: HashMap::new(),
        })
    }

    /// The path of `name` in the current target directory, for messages.
    fn shown(&self, name: &[u8]) -> String {
        let slash = if self.shown.is_empty() || self.shown.ends_with('/') { "" } else { "/" };
        format!("{}{slash}{}", self.shown, String::from_utf8_lossy(name))
    }

    fn regular(&mut self, entry: &Entry<'_>, shown: &str) -> Result<(), TreeError> {
        let key = (entry.stat.st_nlink > 1).then(|| identity(entry.stat));
        if let Some(key) = &key
            && self.link(key, entry.name, shown)?
        {
            return Ok(());
        }
        let parent = self.target.current().map_err(at("open", shown))?;
        // Opened before the target is cleared: a source that cannot be read removes nothing.
        let mut source = open_file(entry.inode, OFlags::RDONLY).map_err(at("open", entry.path))?;
        clear(parent, entry.name, shown)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(parent, entry.name, flags, Mode::RUSR | Mode::WUSR);
        let mut made = made.map(File::from).map_err(at("create", shown))?;
        self.copier.bytes += data(&mut source, &mut made, entry.path, shown)?;
        self.copier.finish(entry.inode, made.as_fd(), entry.stat, shown)?;
        if let Some(key) = key {
            let path = [self.below.as_slice(), &[entry.name.to_vec()]].concat().join(&b'/');
            let stat = fs::fstat(&made).map_err(at("stat", shown))?;
            self.firsts.insert(key, First { path, made: identity(&stat) });
        }
        Ok(())
    }

    /// Links to the copy of a file that has another name; tells whether there is one. It is
    /// looked for below the directory that the copy began in, and must still be the inode that
    /// was made: otherwise the file is copied again.
    fn link(&self, key: &(u64, u64), name: &[u8], shown: &str) -> Result<bool, TreeError> {
        let Some(first) = self.firsts.get(key) else { return Ok(false) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = fs::openat2(self.base, first.path.as_slice(), flags, Mode::empty(), beneath);
        let Ok(found) = opened else { return Ok(false) };
        let stat = fs::fstat(&found).map_err(at("stat", shown))?;
        if identity(&stat) != first.made {
            return Ok(false);
        }
        let parent = self.target.current().map_err(at("open", shown))?;
        clear(parent, name, shown)?;
        let link = magic_link(found.as_fd());
        match fs::linkat(fs::CWD, &link, parent, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            // Another mount, or as many links as the file system allows.
            Err(Errno::XDEV | Errno::MLINK) => Ok(false),
            Err(errno) => Err(at("link", shown)(errno)),
        }
    }

    /// A symbolic link, a FIFO or a device, by what makes it.
    fn special(
        &self,
        entry: &Entry<'_>,
        shown: &str,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), TreeError> {
        let parent = self.target.current().map_err(at("open", shown))?;
        clear(parent, entry.name, shown)?;
        make(parent).map_err(at("create", shown))?;
        let made = open_entry(parent, entry.name).map_err(at("open", shown))?;
        self.copier.finish(entry.inode, made.as_fd(), entry.stat, shown)
    }
}

impl Visitor for Copy<'_, '_> {
    fn visit(&mut self, entry: &Entry<'_>) -> Result<(), TreeError> {
        let shown = self.shown(entry.name);
        match kind(entry.stat) {
            FileType::Directory => {
                let parent = self.target.current().map_err(at("open", &shown))?;
                let made = directory(parent, entry.name, &shown)?;
                self.target.push(made).map_err(at("stat", &shown))?;
                self.below.push(entry.name.to_vec());
                self.above.push(self.shown.len());
                self.shown = shown;
                Ok(())
            }
            FileType::RegularFile => self.regular(entry, &shown),
            FileType::Symlink => {
                let target =
                    fs::readlinkat(entry.inode, "", Vec::new()).map_err(at("read", entry.path))?;
                self.special(entry, &shown, &|parent| fs::symlinkat(&target, parent, entry.name))
            }
            FileType::Socket => {
                self.copier.left_out.push(format!("{}: a socket", entry.path));
                Ok(())
            }
            FileType::CharacterDevice | FileType::BlockDevice if !self.copier.rules.devices => {
                self.copier.left_out.push(format!("{}: a device", entry.path));
                Ok(())
            }
            other => self.special(entry, &shown, &|parent| {
                let mode = Mode::RUSR | Mode::WUSR;
                fs::mknodat(parent, entry.name, other, mode, entry.stat.st_rdev)
            }),
        }
    }

    fn leave(&mut self, directory: &Entry<'_>) -> Result<(), TreeError> {
        let made = self.target.current().map_err(at("open", &self.shown))?;
        self.copier.finish(directory.inode, made, directory.stat, &self.shown)?;
        self.target.pop().map_err(at("go up from", &self.shown))?;
        self.below.pop();
        self.shown.truncate(self.above.pop().unwrap_or_default());
        Ok(())
    }
}

/// Copies a file's data. Which of the two sides failed is told by where it failed.
fn data(from: &mut File, to: &mut File, path: &str, shown: &str) -> Result<u64, TreeError> {
    // In the kernel where it can: io::copy's copy_file_range(2) does not tell the sides
    // apart, so that a failure is looked into with plain reads and writes.
    match io::copy(from, to) {
        Ok(bytes) => Ok(bytes),
        Err(error) if from.read(&mut [0; 1]).is_err() => Err(at("read", path)(error)),
        Err(error) => Err(at("write", shown)(error)),
    }
}

/// Opens the directory `name`, which is made where it is missing.
fn directory(parent: BorrowedFd<'_>, name: &[u8], shown: &str) -> Result<OwnedFd, TreeError> {
    match fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(at("make the directory", shown)(errno)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(parent, name, flags, Mode::empty()) {
        Ok(opened) => Ok(opened),
        Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => Err(in_the_way(parent, name, shown, errno)),
        Err(errno) => Err(at("open", shown)(errno)),
    }
}

/// Names what is where a directory should be.
pub(crate) fn in_the_way(
    parent: BorrowedFd<'_>,
    name: &[u8],
    shown: &str,
    errno: Errno,
) -> TreeError {
    let Ok(stat) = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return at("open", shown)(errno);
    };
    let what = match kind(&stat) {
        FileType::Symlink => match fs::readlinkat(parent, name, Vec::new()) {
            Ok(target) => {
                format!("a link to {:?}", crate::digest::clip(&target.to_string_lossy()))
            }
            Err(_) => "a link".to_owned(),
        },
        FileType::RegularFile => "a file".to_owned(),
        _ => "not a directory".to_owned(),
    };
    TreeError::NotDirectory { path: crate::digest::clip(shown), what }
}

/// Makes room for something that is not a directory.
pub(crate) fn clear(parent: BorrowedFd<'_>, name: &[u8], shown: &str) -> Result<(), TreeError> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(TreeError::IsDirectory { path: crate::digest::clip(shown) }),
        Err(errno) => Err(at("replace", shown)(errno)),
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn copied(from: &std::path::Path, to: &std::path::Path, walk: Walk<'_>) -> u64 {
        let rules =
            Rules { owner: None, mode: None, privileges: false, lenient: true, devices: false };
        let (from, to) = (File::open(from).unwrap(), File::open(to).unwrap());
        let mut copier = Copier::new(rules, walk);
        copier.content(from.as_fd(), to.as_fd(), "from", "to").unwrap();
        copier.bytes
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("husk-tree-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn hard_links_stay_hard_links() {
        let (from, to) = (scratch("links-from"), scratch("links-to"));
        std::fs::create_dir_all(from.join("d/e")).unwrap();
        std::fs::write(from.join("d/e/a"), "data").unwrap();
        std::fs::hard_link(from.join("d/e/a"), from.join("b")).unwrap();
        std::fs::hard_link(from.join("b"), from.join("d/c")).unwrap();
        assert_eq!(copied(&from, &to, Walk::LAYER), 4, "copied once");
        let inode = |name: &str| std::fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!((inode("b"), inode("b")), (inode("d/e/a"), inode("d/c")));
        std::fs::remove_dir_all(from).unwrap();
        std::fs::remove_dir_all(to).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_descriptors_is_copied() {
        let (from, to) = (scratch("deep-from"), scratch("deep-to"));
        let mut descent = Descent::new(File::open(&from).unwrap().into()).unwrap();
        for _ in 0..1500 {
            let below = directory(descent.current().unwrap(), b"d", "d").unwrap();
            descent.push(below).unwrap();
        }
        fs::mknodat(descent.current().unwrap(), "f", FileType::RegularFile, Mode::RUSR, 0).unwrap();
        copied(&from, &to, Walk::LIVE);
        struct Count(usize);
        impl Visitor for Count {
            fn visit(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
                self.0 += 1;
                Ok(())
            }
            fn leave(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
                Ok(())
            }
        }
        let mut count = Count(0);
        Walk::LIVE.walk(File::open(&to).unwrap().as_fd(), "", &mut count).unwrap();
        assert_eq!(count.0, 1501);
        for path in [from, to] {
            assert!(
                std::process::Command::new("rm").arg("-r").arg(path).status().unwrap().success()
            );
        }
    }
}
