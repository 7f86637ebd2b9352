//! Readiness of the program inside for the service manager outside, sd_notify(3).
//!
//! The manager judges a message by its sender, and would not know the
//! container's processes. So they get a socket of ours, and what they say of
//! their readiness is said again by the runtime.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::report::{Code, Error, Result};
use crate::state::Directory;

/// Where the container sees the directory that holds the socket.
pub const DIRECTORY: &str = "/run/notify";
/// What the container's `NOTIFY_SOCKET` says.
pub const SOCKET: &str = "/run/notify/notify.sock";

/// The receiving end.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    manager: String,
}

impl Notify {
    /// Makes the socket in the container's notify directory, before the program runs.
    pub fn bind(directory: &Directory, manager: String) -> Result<Self> {
        let failed = |op: &'static str| {
            move |errno| Error::kernel(format_args!("NOTIFY_SOCKET ({SOCKET})"), op, errno)
        };
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed("socket"))?;
        rustix::net::bind(&socket, &directory.notify_address()?).map_err(failed("bind"))?;
        // Any user of the container may be the one that is ready; others do not
        // get past the container's directory.
        directory.set_notify_mode(Mode::from_raw_mode(0o666)).map_err(failed("fchmodat"))?;
        Ok(Self { socket, manager })
    }

    /// Waits for the program to be ready, or to end, and tells the manager.
    pub fn wait(&self, process: BorrowedFd<'_>, pid: i32) -> Result<()> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(process, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel("NOTIFY_SOCKET", "poll", errno)),
            }
            if !fds[0].revents().is_empty() && self.forward(pid)? {
                return Ok(());
            }
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what has come; true once the program has said that it is ready.
    pub fn forward(&self, pid: i32) -> Result<bool> {
        let mut message = [0; 4096];
        let received = rustix::net::recv(&self.socket, &mut message[..], RecvFlags::DONTWAIT);
        let length = match received {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::kernel("NOTIFY_SOCKET", "recv", errno)),
        };
        let ready = message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
        if ready {
            // Nothing else of what a container says concerns the manager.
            let text = format!("MAINPID={pid}\nREADY=1\n");
            let told = UnixDatagram::unbound()
                .and_then(|socket| socket.send_to(text.as_bytes(), &self.manager));
            told.map_err(|error| {
                Error::io(Code::Kernel, format_args!("NOTIFY_SOCKET ({})", self.manager), &error)
            })?;
        }
        Ok(ready)
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The manager's socket, where this process has one.
pub fn manager() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty())
}
