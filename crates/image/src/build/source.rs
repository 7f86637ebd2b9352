//! Where COPY and ADD copy from: the context, a stage, an image, a fetched repository.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::copy::CopyError;
use super::ignore::{Ignore, matches_name};
use crate::pack::{TreeHash, attributes, names};
use crate::tree::walk::{Entry, Keep, Visitor, Walk};
use crate::tree::{TreeError, at, kind, open_file};

/// A tree that is copied from.
pub(crate) struct Source<'a> {
    pub(crate) root: BorrowedFd<'a>,
    /// What `.dockerignore` leaves out.
    pub(crate) ignore: Option<&'a Ignore>,
    /// `--exclude`: patterns below each source.
    pub(crate) exclude: Ignore,
    /// The owners count: they are copied.
    pub(crate) owners: bool,
    /// What it is, for messages: `the context`, `stage build`.
    pub(crate) name: String,
    /// Directories that are ignored and hold something that is not.
    kept: OnceCell<HashSet<String>>,
}

/// The components of a path, without `.`; `..` goes up as far as the root.
pub(crate) fn clean(path: &str) -> Vec<&str> {
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

/// Opens a path below a root as what it is; links are followed inside the root.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH)
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    husk_rootfs::resolve::open_at(root, path.as_bytes(), flags, resolve)
}

fn join(before: &str, name: &str) -> String {
    match before {
        "" => name.to_owned(),
        before => format!("{before}/{name}"),
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>, ignore: Option<&'a Ignore>, name: String) -> Self {
        let exclude = Ignore::default();
        Self { root, ignore, exclude, owners: ignore.is_none(), name, kept: OnceCell::new() }
    }

    fn ignored(&self, path: &str) -> bool {
        !path.is_empty() && self.ignore.is_some_and(|ignore| ignore.is_ignored(path))
    }

    /// Whether an ignored directory holds something that an exception brings back.
    fn holds_kept(&self, path: &str) -> bool {
        let Some(ignore) = self.ignore.filter(|ignore| ignore.has_exceptions()) else {
            return false;
        };
        self.kept.get_or_init(|| holders(self.root, ignore)).contains(path)
    }

    /// The filter of a walk that begins at `start`.
    pub(crate) fn keep<'k>(&'k self, start: &str) -> Box<Keep<'k>> {
        let below = if start.is_empty() { 0 } else { start.len() + 1 };
        // Excluded directories are there for what an exception brings back.
        let kept = match self.exclude.has_exceptions() {
            true => resolve(self.root, start).map(|top| holders(top.as_fd(), &self.exclude)),
            false => Ok(HashSet::new()),
        }
        .unwrap_or_default();
        Box::new(move |path, is_directory| {
            let relative = path.get(below..).unwrap_or_default();
            let excluded = self.exclude.is_ignored(relative);
            (!excluded || is_directory && kept.contains(relative))
                && (!self.ignored(path) || is_directory && self.holds_kept(path))
        })
    }

    /// The paths that a source word means, sorted; none where a pattern matches nothing. One that
    /// matches a link to nothing is an error, as naming that link would be.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<String>, CopyError> {
        self.search(pattern, false)
    }

    /// As [`Source::find`], where `**` stands for any number of directories (`--parents`).
    pub(crate) fn find_deep(&self, pattern: &str) -> Result<Vec<String>, CopyError> {
        self.search(pattern, true)
    }

    fn search(&self, pattern: &str, deep: bool) -> Result<Vec<String>, CopyError> {
        let mut found = vec![String::new()];
        for part in clean(pattern) {
            let is_pattern = part.contains(['*', '?', '[', '\\']);
            let characters: Vec<char> = part.chars().collect();
            let mut next = Vec::new();
            for before in &found {
                if deep && part == "**" {
                    next.push(before.clone());
                    next.extend(self.directories(before));
                    continue;
                }
                if !is_pattern {
                    next.push(join(before, part));
                    continue;
                }
                let Ok(directory) = open(self.root, before, OFlags::RDONLY | OFlags::DIRECTORY)
                else {
                    continue;
                };
                for name in names(&directory).map_err(at("list", before))? {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    if matches_name(&characters, &name.chars().collect::<Vec<_>>()) {
                        next.push(join(before, &name));
                    }
                }
            }
            found = next;
        }
        found.sort();
        found.dedup();
        found.retain(|path| !self.ignored(path) || self.holds_kept(path));
        let mut there = Vec::new();
        for path in found {
            match resolve(self.root, &path) {
                Ok(_) => there.push(path),
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    if let Some(target) = self.dangling(&path) {
                        return Err(CopyError::Dangling(crate::digest::clip(&path), target));
                    }
                }
                Err(errno) => return Err(at("open", &path)(errno).into()),
            }
        }
        let is_pattern = pattern.contains(['*', '?', '[', '\\']);
        match (there.is_empty() && !is_pattern, self.ignore) {
            (false, _) => Ok(there),
            (true, Some(_)) => Err(CopyError::NotInContext(crate::digest::clip(pattern))),
            (true, None) => {
                Err(CopyError::NotInImage(crate::digest::clip(pattern), self.name.clone()))
            }
        }
    }

    /// All directories below one. What cannot be listed has none here: the copy says so.
    fn directories(&self, path: &str) -> Vec<String> {
        struct Find(Vec<String>);
        impl Visitor for Find {
            fn visit(&mut self, entry: &Entry<'_>) -> Result<(), TreeError> {
                if kind(entry.stat) == FileType::Directory {
                    self.0.push(entry.path.to_owned());
                }
                Ok(())
            }
            fn leave(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
                Ok(())
            }
        }
        let mut find = Find(Vec::new());
        if let Ok(top) = open(self.root, path, OFlags::PATH | OFlags::DIRECTORY) {
            let _: Result<(), TreeError> = Walk::LAYER.walk(top.as_fd(), path, &mut find);
        }
        find.0
    }

    /// The target of a link that leads nowhere; none where there is no such link.
    fn dangling(&self, path: &str) -> Option<String> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = resolve(self.root, parent).ok()?;
        let target = fs::readlinkat(&parent, name, Vec::new()).ok()?;
        Some(crate::digest::clip(&target.to_string_lossy()))
    }

    /// Whether `--exclude` leaves out a file that is a source itself, by its path or its name.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        if open(self.root, path, directory).is_ok() {
            return false;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        !path.is_empty() && (self.exclude.is_ignored(path) || self.exclude.is_ignored(name))
    }

    /// Hashes what a path holds, with its name, for the cache.
    pub(crate) fn hash(&self, hash: &mut TreeHash, path: &str) -> Result<(), CopyError> {
        let fd = resolve(self.root, path).map_err(at("open", path))?;
        // The last component's name is where a file is put; a directory's is not.
        let name = path.rsplit('/').next().unwrap_or(path);
        let stat = fs::fstat(&fd).map_err(at("stat", path))?;
        let mut hasher = Hashing { hash, owners: self.owners, seen: HashMap::new() };
        let entry = Entry { name: name.as_bytes(), path, inode: fd.as_fd(), stat: &stat };
        hasher.visit(&entry)?;
        if kind(&stat) == FileType::Directory {
            let keep = self.keep(path);
            let walk = Walk { keep: Some(&*keep), ..Walk::LAYER };
            walk.walk(fd.as_fd(), path, &mut hasher)?;
        }
        hasher.leave(&entry)?;
        Ok(())
    }
}

/// Hashes each entry of a tree.
struct Hashing<'h> {
    hash: &'h mut TreeHash,
    owners: bool,
    /// The files with several names, for which of them are one.
    seen: HashMap<(u64, u64), usize>,
}

impl Visitor for Hashing<'_> {
    fn visit(&mut self, entry: &Entry<'_>) -> Result<(), TreeError> {
        let Entry { name, path, inode, stat } = *entry;
        self.hash.field(name);
        self.hash.field(&stat.st_mode.to_le_bytes());
        if self.owners {
            self.hash.field(&stat.st_uid.to_le_bytes());
            self.hash.field(&stat.st_gid.to_le_bytes());
        }
        if kind(stat) != FileType::Symlink {
            for (name, value) in attributes(inode).map_err(at("read the attributes of", path))? {
                self.hash.field(&name);
                self.hash.field(&value);
            }
        }
        match kind(stat) {
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    let next = self.seen.len();
                    let number = *self.seen.entry(crate::tree::identity(stat)).or_insert(next);
                    self.hash.field(&(number as u64).to_le_bytes());
                    if number < next {
                        return Ok(());
                    }
                }
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                let file = open_file(inode, OFlags::RDONLY).map_err(at("open", path))?;
                self.hash.data(file, size).map_err(at("read", path))
            }
            FileType::Directory => Ok(()),
            FileType::Symlink => {
                let target = fs::readlinkat(inode, "", Vec::new()).map_err(at("read", path))?;
                self.hash.field(target.to_bytes());
                Ok(())
            }
            _ => {
                self.hash.field(&stat.st_rdev.to_le_bytes());
                Ok(())
            }
        }
    }

    fn leave(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
        // Ends the directory: no name is empty.
        self.hash.field(b"");
        Ok(())
    }
}

/// The ignored directories of a context that hold something that is not ignored. What cannot be
/// listed holds nothing here: the copy says so.
fn holders(root: BorrowedFd<'_>, ignore: &Ignore) -> HashSet<String> {
    struct Find<'i> {
        ignore: &'i Ignore,
        found: HashSet<String>,
    }
    impl Visitor for Find<'_> {
        fn visit(&mut self, entry: &Entry<'_>) -> Result<(), TreeError> {
            if !self.ignore.is_ignored(entry.path) {
                let parents = entry.path.match_indices('/').map(|(end, _)| end);
                let parents = parents.filter_map(|end| entry.path.get(..end));
                self.found.extend(parents.map(str::to_owned));
            }
            Ok(())
        }
        fn leave(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
            Ok(())
        }
    }
    let mut find = Find { ignore, found: HashSet::new() };
    let _: Result<(), TreeError> = Walk::LAYER.walk(root, "", &mut find);
    find.found
}
