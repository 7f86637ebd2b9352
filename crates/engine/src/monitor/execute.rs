//! From a bundle to the running program: how the runtime is called.
//!
//! husk-oci makes and starts a container in one step, and the engine connects the network
//! meanwhile; the program is held back until that is done (`--block-fd`):
//!
//! ```text
//! engine                                    husk-oci run --detach --block-fd N
//! makes the network namespace
//! spawns ────────────────────────────────▶ reads, plans, makes the cgroup, clones
//! veth pair, addresses, routes, rules       joins the namespace, mounts, pivots
//! a byte into the pipe ──────────────────▶ the program runs
//! ```
//!
//! A pipe that ends without the byte, because the engine failed or was killed, makes husk-oci
//! take everything back. Another runtime (`--runtime`), and a network that takes the
//! container's process (pasta), are served in the steps of runtime.md: create, connect, start.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use husk_net::Service;
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::streams::{Streams, listen_for_terminal};
use crate::checkpoint::Restore;
use crate::connection::Connection;
use crate::container::Container;
use crate::container::config::Limits;
use crate::error::{Error, Result, file};
use crate::rootless;
use crate::runtime::{Logged, Runtime};

/// Where a terminal's master is received, in the current directory.
const CONSOLE: &str = "console.sock";

/// A program that runs, or has run.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) pid: Pid,
    pub(super) streams: Streams,
    /// Unless the network is one that was kept, and is served already.
    pub(super) service: Option<Service>,
}

/// Makes the container of the bundle in its run directory, which is the current one, connects
/// it and runs its program.
pub(super) fn execute(
    runtime: &Runtime,
    container: &Container,
    network: &Connection,
    notice: &mut dyn FnMut(String),
) -> Result<Executed> {
    let mut call = Call::new(runtime, container)?;
    let service = match (Restore::take(container)?, runtime.is_own() && !network.needs_process()) {
        (Some(restore), _) => {
            let service = network.connect(&container.record.config, notice)?;
            call.restore(&restore, notice)?;
            service
        }
        (None, true) => call.run(network, notice)?,
        (None, false) => {
            let service = network.connect(&container.record.config, notice)?;
            call.create(notice)?;
            network
                .connect_process(read_pid(&container.run.join("pid"))?.as_raw_nonzero().get())?;
            runtime.output(&["start", container.id()])?;
            service
        }
    };
    let streams = call.streams()?;
    Ok(Executed { pid: read_pid(&container.run.join("pid"))?, streams, service })
}

/// A call of the runtime, with the program's standard streams.
struct Call<'a> {
    runtime: &'a Runtime,
    container: &'a Container,
    /// Our ends of the pipes, or those of the terminal to come.
    streams: Streams,
    /// Where the terminal is received.
    console: Option<UnixListener>,
    /// The program's ends, until they are handed on.
    theirs: Option<[Stdio; 3]>,
}

impl<'a> Call<'a> {
    fn new(runtime: &'a Runtime, container: &'a Container) -> Result<Self> {
        let config = &container.record.config;
        let (console, (streams, theirs)) = match config.tty {
            true => (Some(listen_for_terminal(CONSOLE)?), Streams::awaiting_terminal()),
            false => (None, Streams::pipes(config.interactive)?),
        };
        Ok(Self { runtime, container, streams, console, theirs: Some(theirs) })
    }

    /// `create`.
    fn create(&mut self, notice: &mut dyn FnMut(String)) -> Result<()> {
        self.begin(&["create"])?.end(self.runtime)?.into_iter().for_each(notice);
        Ok(())
    }

    /// `restore`.
    fn restore(&mut self, restore: &Restore, notice: &mut dyn FnMut(String)) -> Result<()> {
        let flags = restore.flags();
        let mut words = vec!["restore", "--detach"];
        words.extend(flags.iter().map(String::as_str));
        self.begin(&words)?.end(self.runtime)?.into_iter().for_each(notice);
        Ok(())
    }

    /// `run --detach`, with the network connected beside it.
    fn run(
        &mut self,
        network: &Connection,
        notice: &mut dyn FnMut(String),
    ) -> Result<Option<Service>> {
        if !matches!(network, Connection::Reserved(..)) {
            self.begin(&["run", "--detach"])?.end(self.runtime)?.into_iter().for_each(notice);
            return Ok(None);
        }
        let (gate, hold) = pipe_with(PipeFlags::CLOEXEC).map_err(file("make", "a pipe"))?;
        // For husk-oci to inherit, which is the next program to be executed.
        rustix::io::fcntl_setfd(&gate, FdFlags::empty()).map_err(file("set up", "a pipe"))?;
        let number = gate.as_raw_fd().to_string();
        let running = self.begin(&["run", "--detach", "--block-fd", &number])?;
        drop(gate);
        let connected = network.connect(&self.container.record.config, notice);
        if connected.is_ok() {
            // Whoever does not read it any more has its own words for that.
            let _ = rustix::io::write(&hold, b"\n");
        }
        drop(hold);
        let ended = running.end(self.runtime);
        // Without a network husk-oci could only say that it was left alone.
        let service = connected?;
        ended?.into_iter().for_each(notice);
        Ok(service)
    }

    fn begin(&mut self, command: &[&str]) -> Result<Logged> {
        let container = self.container;
        let [stdin, stdout, stderr] = self.theirs.take().ok_or_else(no_streams)?;
        self.runtime.begin_with_log(&container.run.join("oci.log"), |call: &mut Command| {
            if !rootless::has_cgroups() && container.record.config.limits == Limits::default() {
                call.args(["--cgroup-manager", "disabled"]);
            }
            call.args(command).arg("--bundle").arg(&container.run);
            call.arg("--pid-file").arg(container.run.join("pid"));
            if self.console.is_some() {
                call.args(["--console-socket", CONSOLE]);
            }
            call.arg(container.id()).stdin(stdin).stdout(stdout).stderr(stderr);
        })
    }

    fn streams(mut self) -> Result<Streams> {
        if let Some(console) = &self.console {
            self.streams.take_terminal(console)?;
        }
        Ok(self.streams)
    }
}

fn no_streams() -> Error {
    Error::other("the runtime is called once with the program's streams")
}

fn read_pid(path: &Path) -> Result<Pid> {
    let text = std::fs::read_to_string(path).map_err(file("read", path))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Error::other(format_args!("{}: not a process id: {text:?}", path.display())))
}
