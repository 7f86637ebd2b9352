//! Where a build's files and its Dockerfile come from.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use husk_image::build::ignore::Ignore;
use husk_image::build::open_context;
use husk_image::unpack::decompress::Compression;
use husk_image::unpack::{UnpackOptions, unpack};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;

/// Most bytes of a Dockerfile.
const MAX_DOCKERFILE: u64 = 1 << 20;
/// What of standard input tells a tar from a Dockerfile: a tar's header, up to its magic
/// (POSIX.1 ustar).
const START: u64 = 512;
const MAGIC: std::ops::Range<usize> = 257..262;

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
    pub(super) scratch: Option<tempfile::TempDir>,
}

/// Opens the context `text` with the Dockerfile `wanted`.
///
/// # Errors
/// What is not there, or not of the kind.
pub(super) fn open(home: &Home, text: &str, wanted: Option<&str>) -> Result<Context> {
    if text == "-" {
        if wanted == Some("-") {
            return Err(Error::other("standard input cannot be both context and Dockerfile"));
        }
        return of_input(home, wanted);
    }
    if text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/") {
        return Err(Error::other(format_args!(
            "{text}: a context at an URL is not built yet; fetch it and name the directory"
        )));
    }
    let directory = Path::new(text);
    match std::fs::metadata(directory) {
        Err(error) => return Err(file("open the context", directory)(error)),
        Ok(meta) if !meta.is_dir() => {
            return Err(Error::other(format_args!(
                "{text}: not a directory; a tar goes to standard input, with - for the context"
            )));
        }
        Ok(_) => {}
    }
    let (dockerfile, name, inside) = match wanted {
        Some("-") => (read(std::io::stdin().lock(), "-")?, "-".to_owned(), "Dockerfile".to_owned()),
        // As Docker's: the name is of our own directory, not of the context.
        wanted => {
            let path = wanted.map_or_else(|| directory.join("Dockerfile"), Into::into);
            let name = wanted.unwrap_or("Dockerfile").to_owned();
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
        return Err(Error::other(format_args!("{name}: over 1 MiB, which no Dockerfile is")));
    }
    String::from_utf8(bytes).map_err(|_| Error::other(format_args!("{name}: not UTF-8")))
}

/// A tar, plain or compressed, or a Dockerfile without a context.
fn of_input(home: &Home, wanted: Option<&str>) -> Result<Context> {
    let mut input = BufReader::new(std::io::stdin());
    let mut start = Vec::new();
    (&mut input).take(START).read_to_end(&mut start).map_err(file("read", "standard input"))?;
    let archive = match Compression::detect(&start) {
        Ok(Compression::None) => start.get(MAGIC) == Some(b"ustar"),
        Ok(_) => true,
        Err("HTML") => false,
        Err(kind) => {
            return Err(Error::other(format_args!(
                "standard input is {kind}, which is not unpacked; give a tar, plain or with gzip or zstd"
            )));
        }
    };
    let input = BufReader::new(start.chain(input));
    if archive {
        return of_tar(home, input, wanted.unwrap_or("Dockerfile"));
    }
    if let Some(name) = wanted {
        return Err(Error::flag(
            "--file",
            name,
            "names a file of a tar, which standard input is not",
        ));
    }
    let dockerfile = read(input, "standard input")?;
    let ignore = Ignore::default();
    Ok(Context { dockerfile, name: "-".to_owned(), root: None, ignore, scratch: None })
}

fn of_tar(home: &Home, input: impl BufRead + Send, wanted: &str) -> Result<Context> {
    // Collected with what else is there, should we be killed.
    let below = home.root.join("tmp");
    let scratch = tempfile::Builder::new().prefix("context-").tempdir_in(&below);
    let scratch = scratch.map_err(file("make a directory in", &below))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || {
        rustix::fs::open(scratch.path(), flags, Mode::empty()).map_err(file("open", scratch.path()))
    };
    unpack(input, open()?, None, &UnpackOptions::of_this_process(), &|_| {})
        .map_err(|error| Error::other(format_args!("the context on standard input: {error}")))?;
    // The tree is a stranger's: its links do not lead out.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat2(open()?.as_fd(), wanted, flags, Mode::empty(), resolve)
        .map_err(|errno| no_dockerfile(Path::new(wanted), errno.into()))?;
    let opened = std::fs::File::from(opened);
    regular(&opened, Path::new(wanted))?;
    let dockerfile = read(opened, wanted)?;
    let (root, ignore) = open_context(scratch.path(), wanted)?;
    let name = wanted.to_owned();
    Ok(Context { dockerfile, name, root: Some(root), ignore, scratch: Some(scratch) })
}
