//! Standing at a container: its output comes here, our input and signals go to it.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Error, Result, file};
use crate::monitor::protocol::{Attachment, Event, MAX_DATA, Request};
use crate::notice;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;
/// Signals that are for this process as long as nobody asked otherwise (signal(7)): those
/// of job control.
const OWN: [i32; 4] = [SIGCHLD, SIGURG, 20, 21];

/// So many INTs and TERMs in vain let go of the container, as Docker's client does.
const ENOUGH: u32 = 3;
/// How long after one the next still counts as its repetition.
const ROW: Duration = Duration::from_secs(3);

/// ctrl-p ctrl-q.
pub const DEFAULT_DETACH_KEYS: &[u8] = &[0x10, 0x11];

/// How to attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our input is the program's.
    pub stdin: bool,
    /// Its standard output is shown.
    pub stdout: bool,
    /// Its standard error is.
    pub stderr: bool,
    /// The program has a terminal.
    pub tty: bool,
    /// What typed in order detaches; empty for nothing.
    pub detach_keys: Vec<u8>,
    /// Pass signals on.
    pub signals: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The program has ended.
    Exited(i32),
    /// We have left.
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

fn size() -> Option<Request> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(Request::Size(size.ws_row, size.ws_col))
}

/// What is sent before anything else.
///
/// # Errors
/// The monitor is gone.
pub fn begin(attachment: &Attachment, options: &Options) -> Result<()> {
    let failed = |errno: Errno| file("write to", "the monitor")(errno);
    attachment.send(&Request::Attach { stdin: options.stdin }).map_err(failed)?;
    if let Some(size) = size().filter(|_| options.tty) {
        attachment.send(&size).map_err(failed)?;
    }
    Ok(())
}

/// Serves until the program ends or the keys are typed. Signals were blocked before by
/// [`husk_sys::signal::block_all_into_fd`], where they are passed on.
///
/// # Errors
/// The monitor was killed.
pub fn attend(
    attachment: &Attachment,
    signals: Option<&std::os::fd::OwnedFd>,
    options: &Options,
) -> Result<End> {
    let stdin = rustix::stdio::stdin();
    let _raw = match options.tty && options.stdin && std::io::stdin().is_terminal() {
        true => Some(Raw::set()?),
        false => None,
    };
    let sequence = if options.tty { options.detach_keys.clone() } else { Vec::new() };
    let mut keys = Keys { sequence, matched: 0 };
    let mut input = options.stdin;
    let mut asked = Asked { times: 0, last: None };
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(attachment.0.as_fd(), PollFlags::IN)];
        if input {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        if let Some(signals) = signals {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(file("poll", "the monitor's socket")(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if let Some(signals) = signals
            && pass_signals(attachment, signals, options.tty, &mut asked)
        {
            notice::notice(
                "got 3 SIGINT/SIGTERM signals, detached; the container is still running (use `husk stop`)",
            );
            return Ok(End::Exited(1));
        }
        if input && ready.get(1) == Some(&true) {
            match read_input(attachment, &mut keys) {
                Input::More => {}
                Input::Ended => input = false,
                Input::Detach => {
                    let _ = attachment.send(&Request::Detach);
                    return Ok(End::Detached);
                }
            }
        }
        if ready.first() == Some(&true) {
            let event = attachment.receive().map_err(file("read from", "the monitor"))?;
            let Some(event) = event else {
                return Err(Error::other("the container's monitor is gone"));
            };
            if let Some(code) = take(event, options)? {
                return Ok(End::Exited(code));
            }
        }
    }
}

enum Input {
    More,
    Ended,
    Detach,
}

fn read_input(attachment: &Attachment, keys: &mut Keys) -> Input {
    let mut buffer = [0; MAX_DATA];
    match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
        Ok(0) => {
            let _ = attachment.send(&Request::EndOfInput);
            Input::Ended
        }
        Ok(length) => {
            let (passed, detach) = keys.take(&buffer[..length]);
            if !passed.is_empty() {
                let _ = attachment.send(&Request::Input(passed));
            }
            if detach { Input::Detach } else { Input::More }
        }
        Err(Errno::AGAIN | Errno::INTR) => Input::More,
        Err(_) => Input::Ended,
    }
}

/// How often in a row the program was asked to end.
struct Asked {
    times: u32,
    last: Option<Instant>,
}

impl Asked {
    /// One that comes long after the other is no repetition: a shell takes any number.
    fn again(&mut self) {
        let now = Instant::now();
        let in_a_row = self.last.is_some_and(|last| now.duration_since(last) < ROW);
        self.times = if in_a_row { self.times + 1 } else { 1 };
        self.last = Some(now);
    }
}

/// Passes on what came. Whether that makes [`ENOUGH`] of INT and TERM: the program takes no
/// notice of them (as pid 1 it has no default action, `pid_namespaces(7)`), and whoever stands
/// here wants to go.
fn pass_signals(
    attachment: &Attachment,
    signals: &std::os::fd::OwnedFd,
    tty: bool,
    asked: &mut Asked,
) -> bool {
    for signal in husk_sys::signal::pending(signals.as_fd()) {
        match signal {
            SIGWINCH => {
                if let Some(size) = size().filter(|_| tty) {
                    let _ = attachment.send(&size);
                }
            }
            own if OWN.contains(&own) => {}
            other => {
                if matches!(other, SIGINT | SIGTERM) {
                    asked.again();
                }
                let _ = attachment.send(&Request::Signal(other));
            }
        }
    }
    asked.times >= ENOUGH
}

/// Writes output; the exit status where that came.
fn take(event: Event, options: &Options) -> Result<Option<i32>> {
    match event {
        // Where it cannot be written we go, as Docker does; the program runs on.
        Event::Stdout(data) if options.stdout => write_output(&data)?,
        Event::Stderr(data) if options.stderr => notice::write(&data),
        Event::Notice(text) | Event::Failed(_, text) => notice::notice(text),
        Event::Stdout(_) | Event::Stderr(_) | Event::Started => {}
        Event::Exited(code) => return Ok(Some(code)),
    }
    Ok(None)
}

/// Writes to standard output at once.
///
/// # Errors
/// [`Error::ReaderGone`] where that is a pipe that nobody reads, else the errno of write(2).
pub fn write_output(data: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::ReaderGone),
        Err(error) => Err(file("write to", "standard output")(error)),
        Ok(()) => Ok(()),
    }
}

/// Reads `--detach-keys`: `ctrl-a,b` as bytes.
///
/// # Errors
/// What is neither a character nor `ctrl-` and one of `a-z@[\]^_`.
pub fn parse_keys(text: &str) -> Result<Vec<u8>> {
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

    #[test]
    fn keys() {
        assert_eq!(parse_keys("ctrl-p,ctrl-q").unwrap(), DEFAULT_DETACH_KEYS);
        assert_eq!(parse_keys("a,ctrl-[").unwrap(), [b'a', 0x1b]);
        assert!(parse_keys("").unwrap().is_empty());
        assert!(parse_keys("ctrl-").is_err());
        assert!(parse_keys("ab").is_err());
    }

    #[test]
    fn a_half_typed_sequence_is_the_programs() {
        let mut keys = Keys { sequence: DEFAULT_DETACH_KEYS.to_vec(), matched: 0 };
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
    }
}
