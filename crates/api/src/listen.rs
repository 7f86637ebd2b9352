//! Sockets to listen on: those that systemd passes, or one of our own.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::arguments::flag;
use husk_engine::error::{Error, Result, file};
use husk_engine::lock::Lock;
use husk_engine::rootless::is_rootless;
use rustix::fs::Mode;
use rustix::io::FdFlags;

/// The group that Docker's socket belongs to.
const GROUP: &str = "docker";

/// A socket, and its file where that is ours.
pub(crate) struct Listening {
    pub(crate) listener: UnixListener,
    own: Option<Own>,
}

struct Own {
    path: PathBuf,
    inode: u64,
    _lock: Lock,
}

impl Listening {
    /// Its path, for messages.
    pub(crate) fn path(&self) -> String {
        match &self.own {
            Some(own) => own.path.display().to_string(),
            None => "a socket passed by the caller".to_owned(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(own) = &self.own
            && std::fs::symlink_metadata(&own.path).is_ok_and(|meta| meta.ino() == own.inode)
        {
            let _ = std::fs::remove_file(&own.path);
        }
    }
}

/// The sockets that systemd has passed (sd_listen_fds(3)); none where it has not.
///
/// # Errors
/// A descriptor that is no listening unix socket.
pub(crate) fn passed() -> Result<Vec<Listening>> {
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..descriptors.len() {
        let taken = descriptors.take_unix_listener(index);
        let taken = taken.map_err(file("take", "the sockets passed in LISTEN_FDS"))?;
        let Some(listener) = taken else { continue };
        // What we start must not have it.
        rustix::io::fcntl_setfd(&listener, FdFlags::CLOEXEC)
            .map_err(file("set the flags of", "a passed socket"))?;
        sockets.push(Listening { listener, own: None });
    }
    Ok(sockets)
}

/// Where the socket is without a word: beside nothing that the group may not enter, and as an
/// ordinary user where clients look for it.
///
/// # Errors
/// No XDG_RUNTIME_DIR.
pub(crate) fn usual_path() -> Result<PathBuf> {
    if !is_rootless() {
        return Ok(PathBuf::from("/run/husk.sock"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path).join("docker.sock")),
        None => Err(Error::other("XDG_RUNTIME_DIR is not set: give --socket PATH")),
    }
}

/// Makes a socket, which takes the place of one that nobody listens on any more.
///
/// # Errors
/// A path where somebody listens, or where something else is; a group that is not known.
pub(crate) fn make(path: &Path, group: Option<&str>) -> Result<Listening> {
    let path = std::path::absolute(path).map_err(file("resolve", path))?;
    if path.as_os_str().len() > 107 {
        let problem = "is longer than 107 bytes, the most that a socket's path may have";
        return Err(flag("--socket", path.display(), problem));
    }
    let gid = group_of(group)?;
    let lock = lock_beside(&path)?;
    clear(&path)?;
    // Nobody else's from the first instant on.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(&path);
    rustix::process::umask(before);
    let listener = bound.map_err(file("listen on", &path))?;
    let inode = std::fs::symlink_metadata(&path).map_err(file("stat", &path))?.ino();
    let listening =
        Listening { listener, own: Some(Own { path: path.clone(), inode, _lock: lock }) };
    if let Some(gid) = gid {
        std::os::unix::fs::chown(&path, None, Some(gid)).map_err(file("chown", &path))?;
    }
    let mode = if gid.is_some() { 0o660 } else { 0o600 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        .map_err(file("chmod", &path))?;
    Ok(listening)
}

/// Two servers that start at once: one has the path.
fn lock_beside(path: &Path) -> Result<Lock> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    if let Some(parent) = path.parent()
        && !parent.is_dir()
    {
        return Err(flag("--socket", path.display(), "its directory does not exist"));
    }
    Lock::try_exclusive(&beside)?.ok_or_else(|| in_use(path))
}

fn in_use(path: &Path) -> Error {
    Error::other(format_args!(
        "{}: another server listens there; stop it, or give another --socket",
        path.display()
    ))
}

/// Removes a socket that nobody listens on.
fn clear(path: &Path) -> Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(file("stat", path))?,
    };
    if !meta.file_type().is_socket() {
        let problem = "is there and is no socket: remove it, or give another path";
        return Err(flag("--socket", path.display(), problem));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(file("remove", path))
        }
        _ => Err(in_use(path)),
    }
}

/// The number of a group. Docker's is taken where it exists; on a host without it, and for an
/// ordinary user, the socket is its owner's alone.
fn group_of(wanted: Option<&str>) -> Result<Option<u32>> {
    let name = match wanted {
        Some(name) => name,
        None if is_rootless() => return Ok(None),
        None => GROUP,
    };
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    let table = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let gid = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    match (gid, wanted) {
        (None, Some(name)) => Err(flag("--group", name, "is not in /etc/group")),
        (gid, _) => Ok(gid),
    }
}

/// As many descriptors as the system lets us have: each connection is one, and a stream several.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// The file of `husk`, beside our own, opened: what is started is this very program, also after
/// an upgrade.
///
/// # Errors
/// It is not there.
pub(crate) fn husk_program() -> Result<(PathBuf, File)> {
    let own = std::env::current_exe().map_err(file("read", "/proc/self/exe"))?;
    let beside = own.with_file_name("husk");
    let missing = || {
        Error::other(format_args!(
            "{} is missing: husk-serve needs the program husk beside itself",
            beside.display()
        ))
    };
    let opened = File::open(&beside).map_err(|_| missing())?;
    Ok((beside, opened))
}
