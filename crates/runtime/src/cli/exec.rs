//! `exec`.

use std::os::fd::AsFd;

use rustix::process::WaitOptions;

use super::arguments::{Argument, Arguments, missing_id};
use super::create::check_preserved;
use super::run::{check_explain, console_pair, receive_master};
use super::{Command, Exit, Global};
use crate::cli::foreground::{self, Signals};
use crate::create::announce::connect;
use crate::exec::{self, Options, Target};
use crate::plan::capability_bit;
use crate::process::passwd;
use crate::report::{self, Code, Error, Result};
use crate::timing::{self, Phase};

pub(super) const COMMAND: Command = Command {
    name: "exec",
    usage: "exec [FLAGS] CONTAINER COMMAND [ARGUMENTS] | exec [FLAGS] --process FILE CONTAINER",
    about: "Run one more process in a container",
    flags: &[
        ("-p, --process FILE", "the process as a JSON document; other flags then add to it"),
        ("-t, --tty", "with a terminal"),
        ("-d, --detach", "return when it runs"),
        ("-u, --user USER[:GROUP]", "ids or names of the container's passwd and group files"),
        ("-g, --additional-gids GID", "one more group (repeatable)"),
        ("-e, --env NAME=VALUE", "one more variable (repeatable)"),
        ("--cwd DIR", "working directory"),
        ("-c, --cap CAPABILITY", "one more capability (repeatable)"),
        ("--no-new-privs", "set no_new_privs"),
        ("--process-label LABEL", "SELinux label"),
        ("--apparmor PROFILE", "AppArmor profile"),
        ("--console-socket PATH", "socket that receives the terminal's other end"),
        ("--pidfd-socket PATH", "socket that receives a pidfd of the process"),
        ("--pid-file FILE", "write the process id to a file"),
        ("--preserve-fds N", "pass N descriptors from 3 on to the process"),
        ("--ignore-paused", "also in a paused container"),
        ("--cgroup [CONTROLLER:]PATH", "cgroup below the container's (repeatable)"),
        ("--seccomp-explain", "tell at the end which system calls the filter has refused, and why"),
        ("--no-subreaper", "accepted for old callers; exec reaps its own process only"),
    ],
    run,
    enters: true,
};

/// The flags' values.
#[derive(Default)]
struct Flags {
    process: Option<String>,
    tty: Option<bool>,
    detach: bool,
    user: Option<String>,
    additional_gids: Vec<u32>,
    env: Vec<String>,
    cwd: Option<String>,
    capabilities: Vec<String>,
    no_new_privs: Option<bool>,
    process_label: Option<String>,
    apparmor: Option<String>,
    console_socket: Option<String>,
    options: Options,
    id: Option<String>,
    command: Vec<String>,
}

impl Flags {
    fn parse(mut arguments: Arguments) -> Result<Self> {
        let mut flags = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Argument::Value(id) => {
                    flags.id = Some(id);
                    // What follows is the program's, flags too.
                    flags.command = arguments.rest()?;
                    if flags.command.first().is_some_and(|first| first == "--") {
                        flags.command.remove(0);
                    }
                }
                Argument::Flag(flag) => flags.take(&flag, &mut arguments)?,
            }
        }
        Ok(flags)
    }

    fn take(&mut self, flag: &str, arguments: &mut Arguments) -> Result<()> {
        match flag {
            "p" | "process" => self.process = Some(arguments.value()?),
            "t" | "tty" => self.tty = Some(arguments.switch(flag)?),
            "d" | "detach" => self.detach = arguments.switch(flag)?,
            "u" | "user" => self.user = Some(arguments.value()?),
            "g" | "additional-gids" => self.additional_gids.push(arguments.number(flag)?),
            "e" | "env" => self.env.push(arguments.value()?),
            "cwd" => self.cwd = Some(arguments.value()?),
            "c" | "cap" => self.capabilities.push(arguments.value()?),
            "no-new-privs" => self.no_new_privs = Some(arguments.switch(flag)?),
            "process-label" => self.process_label = Some(arguments.value()?),
            "apparmor" => self.apparmor = Some(arguments.value()?),
            "console-socket" => {
                self.console_socket = Some(arguments.value()?).filter(|path| !path.is_empty());
            }
            "pidfd-socket" => self.options.pidfd_socket = Some(arguments.value()?),
            "pid-file" => self.options.pid_file = Some(arguments.value()?),
            "preserve-fds" => self.options.preserve_fds = arguments.number(flag)?,
            "ignore-paused" => self.options.ignore_paused = arguments.switch(flag)?,
            "cgroup" => self.options.cgroup.push(arguments.value()?),
            "seccomp-explain" => self.options.explains_seccomp = arguments.switch(flag)?,
            "no-subreaper" => drop(arguments.switch(flag)?),
            _ => return Err(Argument::Flag(flag.to_owned()).unexpected()),
        }
        Ok(())
    }

    /// The process that the flags and the container's own configuration describe.
    fn describe(&self, target: &Target) -> Result<husk_spec::Process> {
        let mut process = match &self.process {
            Some(path) => read_process(path)?,
            None => {
                let mut process = target.config.process.clone().unwrap_or_default();
                process.args.clone_from(&self.command);
                process.terminal = false;
                process
            }
        };
        if self.process.is_none() && self.command.is_empty() {
            return Err(Error::new(Code::Usage, "command", "missing: nothing to run"));
        }
        if let Some(tty) = self.tty {
            process.terminal = tty;
        }
        if let Some(cwd) = &self.cwd {
            process.cwd.clone_from(cwd);
        }
        if let Some(label) = &self.process_label {
            process.selinux_label = Some(label.clone());
        }
        if let Some(profile) = &self.apparmor {
            process.apparmor_profile = Some(profile.clone());
        }
        if let Some(no_new_privileges) = self.no_new_privs {
            process.no_new_privileges = no_new_privileges;
        }
        process.env.extend(self.env.iter().cloned());
        if let Some(user) = &self.user {
            self.set_user(user, target, &mut process)?;
        }
        process.user.additional_gids.extend(&self.additional_gids);
        Ok(process)
    }

    fn set_user(
        &self,
        user: &str,
        target: &Target,
        process: &mut husk_spec::Process,
    ) -> Result<()> {
        use std::os::fd::AsFd;
        let root = target.root().ok();
        let ids = passwd::look_up(user, root.as_ref().map(AsFd::as_fd))
            .map_err(|why| Error::new(Code::Usage, format_args!("--user ({user})"), why))?;
        process.user.uid = ids.uid;
        if let Some(gid) = ids.gid {
            process.user.gid = gid;
        }
        // The container's own user's groups are no other's.
        process.user.additional_gids = ids.groups;
        // HOME belongs to a user: another user's is not passed on.
        if !self.env.iter().any(|entry| entry.starts_with("HOME=")) {
            process.env.retain(|entry| !entry.starts_with("HOME="));
        }
        Ok(())
    }
}

fn read_process(path: &str) -> Result<husk_spec::Process> {
    let failed =
        |error: husk_spec::LoadError| Error::document(format_args!("--process ({path})"), error);
    let file = std::fs::File::open(path).map_err(|error| failed(error.into()))?;
    let bytes = husk_spec::read_bounded(file).map_err(failed)?;
    husk_spec::parse(&bytes).map_err(failed)
}

/// The capabilities that are known; another one is a warning, as in a document.
fn capabilities(names: &[String]) -> u64 {
    names.iter().fold(0, |bits, name| match capability_bit(name) {
        Some(bit) => bits | bit,
        None => {
            report::warning(format_args!("--cap ({name}): unknown capability, not granted"));
            bits
        }
    })
}

fn run(global: &Global, arguments: Arguments) -> Exit {
    let mut flags = Flags::parse(arguments)?;
    let id = flags.id.take().ok_or_else(missing_id)?;
    check_explain(flags.options.explains_seccomp, flags.detach)?;
    check_preserved(flags.options.preserve_fds, 0)?;
    let signals = match flags.detach {
        true => None,
        false => Some(Signals::take()?),
    };
    let target = exec::target(&global.store()?, &id, flags.options.ignore_paused)?;
    let mut process = flags.describe(&target)?;
    let capabilities = capabilities(&flags.capabilities);
    let mut ours = None;
    flags.options.console = match &flags.console_socket {
        Some(path) => Some(connect(path).map_err(|errno| {
            Error::kernel(format_args!("--console-socket ({path})"), "connect", errno)
        })?),
        None if process.terminal && !flags.detach => {
            let (here, there) = console_pair()?;
            process.console_size = foreground::terminal_size().or(process.console_size.take());
            ours = Some(here);
            flags.options.foreground = true;
            Some(there)
        }
        None => None,
    };
    let added = exec::add_process(&target, &process, capabilities, &flags.options)?;
    let Some(signals) = signals else {
        return Ok(0);
    };
    let (pid, pidfd) = (added.pid, &added.pidfd);
    let terminal = ours.map(receive_master).transpose();
    terminal
        .and_then(|terminal| {
            foreground::attend(pid, pidfd, &signals, terminal, None, added.explainer, None)
        })
        .inspect_err(|_| {
            // A process of which the caller hears no more is not to stay.
            let _ = husk_sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        })
        .inspect(|_| timing::done(Phase::Program))
}
