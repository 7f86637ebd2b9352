//! Starting containers: the monitor's other side.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::attach::{self, Options};
use crate::container::Container;
use crate::container::state::Status;
use crate::error::{ENGINE_FAILED, Error, Result, file};
use crate::home::Home;
use crate::monitor::protocol::{Attachment, Event, pair};
use crate::notice::notice;

/// A started container, with us attached.
#[derive(Debug)]
pub struct Started {
    /// Our end of the socket.
    pub attachment: Attachment,
    /// The signals that are passed on.
    pub signals: Option<OwnedFd>,
}

/// Starts a container that does not run. With `attach` the output is ours from its first
/// byte.
///
/// # Errors
/// Why it could not be started, with the exit code that Docker gives for it.
pub fn start(home: &Home, container: &Container, attach: Option<&Options>) -> Result<Started> {
    let attachment = start_with(home, container, &|attachment| match attach {
        Some(options) => attach::begin(attachment, options),
        None => Ok(()),
    })?;
    // After the monitor is made, which would inherit the mask.
    let signals = match attach.filter(|options| options.signals) {
        Some(_) => Some(husk_sys::signal::block_all_into_fd().map_err(file("make", "a signalfd"))?),
        None => None,
    };
    Ok(Started { attachment, signals })
}

/// Starts a container that does not run; what `begin` sends counts from its first byte of
/// output.
///
/// # Errors
/// Why it could not be started, with the exit code that Docker gives for it.
pub fn start_with(
    home: &Home,
    container: &Container,
    begin: &dyn Fn(&Attachment) -> Result<()>,
) -> Result<Attachment> {
    let _lock = container.lock()?;
    if container.state()?.status == Status::Running {
        return Err(Error::Running(container.record.name.clone()));
    }
    let (ours, theirs) = pair().map_err(file("make", "a socket pair"))?;
    let attachment = Attachment(ours);
    begin(&attachment)?;
    // `/proc/self/exe` and not its name: the very program that runs now, also while it is
    // being upgraded.
    let mut monitor = Command::new("/proc/self/exe");
    monitor.arg("--root").arg(&home.root).arg("--runroot").arg(&home.run);
    monitor.args(["monitor", container.id()]);
    monitor.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let spawned = monitor.spawn().map_err(file("execute", "/proc/self/exe"))?;
    drop(monitor);
    // It is not waited for: it outlives us, and init reaps it.
    drop(spawned);
    loop {
        let event = attachment.receive().map_err(file("read from", "the monitor"))?;
        match event {
            Some(Event::Notice(text)) => notice(text),
            Some(Event::Started) => return Ok(attachment),
            // By a monitor that another has started, and that nobody waited for.
            Some(Event::Failed(..)) if container.state()?.status == Status::Running => {
                return Err(Error::Running(container.record.name.clone()));
            }
            Some(Event::Failed(status, message)) => return Err(Error::Runtime { message, status }),
            Some(_) => {}
            None => {
                let message = "the container's monitor ended before it ran".to_owned();
                return Err(Error::Runtime { message, status: ENGINE_FAILED });
            }
        }
    }
}
