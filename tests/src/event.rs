//! Waiting for something to happen, always with a time limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long anything may take before the test fails instead of hanging. Long,
/// because the machine may be busy; nothing waits for it when all is well.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Waits until `fd` is readable, or hung up; false when `limit` passed first.
pub fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Asks until the answer is yes: for a program that tells nobody when it is
/// ready. Each question costs a process, so this is no busy loop.
pub fn until(what: &str, mut asked: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !asked() {
        assert!(Instant::now() < end, "{what} did not come in {LIMIT:?}");
        std::thread::yield_now();
    }
}

/// A handle on a process that another reaps; it sees the exit however early.
#[derive(Debug)]
pub struct Process {
    pidfd: Option<OwnedFd>,
    pid: i32,
}

impl Process {
    /// Opens the process `pid`; one that is gone already counts as exited.
    pub fn open(pid: i32) -> Process {
        let number = Pid::from_raw(pid).unwrap_or_else(|| panic!("pid {pid}"));
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Process { pidfd: Some(pidfd), pid },
            Err(rustix::io::Errno::SRCH) => Process { pidfd: None, pid },
            Err(error) => panic!("pidfd_open {pid}: {error}"),
        }
    }

    /// Waits for the exit of the process.
    pub fn wait(&self) {
        if let Some(pidfd) = &self.pidfd {
            assert!(readable(pidfd, LIMIT), "process {} did not exit in {LIMIT:?}", self.pid);
        }
    }

    /// Whether the process has exited (a zombie has).
    pub fn exited(&self) -> bool {
        self.pidfd.as_ref().is_none_or(|pidfd| readable(pidfd, Duration::ZERO))
    }
}

/// A FIFO through which a container says how far it is.
#[derive(Debug)]
pub struct Fifo {
    file: File,
    path: PathBuf,
}

impl Fifo {
    /// Makes the FIFO `path`, open to every user's writes.
    pub fn make(path: &Path) -> Fifo {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
            .unwrap_or_else(|e| panic!("mkfifo {}: {e}", path.display()));
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .expect("chmod of a FIFO");
        // Reading and writing, so that neither side's open ever blocks and a
        // writer that closes is not an end of file.
        let fd = open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
        Fifo { file: fd.into(), path: path.to_owned() }
    }

    /// Waits for a line and returns it without its end.
    pub fn line(&self) -> String {
        let mut text = Vec::new();
        loop {
            assert!(readable(&self.file, LIMIT), "nothing came on {}", self.path.display());
            let mut byte = [0];
            match (&self.file).read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => break,
                Ok(1) => text.push(byte[0]),
                Ok(_) => panic!("end of {}", self.path.display()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("read {}: {e}", self.path.display()),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whether nothing has been written yet.
    pub fn silent(&self) -> bool {
        !readable(&self.file, Duration::ZERO)
    }
}
