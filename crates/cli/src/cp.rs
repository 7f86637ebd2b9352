//! `cp` and `export`.

use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clap::Args;
use husk_image::pack::Archive;
use husk_image::tree::copy::{Copier, Rules};
use husk_image::tree::walk::Walk;
use husk_image::unpack::{UnpackOptions, unpack};
use husk_rootfs::resolve::open_at;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fstat};
use rustix::io::Errno;

use super::output;
use crate::error::{Error, Result, file};
use husk_engine::container::Container;
use husk_engine::home::Home;
use husk_engine::notice;
use husk_engine::view::View;

/// `cp`.
#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Keep owners, set-user-id and extended attributes
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say how much was copied
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path, or - for a tar on standard input
    source: String,
    /// CONTAINER:PATH, a path, or - for a tar on standard output
    destination: String,
}

/// What an argument means.
enum Place<'a> {
    Stream,
    Local(&'a str),
    Container(&'a str, &'a str),
}

/// As Docker's: what is absolute or begins with a dot is a path, whatever colons it has.
fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        _ if text == "-" => Place::Stream,
        Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
            Place::Container(container, path)
        }
        _ => Place::Local(text),
    }
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

impl Cp {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let find = |name: &str| Container::find(home, name);
        match (place(&self.source), place(&self.destination)) {
            (Place::Container(from, path), Place::Stream) => {
                if std::io::stdout().is_terminal() {
                    return Err(Error::other("standard output is a terminal: send it to a file"));
                }
                let view = View::open(home, &find(from)?, true)?;
                self.to_stream(container_side(&view, &format!("{from}:")), path)
            }
            (Place::Stream, Place::Container(to, path)) => {
                let container = find(to)?;
                unpack_stream(home, &container, &format!("{to}:"), path)
            }
            (Place::Container(from, source), Place::Local(target)) => {
                let view = View::open(home, &find(from)?, true)?;
                self.between(
                    container_side(&view, &format!("{from}:")),
                    source,
                    local_side(),
                    target,
                )
            }
            (Place::Local(source), Place::Container(to, target)) => {
                let view = View::open(home, &find(to)?, true)?;
                self.between(local_side(), source, container_side(&view, &format!("{to}:")), target)
            }
            (Place::Container(..), Place::Container(..)) => Err(Error::other(
                "copying between containers is not supported: copy to the local file system first",
            )),
            _ => Err(Error::other("one of the two must be CONTAINER:PATH")),
        }
    }

    /// Opens the source.
    fn source(&self, side: Side<'_>, path: &str) -> Result<OwnedFd> {
        let asked = asked(path);
        let flags = match (self.follow_link || asked.directory, asked.directory) {
            (_, true) => OFlags::DIRECTORY,
            (true, false) => OFlags::empty(),
            (false, false) => OFlags::NOFOLLOW,
        };
        side.open(path, flags).map_err(side.failed("open", path))
    }

    fn between(&self, from: Side<'_>, source: &str, to: Side<'_>, target: &str) -> Result<u8> {
        let inode = self.source(from, source)?;
        let is_directory =
            kind(&inode).map_err(from.failed("look at", source))? == FileType::Directory;
        let into_container = !to.name.is_empty();
        let owner = match into_container {
            true => (Uid::ROOT, Gid::ROOT),
            false => (rustix::process::geteuid(), rustix::process::getegid()),
        };
        let rules = Rules {
            owner: (!self.archive).then_some(owner),
            mode: None,
            privileges: self.archive,
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
            notice::notice(format_args!("left out: {left_out}"));
        }
        if !self.quiet && std::io::stderr().is_terminal() {
            let copied = output::size(copier.bytes);
            notice::line(format_args!("copied {copied} to {}{target}", to.name));
        }
        Ok(0)
    }

    fn to_stream(&self, side: Side<'_>, path: &str) -> Result<u8> {
        let inode = self.source(side, path)?;
        let what = asked(path);
        let name = if what.content { "" } else { what.name };
        let mut archive = Archive::new(BufWriter::new(std::io::stdout().lock()));
        archive.add(inode.as_fd(), name.as_bytes())?;
        finish(archive)
    }
}

fn container_side<'a>(view: &'a View, name: &'a str) -> Side<'a> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Side { root: view.root(), resolve, name }
}

fn local_side() -> Side<'static> {
    Side { root: CWD, resolve: ResolveFlags::empty(), name: "" }
}

/// The tar is unpacked beside the container and copied from there: nothing that a
/// container may change at the same time is unpacked to.
fn unpack_stream(home: &Home, container: &Container, name: &str, path: &str) -> Result<u8> {
    let store = home.images()?;
    let _activity = store.activity()?;
    let below = home.root.join("tmp");
    let scratch = tempfile::Builder::new().prefix("copy-").tempdir_in(&below);
    let scratch = scratch.map_err(file("make a directory in", &below))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || {
        rustix::fs::open(scratch.path(), flags, Mode::empty()).map_err(file("open", scratch.path()))
    };
    let input = std::io::BufReader::new(std::io::stdin());
    unpack(input, open()?, None, &UnpackOptions::of_this_process(), &|_| {})
        .map_err(|error| Error::other(format_args!("standard input: {error}")))?;
    let view = View::open(home, container, true)?;
    let side = container_side(&view, name);
    let target = side.open(path, OFlags::DIRECTORY).map_err(side.failed("open", path))?;
    let rules = Rules { owner: None, mode: None, privileges: true, lenient: false, devices: true };
    let shown = format!("{name}{path}");
    let mut copier = Copier::new(rules, Walk::LIVE);
    copier.content(open()?.as_fd(), target.as_fd(), "standard input", &shown)?;
    Ok(0)
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

fn finish<W: Write>(archive: Archive<W>) -> Result<u8> {
    for left_out in archive.finish()? {
        notice::notice(left_out);
    }
    Ok(0)
}

/// `export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Name or ID
    container: String,
}

impl Export {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        let Some(path) = &self.output else {
            if std::io::stdout().is_terminal() {
                return Err(Error::other(
                    "refusing to write an archive to a terminal: use -o FILE",
                ));
            }
            let view = View::open(home, &container, false)?;
            return export(&view, BufWriter::new(std::io::stdout().lock()));
        };
        let created = std::fs::File::create(path).map_err(file("create", path))?;
        let view = View::open(home, &container, false)?;
        let done = export(&view, BufWriter::new(created));
        if done.is_err() {
            // Half a tar is none.
            let _ = std::fs::remove_file(path);
        }
        done
    }
}

fn export(view: &View, out: impl Write) -> Result<u8> {
    let mut archive = Archive::new(out);
    archive.add(view.root(), b"")?;
    finish(archive)
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

    #[test]
    fn colons() {
        assert!(matches!(place("-"), Place::Stream));
        assert!(matches!(place("web:/x"), Place::Container("web", "/x")));
        assert!(matches!(place("./web:/x"), Place::Local(_)));
        assert!(matches!(place("/web:/x"), Place::Local(_)));
        assert!(matches!(place("web"), Place::Local(_)));
    }
}
