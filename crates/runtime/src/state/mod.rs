//! One directory a container below `--root`: `state.json`, the configuration as
//! it was at `create`, and the socket on which `start` is awaited. Each directory is its own lock; there is no other.

pub mod census;
pub mod lifecycle;
pub mod oom;
pub mod record;

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use husk_spec::{LoadError, Spec, Status};
use rustix::event::{Timespec, poll};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use crate::report::{self, Code, Error, Result};
use crate::state::record::Record;

/// Name of the socket on which a created container waits.
const START: &str = "start.sock";
/// Directory of the socket for sd_notify(3), bound into the container.
const NOTIFY: &str = "notify";
const NOTIFY_SOCKET: &str = "notify/notify.sock";
const RECORD: &str = "state.json";
const NEXT_RECORD: &str = "state.json.new";
const CONFIG: &str = "config.json";
/// Directory of CRIU's log and the like, while it is at work.
const WORK: &str = "criu.work";
/// Where CRIU has the root filesystem mounted, in a mount namespace of its own.
const CRIU_ROOT: &str = "criu-root";

/// How long a command waits for another one on the same container.
const PATIENCE: Duration = Duration::from_secs(10);

/// All containers of one `--root`.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// One container's directory.
#[derive(Debug)]
pub struct Directory {
    id: String,
    path: PathBuf,
    fd: OwnedFd,
}

/// Ids as runc takes them: `[a-zA-Z0-9_+.-]`, and no name of a directory.
pub fn check_id(id: &str) -> Result<()> {
    let valid = !id.is_empty()
        && id.len() <= 255
        && id != "."
        && id != ".."
        && id.bytes().all(|c| c.is_ascii_alphanumeric() || b"_+.-".contains(&c));
    match valid {
        true => Ok(()),
        false => Err(Error::new(
            Code::Usage,
            format_args!("container id ({id})"),
            "only letters, digits and _ + . - are allowed, at most 255",
        )),
    }
}

fn missing(id: &str) -> Error {
    Error::new(Code::NotFound, format_args!("container {id}"), "does not exist")
}

impl Store {
    /// Containers below a directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn make_root(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(|error| {
            Error::io(Code::Kernel, format_args!("--root ({})", self.root.display()), &error)
        })
    }

    /// Makes a new container's directory, locked.
    pub fn create(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = self.root.join(id);
        let make = || fs::mkdir(&path, Mode::from_raw_mode(0o700));
        let made = match make() {
            Err(Errno::NOENT) => {
                self.make_root()?;
                make()
            }
            done => done,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(Error::new(
                    Code::InUse,
                    format_args!("container {id}"),
                    "a container with this id already exists",
                )
                .hint(format_args!("husk-oci delete --force {id}")));
            }
            Err(errno) => return Err(Error::kernel(path.display(), "mkdir", errno)),
        }
        let locked = self.open(id).and_then(|directory| directory.lock().map(|()| directory));
        if locked.is_err() {
            // Empty, and nobody else's: who finds it without a record leaves it alone.
            let _ = fs::rmdir(&path);
        }
        locked
    }

    /// Opens a container's directory.
    pub fn open(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = self.root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Directory { id: id.to_owned(), path, fd }),
            Err(Errno::NOENT) => Err(missing(id)),
            Err(errno) => Err(Error::kernel(path.display(), "open", errno)),
        }
    }

    /// Ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            done => done.map_err(|error| {
                Error::io(Code::Kernel, format_args!("--root ({})", self.root.display()), &error)
            })?,
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| check_id(id).is_ok())
            .collect();
        ids.sort();
        Ok(ids)
    }
}

impl Directory {
    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Locks the container until this is dropped; waits for another command, not for ever.
    pub fn lock(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    // A sleep that fails would end this process; poll(2) only returns early.
                    let pause = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
                    let _ = poll(&mut [], Some(&pause));
                }
                Err(Errno::AGAIN) => {
                    return Err(Error::new(
                        Code::WrongState,
                        format_args!("container {}", self.id),
                        "another command is at work on it",
                    ));
                }
                Err(errno) => return Err(Error::kernel(self.path.display(), "flock", errno)),
            }
        }
    }

    /// Lets other commands work on the container.
    pub fn unlock(&self) -> Result<()> {
        fs::flock(&self.fd, FlockOperation::Unlock)
            .map_err(|errno| Error::kernel(self.path.display(), "flock", errno))
    }

    /// The record; None where `create` did not come far enough to write one.
    pub fn read(&self) -> Result<Option<Record>> {
        match self.read_file(RECORD)? {
            None => Ok(None),
            Some(bytes) if bytes.is_empty() => Err(self.damaged(RECORD, "empty")),
            Some(bytes) => {
                let record: Record =
                    husk_spec::parse(&bytes).map_err(|error| self.damaged(RECORD, error))?;
                match record.pid {
                    0.. => Ok(Some(record)),
                    pid => Err(self.damaged(RECORD, format_args!("pid {pid} is not a process id"))),
                }
            }
        }
    }

    /// The record of a container that is whole.
    pub fn record(&self) -> Result<Record> {
        self.read()?.ok_or_else(|| match fs::fstat(&self.fd) {
            // Another command has removed it since it was opened.
            Ok(status) if status.st_nlink == 0 => missing(&self.id),
            _ => Error::new(
                Code::WrongState,
                format_args!("container {}", self.id),
                "was never completely created",
            )
            .hint(format_args!("husk-oci delete --force {}", self.id)),
        })
    }

    /// The configuration as it was at `create`.
    pub fn config(&self) -> Result<Spec> {
        let bytes = self.read_file(CONFIG)?.ok_or_else(|| self.damaged(CONFIG, "missing"))?;
        husk_spec::parse(&bytes).map_err(|error| self.damaged(CONFIG, error))
    }

    /// Keeps the configuration.
    pub fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.write_file(CONFIG, bytes)
    }

    /// Replaces the record as a whole: a reader sees the old or the new one, also after a
    /// power failure.
    pub fn write(&self, record: &Record) -> Result<()> {
        self.prepare(record)?;
        self.commit()
    }

    /// Writes the next record beside the one that counts.
    pub fn prepare(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| self.damaged(RECORD, error))?;
        self.write_file(NEXT_RECORD, &bytes)
    }

    /// From now on the record that was prepared counts.
    pub fn commit(&self) -> Result<()> {
        fs::renameat(&self.fd, NEXT_RECORD, &self.fd, RECORD)
            .map_err(|errno| Error::kernel(self.path.join(RECORD).display(), "rename", errno))
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => husk_spec::read_bounded(std::fs::File::from(fd)).map(Some).map_err(|error| {
                match error {
                    // Not a document that cannot be understood: one that was not read.
                    LoadError::Io(error) => {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        Error::kernel(self.path.join(name).display(), "read", errno)
                    }
                    error => self.damaged(name, error),
                }
            }),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::kernel(self.path.join(name).display(), "open", errno)),
        }
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |op: &str, errno| Error::kernel(self.path.join(name).display(), op, errno);
        let fd = fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed("open", errno))?;
        std::fs::File::from(fd)
            .write_all(bytes)
            .map_err(|error| failed("write", Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    fn damaged(&self, name: &str, why: impl std::fmt::Display) -> Error {
        Error::new(Code::WrongState, self.path.join(name).display(), why)
            .hint(format_args!("husk-oci delete --force {}", self.id))
    }

    /// The status of the container.
    pub fn status(&self, record: &Record) -> Status {
        if record.pid == 0 {
            // Whoever makes it holds the lock; if nobody does, nobody will finish it.
            return match fs::flock(&self.fd, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    let _ = fs::flock(&self.fd, FlockOperation::Unlock);
                    Status::Stopped
                }
                Err(_) => Status::Creating,
            };
        }
        if record.is_gone() {
            return Status::Stopped;
        }
        if self.awaits_start() {
            return Status::Created;
        }
        match record.cgroup.frozen() {
            Ok(true) if record.is_killed() => self.finish_kill(record),
            Ok(true) => Status::Paused,
            _ => Status::Running,
        }
    }

    /// A command was killed between freezing the container's processes, to kill them all, and
    /// letting them go: what it began is brought to its end.
    fn finish_kill(&self, record: &Record) -> Status {
        report::debug(|| format!("container {}: killed while it was frozen; thawing", self.id));
        match record.cgroup.release() {
            Ok(()) if record.ends_within(Duration::from_secs(1)) => Status::Stopped,
            _ => Status::Running,
        }
    }

    fn awaits_start(&self) -> bool {
        // What cannot be found out does not make a container one that runs.
        fs::accessat(&self.fd, START, fs::Access::EXISTS, AtFlags::empty()) != Err(Errno::NOENT)
    }

    /// Address of the socket on which `start` is awaited. By descriptor, since
    /// the path may be longer than an address holds (unix(7): 108 bytes).
    pub fn start_address(&self) -> Result<SocketAddrUnix> {
        let path = format!("/proc/self/fd/{}/{START}", self.fd.as_raw_fd());
        SocketAddrUnix::new(path).map_err(|errno| Error::kernel(START, "bind", errno))
    }

    /// Makes the directory that is bound into the container for sd_notify(3).
    pub fn make_notify_directory(&self) -> Result<()> {
        fs::mkdirat(&self.fd, NOTIFY, Mode::from_raw_mode(0o755))
            .map_err(|errno| Error::kernel(self.path.join(NOTIFY).display(), "mkdir", errno))
    }

    /// Whether `create` was asked to forward readiness.
    pub fn has_notify_directory(&self) -> bool {
        fs::accessat(&self.fd, NOTIFY, fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Address of the socket in it.
    pub fn notify_address(&self) -> Result<SocketAddrUnix> {
        let path = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", self.fd.as_raw_fd());
        SocketAddrUnix::new(path).map_err(|errno| Error::kernel(NOTIFY_SOCKET, "bind", errno))
    }

    /// Sets the socket's permissions.
    pub fn set_notify_mode(&self, mode: Mode) -> Result<(), Errno> {
        fs::chmodat(&self.fd, NOTIFY_SOCKET, mode, AtFlags::empty())
    }

    /// Makes the directory that CRIU works in.
    pub fn make_work(&self) -> Result<(OwnedFd, PathBuf)> {
        let failed = |op: &'static str| {
            let path = self.path.join(WORK).display().to_string();
            move |errno| Error::kernel(path, op, errno)
        };
        match fs::mkdirat(&self.fd, WORK, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("mkdir")(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, WORK, flags, Mode::empty()).map_err(failed("open"))?;
        Ok((fd, self.path.join(WORK)))
    }

    /// Makes the mount point of the root filesystem that CRIU is given.
    pub fn make_root_mount_point(&self) -> Result<PathBuf> {
        let path = self.path.join(CRIU_ROOT);
        fs::mkdirat(&self.fd, CRIU_ROOT, Mode::from_raw_mode(0o700))
            .map_err(|errno| Error::kernel(path.display(), "mkdir", errno))?;
        Ok(path)
    }

    /// Removes what CRIU has needed.
    pub fn remove_work(&self) -> Result<()> {
        [WORK, CRIU_ROOT].into_iter().try_for_each(|name| {
            husk_rootfs::remove::entry(self.fd.as_fd(), name.as_bytes())
                .map_err(|errno| Error::kernel(self.path.join(name).display(), "remove", errno))
        })
    }

    /// From now on the container counts as started.
    pub fn remove_start_socket(&self) -> Result<()> {
        match fs::unlinkat(&self.fd, START, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::kernel(self.path.join(START).display(), "unlink", errno)),
        }
    }

    /// Names of everything in it. Read from the descriptor that is there, not from
    /// a new one: this must work where there is none left to be had, too.
    fn names(&self) -> Result<Vec<CString>, Errno> {
        fs::seek(&self.fd, fs::SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = fs::RawDir::new(&self.fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes the directory and everything in it.
    pub fn remove(&self) -> Result<()> {
        match self.remove_contents() {
            // Another command, which held the lock before this one, has done it.
            Err(error) if error.errno == Some(Errno::NOENT) => Ok(()),
            done => done,
        }
    }

    fn remove_contents(&self) -> Result<()> {
        let failed = |errno| Error::kernel(self.path.display(), "remove", errno);
        // What most have and no more, without looking.
        for name in [RECORD, CONFIG] {
            let _ = fs::unlinkat(&self.fd, name, AtFlags::empty());
        }
        match fs::rmdir(&self.path) {
            Err(Errno::NOTEMPTY) => {}
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        }
        if self.has_notify_directory() {
            match fs::unlinkat(&self.fd, NOTIFY_SOCKET, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
            fs::unlinkat(&self.fd, NOTIFY, AtFlags::REMOVEDIR).map_err(failed)?;
        }
        self.remove_work()?;
        for name in self.names().map_err(failed)? {
            match fs::unlinkat(&self.fd, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        match fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "web-1", "x_y+z.0", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
