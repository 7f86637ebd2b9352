//! Files of containers: copied from and to them, packed and unpacked, looked at.
//!
//! A container's paths are resolved in its [`View`], which nothing leaves, and its volumes are in
//! it, whether the container runs or not.

use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_image::pack::Archive;
use husk_image::tree::copy::{Copier, Rules};
use husk_image::tree::walk::Walk;
use husk_image::unpack::{UnpackOptions, unpack};
use husk_rootfs::resolve::open_at;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fstat};
use rustix::io::Errno;

use crate::container::Container;
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::reporter::Reporter;
use crate::view::View;

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyRequest {
    /// Keep owners, set-user-id and extended attributes; else what is copied belongs to root in
    /// a container, and to the caller outside.
    pub archive: bool,
    /// Copy what a link at the end of the source leads to.
    pub follow_link: bool,
}

/// What is at a path of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Its name; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permissions (inode(7)).
    pub mode: u32,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// Where a link leads; empty for anything else.
    pub link_target: String,
}

/// Copies a path of a container to a path here, as cp(1) would: into a directory that is there,
/// or under that name. With `/.` at its end what is in the source. Gives the bytes of files.
///
/// # Errors
/// What could not be read or written.
pub fn copy_from(
    home: &Home,
    container: &Container,
    (source, target): (&str, &str),
    request: CopyRequest,
    reporter: &dyn Reporter,
) -> Result<u64> {
    let view = View::open(home, container, true)?;
    let name = format!("{}:", container.record.name);
    between(container_side(&view, &name), source, local_side(), target, request, reporter)
}

/// Copies a path here to a path of a container.
///
/// # Errors
/// As [`copy_from`].
pub fn copy_to(
    home: &Home,
    container: &Container,
    (source, target): (&str, &str),
    request: CopyRequest,
    reporter: &dyn Reporter,
) -> Result<u64> {
    let view = View::open(home, container, true)?;
    let name = format!("{}:", container.record.name);
    between(local_side(), source, container_side(&view, &name), target, request, reporter)
}

/// Writes a path of a container as a tar, under its last part; with `/.` at its end what is in it.
///
/// # Errors
/// What could not be read or written.
pub fn archive(
    home: &Home,
    container: &Container,
    path: &str,
    follow_link: bool,
    out: impl Write,
    reporter: &dyn Reporter,
) -> Result<()> {
    let view = View::open(home, container, true)?;
    let name = format!("{}:", container.record.name);
    let inode = open_source(container_side(&view, &name), path, follow_link)?;
    let what = asked(path);
    let name = if what.content { "" } else { what.name };
    let mut archive = Archive::new(out);
    archive.add(inode.as_fd(), name.as_bytes())?;
    finish(archive, reporter)
}

/// What is at a path of a container. A link at its end is not followed.
///
/// # Errors
/// What could not be looked at; ENOENT where there is nothing.
pub fn stat(home: &Home, container: &Container, path: &str) -> Result<PathStat> {
    let view = View::open(home, container, true)?;
    let name = format!("{}:", container.record.name);
    let side = container_side(&view, &name);
    let inode = open_source(side, path, false)?;
    let stat = fstat(&inode).map_err(side.failed("look at", path))?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&inode, "", Vec::new());
            let target = target.map_err(side.failed("read the link", path))?;
            String::from_utf8_lossy(target.as_bytes()).into_owned()
        }
        _ => String::new(),
    };
    let what = asked(path);
    Ok(PathStat {
        name: if what.name.is_empty() { "/".to_owned() } else { what.name.to_owned() },
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        link_target,
    })
}

/// Unpacks a tar, also a compressed one, into a directory of a container. `input_name` is what
/// the tar is called in errors.
///
/// It is unpacked beside the container and copied from there: nothing that a container may change
/// at the same time is unpacked to.
///
/// # Errors
/// A malformed tar; what could not be written.
pub fn extract(
    home: &Home,
    container: &Container,
    path: &str,
    input: impl BufRead + Send,
    input_name: &str,
) -> Result<()> {
    let scratch = home.scratch("copy-")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || {
        rustix::fs::open(scratch.path(), flags, Mode::empty()).map_err(file("open", scratch.path()))
    };
    unpack(input, open()?, None, &UnpackOptions::of_this_process(), &|_| {})
        .map_err(|error| Error::other(format_args!("{input_name}: {error}")))?;
    let view = View::open(home, container, true)?;
    let name = format!("{}:", container.record.name);
    let side = container_side(&view, &name);
    let target = side.open(path, OFlags::DIRECTORY).map_err(side.failed("open", path))?;
    let rules = Rules { owner: None, mode: None, privileges: true, lenient: false, devices: true };
    let shown = format!("{name}{path}");
    let mut copier = Copier::new(rules, Walk::LIVE);
    copier.content(open()?.as_fd(), target.as_fd(), input_name, &shown)?;
    Ok(())
}

/// Writes a container's root as a tar, without its volumes.
///
/// # Errors
/// What could not be read or written.
pub fn export(
    home: &Home,
    container: &Container,
    out: impl Write,
    reporter: &dyn Reporter,
) -> Result<()> {
    let view = View::open(home, container, false)?;
    let mut archive = Archive::new(out);
    archive.add(view.root(), b"")?;
    finish(archive, reporter)
}

fn finish<W: Write>(archive: Archive<W>, reporter: &dyn Reporter) -> Result<()> {
    archive.finish()?.iter().for_each(|left_out| reporter.notice(left_out));
    Ok(())
}

fn between(
    from: Side<'_>,
    source: &str,
    to: Side<'_>,
    target: &str,
    request: CopyRequest,
    reporter: &dyn Reporter,
) -> Result<u64> {
    let inode = open_source(from, source, request.follow_link)?;
    let is_directory = kind(&inode).map_err(from.failed("look at", source))? == FileType::Directory;
    let into_container = !to.name.is_empty();
    let owner = match into_container {
        true => (Uid::ROOT, Gid::ROOT),
        false => (rustix::process::geteuid(), rustix::process::getegid()),
    };
    let rules = Rules {
        owner: (!request.archive).then_some(owner),
        mode: None,
        privileges: request.archive,
        lenient: false,
        // A node that a container has made must not become one of this machine's.
        devices: into_container,
    };
    let mut copier = Copier::new(rules, Walk::LIVE);
    let what = asked(source);
    let content = is_directory && (what.content || what.name.is_empty());
    let name = if content { "" } else { what.name };
    let from = Origin { inode: &inode, is_directory, shown: format!("{}{source}", from.name) };
    put(&mut copier, &from, name, to, target)?;
    for left_out in &copier.left_out {
        reporter.notice(&format!("left out: {left_out}"));
    }
    Ok(copier.bytes)
}

/// Opens the source.
fn open_source(side: Side<'_>, path: &str, follow_link: bool) -> Result<OwnedFd> {
    let asked = asked(path);
    let flags = match (follow_link || asked.directory, asked.directory) {
        (_, true) => OFlags::DIRECTORY,
        (true, false) => OFlags::empty(),
        (false, false) => OFlags::NOFOLLOW,
    };
    side.open(path, flags).map_err(side.failed("open", path))
}

/// Where paths are resolved: in a container's root, which nothing leaves, or here.
#[derive(Clone, Copy)]
struct Side<'a> {
    root: BorrowedFd<'a>,
    resolve: ResolveFlags,
    /// For messages: the container's name and a colon.
    name: &'a str,
}

impl Side<'_> {
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
        open_at(self.root, path.as_bytes(), flags, self.resolve)
    }

    fn failed(&self, operation: &'static str, path: &str) -> impl FnOnce(Errno) -> Error {
        file(operation, format!("{}{path}", self.name))
    }
}

/// The path without trailing slashes and `/.`, and what those said.
struct Asked<'a> {
    /// The directory above.
    parent: &'a str,
    /// The last part; empty for the root and for `..`.
    name: &'a str,
    /// It is to be a directory.
    directory: bool,
    /// What is in it and not itself.
    content: bool,
}

fn asked(path: &str) -> Asked<'_> {
    let content = path == "." || path.ends_with("/.") || path.ends_with("/..") || path == "..";
    let mut plain = path;
    loop {
        let shorter = plain.strip_suffix("/.").unwrap_or(plain);
        let shorter = shorter.strip_suffix('/').unwrap_or(shorter);
        if shorter.len() == plain.len() {
            break;
        }
        plain = shorter;
    }
    let directory = content || path.ends_with('/') || plain.is_empty();
    let (parent, name) = match plain.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("", plain),
    };
    let name = if matches!(name, "." | "..") { "" } else { name };
    Asked { parent, name, directory, content }
}

fn kind(fd: &OwnedFd) -> Result<FileType, Errno> {
    fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn container_side<'a>(view: &'a View, name: &'a str) -> Side<'a> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Side { root: view.root(), resolve, name }
}

fn local_side() -> Side<'static> {
    Side { root: CWD, resolve: ResolveFlags::empty(), name: "" }
}

/// What is copied.
struct Origin<'a> {
    inode: &'a OwnedFd,
    is_directory: bool,
    /// Its path, for messages.
    shown: String,
}

/// Puts a copy where `target` says, as cp(1) would: into a directory that is there, or
/// under that name. With an empty `name` what is in the directory, and not itself.
fn put(
    copier: &mut Copier<'_>,
    from: &Origin<'_>,
    name: &str,
    to: Side<'_>,
    target: &str,
) -> Result<()> {
    let Origin { inode, is_directory, shown: source } = from;
    let wanted = asked(target);
    let shown = format!("{}{target}", to.name);
    match to.open(target, OFlags::empty()) {
        Ok(there) => match kind(&there).map_err(to.failed("look at", target))? {
            FileType::Directory if name.is_empty() && *is_directory => {
                Ok(copier.content(inode.as_fd(), there.as_fd(), source, &shown)?)
            }
            FileType::Directory => {
                Ok(copier.copy(inode.as_fd(), there.as_fd(), name.as_bytes(), source, &shown)?)
            }
            _ if *is_directory => {
                Err(Error::other(format_args!("{shown}: a file, where a directory is copied")))
            }
            FileType::RegularFile
                if kind(inode).map_err(to.failed("look at", target))? == FileType::RegularFile =>
            {
                differ(inode, &there, &shown)?;
                Ok(copier.overwrite(inode.as_fd(), there.as_fd(), source, &shown)?)
            }
            _ => new(copier, from, to, &wanted, &shown),
        },
        Err(Errno::NOENT) if wanted.directory && !is_directory => {
            Err(Error::other(format_args!("{shown}: no such directory")))
        }
        Err(Errno::NOENT) => new(copier, from, to, &wanted, &shown),
        Err(errno) => Err(to.failed("open", target)(errno)),
    }
}

/// Under a new name in a directory that is there.
fn new(
    copier: &mut Copier<'_>,
    from: &Origin<'_>,
    to: Side<'_>,
    wanted: &Asked<'_>,
    shown: &str,
) -> Result<()> {
    let parent = to.open(wanted.parent, OFlags::DIRECTORY);
    let parent = parent.map_err(to.failed("open the directory", wanted.parent))?;
    if wanted.name.is_empty() {
        return Err(Error::other(format_args!("{shown}: no name for a copy")));
    }
    let above = format!("{}{}", to.name, wanted.parent);
    let name = wanted.name.as_bytes();
    Ok(copier.copy(from.inode.as_fd(), parent.as_fd(), name, &from.shown, &above)?)
}

/// A file over itself would be emptied.
fn differ(one: &OwnedFd, other: &OwnedFd, shown: &str) -> Result<()> {
    let look = |fd| fstat(fd).map_err(file("look at", shown));
    let (one, other) = (look(one)?, look(other)?);
    match (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
        true => Err(Error::other(format_args!("{shown}: source and destination are one file"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_docker_reads_them() {
        let read = |path| {
            let asked = asked(path);
            (asked.parent, asked.name, asked.directory, asked.content)
        };
        assert_eq!(read("/a/b"), ("/a", "b", false, false));
        assert_eq!(read("a/"), ("", "a", true, false));
        assert_eq!(read("/a/b/."), ("/a", "b", true, true));
        assert_eq!(read("/a"), ("/", "a", false, false));
        assert_eq!(read("/"), ("", "", true, false));
        assert_eq!(read("."), ("", "", true, true));
        assert_eq!(read("a/.."), ("a", "", true, true));
        assert_eq!(read("a//"), ("", "a", true, false));
    }
}
