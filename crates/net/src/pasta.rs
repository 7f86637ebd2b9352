//! Rootless networking by pasta(1), of the package passt.
//!
//! An ordinary user may make a network namespace but no link that leaves it.
//! pasta puts a tap device there and carries what goes over it in sockets of its
//! own. It is the one helper program that this crate knows, and started only for
//! containers without root.
//!
//! What an engine does: [`Networks::reserve_ports`](crate::Networks::reserve_ports),
//! create the container, [`Pasta::start`] with the pid of its init, start the
//! container; at its end [`stop`] and [`Networks::tear_down`](crate::Networks::tear_down).

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::ports::claim::Claim;
use crate::ports::publish::Protocol;

/// pasta is ready, or has failed, within tens of milliseconds.
const READY_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Where pasta answers DNS queries, by asking the first server of the host, also one on the
/// host's loopback.
pub const DNS_FORWARDER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

/// Whether pasta has to enter the container's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserNamespace {
    /// The container has one that the caller is not in.
    OfContainer,
    /// The caller is in it, as its root; setns(2) does not enter it again.
    OfCaller,
}

/// How pasta is to connect a container.
#[derive(Debug, Clone)]
pub struct Pasta<'a> {
    /// The container's init, whose network namespace is entered.
    pub pid: u32,
    /// And whether its user namespace is.
    pub user_namespace: UserNamespace,
    /// Where pasta writes its own pid; for [`stop`].
    pub pid_file: &'a Path,
    /// Published ports.
    pub claims: &'a [Claim],
    /// The link inside the container, for example `eth0`.
    pub interface: &'a str,
    /// Bytes; `None` is pasta's own default.
    pub mtu: Option<u32>,
    /// Whether pasta answers queries to [`DNS_FORWARDER`]. Not where the container asks
    /// other servers: old versions of pasta put that address on their answers, too.
    pub forward_dns: bool,
}

/// Looks for pasta in the directories of `PATH`.
///
/// # Errors
///
/// [`Error::PastaMissing`], which says what to install.
pub fn find() -> Result<PathBuf> {
    find_in(&env::var_os("PATH").unwrap_or_default())
}

fn find_in(path: &OsStr) -> Result<PathBuf> {
    let runs = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("pasta"))
        .find(runs)
        .ok_or_else(|| Error::PastaMissing { path: path.to_string_lossy().into_owned() })
}

impl Pasta<'_> {
    /// pasta's arguments.
    ///
    /// Addresses and routes are set at once, so that none of its servers for them
    /// is needed. The gateway's address is not mapped to the host's loopback, and
    /// the container's loopback is not connected with the host's: neither may
    /// reach what the other keeps to itself.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["--config-net", "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra", "--quiet"]
                .map(OsString::from)
                .to_vec();
        let mut push = |option: &str, value: &OsStr| {
            arguments.push(option.into());
            arguments.push(value.to_os_string());
        };
        push("--pid", self.pid_file.as_os_str());
        push("--ns-ifname", self.interface.as_ref());
        if let Some(mtu) = self.mtu {
            push("--mtu", mtu.to_string().as_ref());
        }
        for (protocol, option) in [(Protocol::Tcp, "--tcp-ports"), (Protocol::Udp, "--udp-ports")] {
            let mut none = true;
            for claim in self.claims.iter().filter(|claim| claim.protocol == protocol) {
                push(option, port(claim).as_ref());
                none = false;
            }
            if none {
                push(option, "none".as_ref());
            }
        }
        push("--tcp-ns", "none".as_ref());
        push("--udp-ns", "none".as_ref());
        if self.forward_dns {
            push("--dns-forward", DNS_FORWARDER.to_string().as_ref());
        }
        match self.user_namespace {
            UserNamespace::OfContainer => arguments.push(self.pid.to_string().into()),
            UserNamespace::OfCaller => {
                push("--netns", self.bound().as_os_str());
                arguments.push("--no-netns-quit".into());
            }
        }
        arguments
    }

    /// Starts pasta and waits until the container is connected: pasta goes into
    /// the background when it is.
    ///
    /// # Errors
    ///
    /// [`Error::PastaMissing`]; [`Error::Pasta`] with its last words.
    pub fn start(&self) -> Result<()> {
        self.start_program(&find()?)
    }

    /// Where the network namespace is bound while pasta starts: it has given up the
    /// privilege that /proc/PID/ns takes (proc_pid_ns(5)) when it opens this.
    fn bound(&self) -> PathBuf {
        self.pid_file.with_extension("netns")
    }

    fn start_program(&self, program: &Path) -> Result<()> {
        if self.user_namespace == UserNamespace::OfContainer {
            return self.execute(program);
        }
        let bound = self.bound();
        fs::write(&bound, "").map_err(|e| Error::file("create", &bound, e))?;
        let started = mount_bind(format!("/proc/{}/ns/net", self.pid), &bound)
            .map_err(|e| Error::file("bind a network namespace to", &bound, e))
            .and_then(|()| {
                let executed = self.execute(program);
                let unbound = unmount(&bound, UnmountFlags::DETACH)
                    .map_err(|e| Error::file("unmount", &bound, e));
                executed.and(unbound)
            });
        started.and(crate::networks::json_file::remove(&bound))
    }

    fn execute(&self, program: &Path) -> Result<()> {
        // A file and no pipe: the background process would keep a pipe open.
        let words = memfd_create("pasta", MemfdFlags::CLOEXEC)
            .map_err(|e| Error::system("create a memfd for pasta's messages", e))?;
        let mut words = File::from(words);
        let stderr = words.try_clone().map_err(|e| Error::system("duplicate a descriptor", e))?;
        let mut child = Command::new(program)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|e| Error::file("execute", program, e))?;
        let ready =
            Pid::from_raw(child.id().cast_signed()).is_none_or(|pid| exits(pid, READY_LIMIT));
        if !ready {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|e| Error::system("wait for pasta", e))?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        let _ = words.rewind().and_then(|()| words.read_to_string(&mut said));
        // Its complaint of a missing syslog says nothing of why it ended.
        let tells = |line: &&str| !line.is_empty() && !line.contains("to syslog");
        let said: Vec<&str> = said.lines().map(str::trim).filter(tells).collect();
        let message = match (ready, said.as_slice()) {
            (false, _) => format!("was not ready within {} s", READY_LIMIT.as_secs()),
            (true, []) => format!("{status}"),
            (true, lines) => lines[lines.len().saturating_sub(3)..].join("; "),
        };
        Err(Error::Pasta { message: message + &no_tun("/dev/net/tun") })
    }
}

/// What to do about /dev/net/tun (`path`), where that is why pasta could not make a link.
fn no_tun(path: &str) -> String {
    let opened = File::options().read(true).write(true).open(path);
    match opened.map_err(|e| (e.kind(), e)) {
        Ok(_) => String::new(),
        Err((ErrorKind::NotFound, _)) => {
            format!("; there is no {path}: as root, modprobe tun")
        }
        Err((ErrorKind::PermissionDenied, _)) => {
            format!("; {path} is not yours to open: as root, chmod 0666 {path}")
        }
        Err((_, e)) => format!("; {path} cannot be opened: {e}"),
    }
}

/// `[ADDRESS/]HOST-PORT:PORT`.
fn port(claim: &Claim) -> String {
    let ports = format!("{}:{}", claim.host_port, claim.container_port);
    match claim.host_ip {
        Some(ip) => format!("{ip}/{ports}"),
        None => ports,
    }
}

/// Waits for a process of any kind to end.
fn exits(pid: Pid, limit: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    wait(&pidfd, limit)
}

fn wait(pidfd: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}

/// Ends the pasta that wrote `pid_file`, and removes the file. That there is no
/// file, or no such process, is no error. A process that has got the pid since
/// is left alone.
///
/// # Errors
///
/// An unreadable file; a pasta that cannot be signalled or does not end.
pub fn stop(pid_file: &Path) -> Result<()> {
    let text = match fs::read_to_string(pid_file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|e| Error::file("read", pid_file, e))?,
    };
    if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
        end(pid)?;
    }
    crate::networks::json_file::remove(pid_file)
}

fn end(pid: Pid) -> Result<()> {
    // First the descriptor, then the look: the look is then at the same process.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(());
    };
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The program replaces itself by one for the processor, such as pasta.avx2.
    if !comm.starts_with("pasta") && !comm.starts_with("passt") {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(Error::system("signal pasta", errno)),
        }
        if wait(&pidfd, STOP_LIMIT) {
            return Ok(());
        }
    }
    Err(Error::Pasta { message: format!("pid {pid} does not end") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(protocol: Protocol, host_ip: Option<&str>, host_port: u16) -> Claim {
        Claim {
            container: "c".to_owned(),
            name: "n".to_owned(),
            protocol,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            targets: Vec::new(),
            container_port: 80,
        }
    }

    #[test]
    fn a_missing_tun_device_is_told_with_its_remedy() {
        assert_eq!(no_tun("/dev/null"), "");
        assert_eq!(no_tun("/absent/tun"), "; there is no /absent/tun: as root, modprobe tun");
        assert!(no_tun("/proc").starts_with("; /proc cannot be opened: "));
    }

    #[test]
    fn arguments_golden() {
        let claims = [
            claim(Protocol::Tcp, None, 8080),
            claim(Protocol::Tcp, Some("127.0.0.1"), 8081),
            claim(Protocol::Tcp, Some("::1"), 8082),
        ];
        let pasta = Pasta {
            pid: 42,
            user_namespace: UserNamespace::OfContainer,
            pid_file: Path::new("/run/p"),
            claims: &claims,
            interface: "eth0",
            mtu: Some(1500),
            forward_dns: true,
        };
        let arguments: Vec<String> =
            pasta.arguments().into_iter().map(|a| a.into_string().unwrap()).collect();
        assert_eq!(
            arguments.join(" "),
            "--config-net --no-map-gw --no-dhcp --no-dhcpv6 --no-ra --quiet --pid /run/p \
             --ns-ifname eth0 --mtu 1500 --tcp-ports 8080:80 --tcp-ports 127.0.0.1/8081:80 \
             --tcp-ports ::1/8082:80 --udp-ports none --tcp-ns none --udp-ns none \
             --dns-forward 169.254.1.1 42"
        );
        let inside = Pasta { user_namespace: UserNamespace::OfCaller, ..pasta };
        let arguments = inside.arguments();
        assert_eq!(
            arguments[arguments.len() - 3..],
            ["--netns", "/run/p.netns", "--no-netns-quit"]
        );
    }

    #[test]
    fn its_absence_is_said_with_what_to_do() {
        assert_eq!(
            find_in("/nonexistent:relative".as_ref()).unwrap_err().to_string(),
            "rootless networking needs the program pasta, which is not in /nonexistent:relative: install the package \"passt\", or use --network none or host"
        );
    }

    fn fake(script: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("pasta");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, program)
    }

    #[test]
    fn its_last_words_are_the_error() {
        let (directory, program) = fake("echo 'No such tap' >&2; exit 1");
        let pid_file = directory.path().join("pid");
        let pasta = Pasta {
            pid: 1,
            user_namespace: UserNamespace::OfContainer,
            pid_file: &pid_file,
            claims: &[],
            interface: "eth0",
            mtu: None,
            forward_dns: false,
        };
        let message = |program: &Path| loop {
            let message = pasta.start_program(program).unwrap_err().to_string();
            // A process that another test forks may hold the file open for writing.
            if !message.contains("Text file busy") {
                break message;
            }
        };
        assert_eq!(message(&program), "pasta: No such tap");
        let (_directory, program) = fake("exit 3");
        assert_eq!(message(&program), "pasta: exit status: 3");
    }

    #[test]
    fn stopping_what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        stop(&file).unwrap();
        // A pid that is someone else's by now: this process', for one.
        fs::write(&file, std::process::id().to_string()).unwrap();
        stop(&file).unwrap();
        assert!(!file.exists());
    }
}
