//! Commands that change containers.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::attach::{self, End, Options};
use super::{flags, for_each, output};
use crate::error::{EngineError, Error, Result};
use husk_engine::checkpoint::{self, Place, RestoreRequest};
use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::container::sweep;
use husk_engine::exec::{self, ExecRequest, ExecStart};
use husk_engine::home::Home;
use husk_engine::launch::{self, StartRequest};
use husk_engine::monitor::protocol::Attachment;
use husk_engine::notice::notice;
use husk_engine::remove::{self, RemoveRequest};
use husk_engine::stop::{self, StopRequest};
use husk_engine::wait::{WaitCondition, Waiting};
use husk_engine::{pause, top};

/// Containers.
#[derive(Debug, Args)]
pub(super) struct Several {
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `start`.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Attach to the container
    #[arg(short, long)]
    attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    interactive: bool,
    /// Key sequence for detaching from the container
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Go on from this checkpoint
    #[arg(long, value_name = "NAME")]
    checkpoint: Option<String>,
    /// Directory of the checkpoint, if it is not the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Start {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let checkpoint = self.checkpoint.as_ref().filter(|name| !name.is_empty());
        if let Some(name) = checkpoint {
            let directory = self.checkpoint_dir.clone();
            let place = Place { directory, name: name.clone() };
            return self.start_from(home, &place);
        }
        if self.checkpoint_dir.is_some() {
            return Err(Error::other("--checkpoint-dir goes with --checkpoint"));
        }
        if !self.attach && !self.interactive {
            return for_each(&self.containers, |name| {
                let container = Container::find(home, name)?;
                let request = StartRequest::default();
                match launch::start(home, &container, &request, &mut |text| notice(text)) {
                    // Docker's: one that runs is left running.
                    Ok(_) | Err(EngineError::Running(_)) => output::line(name),
                    Err(error) => Err(error.into()),
                }
            });
        }
        let [name] = self.containers.as_slice() else {
            return Err(Error::other("only one container can be attached to at a time"));
        };
        let container = Container::find(home, name)?;
        let config = &container.record.config;
        let options = Options {
            stdin: self.interactive && config.interactive,
            stdout: true,
            stderr: true,
            tty: config.tty,
            detach_keys: attach::parse_keys(&self.detach_keys)?,
            signals: true,
        };
        let request = options.start_request();
        match launch::start(home, &container, &request, &mut |text| notice(text)) {
            Ok(attachment) => {
                let signals = options.block_signals()?;
                attach::serve(&attachment, signals.as_ref(), &options).map(code)
            }
            Err(EngineError::Running(_)) => attach_running(&container, &options),
            Err(error) => Err(error.into()),
        }
    }
}

impl Start {
    fn start_from(&self, home: &Home, place: &Place) -> Result<u8> {
        let [name] = self.containers.as_slice() else {
            return Err(Error::other("only one container can be started from a checkpoint"));
        };
        if self.attach || self.interactive {
            return Err(Error::other(
                "--checkpoint does not go with --attach: attach to the container when it runs",
            ));
        }
        let container = Container::find(home, name)?;
        let (request, start) = (RestoreRequest::default(), StartRequest::default());
        checkpoint::restore(home, &container, place, &request, &start, &mut |text| notice(text))?;
        output::line(name)?;
        Ok(0)
    }
}

/// Attaches to a container that runs.
fn attach_running(container: &Container, options: &Options) -> Result<u8> {
    let name = || container.record.name.clone();
    let attachment =
        Attachment::connect(&container.run)?.ok_or_else(|| EngineError::NoMonitor(name()))?;
    let signals = options.block_signals()?;
    attach::begin(&attachment, options)?;
    attach::serve(&attachment, signals.as_ref(), options).map(code)
}

fn code(end: End) -> u8 {
    match end {
        End::Exited(code) => u8::try_from(code & 0xff).unwrap_or(255),
        End::Detached => 0,
    }
}

/// `stop` and `restart`.
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
    /// Signal to send, by name or number
    #[arg(short, long)]
    signal: Option<String>,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Stop {
    pub(super) fn run(&self, home: &Home, again: bool) -> Result<u8> {
        if let Some(signal) = &self.signal
            && husk_sys::signal_name::number(signal).is_none()
        {
            return Err(Error::flag("--signal", signal, "is not a signal name or number"));
        }
        let request = StopRequest {
            signal: self.signal.clone(),
            timeout: self.time.map(Duration::from_secs),
        };
        if again {
            return for_each(&self.containers, |name| {
                let container = Container::find(home, name)?;
                stop::restart(home, &container, &request, &mut |text| notice(text))?;
                output::line(name)
            });
        }
        let stop_one = |name: &str| Ok(stop::stop(home, &Container::find(home, name)?, &request)?);
        // All at once, as Docker: a patient one does not keep the others waiting.
        let stopped: Vec<Result<()>> = std::thread::scope(|scope| {
            let stop_one = &stop_one;
            let mut threads = Vec::new();
            for name in &self.containers {
                let thread = std::thread::Builder::new().name("stop".to_owned());
                threads.push(thread.spawn_scoped(scope, move || stop_one(name)));
            }
            let panicked = |_| Err(Error::other("a thread has panicked"));
            let named = threads.into_iter().zip(&self.containers);
            // Where there is no room for another thread, one after the other.
            named
                .map(|(thread, name)| match thread {
                    Ok(thread) => thread.join().unwrap_or_else(panicked),
                    Err(_) => stop_one(name),
                })
                .collect()
        });
        let mut stopped = stopped.into_iter();
        for_each(&self.containers, |name| {
            stopped.next().unwrap_or(Ok(()))?;
            output::line(name)
        })
    }
}

/// `kill`.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Signal to send, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Kill {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            let container = Container::find(home, name)?;
            stop::kill(home, &container, &self.signal)?;
            output::line(name)
        })
    }
}

/// `rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Remove running containers, too; do not fail if one does not exist
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes of the container, too
    #[arg(short, long)]
    volumes: bool,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            match self.remove(home, name) {
                // As Docker: said, and no failure.
                Err(error @ Error::Engine(EngineError::NoContainer(_))) if self.force => {
                    output::error(&error);
                    return Ok(());
                }
                other => other?,
            }
            output::line(name)
        })
    }

    fn remove(&self, home: &Home, name: &str) -> Result<()> {
        let container = match Container::find(home, name) {
            Err(EngineError::Record { .. }) if self.force => {
                let id = Container::find_damaged(home, name)?;
                sweep::remove_damaged(home, &id)?;
                return Ok(());
            }
            Err(error @ EngineError::Record { .. }) => {
                return Err(Error::other(format_args!(
                    "{error}; \"husk rm -f {name}\" removes it"
                )));
            }
            found => found?,
        };
        let request = RemoveRequest { force: self.force, volumes: self.volumes };
        match remove::remove_container(home, &container, &request) {
            Err(EngineError::Running(_)) => {
                let restarts = container.state()?.status == Status::Restarting;
                let what = if restarts { "restarting" } else { "running" };
                Err(Error::other(format_args!(
                    "container {name} is {what}: stop it first, or use -f"
                )))
            }
            other => Ok(other?),
        }
    }
}

impl Several {
    pub(super) fn pause(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            pause::pause(home, &Container::find(home, name)?)?;
            output::line(name)
        })
    }

    pub(super) fn unpause(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            pause::unpause(home, &Container::find(home, name)?)?;
            output::line(name)
        })
    }
}

/// `wait`.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// What is waited for: not-running, next-exit or removed
    #[arg(long, value_name = "CONDITION", default_value = "not-running")]
    condition: String,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Wait {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let condition = WaitCondition::from_name(&self.condition).ok_or_else(|| {
            let problem = "must be not-running, next-exit or removed";
            Error::flag("--condition", &self.condition, problem)
        })?;
        for_each(&self.containers, |name| {
            let mut waiting = Waiting::begin(&Container::find(home, name)?, condition)?;
            let code = waiting.wait(None)?;
            output::line(code.unwrap_or_default())
        })
    }
}

/// `attach`.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Proxy received signals to the process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Key sequence for detaching from the container
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Name or ID
    container: String,
}

impl Attach {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        container.running()?;
        let config = &container.record.config;
        let options = Options {
            stdin: !self.no_stdin && config.interactive,
            stdout: true,
            stderr: true,
            tty: config.tty,
            detach_keys: attach::parse_keys(&self.detach_keys)?,
            signals: self.sig_proxy,
        };
        attach_running(&container, &options)
    }
}

/// `exec`.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Key sequence for detaching from the command
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Set an environment variable: NAME[=VALUE]
    #[arg(short, long)]
    env: Vec<String>,
    /// Read NAME[=VALUE] lines from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Working directory
    #[arg(short, long)]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long)]
    user: Option<String>,
    /// Give the command extended privileges
    #[arg(long)]
    privileged: bool,
    /// Name or ID
    container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// The files' entries, then the flags'; a name alone is with our own value, and without
    /// one it is not there.
    fn environment(&self) -> Result<Vec<String>> {
        let mut entries = Vec::new();
        for path in &self.env_file {
            entries.extend(flags::lines("read --env-file", path)?);
        }
        entries.extend(self.env.iter().cloned());
        let whole = |entry: String| match entry.contains('=') {
            true => Some(entry),
            false => std::env::var(&entry).ok().map(|value| format!("{entry}={value}")),
        };
        Ok(entries.into_iter().filter_map(whole).collect())
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let options = Options {
            stdin: self.interactive,
            stdout: true,
            stderr: true,
            tty: self.tty,
            detach_keys: attach::parse_keys(&self.detach_keys)?,
            signals: true,
        };
        if self.tty && !self.detach && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            return Err(Error::NotTerminal);
        }
        let container = Container::find(home, &self.container)?;
        let request = ExecRequest {
            args: self.command.clone(),
            env: self.environment()?,
            working_dir: self.workdir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            stdin: self.interactive && !self.detach,
            privileged: self.privileged,
            ..ExecRequest::default()
        };
        let id = exec::create(&container, &request)?;
        let start = ExecStart {
            attach: !self.detach,
            stdin: self.interactive,
            size: attach::terminal_size().filter(|_| self.tty),
        };
        let attachment = exec::start(&container, &id, &start, &mut |text| notice(text))?;
        if self.detach {
            return Ok(0);
        }
        let signals = options.block_signals()?;
        attach::serve(&attachment, signals.as_ref(), &options).map(code)
    }
}

/// `top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Name or ID
    container: String,
    /// Options for ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Top {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        output::print(&top::top(home, &container, &self.options)?)?;
        Ok(0)
    }
}

/// `rename`.
#[derive(Debug, Args)]
pub(super) struct Rename {
    /// Name or ID
    container: String,
    /// New name
    name: String,
}

impl Rename {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut container = Container::find(home, &self.container)?;
        let _lock = container.lock()?;
        container.rename(home, &self.name)?;
        Ok(0)
    }
}
