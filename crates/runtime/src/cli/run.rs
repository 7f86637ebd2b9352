//! `run`: create and start in one, in the foreground unless detached.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::arguments::{Argument, Arguments};
use super::create::Flags;
use super::{Command, Exit, Global};
use crate::cli::foreground::{self, Signals};
use crate::create::announce::renounce;
use crate::create::block::Block;
use crate::create::launch::{self, Launched};
use crate::report::{self, Code, Error, Result};
use crate::state::lifecycle;
use crate::state::oom::{OomWitness, oom_killed};
use crate::sync::wire;
use crate::timing::{self, Phase};

pub(super) const COMMAND: Command = Command {
    name: "run",
    usage: "run [FLAGS] CONTAINER",
    about: "Make a container and run its program; exit with its status",
    flags: &[
        ("-b, --bundle DIR", "the bundle's directory (the current one)"),
        ("-f, --config FILE", "the configuration, if it is not the bundle's config.json"),
        ("-d, --detach", "return when the program runs"),
        ("--keep", "keep the stopped container"),
        ("--no-subreaper", "do not reap what the program leaves behind"),
        ("--console-socket PATH", "socket that receives the terminal's other end"),
        ("--pidfd-socket PATH", "socket that receives a pidfd of the container's process"),
        ("--pid-file FILE", "write the process id to a file"),
        ("--no-pivot", "move the root over / instead of pivot_root (for a host on a ramdisk)"),
        ("--no-new-keyring", "stay in the caller's session keyring"),
        ("--preserve-fds N", "pass N descriptors from 3 on to the container"),
        ("--block-fd N", "run the program once there is a byte to read from descriptor N"),
        ("--seccomp-explain", "tell at the end which system calls the filter has refused, and why"),
    ],
    run,
    enters: true,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let mut flags = Flags::default();
    let (mut detach, mut keep, mut subreaper, mut explain) = (false, false, true, false);
    let mut block = None;
    while let Some(argument) = arguments.next()? {
        match &argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "d" | "detach") => {
                detach = arguments.switch(flag)?;
            }
            Argument::Flag(flag) if flag == "keep" => keep = arguments.switch(flag)?,
            Argument::Flag(flag) if flag == "no-subreaper" => {
                subreaper = !arguments.switch(flag)?;
            }
            Argument::Flag(flag) if flag == "seccomp-explain" => {
                explain = arguments.switch(flag)?;
            }
            Argument::Flag(flag) if flag == "block-fd" => {
                block = Some(Block::open(arguments.number(flag)?)?);
            }
            _ if flags.take(&argument, &mut arguments)? => {}
            _ => return Err(argument.unexpected()),
        }
    }
    check_explain(explain, detach)?;
    let signals = match detach {
        true => None,
        false => Some(Signals::take()?),
    };
    let attended = !detach && flags.console_socket.is_none();
    let (mut spec, bytes, mut options) = flags.resolve(global, false)?;
    let mut ours = None;
    if attended
        && let Some(process) = &mut spec.process
        && process.terminal
    {
        let (here, there) = console_pair()?;
        (ours, options.console) = (Some(here), Some(there));
        options.request.foreground = true;
        // Of the caller's size before the program can ask.
        process.console_size = foreground::terminal_size().or(process.console_size.take());
    }
    if subreaper && !detach {
        // Processes that the program leaves behind come to us instead of to init.
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|errno| Error::kernel("husk-oci", "prctl PR_SET_CHILD_SUBREAPER", errno))?;
    }
    options.explains_seccomp = explain;
    options.block = block;
    let mut launched = launch::launch(&global.store()?, &spec, &bytes, &options)?;
    let status = match attend(&mut launched, signals, ours) {
        Ok(Some(status)) => status,
        Ok(None) => return Ok(0),
        Err(error) => {
            // A container of which the caller hears no more is not to stay, nor its number.
            destroy(&launched);
            renounce(options.pid_file.as_deref());
            return Err(error);
        }
    };
    if !keep {
        destroy(&launched);
    }
    Ok(status)
}

/// From the program's start to its end; None where nobody waits for that.
pub(super) fn attend(
    launched: &mut Launched,
    signals: Option<Signals>,
    ours: Option<OwnedFd>,
) -> Result<Option<i32>> {
    lifecycle::poststart(&launched.record)?;
    let Some(signals) = signals else {
        if let Some(notify) = &launched.notify {
            launched.directory.unlock()?;
            notify.wait(launched.pidfd.as_fd(), launched.record.pid)?;
        }
        return Ok(None);
    };
    let terminal = ours.map(receive_master).transpose()?;
    // Others may work on the container while its program runs.
    launched.directory.unlock()?;
    let mut witness = OomWitness::of(&launched.record);
    let status = foreground::attend(
        launched.pid,
        &launched.pidfd,
        &signals,
        terminal,
        launched.notify.take(),
        launched.explainer.take(),
        witness.as_mut(),
    )?;
    timing::done(Phase::Program);
    if status == 128 + libc::SIGKILL
        && let Some(why) =
            witness.and_then(|witness| witness.words()).or_else(|| oom_killed(&launched.record))
    {
        let container = format!("container {}", launched.record.id);
        report::error(&Error::new(Code::Kernel, container, why));
    }
    Ok(Some(status))
}

/// What it cannot remove it tells of.
pub(super) fn destroy(launched: &Launched) {
    let locked = launched.directory.lock();
    let done = locked.and_then(|()| lifecycle::destroy(&launched.directory, &launched.record));
    if let Err(error) = done {
        report::warning(error);
    }
    timing::done(Phase::Remove);
}

/// `--seccomp-explain` has the refused calls wait for this process.
pub(super) fn check_explain(explain: bool, detach: bool) -> Result<()> {
    match explain && detach {
        true => Err(Error::new(
            Code::Usage,
            "--seccomp-explain",
            "does not go with --detach: this process answers the calls",
        )),
        false => Ok(()),
    }
}

/// Both ends of the way on which the terminal comes to us.
pub(super) fn console_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::kernel("terminal", "socketpair", errno))
}

/// The terminal's other end, which the container's process has sent before it ran.
pub(super) fn receive_master(ours: OwnedFd) -> Result<OwnedFd> {
    let mut name = [0; 64];
    let (_, master) = wire::receive_fd(ours.as_fd(), &mut name)
        .map_err(|errno| Error::kernel("terminal", "recvmsg", errno))?;
    master.ok_or_else(|| Error::new(Code::Kernel, "terminal", "did not arrive"))
}
