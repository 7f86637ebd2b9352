//! Commands that change containers.

use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use husk_image::user::Identity;
use rustix::fs::{Mode, OFlags};

use super::{flags, for_each, output};
use husk_engine::attach::{self, End, Options};
use husk_engine::container::state::Status;
use husk_engine::container::sweep;
use husk_engine::container::{Container, Source};
use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::monitor::protocol::Attachment;
use husk_engine::runtime::Runtime;
use husk_engine::{launch, remove};

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
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Start {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if !self.attach && !self.interactive {
            return for_each(&self.containers, |name| {
                let container = Container::find(home, name)?;
                match launch::start(home, &container, None) {
                    // Docker's: one that runs is left running.
                    Ok(_) | Err(Error::Running(_)) => output::line(name),
                    Err(error) => Err(error),
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
        match launch::start(home, &container, Some(&options)) {
            Ok(started) => {
                attach::attend(&started.attachment, started.signals.as_ref(), &options).map(code)
            }
            Err(Error::Running(_)) => stand_at(&container, &options),
            Err(error) => Err(error),
        }
    }
}

/// Attaches to a container that runs.
fn stand_at(container: &Container, options: &Options) -> Result<u8> {
    let attachment = Attachment::connect(&container.run)?.ok_or_else(|| {
        let name = &container.record.name;
        Error::other(format_args!("the monitor of container {name} is not running"))
    })?;
    let signals = match options.signals {
        true => Some(husk_sys::signal::block_all_into_fd().map_err(file("make", "a signalfd"))?),
        false => None,
    };
    attach::begin(&attachment, options)?;
    attach::attend(&attachment, signals.as_ref(), options).map(code)
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
        if again {
            return for_each(&self.containers, |name| {
                self.one(home, name, true)?;
                output::line(name)
            });
        }
        // All at once, as Docker: a patient one does not keep the others waiting.
        let stopped: Vec<Result<()>> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for name in &self.containers {
                threads.push(scope.spawn(move || self.one(home, name, false)));
            }
            let panicked = |_| Err(Error::other("a thread has panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let mut stopped = stopped.into_iter();
        for_each(&self.containers, |name| {
            stopped.next().unwrap_or(Ok(()))?;
            output::line(name)
        })
    }

    fn one(&self, home: &Home, name: &str, again: bool) -> Result<()> {
        let mut container = Container::find(home, name)?;
        if let Some(signal) = &self.signal {
            container.record.config.stop_signal.clone_from(signal);
        }
        let patience = self.time.or(container.record.config.stop_timeout).unwrap_or(10);
        {
            let _lock = container.lock()?;
            let mark = container.restart_mark();
            if again && container.state()?.status == Status::Running {
                std::fs::write(&mark, b"").map_err(file("write", &mark))?;
            }
            let stopped = remove::stop(home, &container, Duration::from_secs(patience));
            stopped.inspect_err(|_| {
                // It goes on, and at its own end --rm is not to wait.
                let _ = std::fs::remove_file(&mark);
            })?;
        }
        match again {
            true => launch::start(home, &container, None).map(drop),
            false => Ok(()),
        }
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
            remove::signal(home, &container, &self.signal)?;
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
                Err(error @ Error::NoContainer(_)) if self.force => {
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
            Err(Error::Record { .. }) if self.force => {
                let id = Container::find_damaged(home, name)?;
                return sweep::remove_damaged(home, &id).map(drop);
            }
            Err(error @ Error::Record { .. }) => {
                return Err(Error::other(format_args!(
                    "{error}; \"husk rm -f {name}\" removes it"
                )));
            }
            found => found?,
        };
        if self.force && container.state()?.status == Status::Running {
            // At once, also where a stop that has the lock is patient.
            let _ = remove::signal(home, &container, "KILL");
        }
        let removed = container
            .lock()
            .and_then(|_lock| remove::remove(home, &container, self.volumes, self.force));
        match removed {
            // One of --rm: its monitor did it.
            Ok(true) | Err(Error::NoContainer(_)) => Ok(()),
            Ok(false) => Err(Error::other(format_args!(
                "container {name} is running: stop it first, or use -f"
            ))),
            Err(error) => Err(error),
        }
    }
}

fn running(container: &Container) -> Result<()> {
    match container.state()?.status {
        Status::Running => Ok(()),
        _ => Err(Error::other(format_args!("container {} is not running", container.record.name))),
    }
}

impl Several {
    pub(super) fn pause(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            let container = Container::find(home, name)?;
            let _lock = container.lock()?;
            running(&container)?;
            Runtime::of(home, &container)?.output(&["pause", container.id()])?;
            let mark = container.run.join("paused");
            std::fs::write(&mark, b"").map_err(file("write", &mark))?;
            output::line(name)
        })
    }

    pub(super) fn unpause(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            let container = Container::find(home, name)?;
            let _lock = container.lock()?;
            running(&container)?;
            Runtime::of(home, &container)?.output(&["resume", container.id()])?;
            let _ = std::fs::remove_file(container.run.join("paused"));
            output::line(name)
        })
    }

    pub(super) fn wait(&self, home: &Home) -> Result<u8> {
        for_each(&self.containers, |name| {
            let container = Container::find(home, name)?;
            output::line(remove::wait_exit_code(&container)?)
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
        running(&container)?;
        let config = &container.record.config;
        let options = Options {
            stdin: !self.no_stdin && config.interactive,
            stdout: true,
            stderr: true,
            tty: config.tty,
            detach_keys: attach::parse_keys(&self.detach_keys)?,
            signals: self.sig_proxy,
        };
        stand_at(&container, &options)
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
        let container = Container::find(home, &self.container)?;
        running(&container)?;
        if container.state()?.paused {
            let name = &container.record.name;
            return Err(Error::other(format_args!("container {name} is paused: unpause it first")));
        }
        if self.tty && !self.detach && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            return Err(Error::NotTerminal);
        }
        let log = container.run.join(format!("exec-{}.log", std::process::id()));
        let mut ended = None;
        let runtime = Runtime::of(home, &container)?;
        let mut command = runtime.command();
        command.arg("--log").arg(&log).args(["--log-format", "json"]);
        if runtime.is_own() {
            command.arg("--log-only");
        }
        command.arg("exec");
        for (given, flag) in [(self.detach, "--detach"), (self.tty, "--tty")] {
            if given {
                command.arg(flag);
            }
        }
        if let Some(directory) = &self.workdir {
            command.arg("--cwd").arg(directory);
        }
        if let Some(user) = &self.user {
            let identity = identity(&container, user)?;
            command.arg("--user").arg(format!("{}:{}", identity.uid, identity.gid));
            for group in identity.groups {
                command.arg("--additional-gids").arg(group.to_string());
            }
        }
        for entry in self.environment()? {
            command.arg("--env").arg(entry);
        }
        if self.privileged {
            for name in husk_engine::spec::capability::resolve(true, &[], &[]) {
                command.arg("--cap").arg(name);
            }
        }
        command.arg(container.id()).args(&self.command);
        if !self.interactive && !self.tty {
            command.stdin(std::process::Stdio::null());
        }
        if let Ok(status) = command.status() {
            ended = status.code();
        }
        let (warnings, failure) = husk_engine::runtime::outcome(&log);
        let _ = std::fs::remove_file(&log);
        for warning in warnings {
            husk_engine::notice::notice(warning);
        }
        match (failure, ended) {
            (Some(failure), _) if runtime.is_own() => Err(failure),
            // It has said so itself.
            (Some(failure), _) => Ok(failure.status()),
            (None, Some(code)) => Ok(u8::try_from(code).unwrap_or(255)),
            (None, None) => Err(Error::other("husk-oci exec was killed")),
        }
    }
}

/// Who `user[:group]` is by the running container's files, mounts over them included.
fn identity(container: &Container, user: &str) -> Result<Identity> {
    let path = format!("/proc/{}/root", container.state()?.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(file("open", &path))?;
    Ok(husk_image::user::lookup(root.as_fd(), user, &[])?)
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
        running(&container)?;
        let mut arguments = vec!["ps".to_owned(), container.id().to_owned()];
        arguments.extend(self.options.iter().cloned());
        output::print(&Runtime::of(home, &container)?.output(&arguments)?)?;
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

/// The image id that listings show; empty where there is no image.
pub(super) fn image_id(container: &Container) -> String {
    match &container.record.source {
        Source::Image { id, .. } => id.to_string(),
        Source::Host | Source::Tree => String::new(),
    }
}
