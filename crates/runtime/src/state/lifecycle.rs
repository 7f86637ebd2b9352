//! What is done to a container that exists: start, kill, delete, pause.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use husk_spec::{Resources, Spec, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::create::hooks::{run_hooks, run_poststop};
use crate::create::placement;
use crate::host::cgroup_error;
use crate::mech::notify::{self, Notify};
use crate::report::describe::{self, Described};
use crate::report::{self, Code, Error, Result};
use crate::state::census;
use crate::state::record::Record;
use crate::state::{Directory, Store};
use crate::sync::wire::{Message, Wire};
use crate::timing::{self, Phase};

/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

const SIGKILL: i32 = 9;

fn wrong_state(id: &str, what: &str, status: Status) -> Error {
    Error::new(Code::WrongState, format_args!("container {id}"), what)
        .hint(format_args!("it is {}", status.name()))
}

/// `start`: lets a created container's process run its program, and returns
/// when it does.
pub fn start(store: &Store, id: &str) -> Result<()> {
    timing::about(id);
    let directory = store.open(id)?;
    directory.lock()?;
    let record = directory.record()?;
    let status = directory.status(&record);
    if status != Status::Created {
        return Err(wrong_state(id, "cannot be started", status));
    }
    timing::done(Phase::Read);
    let failed =
        |op: &'static str| move |errno| Error::kernel(format_args!("container {id}"), op, errno);
    let notify = match notify::manager() {
        Some(manager) if directory.has_notify_directory() => {
            Some(Notify::bind(&directory, manager)?)
        }
        _ => None,
    };
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed("socket"))?;
    rustix::net::connect(&socket, &directory.start_address()?).map_err(failed("connect"))?;
    let wire = Wire::from(socket);
    let answer =
        directory.remove_start_socket().and_then(|()| wire.receive().map_err(failed("recvmsg")));
    // The process goes on from the connection alone. Where it cannot be said that
    // the container is started, it is not to run.
    let answer = answer.inspect_err(|_| stop(&record))?;
    match answer {
        None => timing::done(Phase::Exec),
        Some((Message::Fault(fault), _)) => {
            let config = directory.config()?;
            return Err(start_fault(&fault, &config));
        }
        Some((other, _)) => {
            return Err(Error::new(
                Code::Kernel,
                format_args!("container {id}"),
                format_args!("said {other:?} out of turn"),
            ));
        }
    }
    if let Err(error) = poststart(&record) {
        // runtime.md, "Lifecycle", step 9: stopped, destroyed, and poststop hooks run.
        if let Err(error) = destroy(&directory, &record) {
            report::warning(error);
        }
        return Err(error);
    }
    let Some(notify) = notify else { return Ok(()) };
    match record.process().inspect_err(|_| stop(&record))? {
        Some(process) => notify.wait(process.as_fd(), record.pid),
        None => Ok(()),
    }
}

fn start_fault(fault: &crate::sync::fault::Fault, config: &Spec) -> Error {
    match &config.process {
        Some(process) => {
            describe::fault(fault, Described { spec: config, process, property: "process" })
        }
        None => Error::invalid("process", "missing"),
    }
}

/// Runs the poststart hooks. Where one fails, the caller destroys the container.
pub fn poststart(record: &Record) -> Result<()> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(&record.state(Status::Running))
        .map_err(|error| Error::invalid("annotations", error))?;
    run_hooks("poststart", &record.poststart, &record.bundle, &state)
}

/// Kills the container on the way out of a command that failed.
fn stop(record: &Record) {
    if let Err(error) = kill_and_wait(record) {
        report::warning(error);
    }
}

fn kill_and_wait(record: &Record) -> Result<()> {
    let process = record.process()?;
    kill_whole(record)?;
    process.map_or(Ok(()), |process| await_death(&process, &record.id))
}

/// `kill`.
pub fn kill(store: &Store, id: &str, signal: i32, all: bool) -> Result<()> {
    let directory = store.open(id)?;
    let record = directory.record()?;
    let status = directory.status(&record);
    let process = record.process()?;
    report::debug(|| {
        let (pid, to) = (record.pid, if all { "all processes" } else { "the first process" });
        format!("container {id}: {}, process {pid}; signal {signal} to {to}", status.name())
    });
    if all {
        // The first process may be gone and others of its cgroup live on.
        return kill_all(&record, signal);
    }
    if process.is_none() && signal == SIGKILL && has_orphans(&record)? {
        return kill_whole(&record);
    }
    let (Some(process), Status::Created | Status::Running | Status::Paused) = (process, status)
    else {
        // containerd looks for these words.
        return Err(Error::new(
            Code::WrongState,
            format_args!("container {id}"),
            "container not running",
        ));
    };
    if signal == SIGKILL && !record.own_pid_namespace {
        // No init of their own takes the others with it.
        return kill_whole(&record);
    }
    match husk_sys::signal::send(process.as_fd(), signal) {
        Ok(()) => {}
        Err(Errno::SRCH) => {
            return Err(Error::new(
                Code::WrongState,
                format_args!("container {id}"),
                "container not running",
            ));
        }
        Err(errno) => {
            return Err(Error::kernel(format_args!("container {id}"), "pidfd_send_signal", errno));
        }
    }
    if status == Status::Paused && signal == SIGKILL {
        // A frozen process of a v1 hierarchy dies only once it is thawed.
        record.cgroup.thaw().map_err(cgroup_error)?;
    }
    Ok(())
}

/// Whether processes have outlived the container's first one, whose pid namespace was not its own.
fn has_orphans(record: &Record) -> Result<bool> {
    let may_have = record.pid != 0 && !record.own_pid_namespace && !record.cgroup.is_none();
    Ok(may_have && !record.cgroup.processes().map_err(cgroup_error)?.is_empty())
}

/// Sends a signal to every process of the container.
fn kill_all(record: &Record, signal: i32) -> Result<()> {
    if !record.cgroup.is_none() {
        return record.cgroup.kill(signal).map_err(cgroup_error);
    }
    if signal == SIGKILL && record.own_pid_namespace {
        return kill_whole(record);
    }
    let list = || census::processes(record);
    husk_cgroup::signal_listed(&list()?, signal, list, |operation, pid, errno| {
        Error::kernel(format_args!("container {}: process {pid}", record.id), operation, errno)
    })
}

/// Kills every process of the container.
fn kill_whole(record: &Record) -> Result<()> {
    if let Some(process) = record.process()? {
        match husk_sys::signal::send(process.as_fd(), SIGKILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                return Err(Error::kernel(
                    format_args!("container {}", record.id),
                    "pidfd_send_signal",
                    errno,
                ));
            }
        }
    }
    record.cgroup.kill_all().map_err(cgroup_error)
}

/// `delete`.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<()> {
    timing::about(id);
    let directory = match store.open(id) {
        Err(error) if force && error.code == Code::NotFound => return Ok(()),
        done => done?,
    };
    directory.lock()?;
    let record = match directory.read() {
        Ok(record) => record,
        // Only what cannot be understood is given up. A record that could not be
        // read this time (EMFILE, say) still names what is to be killed.
        Err(error) if force && error.errno.is_none() => {
            report::warning(error);
            return delete_damaged(&directory);
        }
        Err(error) => return Err(error),
    };
    let Some(record) = record else {
        if force {
            return directory.remove();
        }
        return Err(directory.record().err().unwrap_or_else(|| {
            Error::new(Code::WrongState, format_args!("container {id}"), "changed meanwhile")
        }));
    };
    let status = directory.status(&record);
    report::debug(|| format!("container {id}: {}, process {}", status.name(), record.pid));
    match status {
        // runtime.md makes an error of a created one, and engines rely on runc's and crun's way:
        // containerd's shim deletes a task that was never started without --force.
        Status::Stopped | Status::Created => {}
        _ if force => {}
        _ => {
            return Err(wrong_state(id, "cannot be deleted while it is not stopped", status)
                .hint(format_args!("it is {}; use --force to kill it first", status.name())));
        }
    }
    timing::done(Phase::Read);
    destroy(&directory, &record)?;
    timing::done(Phase::Remove);
    Ok(())
}

/// Deletes a container whose record cannot be read any more. Its configuration still tells where
/// its cgroup is; its process is found in there, or not at all.
fn delete_damaged(directory: &Directory) -> Result<()> {
    let id = directory.id();
    match directory.config().and_then(|config| placement::asked_for(&config, id)) {
        Ok(cgroup) => {
            cgroup.kill_all().and_then(|()| cgroup.remove()).map_err(cgroup_error)?;
        }
        Err(error) => {
            report::warning(format_args!(
                "container {id}: its cgroup is not known either, and stays if it has one: {error}"
            ));
        }
    }
    directory.remove()
}

/// Kills what lives, removes what was made, runs the poststop hooks.
pub fn destroy(directory: &Directory, record: &Record) -> Result<()> {
    // All others have died with the init of their pid namespace: where the cgroup can be
    // removed at once, there is nobody to be killed or waited for.
    let ended = record.pid != 0 && record.own_pid_namespace && matches!(record.process(), Ok(None));
    if !(ended && record.cgroup.remove_empty()) {
        // Without a process, `create` was killed on its way. A process that it may
        // have left ends by itself, and the cgroup named may be another container's:
        // what is busy there is not to be killed.
        if record.pid != 0 {
            kill_and_wait(record)?;
        }
        record.cgroup.remove().map_err(cgroup_error)?;
    }
    record.release_mounts()?;
    directory.remove()?;
    run_poststop(&record.poststop, record);
    Ok(())
}

fn await_death(process: &OwnedFd, id: &str) -> Result<()> {
    let deadline = Instant::now() + DEATH;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                return Err(Error::new(
                    Code::Kernel,
                    format_args!("container {id}"),
                    format_args!("was killed and is not gone after {} s", DEATH.as_secs()),
                ));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::kernel(format_args!("container {id}"), "poll", errno));
            }
        }
    }
}

/// `update`; returns what the caller should be warned of.
pub fn update(
    store: &Store,
    id: &str,
    resources: &Resources,
    schemata: &[String],
) -> Result<Vec<String>> {
    let (directory, record) = locked(store, id)?;
    match directory.status(&record) {
        Status::Created | Status::Running | Status::Paused => {}
        status => return Err(wrong_state(id, "container not running", status)),
    }
    let warnings = match *resources == Resources::default() {
        true => Vec::new(),
        false => record.cgroup.update(resources).map_err(cgroup_error)?,
    };
    if !schemata.is_empty() {
        record.cgroup.update_rdt(schemata).map_err(cgroup_error)?;
    }
    Ok(warnings)
}

/// `pause`.
pub fn pause(store: &Store, id: &str) -> Result<()> {
    let (directory, record) = locked(store, id)?;
    match directory.status(&record) {
        Status::Running | Status::Created => record.cgroup.freeze().map_err(cgroup_error),
        status => Err(wrong_state(id, "cannot be paused", status)),
    }
}

/// `resume`.
pub fn resume(store: &Store, id: &str) -> Result<()> {
    let (directory, record) = locked(store, id)?;
    match directory.status(&record) {
        Status::Paused => record.cgroup.thaw().map_err(cgroup_error),
        status => Err(wrong_state(id, "cannot be resumed: it is not paused", status)),
    }
}

fn locked(store: &Store, id: &str) -> Result<(Directory, Record)> {
    let directory = store.open(id)?;
    directory.lock()?;
    let record = directory.record()?;
    Ok((directory, record))
}
