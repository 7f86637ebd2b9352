//! The first process of a container, for a program that is not made to be one.
//!
//! The kernel gives pid 1 two peculiarities (pid_namespaces(7)): a signal without a handler
//! does nothing to it, and every process without a parent becomes its child. Most programs
//! expect neither: they cannot be stopped, and zombies pile up. This process takes both upon
//! itself and has the program as its child.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;

use husk_sys::clone::fork;
use husk_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open};

use crate::report::{self, Code, Error, Result};

const SIGCHLD: i32 = 17;

/// Runs the program and returns its exit status, 128+N where a signal ended it. What it
/// leaves running ends with the caller, which is pid 1.
pub fn run(words: &[String]) -> Result<i32> {
    let failed = |operation| move |errno: Errno| Error::kernel("init", operation, errno);
    let signals = signal::block_all_into_fd().map_err(failed("signalfd"))?;
    let Some(child) = fork().map_err(failed("clone"))? else {
        husk_sys::exec::exit_now(become_program(words))
    };
    let pidfd = pidfd_open(child, PidfdFlags::empty()).map_err(failed("pidfd_open"))?;
    loop {
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        for number in signal::pending(signals.as_fd()) {
            match number {
                SIGCHLD => {
                    if let Some(status) = reap(child)? {
                        return Ok(status);
                    }
                }
                number => pass_on(pidfd.as_fd(), number),
            }
        }
    }
}

/// It may have ended in this moment.
fn pass_on(child: BorrowedFd<'_>, number: i32) {
    let _ = signal::send(child, number);
}

/// Everything that has ended; the program's exit status, if it is among that.
fn reap(child: Pid) -> Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Ok(Some(exit_status(status))),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(Error::kernel("init", "wait4", errno)),
        }
    }
}

fn exit_status(status: WaitStatus) -> i32 {
    let signalled = status.terminating_signal().map(|number| 128 + number);
    status.exit_status().or(signalled).unwrap_or(255)
}

/// Returns only where the program cannot be executed, with the status that says so.
fn become_program(words: &[String]) -> i32 {
    // A group of its own, in the foreground of a terminal: what is typed there reaches it
    // once, and not a second time from here. SIGTTOU is blocked. Without a terminal
    // there is nothing to take over.
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
    if let Err(errno) = signal::restore_defaults() {
        report::error(&Error::kernel("init", "sigprocmask", errno));
        return 255;
    }
    let [program, arguments @ ..] = words else { return 255 };
    let error = std::process::Command::new(program).args(arguments).exec();
    report::error(&Error::io(Code::Exec, format_args!("process.args[0] ({program})"), &error));
    if error.kind() == ErrorKind::NotFound { 127 } else { 126 }
}
