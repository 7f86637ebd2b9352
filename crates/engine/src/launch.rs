//! Starting containers: the monitor's other side.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::checkpoint;
use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, ErrorKind, Result, file};
use crate::home::Home;
use crate::monitor::protocol::{Attachment, Event, Request, pair};

/// How a container is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartRequest {
    /// Whether the connection gets the program's output, from the first byte.
    pub attach: bool,
    /// Whether it sends the program's input.
    pub stdin: bool,
    /// The terminal's rows and columns at the program's first instruction.
    pub size: Option<(u16, u16)>,
    /// Kill the container when the connection ends.
    pub owned: bool,
}

impl StartRequest {
    fn send(self, attachment: &Attachment) -> Result<()> {
        let attach = self.attach.then_some(Request::Attach { stdin: self.stdin });
        let size = self.size.map(|(rows, columns)| Request::Size(rows, columns));
        let own = self.owned.then_some(Request::Own);
        for request in [attach, size, own].into_iter().flatten() {
            attachment.send(&request).map_err(file("write to", "the monitor"))?;
        }
        Ok(())
    }
}

/// Starts a container that does not run. `notice` gets remarks.
///
/// # Errors
/// [`Error::Running`]; else why it could not be started, with the exit code that Docker gives
/// for it.
pub fn start(
    home: &Home,
    container: &Container,
    request: &StartRequest,
    notice: &mut dyn FnMut(String),
) -> Result<Attachment> {
    let _lock = container.lock()?;
    start_locked(home, container, request, notice)
}

/// The same where the caller holds the container's lock.
pub(crate) fn start_locked(
    home: &Home,
    container: &Container,
    request: &StartRequest,
    notice: &mut dyn FnMut(String),
) -> Result<Attachment> {
    // Of a restore that was killed.
    checkpoint::forget(container);
    start_as_ordered(home, container, request, notice)
}

/// The same, from the checkpoint that was ordered, if one was.
pub(crate) fn start_as_ordered(
    home: &Home,
    container: &Container,
    request: &StartRequest,
    notice: &mut dyn FnMut(String),
) -> Result<Attachment> {
    if matches!(container.state()?.status, Status::Running | Status::Restarting) {
        return Err(Error::Running(container.record.name.clone()));
    }
    let (ours, theirs) = pair().map_err(file("make", "a socket pair"))?;
    let attachment = Attachment(ours);
    request.send(&attachment)?;
    spawn_monitor(home, container, theirs)?;
    match await_start(&attachment, notice) {
        // By a monitor that another has started, and that nobody waited for.
        Err(_) if container.state()?.status == Status::Running => {
            Err(Error::Running(container.record.name.clone()))
        }
        started => started.map(|()| attachment),
    }
}

fn spawn_monitor(home: &Home, container: &Container, socket: OwnedFd) -> Result<()> {
    let program = crate::program::path();
    let mut monitor = Command::new(program);
    monitor.arg0("husk-monitor");
    monitor.arg("--root").arg(&home.root).arg("--runroot").arg(&home.run);
    monitor.args(["monitor", container.id()]);
    monitor.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut spawned = monitor.spawn().map_err(file("execute", program))?;
    drop(monitor);
    // It forks at once, and its child is not ours.
    spawned.wait().map_err(file("wait for", "the monitor"))?;
    Ok(())
}

/// Waits until the program runs.
///
/// # Errors
/// Why it does not.
pub(crate) fn await_start(attachment: &Attachment, notice: &mut dyn FnMut(String)) -> Result<()> {
    loop {
        match attachment.receive().map_err(file("read from", "the monitor"))? {
            Some(Event::Notice(text)) => notice(text),
            Some(Event::Started) => return Ok(()),
            Some(Event::Failed(failure)) => return Err(failure.into()),
            Some(_) => {}
            None => {
                let message = "the container's monitor ended before it ran".to_owned();
                return Err(Error::Runtime { message, kind: ErrorKind::Runtime });
            }
        }
    }
}
