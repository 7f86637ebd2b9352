//! An exec session as the monitor runs it: husk-oci is told to add the process, ends, and leaves
//! the process to us. See exec.rs for what others see of it.
//!
//! ```text
//! monitor                              husk-oci exec --detach --process /proc/self/fd/N
//! opens the description, makes pipes
//! spawns ────────────────────────────▶ joins the container, executes the program
//! SIGCHLD ◀─────────────────────────── ends; the program is left to the subreaper
//! reads the pid, serves the streams
//! SIGCHLD ◀─────────────────────────── the program ends
//! ```
//!
//! Nothing of a client's is handed on: not its descriptors, and by the command line neither
//! arguments nor environment.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::probe;
use super::streams::{Streams, listen_for_terminal};
use crate::container::{Container, name};
use crate::error::{Error, Result, file};
use crate::events;
use crate::exec::{self, ExecRecord, ExecStatus};
use crate::home::make_directory;
use crate::runtime::{self, Runtime};

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    record: ExecRecord,
    stage: Stage,
    pub(super) streams: Streams,
    /// Signals and a size that came before the program.
    signals: Vec<i32>,
    size: Option<(u16, u16)>,
    directory: PathBuf,
    /// Whether others can see it: a health check's probe is nobody's session.
    is_recorded: bool,
}

#[derive(Debug)]
enum Stage {
    Created,
    /// husk-oci is at work.
    Starting {
        runtime: Pid,
        console: Option<UnixListener>,
    },
    Running {
        pid: Pid,
        /// `None` where it had ended before it could be opened.
        pidfd: Option<OwnedFd>,
    },
    Ended,
}

/// What has become of a session when one of its processes has ended.
pub(super) enum Progress {
    /// The process is another's.
    Unconcerned,
    Started(Vec<String>),
    Failed(Error),
    Exited(i32),
}

impl Session {
    /// The session with this id in the run directory, which is the current one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn open(container: &Container, id: &str) -> Result<Self> {
        let record = ExecRecord::read(container, id)?;
        let stage = match record.status {
            ExecStatus::Created => Stage::Created,
            // One that runs is among the monitor's.
            ExecStatus::Running | ExecStatus::Exited => Stage::Ended,
        };
        let directory = container.run.clone();
        let (streams, signals) = (Streams::default(), Vec::new());
        Ok(Self { record, stage, streams, signals, size: None, directory, is_recorded: true })
    }

    /// Has husk-oci run a probe, whose process is described in memory.
    ///
    /// # Errors
    /// husk-oci cannot be executed.
    pub(super) fn probe(
        container: &Container,
        runtime: &Runtime,
        process: &OwnedFd,
    ) -> Result<Self> {
        make_directory(&container.run.join(exec::DIRECTORY))?;
        let mut session = Self {
            record: ExecRecord { id: name::new_id()?, ..ExecRecord::default() },
            stage: Stage::Created,
            streams: Streams::default(),
            signals: Vec::new(),
            size: None,
            directory: container.run.clone(),
            is_recorded: false,
        };
        // For husk-oci to inherit, and nobody else.
        let process = rustix::io::dup(process).map_err(file("duplicate", "a file in memory"))?;
        session.stage = session.execute(runtime, container, &process)?;
        Ok(session)
    }

    pub(super) fn id(&self) -> &str {
        &self.record.id
    }

    /// Whether its program runs, and its streams are to be served.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// Whether it is a session of somebody's, and no probe.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    pub(super) fn is_created(&self) -> bool {
        matches!(self.stage, Stage::Created)
    }

    /// The exit status where that is known by now.
    pub(super) fn exit_code(&self) -> Option<i32> {
        self.record.exit_code
    }

    /// Whether nothing of it is left to wait for.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join("exec").join(format!("{}.{extension}", self.record.id))
    }

    /// Has husk-oci run the program. What comes of it is told by [`Session::ended`].
    ///
    /// # Errors
    /// It was started before; husk-oci cannot be executed.
    pub(super) fn start(&mut self, runtime: &Runtime, container: &Container) -> Result<()> {
        if !self.is_created() {
            return Err(Error::other(format_args!(
                "exec session {} was started before",
                self.record.id
            )));
        }
        let action = self.record.action("exec_start");
        events::container::record_current(container, &action, &[("execID", &self.record.id)]);
        let begun = self.begin(runtime, container);
        let _ = std::fs::remove_file(self.path("process"));
        match begun {
            Ok(stage) => self.stage = stage,
            Err(ref error) => self.end(None, &error.to_string()),
        }
        begun_result(&self.stage, self.record.error.clone())
    }

    fn begin(&mut self, runtime: &Runtime, container: &Container) -> Result<Stage> {
        let path = self.path("process");
        let process = File::open(&path).map_err(file("open", &path))?;
        // For husk-oci to inherit, which is the next program to be executed.
        rustix::io::fcntl_setfd(&process, FdFlags::empty()).map_err(file("set up", &path))?;
        self.execute(runtime, container, &process.into())
    }

    /// The descriptor is handed on by [`Command::spawn`](std::process::Command::spawn).
    fn execute(
        &mut self,
        runtime: &Runtime,
        container: &Container,
        process: &OwnedFd,
    ) -> Result<Stage> {
        let (streams, [stdin, stdout, stderr]) = match (self.record.tty, self.is_recorded) {
            (true, _) => Streams::awaiting_terminal(),
            (false, true) => Streams::pipes(self.record.stdin)?,
            (false, false) => Streams::joined_pipe()?,
        };
        // Relative: an address has 108 bytes (unix(7)).
        let socket = format!("exec/{}.sock", self.record.id);
        let console = self.record.tty.then(|| listen_for_terminal(&socket)).transpose()?;
        let log = self.path("log");
        let mut command = runtime.command();
        command.arg("--log").arg(&log).args(["--log-format", "json"]);
        if runtime.is_own() {
            command.arg("--log-only");
        }
        command.args(["exec", "--detach", "--process"]);
        command.arg(format!("/proc/self/fd/{}", process.as_raw_fd()));
        command.arg("--pid-file").arg(self.path("pid"));
        if console.is_some() {
            command.args(["--console-socket", &socket]);
        }
        command.arg(container.id()).stdin(stdin).stdout(stdout).stderr(stderr);
        let child = command.spawn().map_err(file("execute", "husk-oci"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let runtime = pid.ok_or_else(|| Error::other("husk-oci has no process id"))?;
        self.streams = streams;
        Ok(Stage::Starting { runtime, console })
    }

    /// Takes note of the end of a process. `others` are processes that have ended unknown to
    /// anyone, the program perhaps among them.
    pub(super) fn ended(&mut self, pid: Pid, status: i32, others: &[(Pid, i32)]) -> Progress {
        match &mut self.stage {
            Stage::Starting { runtime, console } if *runtime == pid => {
                let console = console.take();
                self.runtime_ended(status, console, others)
            }
            Stage::Running { pid: program, .. } if *program == pid => Progress::Exited(status),
            _ => Progress::Unconcerned,
        }
    }

    fn runtime_ended(
        &mut self,
        status: i32,
        console: Option<UnixListener>,
        others: &[(Pid, i32)],
    ) -> Progress {
        let log = self.path("log");
        let (warnings, failure) = runtime::outcome(&log);
        let _ = std::fs::remove_file(&log);
        let pid = match status {
            0 => self.read_pid(),
            _ => Err(failure.unwrap_or_else(|| {
                Error::other(format_args!(
                    "husk-oci exec ended with status {status} and no message"
                ))
            })),
        };
        let _ = std::fs::remove_file(self.path("pid"));
        let _ = std::fs::remove_file(self.path("sock"));
        let begun = pid.and_then(|pid| {
            if let Some(console) = console {
                self.streams.take_terminal(&console)?;
            }
            Ok(pid)
        });
        let pid = match begun {
            Ok(pid) => pid,
            Err(error) => {
                self.end(Some(i32::from(error.kind().program_status())), &error.to_string());
                return Progress::Failed(error);
            }
        };
        // Its number is its own until it is waited for.
        let is_dead = others.iter().any(|(other, _)| *other == pid);
        let pidfd = match is_dead {
            true => None,
            false => pidfd_open(pid, PidfdFlags::empty()).ok(),
        };
        self.stage = Stage::Running { pid, pidfd };
        if let Some((rows, columns)) = self.size.take() {
            self.streams.resize(rows, columns);
        }
        for signal in std::mem::take(&mut self.signals) {
            self.signal(signal);
        }
        self.record.status = ExecStatus::Running;
        self.record.pid = pid.as_raw_nonzero().get();
        self.record.started = crate::clock::timestamp();
        self.write();
        Progress::Started(warnings)
    }

    fn read_pid(&self) -> Result<Pid> {
        let path = self.path("pid");
        let text = std::fs::read_to_string(&path).map_err(file("read", &path))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Error::other(format_args!("{}: not a process id", path.display())))
    }

    /// Writes down how it ended.
    pub(super) fn end(&mut self, exit_code: Option<i32>, error: &str) {
        self.stage = Stage::Ended;
        self.record.status = ExecStatus::Exited;
        self.record.exit_code = Some(exit_code.unwrap_or(255));
        self.record.pid = 0;
        self.record.finished = crate::clock::timestamp();
        error.clone_into(&mut self.record.error);
        self.write();
        // Our ends of the pipes: what the program has left behind writes to nobody.
        self.streams = Streams::default();
    }

    /// Nobody but the one who asks for it loses by a full disk: those attached are told.
    fn write(&self) {
        if self.is_recorded {
            let _ = self.record.write_in(&self.directory);
        }
    }

    /// Kills it whatever it is at, and what its program has started.
    pub(super) fn kill(&self) {
        match &self.stage {
            // It takes back what it has begun.
            Stage::Starting { runtime, .. } => {
                let _ = rustix::process::kill_process(*runtime, Signal::KILL);
            }
            Stage::Running { pid, .. } => probe::kill_session(*pid),
            Stage::Created | Stage::Ended => {}
        }
    }

    pub(super) fn signal(&mut self, signal: i32) {
        match &self.stage {
            Stage::Running { pidfd: Some(pidfd), .. } => {
                let _ = husk_sys::signal::send(pidfd.as_fd(), signal);
            }
            Stage::Created | Stage::Starting { .. } => self.signals.push(signal),
            Stage::Running { .. } | Stage::Ended => {}
        }
    }

    pub(super) fn resize(&mut self, rows: u16, columns: u16) {
        match self.is_running() {
            true => self.streams.resize(rows, columns),
            false => self.size = Some((rows, columns)),
        }
    }
}

fn begun_result(stage: &Stage, error: String) -> Result<()> {
    match stage {
        Stage::Ended => Err(Error::Other(error)),
        _ => Ok(()),
    }
}
