//! The CRIU process: `criu swrk FD` takes one request from a socket and answers it there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use prost::Message;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};

use super::message::{Features, Kind, Notification, Options, Request, Response, Version};
use crate::report::{self, Code, Error, Result};
use crate::sync::wire;

/// The lowest version that understands all of a request: 3.16 knows `lsm_mount_context`.
const LOWEST: (i32, i32) = (3, 16);

/// As much as CRIU sends in one packet, and more.
const MAX_PACKET: usize = 64 << 10;

const HINT: &str = "install the package criu, version 3.16 or newer; its own check is `criu check`";

/// Where CRIU is, and which version.
#[derive(Debug)]
pub(crate) struct Criu {
    path: PathBuf,
    version: Version,
}

/// A running CRIU that has had no request yet.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    socket: OwnedFd,
}

/// What is done when CRIU tells how far it has come.
pub(crate) type Reaction<'a> = dyn FnMut(&Notification, Option<OwnedFd>) -> Result<()> + 'a;

impl Criu {
    /// Finds CRIU: `--criu`, or in PATH, or where the system's programs are.
    pub(crate) fn find(given: Option<&str>) -> Result<Self> {
        let path = match given {
            Some(path) => PathBuf::from(path),
            None => in_path().ok_or_else(|| {
                Error::new(Code::Unsupported, "criu", "not found in PATH").hint(HINT)
            })?,
        };
        let mut criu = Self { path, version: Version { major: 0, minor: 0, sublevel: None } };
        let request = Request { kind: Kind::Version.into(), ..Request::default() };
        let response = criu.start(Streams::Null, &[])?.serve(&request, &mut |_, _| Ok(()))?;
        criu.version = response.version.filter(|_| response.success).ok_or_else(|| {
            Error::new(Code::Unsupported, criu.path.display(), "does not tell its version")
                .hint(HINT)
        })?;
        if (criu.version.major, criu.version.minor) < LOWEST {
            return Err(Error::new(
                Code::Unsupported,
                criu.path.display(),
                format_args!("version {} is too old", criu.version()),
            )
            .hint(HINT));
        }
        Ok(criu)
    }

    /// Its version as CRIU writes it.
    pub(crate) fn version(&self) -> String {
        let Version { major, minor, sublevel } = self.version;
        match sublevel {
            Some(sublevel) if sublevel > 0 => format!("{major}.{minor}.{sublevel}"),
            _ => format!("{major}.{minor}"),
        }
    }

    /// What the kernel has for the flags that need more of it.
    pub(crate) fn features(&self) -> Result<Features> {
        let asked = Features { mem_track: Some(true), lazy_pages: Some(true) };
        let request = Request {
            kind: Kind::FeatureCheck.into(),
            features: Some(asked),
            ..Request::default()
        };
        let worker = self.start(Streams::Null, &[])?;
        let response = worker.serve(&request, &mut |_, _| Ok(()))?;
        Ok(response.features.unwrap_or_default())
    }

    /// Starts a worker, which gets `inherited` under the numbers that they have here.
    pub(crate) fn start(&self, streams: Streams, inherited: &[BorrowedFd<'_>]) -> Result<Worker> {
        let failed = |op: &'static str| {
            let path = self.path.display().to_string();
            move |errno| Error::kernel(path, op, errno)
        };
        let (socket, theirs) =
            net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(failed("socketpair"))?;
        let mut command = Command::new(&self.path);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        // Options come from the request alone: none from a caller's ~/.criu, none by variables.
        command.env_clear().env("PATH", search_path());
        if matches!(streams, Streams::Null) {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let keep = |keep: bool| {
            let flags = if keep { FdFlags::empty() } else { FdFlags::CLOEXEC };
            let mut all = inherited.iter().copied().chain([theirs.as_fd()]);
            all.try_for_each(|fd| fcntl_setfd(fd, flags))
        };
        // This program has one thread: nothing else is executed in between.
        keep(true).map_err(failed("fcntl"))?;
        let spawned = command.spawn();
        keep(false).map_err(failed("fcntl"))?;
        let child = spawned.map_err(|error| {
            Error::io(Code::Unsupported, self.path.display(), &error).hint(HINT)
        })?;
        Ok(Worker { child, socket })
    }
}

/// What a worker has as its standard streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Streams {
    /// The null device.
    Null,
    /// This process's.
    Own,
}

impl Worker {
    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a request for work on a container and waits for its end.
    pub(crate) fn work(
        self,
        kind: Kind,
        options: Options,
        react: &mut Reaction<'_>,
    ) -> Result<Response> {
        let request = Request { kind: kind.into(), options: Some(options), ..Request::default() };
        report::debug(|| format!("criu: {request:?}"));
        self.serve(&request, react)
    }

    /// Sends a request and reacts to what comes until the response is there. Where a reaction
    /// fails, CRIU is told to undo its work, and that failure is the one returned.
    fn serve(mut self, request: &Request, react: &mut Reaction<'_>) -> Result<Response> {
        let served = self.converse(request, react);
        if served.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        served
    }

    fn converse(&self, request: &Request, react: &mut Reaction<'_>) -> Result<Response> {
        self.send(request)?;
        let mut refused = None;
        loop {
            let mut packet = vec![0; MAX_PACKET];
            let (length, fd) = wire::receive_fd(self.socket.as_fd(), &mut packet)
                .map_err(|errno| Error::kernel("criu", "recvmsg", errno))?;
            if length == 0 {
                return Err(refused.unwrap_or_else(|| {
                    Error::new(Code::Kernel, "criu", "ended without an answer")
                }));
            }
            let bytes = packet.get(..length).unwrap_or_default();
            let response = Response::decode(bytes).map_err(|error| {
                Error::new(Code::Kernel, "criu", format_args!("answered with nonsense: {error}"))
            })?;
            let Some(notification) =
                response.notify.as_ref().filter(|_| response.kind() == Kind::Notify)
            else {
                return refused.map_or(Ok(response), Err);
            };
            report::debug(|| format!("criu: {notification:?}"));
            let done = match refused {
                None => react(notification, fd),
                // What comes while it undoes its work is not ours to react to.
                Some(_) => Ok(()),
            };
            let answer = Request {
                kind: Kind::Notify.into(),
                notify_success: Some(done.is_ok()),
                ..Request::default()
            };
            refused = refused.or(done.err());
            self.send(&answer).or_else(|error| refused.take().map_or(Err(error), Err))?;
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        match net::send(&self.socket, &request.encode_to_vec(), SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => {
                Err(Error::new(Code::Kernel, "criu", "ended before its request").hint(HINT))
            }
            Err(errno) => Err(Error::kernel("criu", "send", errno)),
        }
    }
}

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// CRIU calls tar and iptables, which lie beside it.
fn search_path() -> std::ffi::OsString {
    match std::env::var_os("PATH") {
        Some(path) if !path.is_empty() => {
            let mut path = path;
            path.push(":");
            path.push(SYSTEM_PATH);
            path
        }
        _ => SYSTEM_PATH.into(),
    }
}

fn in_path() -> Option<PathBuf> {
    let executable = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    std::env::split_paths(&search_path())
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(|path| executable(path))
}
