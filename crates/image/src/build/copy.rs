//! COPY and ADD: from below one root to below another, by descriptors.
//!
//! Both roots are strangers' trees: the context's links and the image's. A path is
//! resolved in its root by the kernel (RESOLVE_IN_ROOT), so neither `..` nor a link
//! leaves it (CVE-2024-1753, CVE-2024-9675), and what is made is made in a directory that is open.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_rootfs::resolve::open_at;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::source::{Source, clean, resolve};
use crate::tree::copy::{Copier, Rules, clear, in_the_way};
use crate::tree::mode::ModeChange;
use crate::tree::walk::Walk;
use crate::tree::{TreeError, at, kind, open_directory, open_file};
use crate::unpack::decompress::{Compression, Decoder};
use crate::unpack::tar_header::{BLOCK, Header};
use crate::unpack::{Owners, UnpackError, UnpackOptions, unpack};

/// Why something was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// No source matches.
    #[error("{0:?}: no such file or directory (or it is left out by .dockerignore)")]
    NotInContext(String),
    /// No source in a stage or an image matches.
    #[error("{0:?}: no such file or directory in {1}")]
    NotInImage(String, String),
    /// A pattern matches a link that leads nowhere.
    #[error("{0:?}: a link to {1:?}, which does not exist")]
    Dangling(String, String),
    /// A tree could not be copied.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// ADD of an archive failed.
    #[error("{path:?}: {source}")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        source: UnpackError,
    },
    /// `--chmod` of an archive's content.
    #[error(
        "{0:?} is an archive, whose files keep their own modes: --chmod cannot be applied; \
         leave it out, or add --unpack=false"
    )]
    ArchiveMode(String),
}

/// Owner and mode of what is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `None`: what is copied keeps its own owner, and what is made is root's.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<ModeChange>,
}

/// The kernel's own limit on links in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// A root file system that is copied into.
pub(crate) struct Target<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) attributes: Attributes,
    pub(crate) options: &'a UnpackOptions,
}

/// How one source is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// A file goes into the destination, and does not become it.
    pub(crate) into: bool,
    /// Archives are unpacked.
    pub(crate) unpack: bool,
    /// `--chown`, which the files of an archive get too.
    pub(crate) chown: Option<(u32, u32)>,
}

impl Target<'_> {
    /// Opens a directory below the root. What is missing on the way is made with `mode` and
    /// the owner of what is copied.
    pub(crate) fn directory(&self, path: &str, mode: u32) -> Result<OwnedFd, TreeError> {
        let mut current = resolve(self.root, "").map_err(at("open", "/"))?;
        let mut prefix = String::new();
        for part in clean(path) {
            let parent = current;
            prefix.push('/');
            prefix.push_str(part);
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
            // From the root each time, so that links on the way are the kernel's work.
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let open = || open_at(self.root, prefix.as_bytes(), flags, resolve);
            current = match open() {
                Err(Errno::NOENT) => {
                    match fs::mkdirat(&parent, part, Mode::RWXU) {
                        Ok(()) => {}
                        Err(errno @ Errno::EXIST) => {
                            return Err(in_the_way(
                                parent.as_fd(),
                                part.as_bytes(),
                                &prefix,
                                errno,
                            ));
                        }
                        Err(errno) => return Err(at("make the directory", &prefix)(errno)),
                    }
                    let made = open().map_err(at("open", &prefix))?;
                    let (uid, gid) = self.attributes.owner.unwrap_or_default();
                    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                    fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                        .map_err(at("change the owner of", &prefix))?;
                    fs::chmodat(&made, ".", Mode::from_raw_mode(mode), AtFlags::empty())
                        .map_err(at("set the mode of", &prefix))?;
                    made
                }
                Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => {
                    return Err(in_the_way(parent.as_fd(), part.as_bytes(), &prefix, errno));
                }
                other => other.map_err(at("open", &prefix))?,
            };
        }
        Ok(current)
    }

    /// Where a destination leads that is a link itself: it is written to, as in BuildKit, and
    /// the link stays.
    fn follow(&self, path: &str) -> String {
        let mut path = clean(path).join("/");
        for _ in 0..MAX_LINKS {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let target = resolve(self.root, parent)
                .and_then(|directory| fs::readlinkat(&directory, name, Vec::new()));
            let Ok(Ok(target)) = target.map(std::ffi::CString::into_string) else { break };
            let from = if target.starts_with('/') { "" } else { parent };
            path = clean(&format!("{from}/{target}")).join("/");
        }
        format!("/{path}")
    }

    /// Whether there is a directory at a path.
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        resolve(self.root, path)
            .and_then(fs::fstat)
            .is_ok_and(|stat| kind(&stat) == FileType::Directory)
    }

    /// Copies `path` of `source` to `destination`: a directory's content into the
    /// directory there, a file as that file, or into it where `manner` says so.
    pub(crate) fn copy(
        &self,
        source: &Source<'_>,
        path: &str,
        destination: &str,
        manner: Manner,
    ) -> Result<(), CopyError> {
        let destination = &*self.follow(destination);
        let fd = resolve(source.root, path).map_err(at("open", path))?;
        let stat = fs::fstat(&fd).map_err(at("stat", path))?;
        let keep = source.keep(path);
        let mut copier = self.copier(Walk { keep: Some(&*keep), ..Walk::LAYER });
        if kind(&stat) == FileType::Directory {
            // As BuildKit does: the directory itself is made, not copied.
            let mode = match &self.attributes.mode {
                Some(ModeChange::Set(mode)) => *mode,
                _ => 0o755,
            };
            let target = self.directory(destination, mode)?;
            return Ok(copier.content(fd.as_fd(), target.as_fd(), path, destination)?);
        }
        if manner.unpack && kind(&stat) == FileType::RegularFile && is_archive(&fd, path)? {
            return self.unpack(&fd, path, destination, manner.chown);
        }
        let parts = clean(destination);
        let (parent, name) = match (manner.into, parts.split_last()) {
            (false, Some((name, parents))) => (parents.join("/"), (*name).to_owned()),
            _ => {
                let name = path.rsplit('/').next().unwrap_or(path);
                (destination.trim_matches('/').to_owned(), name.to_owned())
            }
        };
        let opened = self.directory(&parent, 0o755)?;
        let shown = format!("/{parent}");
        Ok(copier.copy(fd.as_fd(), opened.as_fd(), name.as_bytes(), path, &shown)?)
    }

    /// `--parents`: copies `path` of `source` below `destination` under `kept`, the part of
    /// its path that is kept; its directories are copied too.
    pub(crate) fn copy_with_parents(
        &self,
        source: &Source<'_>,
        path: &str,
        kept: &str,
        destination: &str,
    ) -> Result<(), CopyError> {
        let parts = clean(kept);
        let cut = path.len().saturating_sub(kept.len());
        let mut at_destination = destination.trim_matches('/').to_owned();
        let mut opened = self.directory(&at_destination, 0o755)?;
        for (index, part) in parts.iter().enumerate() {
            let from = [path.get(..cut).unwrap_or_default(), &parts[..=index].join("/")].concat();
            let fd = resolve(source.root, &from).map_err(at("open", &from))?;
            let shown = format!("/{at_destination}");
            if index + 1 == parts.len() {
                let keep = source.keep(&from);
                let mut copier = self.copier(Walk { keep: Some(&*keep), ..Walk::LAYER });
                copier.copy(fd.as_fd(), opened.as_fd(), part.as_bytes(), &from, &shown)?;
                break;
            }
            at_destination = format!("{at_destination}/{part}");
            let new = !self.is_directory(&at_destination);
            opened = self.directory(&at_destination, 0o755)?;
            if new {
                let stat = fs::fstat(&fd).map_err(at("stat", &from))?;
                let copier = self.copier(Walk::LAYER);
                copier.finish(fd.as_fd(), opened.as_fd(), &stat, &at_destination)?;
            }
        }
        Ok(())
    }

    fn copier<'w>(&self, walk: Walk<'w>) -> Copier<'w> {
        let owner = self.attributes.owner;
        let rules = Rules {
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            mode: self.attributes.mode.clone(),
            privileges: true,
            lenient: !self.options.devices,
            devices: true,
        };
        Copier::new(rules, walk)
    }

    /// Writes a file that is in no tree: a here-document, or what a URL gave. `mode` is its
    /// mode before `--chmod`, `seconds` its time of modification.
    pub(crate) fn write(
        &self,
        destination: &str,
        name: Option<&str>,
        content: &mut dyn Read,
        mode: u32,
        seconds: Option<i64>,
    ) -> Result<(), CopyError> {
        let destination = &*self.follow(destination);
        let parts = clean(destination);
        let (parent, name) = match (name, parts.split_last()) {
            (Some(name), _) => (destination.trim_matches('/').to_owned(), name),
            (None, Some((name, parents))) => (parents.join("/"), *name),
            (None, None) => return Err(at("write", destination)(Errno::ISDIR).into()),
        };
        let opened = self.directory(&parent, 0o755)?;
        let shown = format!("/{parent}/{name}");
        clear(opened.as_fd(), name.as_bytes(), &shown)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&opened, name, flags, Mode::RUSR | Mode::WUSR);
        let mut made = made.map(File::from).map_err(at("create", &shown))?;
        io::copy(content, &mut made).map_err(at("write", &shown))?;
        let (uid, gid) = self.attributes.owner.unwrap_or_default();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fs::fchown(&made, Some(uid), Some(gid)).map_err(at("change the owner of", &shown))?;
        let mode = self.attributes.mode.as_ref().map_or(mode, |change| change.apply(mode, false));
        fs::fchmod(&made, Mode::from_raw_mode(mode)).map_err(at("set the mode of", &shown))?;
        if let Some(seconds) = seconds {
            let time = fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = fs::Timestamps { last_access: time, last_modification: time };
            fs::futimens(&made, &times).map_err(at("set the times of", &shown))?;
        }
        Ok(())
    }

    /// Unpacks an archive into `destination`.
    pub(crate) fn unpack(
        &self,
        fd: &OwnedFd,
        path: &str,
        destination: &str,
        chown: Option<(u32, u32)>,
    ) -> Result<(), CopyError> {
        if self.attributes.mode.is_some() {
            return Err(CopyError::ArchiveMode(crate::digest::clip(path)));
        }
        let file = open_file(fd.as_fd(), OFlags::RDONLY).map_err(at("open", path))?;
        let root = self.directory(destination, 0o755)?;
        let directory = open_directory(root.as_fd()).map_err(at("open", destination))?;
        let before = fs::fstat(&root).map_err(at("stat", destination))?;
        let mut options = self.options.clone();
        if let (Some((uid, gid)), Owners::Keep) = (chown, options.owners) {
            options.owners = Owners::All { uid, gid };
        }
        let report = unpack(BufReader::new(file), directory, None, &options, &|_| {})
            .map_err(|source| CopyError::Archive { path: crate::digest::clip(path), source })?;
        if report.names_root {
            // The destination stays what it is, whatever the archive says of its own top.
            let (uid, gid) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
            fs::chownat(&root, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(at("change the owner of", destination))?;
            let mode = Mode::from_raw_mode(before.st_mode & 0o7777);
            fs::chmodat(&root, ".", mode, AtFlags::empty())
                .map_err(at("set the mode of", destination))?;
        }
        Ok(())
    }
}

/// Whether a file is a tar, plain or compressed, by its content.
fn is_archive(fd: &OwnedFd, path: &str) -> Result<bool, CopyError> {
    let mut start = Vec::new();
    let open = || open_file(fd.as_fd(), OFlags::RDONLY).map_err(at("open", path));
    open()?.take(8).read_to_end(&mut start).map_err(at("read", path))?;
    if Compression::detect(&start).is_err() {
        return Ok(false);
    }
    let mut block = [0; BLOCK];
    let Ok(mut decoder) = Decoder::new(BufReader::new(open()?)) else { return Ok(false) };
    if decoder.read_exact(&mut block).is_err() {
        return Ok(false);
    }
    Ok(matches!(Header::parse(&block), Ok(Some(_))))
}
