//! Attaching this terminal to a program in a container: its output comes here, our input and
//! signals go to it.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Error, Result, file};
use husk_engine::launch::StartRequest;
use husk_engine::monitor::protocol::{Attachment, Event, MAX_DATA, Request};
use husk_engine::notice;

use crate::output;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;
/// Signals that are for this process (signal(7)): those of job control.
const NOT_PASSED_ON: [i32; 4] = [SIGCHLD, SIGURG, 20, 21];

/// So many INTs and TERMs in vain leave the container, as Docker's client does.
const MAX_INTERRUPTS: u32 = 3;
/// How long after one the next still counts as its repetition.
const ROW: Duration = Duration::from_secs(3);

/// How to attach.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Send our input to the program.
    pub(crate) stdin: bool,
    /// Show its standard output.
    pub(crate) stdout: bool,
    /// Show its standard error.
    pub(crate) stderr: bool,
    /// The program has a terminal.
    pub(crate) tty: bool,
    /// The key sequence for detaching; empty for none.
    pub(crate) detach_keys: Vec<u8>,
    /// Pass signals on.
    pub(crate) signals: bool,
}

impl Options {
    /// The request that starts a container with us attached.
    pub(crate) fn start_request(&self) -> StartRequest {
        let size = terminal_size().filter(|_| self.tty);
        StartRequest { attach: true, stdin: self.stdin, size, owned: false }
    }

    /// A descriptor for the signals that are passed on, which are blocked from now on.
    pub(crate) fn block_signals(&self) -> Result<Option<OwnedFd>> {
        let block = || husk_sys::signal::block_all_into_fd().map_err(file("make", "a signalfd"));
        self.signals.then(block).transpose()
    }
}

/// How attaching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The program has ended.
    Exited(i32),
    /// The keys were typed; the program runs on.
    Detached,
}

/// Restores the terminal's settings.
struct Raw(Termios);

impl Raw {
    fn set() -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let saved = rustix::termios::tcgetattr(stdin).map_err(file("read", "the terminal"))?;
        let mut raw = saved.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
            .map_err(file("set", "the terminal"))?;
        Ok(Self(saved))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Recognises the keys in what is typed.
#[derive(Debug)]
struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    /// What of `typed` is for the program, and whether to detach.
    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = 0;
            match self.sequence.first() == Some(byte) {
                true => self.matched = 1,
                false => passed.push(*byte),
            }
        }
        (passed, false)
    }
}

/// Rows and columns of our terminal.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Asks for the output of a program that runs, and gives it our terminal's size.
///
/// # Errors
/// The monitor is gone.
pub(crate) fn begin(attachment: &Attachment, options: &Options) -> Result<()> {
    let failed = |errno: Errno| file("write to", "the monitor")(errno);
    attachment.send(&Request::Attach { stdin: options.stdin }).map_err(failed)?;
    if let Some((rows, columns)) = terminal_size().filter(|_| options.tty) {
        attachment.send(&Request::Size(rows, columns)).map_err(failed)?;
    }
    Ok(())
}

/// Serves until the program ends or the keys are typed. Signals were blocked before by
/// [`Options::block_signals`], where they are passed on.
///
/// # Errors
/// The monitor was killed.
pub(crate) fn serve(
    attachment: &Attachment,
    signals: Option<&OwnedFd>,
    options: &Options,
) -> Result<End> {
    let stdin = rustix::stdio::stdin();
    let _raw = match options.tty && options.stdin && std::io::stdin().is_terminal() {
        true => Some(Raw::set()?),
        false => None,
    };
    let sequence = if options.tty { options.detach_keys.clone() } else { Vec::new() };
    let mut input = Input {
        keys: Keys { sequence, matched: 0 },
        open: options.stdin,
        unsent: VecDeque::new(),
        detaches: false,
    };
    let mut interrupts = Interrupts { times: 0, last: None };
    loop {
        let mut interest = PollFlags::IN;
        if !input.unsent.is_empty() {
            interest |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(attachment.0.as_fd(), interest)];
        if input.wants_more() {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        if let Some(signals) = signals {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(file("poll", "the monitor's socket")(errno)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let Some(signals) = signals
            && pass_signals(attachment, signals, options.tty, &mut interrupts)
        {
            notice::notice(
                "got 3 SIGINT/SIGTERM signals, detached; the container is still running (use `husk stop`)",
            );
            return Ok(End::Exited(1));
        }
        if input.wants_more() && ready.get(1).is_some_and(|flags| !flags.is_empty()) {
            input.read();
        }
        input.send(attachment);
        if input.detaches && input.unsent.is_empty() {
            let _ = attachment.send(&Request::Detach);
            return Ok(End::Detached);
        }
        let arrived = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        if ready.first().is_some_and(|flags| flags.intersects(arrived)) {
            let event = attachment.receive().map_err(file("read from", "the monitor"))?;
            let Some(event) = event else {
                return Err(Error::other("the container's monitor is gone"));
            };
            if let Some(code) = show(event, options)? {
                return Ok(End::Exited(code));
            }
        }
    }
}

/// Our input on its way to the program.
struct Input {
    keys: Keys,
    open: bool,
    /// What the monitor has not taken yet: output is shown meanwhile, since the program may wait
    /// for that before it reads.
    unsent: VecDeque<Request>,
    detaches: bool,
}

impl Input {
    fn wants_more(&self) -> bool {
        self.open && self.unsent.is_empty()
    }

    fn read(&mut self) {
        let mut buffer = [0; MAX_DATA];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
            Ok(length @ 1..) => {
                let (passed, detaches) = self.keys.take(&buffer[..length]);
                if !passed.is_empty() {
                    self.unsent.push_back(Request::Input(passed));
                }
                self.detaches = detaches;
                self.open = !detaches;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => {
                self.open = false;
                self.unsent.push_back(Request::EndOfInput);
            }
        }
    }

    fn send(&mut self, attachment: &Attachment) {
        while let Some(request) = self.unsent.front() {
            match attachment.try_send(request) {
                Err(Errno::AGAIN) => return,
                Ok(()) => drop(self.unsent.pop_front()),
                // The program has ended; how is still to be read.
                Err(_) => {
                    self.open = false;
                    self.unsent.clear();
                }
            }
        }
    }
}

/// How often in a row the program was asked to end.
struct Interrupts {
    times: u32,
    last: Option<Instant>,
}

impl Interrupts {
    /// One that comes long after the other is no repetition: a shell takes any number.
    fn count(&mut self) {
        let now = Instant::now();
        let in_a_row = self.last.is_some_and(|last| now.duration_since(last) < ROW);
        self.times = if in_a_row { self.times + 1 } else { 1 };
        self.last = Some(now);
    }
}

/// Passes on the signals that came. Whether that makes [`MAX_INTERRUPTS`] of INT and TERM: the
/// program ignores them (as pid 1 it has no default action, `pid_namespaces(7)`), and the user
/// wants to leave.
fn pass_signals(
    attachment: &Attachment,
    signals: &OwnedFd,
    tty: bool,
    interrupts: &mut Interrupts,
) -> bool {
    for signal in husk_sys::signal::pending(signals.as_fd()) {
        match signal {
            SIGWINCH => {
                if let Some((rows, columns)) = terminal_size().filter(|_| tty) {
                    let _ = attachment.send(&Request::Size(rows, columns));
                }
            }
            own if NOT_PASSED_ON.contains(&own) => {}
            other => {
                if matches!(other, SIGINT | SIGTERM) {
                    interrupts.count();
                }
                let _ = attachment.send(&Request::Signal(other));
            }
        }
    }
    interrupts.times >= MAX_INTERRUPTS
}

/// Shows what an event has to show; gives the exit status where that has come.
fn show(event: Event, options: &Options) -> Result<Option<i32>> {
    match event {
        // Where it cannot be written we go, as Docker does; the program runs on.
        Event::Stdout(data) if options.stdout => output::write(&data)?,
        Event::Stderr(data) if options.stderr => notice::write(&data),
        Event::Notice(text) => notice::notice(text),
        Event::Failed(failure) => {
            notice::notice(Error::from(husk_engine::error::Error::from(failure)));
        }
        Event::Stdout(_) | Event::Stderr(_) | Event::Started => {}
        Event::Exited(code) => return Ok(Some(code)),
    }
    Ok(None)
}

/// Reads `--detach-keys`: `ctrl-a,b` as bytes.
///
/// # Errors
/// What is neither a character nor `ctrl-` and one of `a-z@[\]^_`.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>> {
    let bad =
        || Error::flag("--detach-keys", text, "must be characters or ctrl-X, joined by commas");
    let mut keys = Vec::new();
    for key in text.split(',').filter(|_| !text.is_empty()) {
        keys.push(match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (Some(letter), _) => match letter.as_bytes() {
                [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
                    letter.to_ascii_uppercase() & 0x1f
                }
                _ => return Err(bad()),
            },
            (None, [byte @ 0x20..=0x7e]) => *byte,
            _ => return Err(bad()),
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTRL_P_CTRL_Q: &[u8] = &[0x10, 0x11];

    #[test]
    fn keys() {
        assert_eq!(parse_keys("ctrl-p,ctrl-q").unwrap(), CTRL_P_CTRL_Q);
        assert_eq!(parse_keys("a,ctrl-[").unwrap(), [b'a', 0x1b]);
        assert!(parse_keys("").unwrap().is_empty());
        assert!(parse_keys("ctrl-").is_err());
        assert!(parse_keys("ab").is_err());
    }

    #[test]
    fn a_half_typed_sequence_is_the_programs() {
        let mut keys = Keys { sequence: CTRL_P_CTRL_Q.to_vec(), matched: 0 };
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
    }
}
