//! Ending containers and waiting for their end: stop, kill, restart, wait.
//!
//! What these have done can be seen at once by the next command: the monitor tells the end when
//! it has written it down, taken everything apart and given its lock back.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::Container;
use crate::container::state::{State, Status};
use crate::error::{Error, Result, file};
use crate::events;
use crate::home::Home;
use crate::launch::{self, StartRequest};
use crate::lock::Lock;
use crate::monitor::protocol::{self, Attachment, Event, Received, Request};
use crate::pause;
use crate::runtime::Runtime;

/// How long is waited for an end that must come.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two looks where a monitor has its lock and not yet, or no more, its socket: it is a
/// few system calls away from having both, or neither.
const RETRY: Duration = Duration::from_millis(1);

const SIGKILL: i32 = 9;

/// Whoever sends one of these wants a program to end: INT, QUIT, KILL, TERM.
const ENDING: [i32; 4] = [2, 3, SIGKILL, 15];

/// How a container is stopped.
#[derive(Clone, Debug, Default)]
pub struct StopRequest {
    /// The signal that asks the program to end; `None` for the container's own.
    pub signal: Option<String>,
    /// How long it has before KILL; `None` for the container's own patience, or 10 s.
    pub timeout: Option<Duration>,
}

impl StopRequest {
    fn timeout(&self, container: &Container) -> Duration {
        let own = container.record.config.stop_timeout.map(Duration::from_secs);
        self.timeout.or(own).unwrap_or(LIMIT)
    }

    fn signal<'a>(&'a self, container: &'a Container) -> &'a str {
        let own = container.record.config.stop_signal.as_str();
        let wanted = self.signal.as_deref().unwrap_or(own);
        if wanted.is_empty() { "TERM" } else { wanted }
    }

    fn to_monitor(&self, container: &Container) -> Request {
        let signal = husk_sys::signal_name::number(self.signal(container)).unwrap_or(SIGKILL);
        let patience = u32::try_from(self.timeout(container).as_millis()).unwrap_or(u32::MAX);
        Request::Stop(signal, patience)
    }
}

/// Stops a container: its stop signal, then KILL. One that does not run is left alone.
///
/// # Errors
/// What the runtime refused.
pub fn stop(home: &Home, container: &Container, request: &StopRequest) -> Result<()> {
    let _lock = container.lock()?;
    stop_locked(home, container, request)
}

/// The same where the caller holds the container's lock.
fn stop_locked(home: &Home, container: &Container, request: &StopRequest) -> Result<()> {
    let state = container.state()?;
    match state.status {
        Status::Running => {}
        Status::Restarting => {
            stop_restarting(container, request)?;
            events::container::record(container, "stop", &[]);
            return Ok(());
        }
        Status::Created | Status::Exited => return Ok(()),
    }
    let waiting = begin_end(container)?;
    let sent = signal(home, container, request.signal(container));
    if state.paused {
        // Frozen processes take no signal.
        pause::thaw(home, container)?;
    }
    let until = Instant::now() + request.timeout(container);
    if sent.is_err() || wait_this_end(container, waiting.as_ref(), Some(until))?.is_none() {
        kill_and_wait_by(home, container, waiting.as_ref())?;
    }
    events::container::record(container, "stop", &[]);
    Ok(())
}

/// Stops a container and starts it again; one that does not run is started. `notice` gets
/// remarks.
///
/// # Errors
/// As [`stop`] and [`launch::start`].
pub fn restart(
    home: &Home,
    container: &Container,
    request: &StopRequest,
    notice: &mut dyn FnMut(String),
) -> Result<()> {
    let _lock = container.lock()?;
    if let Some(attachment) = restarting_monitor(container)? {
        // The monitor starts the program again for as long as we are there.
        match container.state()?.status {
            // It may run by now: one connection's requests are heard in their order.
            Status::Restarting => {
                let stop = request.to_monitor(container);
                attachment.send(&stop).map_err(file("write to", "the container's monitor"))?;
            }
            _ => stop_locked(home, container, request)?,
        }
        launch::await_start(&attachment, notice)?;
    } else {
        stop_locked(home, container, request)?;
        launch::start_locked(home, container, &StartRequest::default(), notice)?;
    }
    events::container::record(container, "restart", &[]);
    Ok(())
}

/// Stops a container whose monitor waits to run its program again, or has just done so.
fn stop_restarting(container: &Container, request: &StopRequest) -> Result<()> {
    let Some(attachment) = Attachment::connect(&container.run)? else {
        return wait_end(container, Some(Instant::now() + LIMIT)).map(drop);
    };
    // A monitor that has gone since has ended it.
    let _ = attachment.send(&request.to_monitor(container));
    let until = Instant::now() + request.timeout(container) + LIMIT;
    match wait_this_end(container, Some(&attachment), Some(until))? {
        Some(_) => Ok(()),
        None => Err(not_ended(container)),
    }
}

fn not_ended(container: &Container) -> Error {
    let name = &container.record.name;
    Error::other(format_args!("container {name} did not end within 10 s of KILL"))
}

/// A connection to the monitor of a running container that has been told to start the program
/// again; `None` where there is none that could.
fn restarting_monitor(container: &Container) -> Result<Option<Attachment>> {
    let state = container.state()?;
    let has_program = matches!(state.status, Status::Running | Status::Restarting);
    if !has_program || state.protocol < protocol::SESSIONS {
        return Ok(None);
    }
    let attachment = Attachment::connect(&container.run)?;
    Ok(attachment.filter(|attachment| attachment.send(&Request::Restart).is_ok()))
}

/// Sends a signal to a container's program. After KILL it has ended when this returns. One that
/// its restart policy is about to run again stays as it is after a signal that ends programs.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::Restarting`] for another signal then; a signal that is not
/// known.
pub fn kill(home: &Home, container: &Container, name: &str) -> Result<()> {
    let number = husk_sys::signal_name::number(name);
    let own = husk_sys::signal_name::number(&container.record.config.stop_signal);
    let ends =
        number.is_some_and(|number| ENDING.contains(&number)) || (number == own && own.is_some());
    match container.running() {
        Err(Error::Restarting(_)) if ends => return kill_and_wait(home, container),
        state => drop(state?),
    }
    if number == Some(SIGKILL) {
        return kill_and_wait(home, container);
    }
    if let (Some(number), Some(attachment)) = (number, Attachment::connect(&container.run)?) {
        // Before the signal: its restart policy counts what nobody has asked for.
        let _ = attachment.send(&Request::ByHand(if ends { 0 } else { number }));
    }
    signal(home, container, name)
}

/// Kills a container's program and waits for its end.
///
/// # Errors
/// What the runtime refused.
pub(crate) fn kill_and_wait(home: &Home, container: &Container) -> Result<()> {
    if container.state()?.status == Status::Restarting {
        let request =
            StopRequest { signal: Some("KILL".to_owned()), timeout: Some(Duration::ZERO) };
        return stop_restarting(container, &request);
    }
    let waiting = begin_end(container)?;
    kill_and_wait_by(home, container, waiting.as_ref())
}

fn kill_and_wait_by(
    home: &Home,
    container: &Container,
    waiting: Option<&Attachment>,
) -> Result<()> {
    let paused = container.state().is_ok_and(|state| state.paused);
    let killed = signal(home, container, "KILL");
    if paused && killed.is_ok() {
        // It dies when it is thawed (cgroup v1).
        let _ = pause::thaw(home, container);
    }
    match wait_this_end(container, waiting, Some(Instant::now() + LIMIT))? {
        Some(_) => Ok(()),
        None => killed.and_then(|()| Err(not_ended(container))),
    }
}

fn signal(home: &Home, container: &Container, name: &str) -> Result<()> {
    container.running()?;
    // Before what it does: the end that it brings is recorded by another process.
    if let Some(number) = husk_sys::signal_name::number(name) {
        events::container::record(container, "kill", &[("signal", &number.to_string())]);
    }
    Runtime::of(home, container)?.output(&["kill", container.id(), name]).map(drop)
}

/// Waits for a container's end, without a limit, and gives its exit status. One that does not
/// run gives that of its last run.
///
/// # Errors
/// What keeps us from looking.
pub fn wait(container: &Container) -> Result<i32> {
    match told_end(container, None)? {
        Told::Exited(code) => return Ok(code),
        Told::NoMonitor | Told::Lost | Told::TimedOut => {}
    }
    // No monitor: what is written down is what there is to know.
    let ended = wait_end(container, None)?;
    Ok(ended.map_or(255, |state| state.exit_code))
}

/// Waits until the container has ended and its monitor has taken everything apart, until a time
/// at most. `None` where it still runs then.
///
/// # Errors
/// What keeps us from looking.
pub(crate) fn wait_end(container: &Container, until: Option<Instant>) -> Result<Option<State>> {
    loop {
        match told_end(container, until)? {
            Told::Exited(exit_code) => {
                let removed = || State { status: Status::Exited, exit_code, ..State::default() };
                return Ok(Some(container.state().unwrap_or_else(|_| removed())));
            }
            Told::TimedOut => return Ok(None),
            Told::Lost | Told::NoMonitor => {}
        }
        let Ok(state) = container.state() else {
            // Removed at its end.
            return Ok(Some(State { status: Status::Exited, ..State::default() }));
        };
        let has_monitor = Lock::is_held(&container.monitor_lock());
        if state.status != Status::Running && !has_monitor {
            return Ok(Some(state));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(None);
        }
        match has_monitor {
            true => std::thread::sleep(RETRY),
            false => wait_process(&state, until)?,
        }
    }
}

enum Told {
    Exited(i32),
    NoMonitor,
    /// It was killed.
    Lost,
    TimedOut,
}

/// A connection that is told the end of the program that runs now: made before a signal is sent,
/// since the monitor may start the program again at once.
fn begin_wait(container: &Container) -> Result<Option<Attachment>> {
    let attachment = Attachment::connect(&container.run)?;
    Ok(attachment.filter(|attachment| attachment.send(&Request::Wait).is_ok()))
}

/// The same for an end that the caller is about to bring about: no restart policy undoes it.
fn begin_end(container: &Container) -> Result<Option<Attachment>> {
    let attachment = Attachment::connect(&container.run)?;
    let asked = |attachment: &Attachment| {
        attachment.send(&Request::ByHand(0)).and_then(|()| attachment.send(&Request::Wait)).is_ok()
    };
    Ok(attachment.filter(asked))
}

/// As [`wait_end`], for the end that `waiting` is told of.
fn wait_this_end(
    container: &Container,
    waiting: Option<&Attachment>,
    until: Option<Instant>,
) -> Result<Option<State>> {
    match waiting.map(|attachment| told(attachment, until)).transpose()? {
        Some(Told::Exited(exit_code)) => {
            let ended = State { status: Status::Exited, exit_code, ..State::default() };
            Ok(Some(ended))
        }
        Some(Told::TimedOut) => Ok(None),
        Some(Told::Lost | Told::NoMonitor) | None => wait_end(container, until),
    }
}

/// Waits for what the monitor says of the end.
fn told_end(container: &Container, until: Option<Instant>) -> Result<Told> {
    match begin_wait(container)? {
        Some(attachment) => told(&attachment, until),
        None => Ok(Told::NoMonitor),
    }
}

fn told(attachment: &Attachment, until: Option<Instant>) -> Result<Told> {
    loop {
        let received = attachment.receive_until(until);
        match received.map_err(file("read from", "the container's monitor"))? {
            Received::Event(Event::Exited(code)) => return Ok(Told::Exited(code)),
            Received::Event(_) => {}
            Received::End => return Ok(Told::Lost),
            Received::TimedOut => return Ok(Told::TimedOut),
        }
    }
}

/// Waits for the process of a container whose monitor was killed.
fn wait_process(state: &State, until: Option<Instant>) -> Result<()> {
    let Some(pid) = Pid::from_raw(state.pid) else { return Ok(()) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(file("open a pidfd of", "the container")(errno)),
    };
    // Alive now: so the number was not another's when it was opened.
    if !state.is_alive() {
        return Ok(());
    }
    let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
    let spec = rest.and_then(|rest| Timespec::try_from(rest).ok());
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    match poll(&mut fds, spec.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(file("poll", "a pidfd")(errno)),
    }
}
