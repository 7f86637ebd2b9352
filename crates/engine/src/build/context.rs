//! Where a build's files and its Dockerfile come from.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use husk_image::build::git::checkout;
use husk_image::build::ignore::Ignore;
use husk_image::build::remote::{Remote, download};
use husk_image::build::{open_context, read_ignore};
use husk_image::unpack::decompress::Compression;
use husk_image::unpack::{UnpackOptions, unpack};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Error, Field, Result, file};
use crate::home::{Home, Scratch};

/// Most bytes of a Dockerfile.
const MAX_DOCKERFILE: u64 = 1 << 20;
/// What of standard input tells a tar from a Dockerfile: a tar's header, up to its magic
/// (POSIX.1 ustar).
const START: u64 = 512;
const MAGIC: std::ops::Range<usize> = 257..262;

/// Where the files of COPY and ADD come from.
pub enum ContextSource<'a> {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A tar, plain or compressed, or a Dockerfile alone.
    Stream {
        /// What it is called in messages, such as `standard input`.
        name: String,
        /// Its bytes.
        input: Box<dyn Read + Send + 'a>,
    },
    /// The address of a git repository, or a URL of a tar or a Dockerfile.
    Remote(String),
}

impl ContextSource<'_> {
    /// The context that an address or a path means.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        match remote(text) {
            Some(_) => Self::Remote(text.to_owned()),
            None => Self::Directory(PathBuf::from(text)),
        }
    }
}

/// Where the Dockerfile comes from.
pub enum DockerfileSource<'a> {
    /// The file of this name, `Dockerfile` where it is none. It is in the context; with a
    /// context that is a directory it is as for any program.
    Context(Option<String>),
    /// Given apart.
    Stream {
        /// What it is called in messages.
        name: String,
        /// Its bytes.
        input: Box<dyn Read + 'a>,
    },
}

/// What a build is made of.
#[derive(Debug)]
pub(super) struct Context {
    /// The Dockerfile's text.
    pub(super) dockerfile: String,
    /// Its name, for messages.
    pub(super) name: String,
    /// The directory of COPY and ADD, where there is one.
    pub(super) root: Option<OwnedFd>,
    /// What of it is left out.
    pub(super) ignore: Ignore,
    /// Where a tar was unpacked; it is removed with this.
    pub(super) scratch: Option<Scratch>,
}

/// Opens the context, with its Dockerfile.
///
/// # Errors
/// What is not there, or not of the kind.
pub(super) fn open(
    home: &Home,
    context: ContextSource<'_>,
    dockerfile: DockerfileSource<'_>,
) -> Result<Context> {
    let path = match context {
        ContextSource::Stream { name, input } => return of_stream(home, input, &name, dockerfile),
        ContextSource::Remote(text) => {
            let remote = remote(&text).ok_or_else(|| {
                Error::other(format_args!("{text}: neither a git repository nor a URL"))
            })?;
            return of_remote(home, &text, &remote, dockerfile);
        }
        ContextSource::Directory(path) => path,
    };
    let directory = path.as_path();
    let text = directory.display();
    match std::fs::metadata(directory) {
        Err(error) => return Err(file("open the context", directory)(error)),
        Ok(meta) if !meta.is_dir() => {
            return Err(Error::other(format_args!(
                "{text}: not a directory; a tar goes to standard input, with - for the context"
            )));
        }
        Ok(_) => {}
    }
    let (dockerfile, name, inside) = match dockerfile {
        DockerfileSource::Stream { name, input } => {
            (read(input, &name)?, name, "Dockerfile".to_owned())
        }
        // As Docker's: the name is of our own directory, not of the context.
        DockerfileSource::Context(wanted) => {
            let path = wanted.as_ref().map_or_else(|| directory.join("Dockerfile"), PathBuf::from);
            let name = wanted.unwrap_or_else(|| "Dockerfile".to_owned());
            let opened = std::fs::File::open(&path).map_err(|error| no_dockerfile(&path, error))?;
            regular(&opened, &path)?;
            let inside = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
            (read(opened, &path.display().to_string())?, name, inside)
        }
    };
    let (root, ignore) = open_context(directory, &inside)?;
    Ok(Context { dockerfile, name, root: Some(root), ignore, scratch: None })
}

fn no_dockerfile(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::other(format_args!(
            "{}: no such file; name another Dockerfile with -f",
            path.display()
        )),
        _ => file("open", path)(error),
    }
}

fn regular(opened: &std::fs::File, path: &Path) -> Result<()> {
    let meta = opened.metadata().map_err(file("stat", path))?;
    match meta.is_file() || !meta.is_dir() {
        true => Ok(()),
        false => Err(Error::other(format_args!("{}: a directory, not a file", path.display()))),
    }
}

fn read(from: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes).map_err(file("read", name))?;
    if bytes.len() as u64 > MAX_DOCKERFILE {
        return Err(Error::other(format_args!(
            "{name}: larger than 1 MiB, the limit for a Dockerfile"
        )));
    }
    String::from_utf8(bytes).map_err(|_| Error::other(format_args!("{name}: not UTF-8")))
}

/// A tar, plain or compressed, or a Dockerfile without a context.
fn of_stream(
    home: &Home,
    input: impl Read + Send,
    shown: &str,
    wanted: DockerfileSource<'_>,
) -> Result<Context> {
    let mut input = BufReader::new(input);
    let mut start = Vec::new();
    (&mut input).take(START).read_to_end(&mut start).map_err(file("read", shown))?;
    let archive = match Compression::detect(&start) {
        Ok(Compression::None) => start.get(MAGIC) == Some(b"ustar"),
        Ok(_) => true,
        Err("HTML") => false,
        Err(kind) => {
            return Err(Error::other(format_args!(
                "{shown} is {kind}, which is not unpacked; give a tar, plain or with gzip or zstd"
            )));
        }
    };
    let input = BufReader::new(start.chain(input));
    if archive {
        return of_tar(home, input, shown, wanted);
    }
    match wanted {
        DockerfileSource::Context(None) => {}
        DockerfileSource::Context(Some(name)) => {
            let problem = format!("names a file of a tar, but {shown} is not one");
            return Err(Error::field(Field::Dockerfile, name, problem));
        }
        DockerfileSource::Stream { name, .. } => {
            let problem = format!("is beside a tar, but {shown} is not one");
            return Err(Error::field(Field::Dockerfile, name, problem));
        }
    }
    let dockerfile = read(input, shown)?;
    let name = if shown == "standard input" { "<stdin>" } else { shown }.to_owned();
    Ok(Context { dockerfile, name, root: None, ignore: Ignore::default(), scratch: None })
}

/// What is fetched, by its address.
fn remote(text: &str) -> Option<Remote> {
    // As Docker reads it: the one host that needs no scheme.
    if let Some(rest) = text.strip_prefix("github.com/") {
        let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let suffix = if path.ends_with(".git") { "" } else { ".git" };
        return Remote::parse(&format!("https://github.com/{path}{suffix}#{fragment}"));
    }
    Remote::parse(text)
}

/// A git repository, or a tar or a Dockerfile at a URL.
fn of_remote(
    home: &Home,
    text: &str,
    remote: &Remote,
    wanted: DockerfileSource<'_>,
) -> Result<Context> {
    let scratch = home.scratch("context-")?;
    match remote {
        Remote::Git(address) => {
            checkout(address, scratch.path(), false)
                .map_err(|error| Error::other(format_args!("the context: {error}")))?;
            of_tree(scratch, &address.directory, wanted)
        }
        Remote::Url(url) => {
            let path = download(url, scratch.path())
                .map_err(|error| Error::other(format_args!("the context: {error}")))?;
            let opened = std::fs::File::open(&path).map_err(file("open", &path))?;
            of_stream(home, opened, text, wanted)
        }
    }
}

fn of_tar(
    home: &Home,
    input: impl BufRead + Send,
    shown: &str,
    wanted: DockerfileSource<'_>,
) -> Result<Context> {
    let scratch = home.scratch("context-")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(scratch.path(), flags, Mode::empty())
        .map_err(file("open", scratch.path()))?;
    unpack(input, opened, None, &UnpackOptions::of_this_process(), &|_| {})
        .map_err(|error| Error::other(format_args!("the context ({shown}): {error}")))?;
    of_tree(scratch, "", wanted)
}

/// The context in `directory` below a tree that was unpacked or checked out.
fn of_tree(scratch: Scratch, directory: &str, wanted: DockerfileSource<'_>) -> Result<Context> {
    // The tree is a stranger's: its links do not lead out.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = |below: BorrowedFd<'_>, path: &str, flags: OFlags| {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        husk_rootfs::resolve::open_at(below, path.as_bytes(), flags, resolve)
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(scratch.path(), flags, Mode::empty())
        .map_err(file("open", scratch.path()))?;
    let directory = if directory.is_empty() { "." } else { directory };
    let root = open(top.as_fd(), directory, OFlags::DIRECTORY)
        .map_err(file("open the context's directory", directory))?;
    let (dockerfile, name, inside) = match wanted {
        DockerfileSource::Stream { name, input } => {
            (read(input, &name)?, name, "Dockerfile".to_owned())
        }
        DockerfileSource::Context(wanted) => {
            let name = wanted.unwrap_or_else(|| "Dockerfile".to_owned());
            let opened = open(root.as_fd(), &name, OFlags::empty())
                .map_err(|errno| no_dockerfile(Path::new(&name), errno.into()))?;
            let opened = std::fs::File::from(opened);
            regular(&opened, Path::new(&name))?;
            (read(opened, &name)?, name.clone(), name)
        }
    };
    let ignore = read_ignore(root.as_fd(), &inside)?;
    let root = Some(root);
    Ok(Context { dockerfile, name, root, ignore, scratch: Some(scratch) })
}
