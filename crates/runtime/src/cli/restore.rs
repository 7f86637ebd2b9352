//! `restore`.

use super::arguments::{Argument, Arguments};
use super::checkpoint::{complete_shared, take_shared};
use super::create::Flags;
use super::run::{attend, console_pair, destroy};
use super::{Command, Exit, Global};
use crate::checkpoint::restore::{self, Options};
use crate::cli::foreground::Signals;
use crate::create::announce::renounce;
use crate::report::Error;

pub(super) const COMMAND: Command = Command {
    name: "restore",
    usage: "restore [FLAGS] CONTAINER",
    about: "Make a container of the files that checkpoint has written",
    flags: &[
        ("-b, --bundle DIR", "the bundle's directory (the current one)"),
        ("-f, --config FILE", "the configuration, if it is not the bundle's config.json"),
        ("--image-path DIR", "directory of the files (./checkpoint)"),
        ("--work-path DIR", "directory for CRIU's log, which is otherwise not kept"),
        ("-d, --detach", "return when the processes run"),
        ("--keep", "keep the stopped container"),
        ("--no-subreaper", "do not reap what the program leaves behind"),
        ("--console-socket PATH", "socket that receives the terminal's other end"),
        ("--pidfd-socket PATH", "socket that receives a pidfd of the container's process"),
        ("--pid-file FILE", "write the process id to a file"),
        ("--no-pivot", "accepted: CRIU makes the mounts, and needs no pivot_root"),
        ("--tcp-established", "take up TCP connections"),
        ("--tcp-close", "have TCP connections closed"),
        ("--link-remap", "link files that were removed while they are open"),
        ("--ext-unix-sk", "leave out unix sockets that lead outside of the container"),
        ("--shell-job", "allow a terminal that is not the container's own"),
        ("--file-locks", "take file locks"),
        ("--lazy-pages", "fetch memory when it is used (userfaultfd; criu lazy-pages serves it)"),
        ("--manage-cgroups-mode MODE", "soft, full, strict or ignore (soft)"),
        ("--empty-ns network", "leave out what is in a namespace"),
        ("--auto-dedup", "free what has been read"),
        ("--lsm-profile TYPE:NAME", "another LSM profile than the one in the files"),
        ("--lsm-mount-context CONTEXT", "another context of mounts than the one in the files"),
    ],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let mut flags = Flags::default();
    let mut options = Options::default();
    let (mut detach, mut keep, mut subreaper) = (false, false, true);
    while let Some(argument) = arguments.next()? {
        let taken = match &argument {
            Argument::Flag(flag) => match flag.as_str() {
                "d" | "detach" => {
                    detach = arguments.switch(flag)?;
                    true
                }
                "keep" => {
                    keep = arguments.switch(flag)?;
                    true
                }
                "no-subreaper" => {
                    subreaper = !arguments.switch(flag)?;
                    true
                }
                "tcp-close" => {
                    options.tcp_close = arguments.switch(flag)?;
                    true
                }
                "lsm-profile" => {
                    options.lsm_profile = non_empty(arguments.value()?);
                    true
                }
                "lsm-mount-context" => {
                    options.lsm_mount_context = non_empty(arguments.value()?);
                    true
                }
                // What these say is in the files.
                "preserve-fds" | "no-new-keyring" => false,
                flag => take_shared(&mut options.shared, flag, &mut arguments)?,
            },
            Argument::Value(_) => false,
        };
        let excluded = matches!(&argument, Argument::Flag(flag)
            if matches!(flag.as_str(), "preserve-fds" | "no-new-keyring"));
        if !taken && (excluded || !flags.take(&argument, &mut arguments)?) {
            return Err(argument.unexpected());
        }
    }
    complete_shared(&mut options.shared, global);
    restore_and_attend(global, flags, &options, Attendance { detach, keep, subreaper })
}

struct Attendance {
    detach: bool,
    keep: bool,
    subreaper: bool,
}

fn restore_and_attend(
    global: &Global,
    flags: Flags,
    options: &Options,
    attendance: Attendance,
) -> Exit {
    let Attendance { detach, keep, subreaper } = attendance;
    let signals = if detach { None } else { Some(Signals::take()?) };
    let attended = !detach && flags.console_socket.is_none();
    let (spec, bytes, mut made) = flags.resolve(global, false)?;
    let mut ours = None;
    if attended && spec.process.as_ref().is_some_and(|process| process.terminal) {
        let (here, there) = console_pair()?;
        (ours, made.console) = (Some(here), Some(there));
        made.request.foreground = true;
    }
    if subreaper && !detach {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|errno| Error::kernel("husk-oci", "prctl PR_SET_CHILD_SUBREAPER", errno))?;
    }
    let mut launched = restore::restore(&global.store()?, &spec, &bytes, &made, options)?;
    let status = match attend(&mut launched, signals, ours) {
        Ok(Some(status)) => status,
        Ok(None) => return Ok(0),
        Err(error) => {
            destroy(&launched);
            renounce(made.pid_file.as_deref());
            return Err(error);
        }
    };
    if !keep {
        destroy(&launched);
    }
    Ok(status)
}

fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}
