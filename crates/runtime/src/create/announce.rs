//! Telling those who asked which process a container has: `--pid-file`, `--pidfd-socket`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::report::{Code, Error, Result};
use crate::sync::wire;

/// Writes the pid file and sends the pidfd.
pub fn announce(pid: Pid, pid_file: Option<&str>, pidfd_socket: Option<&str>) -> Result<()> {
    if let Some(path) = pidfd_socket {
        let failed = |op: &'static str| {
            move |errno| Error::kernel(format_args!("--pidfd-socket ({path})"), op, errno)
        };
        let socket = connect(path).map_err(failed("connect"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(failed("pidfd_open"))?;
        wire::send_fd(socket.as_fd(), b"pidfd", pidfd.as_fd()).map_err(failed("sendmsg"))?;
    }
    if let Some(path) = pid_file {
        write_pid_file(Path::new(path), pid)?;
    }
    Ok(())
}

/// Takes back the pid file of a process that did not come to be.
pub fn renounce(pid_file: Option<&str>) {
    if let Some(path) = pid_file {
        let _ = std::fs::remove_file(path);
    }
}

/// Connects to a socket of the caller's.
pub fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Written beside and renamed, so that who waits for the file reads a whole number.
fn write_pid_file(path: &Path, pid: Pid) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::io(Code::Kernel, format_args!("--pid-file ({})", path.display()), &error)
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::write(&beside, pid.as_raw_nonzero().to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            failed(error)
        })
}
