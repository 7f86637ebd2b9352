//! Exec sessions: one more program in a container that runs.
//!
//! A session is created, started and inspected by its id, by whoever can use the engine: its
//! record is in the container's run directory, and the container's monitor runs it, so that its
//! state and exit code outlive the command that asked for it.
//!
//! ```text
//! <run>/containers/ID/exec/
//!   SESSION.json      the record: state, process id, exit code
//!   SESSION.process   the process as husk-oci takes it, until it is started
//! ```
//!
//! A record is removed some minutes after its session's end, and with the container's.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use husk_image::user::Identity;
use husk_spec::{Capabilities, ConsoleSize, Process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::container::state::State;
use crate::container::{Container, name};
use crate::error::{Error, Result, file};
use crate::events;
use crate::home::make_directory;
use crate::monitor::protocol::{self, Attachment, Event, Request};
use crate::spec::capability;

/// Where the records are, in a container's run directory.
pub(crate) const DIRECTORY: &str = "exec";

/// How long the record of a session is kept that is over, or was never started, as Docker does.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// The program to run.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// The program and its arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`, after the container's own.
    pub env: Vec<String>,
    /// The working directory, absolute; `None` for the container's own.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number; `None` for the container's own.
    pub user: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With standard input; else it is at its end from the beginning.
    pub stdin: bool,
    /// With every capability.
    pub privileged: bool,
    /// The terminal's rows and columns where the start says none.
    pub size: Option<(u16, u16)>,
    /// The keys that detach a client, as it wrote them; they are kept for it.
    pub detach_keys: Option<String>,
}

/// What to do with a session when it is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecStart {
    /// Whether the connection gets the program's output.
    pub attach: bool,
    /// Whether it sends the program's input.
    pub stdin: bool,
    /// The terminal's rows and columns at the program's first instruction.
    pub size: Option<(u16, u16)>,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecStatus {
    /// Not started.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program has ended, or could not be started.
    Exited,
}

/// What is known of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id.
    pub container: String,
    /// How far it is.
    pub status: ExecStatus,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// As it was asked for; empty for the container's own.
    pub user: String,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub stdin: bool,
    /// With every capability.
    pub privileged: bool,
    /// The terminal's rows and columns where the start says none.
    pub size: Option<(u16, u16)>,
    /// The keys that detach a client, as it wrote them.
    pub detach_keys: Option<String>,
    /// The program's process id; 0 where none runs.
    pub pid: i32,
    /// The exit status, 128+N where a signal ended it; `None` until it has ended.
    pub exit_code: Option<i32>,
    /// Why the program could not be started.
    pub error: String,
    /// RFC 3339, like the next two; empty for what has not happened.
    pub created: String,
    /// When the program ran.
    pub started: String,
    /// When it ended.
    pub finished: String,
}

impl ExecRecord {
    fn path(run: &Path, id: &str, extension: &str) -> PathBuf {
        run.join(DIRECTORY).join(format!("{id}.{extension}"))
    }

    /// The record of a session of this container.
    ///
    /// # Errors
    /// [`Error::NoExec`].
    pub(crate) fn read(container: &Container, id: &str) -> Result<Self> {
        let missing = || Error::NoExec(id.to_owned());
        // An id is a part of a path: what else there could be is not asked for.
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        husk_record::read(&Self::path(&container.run, id, "json"))?.ok_or_else(missing)
    }

    /// The action of an event about it: with the program, and its arguments after a blank, which
    /// Docker also writes where there are none.
    pub(crate) fn action(&self, word: &str) -> String {
        let (program, arguments) = self.args.split_first().map_or(("", &[][..]), |(a, b)| (a, b));
        format!("{word}: {program} {}", arguments.join(" "))
    }

    /// Writes the record, whole or not at all. It need not survive a power failure.
    pub(crate) fn write_in(&self, run: &Path) -> Result<()> {
        let path = Self::path(run, &self.id, "json");
        let scratch = Self::path(run, &self.id, "new");
        let record = |source| Error::Record { path: path.display().to_string(), source };
        let bytes = serde_json::to_vec(self).map_err(record)?;
        write_private(&scratch, &bytes)?;
        std::fs::rename(&scratch, &path).map_err(file("rename", &path))
    }
}

/// A file that only its owner may read: arguments and environment hold secrets.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.and_then(|mut opened| opened.write_all(bytes)).map_err(file("write", path))
}

/// Creates a session; it is not started. Gives its id.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::Paused`], [`Error::NoMonitor`]; a user that is not known.
pub fn create(container: &Container, request: &ExecRequest) -> Result<String> {
    let state = container.running()?;
    let name = || container.record.name.clone();
    if state.paused {
        return Err(Error::Paused(name()));
    }
    if state.protocol < protocol::SESSIONS {
        return Err(Error::NoMonitor(name()));
    }
    let process = process(container, &state, request)?;
    let record = ExecRecord {
        id: name::new_id()?,
        container: container.id().to_owned(),
        args: request.args.clone(),
        user: request.user.clone().unwrap_or_default(),
        tty: request.tty,
        stdin: request.stdin,
        privileged: request.privileged,
        size: request.size,
        detach_keys: request.detach_keys.clone(),
        created: crate::clock::timestamp(),
        ..ExecRecord::default()
    };
    let directory = container.run.join(DIRECTORY);
    make_directory(&directory)?;
    sweep(&directory);
    write_process(container, &record.id, &process)?;
    record.write_in(&container.run)?;
    let action = record.action("exec_create");
    events::container::record(container, &action, &[("execID", &record.id)]);
    Ok(record.id)
}

/// The container's own process, as it was started, with what is asked for.
pub(crate) fn process(
    container: &Container,
    state: &State,
    request: &ExecRequest,
) -> Result<Process> {
    /// The document's other parts, the seccomp profile among them, are passed over.
    #[derive(Deserialize)]
    struct Bundle {
        process: Option<Process>,
    }
    let path = container.run.join("config.json");
    let bundle: Option<Bundle> = husk_record::read(&path)?;
    let process = bundle.and_then(|bundle| bundle.process);
    let mut process = process.ok_or_else(|| {
        Error::other(format_args!("{}: has no process; restart the container", path.display()))
    })?;
    process.args.clone_from(&request.args);
    process.terminal = request.tty;
    process.console_size = None;
    if let Some(directory) = &request.working_dir {
        process.cwd.clone_from(directory);
    }
    let names = |name: &str, entry: &String| entry.split('=').next() == Some(name);
    if let Some(user) = &request.user {
        let identity = identity(state.pid, user)?;
        process.user.uid = identity.uid;
        process.user.gid = identity.gid;
        process.user.additional_gids = identity.groups;
        // A home is its user's: husk-oci looks up the new one.
        process.env.retain(|entry| !names("HOME", entry));
    }
    if request.tty && !process.env.iter().any(|entry| names("TERM", entry)) {
        process.env.push("TERM=xterm".to_owned());
    }
    process.env.extend(request.env.iter().cloned());
    if request.privileged {
        let all = capability::resolve(true, &[], &[]);
        process.capabilities = Some(Capabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..Capabilities::default()
        });
    }
    if process.user.uid != 0
        && let Some(sets) = &mut process.capabilities
    {
        // As at the start: another user's program gets none (CVE-2022-29162).
        let bounding = std::mem::take(&mut sets.bounding);
        *sets = Capabilities { bounding, ..Capabilities::default() };
    }
    Ok(process)
}

/// Who `user[:group]` is by the running container's files, mounts over them included.
fn identity(pid: i32, user: &str) -> Result<Identity> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(file("open", &path))?;
    Ok(husk_image::user::lookup(root.as_fd(), user, &[])?)
}

fn write_process(container: &Container, id: &str, process: &Process) -> Result<()> {
    let path = ExecRecord::path(&container.run, id, "process");
    let record = |source| Error::Record { path: path.display().to_string(), source };
    write_private(&path, &serde_json::to_vec(process).map_err(record)?)
}

/// Removes what is left of sessions that were over, or never started, some time ago. What
/// cannot be looked at or removed is left to the next one, or to the container's end.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        let is_old = age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > KEPT);
        let record =
            || husk_record::read::<ExecRecord>(&path.with_extension("json")).ok().flatten();
        if is_old && record().is_none_or(|record| record.status != ExecStatus::Running) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn connect(container: &Container, id: &str) -> Result<Attachment> {
    ExecRecord::read(container, id)?;
    let attachment = Attachment::connect(&container.run)?;
    let attachment = attachment.ok_or_else(|| Error::NoMonitor(container.record.name.clone()))?;
    send(container, &attachment, &Request::Session(id.to_owned()))?;
    Ok(attachment)
}

fn send(container: &Container, attachment: &Attachment, request: &Request) -> Result<()> {
    match attachment.send(request) {
        // It has just been killed, or ends.
        Err(Errno::PIPE | Errno::CONNRESET) => Err(Error::NoMonitor(container.record.name.clone())),
        sent => sent.map_err(file("write to", "the container's monitor")),
    }
}

/// Starts a session that was created, and gives the connection to it. `notice` gets remarks.
///
/// # Errors
/// [`Error::NoExec`]; [`Error::Runtime`] with 126 or 127 where the program could not be executed;
/// a session that was started before.
pub fn start(
    container: &Container,
    id: &str,
    start: &ExecStart,
    notice: &mut dyn FnMut(String),
) -> Result<Attachment> {
    if let Some((height, width)) = start.size {
        let path = ExecRecord::path(&container.run, id, "process");
        if let Some(mut process) = husk_record::read::<Process>(&path)? {
            process.console_size = Some(ConsoleSize { height, width });
            write_process(container, id, &process)?;
        }
    }
    let attachment = connect(container, id)?;
    if start.attach {
        send(container, &attachment, &Request::Attach { stdin: start.stdin })?;
    }
    send(container, &attachment, &Request::Start)?;
    loop {
        match attachment.receive().map_err(file("read from", "the container's monitor"))? {
            Some(Event::Notice(text)) => notice(text),
            Some(Event::Started) => return Ok(attachment),
            Some(Event::Failed(failure)) => return Err(failure.into()),
            Some(Event::Stdout(_) | Event::Stderr(_)) => {}
            Some(Event::Exited(_)) => {
                return Err(Error::NotRunning(container.record.name.clone()));
            }
            None => return Err(Error::NoMonitor(container.record.name.clone())),
        }
    }
}

/// Attaches to a session: its output from now on, or how it ended.
///
/// # Errors
/// [`Error::NoExec`], [`Error::NoMonitor`].
pub fn attach(container: &Container, id: &str, stdin: bool) -> Result<Attachment> {
    let attachment = connect(container, id)?;
    send(container, &attachment, &Request::Attach { stdin })?;
    Ok(attachment)
}

/// Sets the size of a session's terminal.
///
/// # Errors
/// [`Error::NoExec`], [`Error::NoMonitor`].
pub fn resize(container: &Container, id: &str, rows: u16, columns: u16) -> Result<()> {
    let attachment = connect(container, id)?;
    send(container, &attachment, &Request::Size(rows, columns))
}

/// What is known of a session.
///
/// # Errors
/// [`Error::NoExec`].
pub fn inspect(container: &Container, id: &str) -> Result<ExecRecord> {
    ExecRecord::read(container, id)
}

/// Every session of a container, the oldest first.
///
/// # Errors
/// A directory that cannot be read.
pub fn list(container: &Container) -> Result<Vec<ExecRecord>> {
    let path = container.run.join(DIRECTORY);
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file("list", &path))?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let name = entry.map_err(file("list", &path))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
        // One that is being removed is not there.
        records.extend(id.and_then(|id| ExecRecord::read(container, id).ok()));
    }
    records.sort_by(|a, b| a.created.cmp(&b.created));
    Ok(records)
}
