//! Create, Start and Exec: how a process comes to run.
//!
//! ```text
//! Create   mounts, streams, `create`            -> TaskCreate
//! Start    `start`                              -> TaskStart
//! Exec     remembers the description            -> TaskExecAdded
//! Start    streams, `exec --detach`             -> TaskExecStarted
//! ```

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::epoll::EventFlags;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::container::{Configuration, Container, Phase, Process, cgroup_of};
use crate::job::{Job, Kind, missing};
use crate::message::Empty;
use crate::message::event::{TaskCreate, TaskExecAdded, TaskExecStarted, TaskIO, TaskStart};
use crate::message::task::{CreateTaskRequest, CreateTaskResponse, ExecProcessRequest};
use crate::message::task::{StartRequest, StartResponse};
use crate::mounts;
use crate::options::Options;
use crate::poller::Token;
use crate::server::{Caller, Shim};
use crate::stdio::{Logger, Name, Role, Streams, Uris, hold_stdin};
use crate::stream::Stream;
use crate::ttrpc::{Code, Failure};

/// Where the runtime writes the pid of the first process.
pub(crate) const INIT_PID: &str = "init.pid";

/// A start that waits for a logging program.
#[derive(Debug)]
pub(crate) struct Pending {
    container: String,
    exec: String,
    caller: Caller,
    streams: Streams,
    logger: Logger,
}

/// The paths of an exec in its bundle.
fn exec_files(bundle: &Path, exec: &str) -> (PathBuf, PathBuf) {
    (bundle.join(format!("{exec}.pid")), bundle.join(format!("{exec}-process.json")))
}

/// Whether an id can be a part of a file's name.
fn check_id(id: &str) -> Result<(), Failure> {
    let valid = !id.is_empty()
        && id.len() <= 128
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && !id.starts_with('.');
    match valid {
        true => Ok(()),
        false => {
            let text = format!("id {id:?}: must be letters, digits, _ . and -, at most 128");
            Err(Failure::new(Code::InvalidArgument, text))
        }
    }
}

impl Shim {
    /// Makes a container.
    pub(crate) fn create(
        &mut self,
        request: CreateTaskRequest,
        caller: Caller,
    ) -> Result<(), Failure> {
        check_id(&request.id)?;
        if self.containers.contains_key(&request.id) {
            let text = format!("container {} already exists", request.id);
            return Err(Failure::new(Code::AlreadyExists, text));
        }
        if !request.parent_checkpoint.is_empty() {
            let text = "parent_checkpoint: restoring memory of an earlier dump is not supported";
            return Err(Failure::new(Code::Unimplemented, text));
        }
        let options = Options::read(request.options.as_ref())
            .map_err(|text| Failure::new(Code::InvalidArgument, text))?;
        let bundle = PathBuf::from(&request.bundle);
        let configuration = Configuration::read(&bundle)
            .map_err(|text| Failure::new(Code::InvalidArgument, text))?;
        let runtime = options.runtime(&self.namespace)?;
        options.save(&bundle)?;
        let uris = Uris {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        mounts::mount_all(&request.rootfs, &bundle.join("rootfs"))?;
        let number = self.number();
        let container = Container {
            number,
            bundle,
            options,
            runtime,
            mounted: !request.rootfs.is_empty(),
            rootfs: request.rootfs,
            image_path: String::new(),
            checkpoint: Some(request.checkpoint).filter(|path| !path.is_empty()),
            owns_pid_namespace: configuration.owns_pid_namespace(),
            paused: false,
            killed_all: false,
            cgroup: None,
            oom: None,
            oom_pending: false,
            init: Process::new(Phase::Creating, uris),
            execs: std::collections::BTreeMap::new(),
        };
        let restores = container.checkpoint.is_some();
        self.containers.insert(request.id.clone(), container);
        if restores {
            self.await_restore(&request.id, caller);
            return Ok(());
        }
        let begun = self.open_streams(&request.id, "", caller);
        if begun.is_err() {
            self.forget_container(&request.id);
        }
        begun
    }

    /// Opens the streams of a process and goes on to the runtime, at once or when the logging
    /// program is ready.
    pub(crate) fn open_streams(
        &mut self,
        id: &str,
        exec: &str,
        caller: Caller,
    ) -> Result<(), Failure> {
        let namespace = self.namespace.clone();
        let container = self.containers.get_mut(id).ok_or_else(|| missing(id))?;
        let owner = (container.options.io_uid, container.options.io_gid);
        let bundle = container.bundle.clone();
        let uris = container.process(exec).ok_or_else(|| missing(exec))?.uris.clone();
        let name = Name { namespace: &namespace, container: id, process: exec };
        let mut streams = Streams::open(&uris, owner, &bundle, &name)?;
        let Some(logger) = streams.logger.take() else {
            return self.call_runtime(id, exec, caller, streams);
        };
        let number = self.number();
        let flags = EventFlags::IN | EventFlags::RDHUP;
        self.poller.add(&logger.ready, Token::Logger(number), flags)?;
        let (container, exec) = (id.to_owned(), exec.to_owned());
        self.pending.insert(number, Pending { container, exec, caller, streams, logger });
        Ok(())
    }

    /// A logging program has something to say.
    pub(crate) fn handle_logger(&mut self, number: u32) {
        let Some(ready) = self.pending.get(&number).and_then(|one| one.logger.poll_ready()) else {
            return;
        };
        let Some(pending) = self.pending.remove(&number) else { return };
        self.poller.remove(&pending.logger.ready);
        let Pending { container, exec, caller, streams, logger } = pending;
        drop(logger);
        let begun = ready.and_then(|()| self.call_runtime(&container, &exec, caller, streams));
        if let Err(failure) = begun {
            self.give_up_start(&container, &exec);
            self.answer(caller, Err(failure));
        }
    }

    fn call_runtime(
        &mut self,
        id: &str,
        exec: &str,
        caller: Caller,
        mut streams: Streams,
    ) -> Result<(), Failure> {
        let container = self.containers.get(id).ok_or_else(|| missing(id))?;
        let bundle = container.bundle.clone();
        let (no_pivot, no_keyring) =
            (container.options.no_pivot_root, container.options.no_new_keyring);
        let console = streams.console_socket().map(Path::to_owned);
        let (pid_file, process_file) = exec_files(&bundle, exec);
        let checkpoint = container.checkpoint.clone().filter(|_| exec.is_empty());
        let work_path = container.options.criu_work_path.clone();
        let kind = match &checkpoint {
            Some(_) => Kind::Restore,
            None if exec.is_empty() => Kind::Create,
            None => Kind::Exec,
        };
        self.run_job(kind, id, exec, Some(caller), |command| {
            if exec.is_empty() {
                match &checkpoint {
                    Some(path) => {
                        command.args(["restore", "--detach", "--image-path", path]);
                        if !work_path.is_empty() {
                            command.args(["--work-path", &work_path]);
                        }
                    }
                    None => drop(command.arg("create")),
                }
                command.arg("--bundle").arg(&bundle);
                command.arg("--pid-file").arg(bundle.join(INIT_PID));
                if no_pivot {
                    command.arg("--no-pivot");
                }
                if no_keyring && checkpoint.is_none() {
                    command.arg("--no-new-keyring");
                }
            } else {
                command.args(["exec", "--detach"]).arg("--process").arg(&process_file);
                command.arg("--pid-file").arg(&pid_file);
            }
            if let Some(console) = &console {
                command.arg("--console-socket").arg(console);
            }
            streams.hand_over(command);
            command.arg(id);
        })?;
        // What the caller writes before the process runs is copied when it does.
        self.keep_streams(id, exec, streams)
    }

    /// Begins to copy, and keeps what stays open. A terminal's copies begin when it is here.
    fn keep_streams(&mut self, id: &str, exec: &str, mut streams: Streams) -> Result<(), Failure> {
        let mut numbers = Vec::new();
        for (_, source, sink) in streams.copies.drain(..) {
            numbers.push(self.add_stream(Stream::new(source, sink), id, exec)?);
        }
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let process = process.ok_or_else(|| missing(id))?;
        process.streams.extend(numbers);
        process.readers.append(&mut streams.readers);
        process.coming = streams.console.is_some().then_some(streams);
        Ok(())
    }

    /// Takes the terminal that the runtime has sent.
    pub(crate) fn take_console(&mut self, id: &str, exec: &str) -> Result<(), Failure> {
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let Some(mut streams) = process.and_then(|process| process.coming.take()) else {
            return Ok(());
        };
        let Some(master) = streams.receive_console()? else { return Ok(()) };
        let mut numbers = Vec::new();
        for (role, source, sink) in streams.copies.drain(..) {
            let number = self.add_stream(Stream::new(source, sink), id, exec)?;
            numbers.push((role, number));
        }
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let process = process.ok_or_else(|| missing(id))?;
        process.streams.extend(numbers.iter().map(|(_, number)| *number));
        if let Some((columns, rows)) = process.size {
            set_size(&master, columns, rows)?;
        }
        process.console = Some(master);
        debug_assert!(numbers.iter().any(|(role, _)| *role == Role::Output));
        Ok(())
    }

    /// The runtime has made a container, or not.
    pub(crate) fn finish_create(&mut self, job: &Job, result: Result<(), Failure>) {
        let made = result.and_then(|()| {
            let container =
                self.containers.get(&job.container).ok_or_else(|| missing(&job.container))?;
            let pid = read_pid(&container.bundle.join(INIT_PID))?;
            self.take_console(&job.container, "")?;
            Ok(pid)
        });
        let pid = match made {
            Ok(pid) => pid,
            Err(failure) => {
                self.forget_container(&job.container);
                if let Some(caller) = job.caller {
                    self.answer(caller, Err(failure));
                }
                return;
            }
        };
        self.know_init(&job.container, pid, Phase::Created);
        self.publish_create(&job.container);
        if let Some(caller) = job.caller {
            self.reply(caller, &CreateTaskResponse { pid: pid.cast_unsigned() });
        }
        self.claim(&job.container, "", pid);
    }

    /// Remembers a container's first process, and watches what it accounts to.
    pub(crate) fn know_init(&mut self, id: &str, pid: i32, phase: Phase) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.init.pid = Some(pid);
        container.init.phase = phase;
        container.init.stdin_holder = hold_stdin(&container.init.uris);
        container.cgroup = cgroup_of(pid);
        let watch = container.cgroup.as_ref().map(husk_cgroup::Cgroup::oom_watch);
        match watch.transpose() {
            Ok(watch) => container.oom = watch.flatten(),
            Err(error) => self.log.warn(id, &format!("OOM events: {error}")),
        }
        if let Some(watch) = &container.oom {
            let flags = match watch.interest().contains(rustix::event::PollFlags::PRI) {
                true => EventFlags::PRI,
                false => EventFlags::IN,
            };
            let _ = self.poller.add(watch, Token::Oom(container.number), flags);
        }
    }

    /// Tells containerd of a container that was made.
    pub(crate) fn publish_create(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let event = TaskCreate {
            container_id: id.to_owned(),
            bundle: container.bundle.display().to_string(),
            rootfs: container.rootfs.clone(),
            io: Some(io(&container.init.uris)),
            checkpoint: container.checkpoint.clone().unwrap_or_default(),
            pid: container.init.pid.unwrap_or_default().cast_unsigned(),
        };
        self.publisher.publish("/tasks/create", &event, &mut self.poller);
    }

    /// Remembers an exec.
    pub(crate) fn add_exec(&mut self, request: ExecProcessRequest) -> Result<Empty, Failure> {
        check_id(&request.exec_id)?;
        let id = request.id;
        let container = self.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
        if container.execs.contains_key(&request.exec_id) {
            let text = format!("exec {} already exists", request.exec_id);
            return Err(Failure::new(Code::AlreadyExists, text));
        }
        if container.init.exit.is_some() || container.init.pid.is_none() {
            return Err(Failure::new(Code::FailedPrecondition, "container is not running"));
        }
        let uris = Uris {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let mut process = Process::new(Phase::Created, uris);
        process.spec = request.spec;
        container.execs.insert(request.exec_id.clone(), process);
        let event = TaskExecAdded { container_id: id, exec_id: request.exec_id };
        self.publisher.publish("/tasks/exec-added", &event, &mut self.poller);
        Ok(Empty {})
    }

    /// Starts a container or an exec.
    pub(crate) fn start(&mut self, request: StartRequest, caller: Caller) -> Result<(), Failure> {
        let StartRequest { id, exec_id: exec } = request;
        let container = self.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
        let gone = container.init.exit.is_some();
        let bundle = container.bundle.clone();
        let process = container.process(&exec).ok_or_else(|| missing(&exec))?;
        match process.phase {
            Phase::Created if process.exit.is_none() && !process.deleting => {}
            _ => {
                let text = format!("cannot start a process that is {:?}", process.status(false));
                return Err(Failure::new(Code::FailedPrecondition, text.to_lowercase()));
            }
        }
        if exec.is_empty() && process.pid.is_none() {
            process.phase = Phase::Starting;
            let begun = self.open_streams(&id, "", caller);
            if begun.is_err() {
                self.give_up_start(&id, "");
            }
            return begun;
        }
        if exec.is_empty() {
            process.phase = Phase::Starting;
            let begun = self.run_job(Kind::Start, &id, "", Some(caller), |command| {
                command.arg("start").arg(&id);
            });
            if begun.is_err() {
                self.set_phase(&id, "", Phase::Created);
            }
            return begun;
        }
        if gone {
            // No exec begins once the first process is known to be dead: its exit is the last.
            process.phase = Phase::Failed;
            return Err(Failure::new(Code::FailedPrecondition, "container is not running"));
        }
        process.phase = Phase::Starting;
        let spec = process.spec.take().unwrap_or_default();
        let (_, process_file) = exec_files(&bundle, &exec);
        let written = write_private(&process_file, &spec.value);
        let begun = written.and_then(|()| self.open_streams(&id, &exec, caller));
        if begun.is_err() {
            self.give_up_start(&id, &exec);
        }
        begun
    }

    fn set_phase(&mut self, id: &str, exec: &str, phase: Phase) {
        if let Some(process) = self.containers.get_mut(id).and_then(|one| one.process(exec)) {
            process.phase = phase;
        }
    }

    /// A start that failed before the runtime was called, or by it.
    pub(crate) fn give_up_start(&mut self, id: &str, exec: &str) {
        let restores = self.containers.get(id).is_some_and(|one| one.checkpoint.is_some());
        if exec.is_empty() && !restores {
            self.forget_container(id);
            return;
        }
        if let Some(container) = self.containers.get(id) {
            let (pid_file, process_file) = exec_files(&container.bundle, exec);
            let _ = std::fs::remove_file(pid_file);
            let _ = std::fs::remove_file(process_file);
        }
        self.set_phase(id, exec, Phase::Failed);
        self.close_streams(id, exec);
        self.settle(id);
    }

    /// The runtime has started a container, or not.
    pub(crate) fn finish_start(&mut self, job: &Job, result: Result<(), Failure>) {
        let Some(container) = self.containers.get_mut(&job.container) else { return };
        let pid = container.init.pid.unwrap_or_default().cast_unsigned();
        match result {
            Ok(()) => {
                container.init.phase = Phase::Started;
                let event = TaskStart { container_id: job.container.clone(), pid };
                self.publisher.publish("/tasks/start", &event, &mut self.poller);
                if let Some(caller) = job.caller {
                    self.reply(caller, &StartResponse { pid });
                }
            }
            Err(failure) => {
                container.init.phase = Phase::Created;
                if let Some(caller) = job.caller {
                    self.answer(caller, Err(failure));
                }
            }
        }
        self.settle(&job.container);
    }

    /// The runtime has started an exec, or not.
    pub(crate) fn finish_exec(&mut self, job: &Job, result: Result<(), Failure>) {
        let Some(container) = self.containers.get(&job.container) else { return };
        let (pid_file, process_file) = exec_files(&container.bundle, &job.exec);
        let started = result.and_then(|()| {
            let pid = read_pid(&pid_file)?;
            self.take_console(&job.container, &job.exec)?;
            Ok(pid)
        });
        let _ = std::fs::remove_file(pid_file);
        let _ = std::fs::remove_file(process_file);
        match started {
            Ok(pid) => {
                let container = self.containers.get_mut(&job.container);
                let Some(process) = container.and_then(|one| one.process(&job.exec)) else {
                    return;
                };
                process.pid = Some(pid);
                process.phase = Phase::Started;
                process.stdin_holder = hold_stdin(&process.uris);
                let pid_number = pid.cast_unsigned();
                let event = TaskExecStarted {
                    container_id: job.container.clone(),
                    exec_id: job.exec.clone(),
                    pid: pid_number,
                };
                self.publisher.publish("/tasks/exec-started", &event, &mut self.poller);
                if let Some(caller) = job.caller {
                    self.reply(caller, &StartResponse { pid: pid_number });
                }
                self.claim(&job.container, &job.exec, pid);
            }
            Err(failure) => {
                self.give_up_start(&job.container, &job.exec);
                if let Some(caller) = job.caller {
                    self.answer(caller, Err(failure));
                }
            }
        }
        self.settle(&job.container);
    }

    /// Takes an exit that came before the process's pid was known.
    pub(crate) fn claim(&mut self, id: &str, exec: &str, pid: i32) {
        if let Some((status, at)) = self.unclaimed.remove(&pid) {
            self.record_exit(id, exec, status, at);
        }
    }

    /// Removes what is known of a container that was not made, and what was made for it.
    pub(crate) fn forget_container(&mut self, id: &str) {
        self.close_streams(id, "");
        let Some(container) = self.containers.remove(id) else { return };
        if let Some(watch) = &container.oom {
            self.poller.remove(watch);
        }
        if container.mounted
            && let Err(failure) = mounts::unmount_all(&container.bundle.join("rootfs"))
        {
            self.log.warn(id, &failure.message);
        }
    }
}

/// The stream URIs of a task, for its event.
fn io(uris: &Uris) -> TaskIO {
    TaskIO {
        stdin: uris.stdin.clone(),
        stdout: uris.stdout.clone(),
        stderr: uris.stderr.clone(),
        terminal: uris.terminal,
    }
}

/// Sets a terminal's size.
pub(crate) fn set_size(console: &OwnedFd, columns: u16, rows: u16) -> Result<(), Failure> {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(console, size)?)
}

pub(crate) fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("read {}: {error}", path.display()))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("{}: not a process id", path.display()).into())
}

/// Writes a file that nobody else may read: a process's environment may hold secrets.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(path);
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|error| format!("write {}: {error}", path.display()).into())
}
