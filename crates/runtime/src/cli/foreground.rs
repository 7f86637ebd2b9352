//! Standing in for the container's process at a shell: signals and the
//! terminal go to it, its output and its end come back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_spec::ConsoleSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::termios::{OptionalActions, OutputModes, Termios};

use crate::explain::Explainer;
use crate::mech::notify::Notify;
use crate::report::{Error, Result};
use crate::state::oom::OomWitness;

const SIGURG: i32 = 23;
const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;

/// All signals, from before the process is made, so that none is lost.
#[derive(Debug)]
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// Takes them over.
    pub(super) fn take() -> Result<Self> {
        husk_sys::signal::block_all_into_fd()
            .map(Self)
            .map_err(|errno| Error::kernel("signals", "signalfd", errno))
    }
}

/// Size of the caller's terminal, if it has one.
pub(super) fn terminal_size() -> Option<ConsoleSize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(ConsoleSize { height: size.ws_row, width: size.ws_col })
}

/// Waits for the process's end and gives its exit status; 128+N where a signal
/// ended it. The end is seen on the pidfd: a SIGCHLD may be lost among others.
pub(super) fn attend(
    pid: Pid,
    pidfd: &OwnedFd,
    signals: &Signals,
    terminal: Option<OwnedFd>,
    mut notify: Option<Notify>,
    mut explainer: Option<Explainer>,
    witness: Option<&mut OomWitness>,
) -> Result<i32> {
    let mut witness = witness;
    let mut relay = terminal.map(Relay::new).transpose()?;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN),
        ];
        if let Some(notify) = &notify {
            fds.push(PollFd::from_borrowed_fd(notify.as_fd(), PollFlags::IN));
        }
        let listening = fds.len();
        if let Some(listener) = explainer.as_ref().and_then(Explainer::listener) {
            fds.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
        }
        let watching = fds.len();
        fds.extend(witness.as_ref().map(|witness| witness.poll_fd()));
        let others = fds.len();
        if let Some(relay) = &relay {
            relay.add(&mut fds);
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("container process", "poll", errno)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        let ended = !ready[0].is_empty();
        // First of all: after the process's end it may be gone at any moment.
        if (ended || ready[watching..others].iter().any(|events| !events.is_empty()))
            && !witness.as_mut().is_some_and(|witness| witness.look())
        {
            witness = None;
        }
        for signal in husk_sys::signal::pending(signals.0.as_fd()) {
            match (signal, &relay) {
                // Of this process's own, not of its caller's.
                (SIGCHLD | SIGURG, _) => {}
                (SIGWINCH, Some(relay)) => relay.copy_size(),
                _ => {
                    let _ = husk_sys::signal::send(pidfd.as_fd(), signal);
                }
            }
        }
        if let Some(relay) = &mut relay {
            relay.serve(&ready[others..]);
        }
        if let Some(socket) = &notify
            && !ready[2].is_empty()
            && socket.forward(pid.as_raw_nonzero().get())?
        {
            notify = None;
        }
        if let Some(explainer) = &mut explainer
            && ready[listening..watching].iter().any(|events| !events.is_empty())
        {
            explainer.answer(None)?;
        }
        if !ended {
            continue;
        }
        if let Some(mut relay) = relay.take() {
            // What is told from here on finds the caller's terminal as it was.
            relay.drain();
        }
        return match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let status = exit_code(status);
                Ok(explainer.map_or(status, |explainer| explainer.conclude(status)))
            }
            Ok(None) => Err(Error::kernel("container process", "waitpid", Errno::CHILD)),
            Err(errno) => Err(Error::kernel("container process", "waitpid", errno)),
        };
    }
}

/// Between this process's terminal and the container's.
struct Relay {
    master: OwnedFd,
    /// Settings to restore, where standard input is a terminal.
    saved: Option<Termios>,
    input_open: bool,
    output_open: bool,
    /// Input that the container's terminal has not taken yet.
    pending: Vec<u8>,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let saved = rustix::termios::tcgetattr(stdin).ok();
        if let Some(settings) = &saved {
            let mut raw = settings.clone();
            raw.make_raw();
            // The container's terminal adds no carriage returns (`plan::Terminal`); this one does.
            raw.output_modes |= OutputModes::OPOST;
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .map_err(|errno| Error::kernel("terminal", "tcsetattr", errno))?;
        }
        // A program that does not read must not hold up the others' events.
        let flags = rustix::fs::fcntl_getfl(&master).and_then(|flags| {
            rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK)
        });
        flags.map_err(|errno| Error::kernel("terminal", "fcntl", errno))?;
        let relay =
            Self { master, saved, input_open: true, output_open: true, pending: Vec::new() };
        relay.copy_size();
        Ok(relay)
    }

    fn copy_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    fn add<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let mut master = PollFlags::empty();
        if self.output_open {
            master |= PollFlags::IN;
        }
        if !self.pending.is_empty() {
            master |= PollFlags::OUT;
        }
        if self.output_open || !self.pending.is_empty() {
            fds.push(PollFd::from_borrowed_fd(self.master.as_fd(), master));
        }
        if self.input_open && self.pending.is_empty() {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
    }

    fn serve(&mut self, ready: &[PollFlags]) {
        let watched_master = self.output_open || !self.pending.is_empty();
        let watched_input = self.input_open && self.pending.is_empty();
        let mut ready = ready.iter();
        let master = if watched_master { ready.next().copied() } else { None };
        let input = if watched_input { ready.next().copied() } else { None };
        if master.is_some_and(|events| !events.is_empty()) {
            if self.output_open {
                self.copy_output();
            }
            self.write_pending();
        }
        if input.is_some_and(|events| !events.is_empty()) {
            self.read_input();
        }
    }

    /// One read's worth from the container's terminal; false when there is none.
    fn copy_output(&mut self) -> bool {
        let mut buffer = [0u8; 32 << 10];
        match rustix::io::read(&self.master, &mut buffer[..]) {
            Ok(0) => self.output_open = false,
            Ok(length) => {
                write_all(rustix::stdio::stdout(), &buffer[..length]);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: the last process has closed the other side.
            Err(_) => self.output_open = false,
        }
        false
    }

    fn drain(&mut self) {
        while self.copy_output() {}
    }

    fn read_input(&mut self) {
        /// End of transmission: what a terminal takes for end of file.
        const EOT: u8 = 4;
        let mut buffer = [0u8; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
            Ok(0) => {
                self.input_open = false;
                self.pending.push(EOT);
            }
            Ok(length) => self.pending.extend(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input_open = false,
        }
        self.write_pending();
    }

    fn write_pending(&mut self) {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pending.clear(),
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(settings) = &self.saved {
            let stdin = rustix::stdio::stdin();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Now, settings);
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // The caller's terminal was set non-blocking by someone who shares it.
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                let _ = poll(&mut fds, None);
            }
            Err(_) => return,
        }
    }
}

/// Exit status as a shell counts it: 128 and the signal's number where one ended it.
fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    }
}
