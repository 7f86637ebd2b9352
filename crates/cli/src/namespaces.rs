//! `unshare` and `enter`: programs in namespaces, without an image.

use std::io::IsTerminal;

use clap::{Args, Parser as _};
use husk_spec::NamespaceType;

use crate::error::{EngineError, Error, Result};

use husk_engine::container::Container;
use husk_engine::home::Home;
use husk_engine::namespaces::enter::{self, EnterRequest, Target};
use husk_engine::namespaces::unshare::{self, UnshareRequest};
use husk_engine::notice::notice;

/// The kinds of namespaces, as flags.
#[derive(Debug, Args)]
struct Kinds {
    /// Process ids
    #[arg(short, long)]
    pid: bool,
    /// Mounts
    #[arg(short, long)]
    mount: bool,
    /// Network
    #[arg(short, long)]
    net: bool,
    /// Hostname and domain name
    #[arg(short, long)]
    uts: bool,
    /// System V IPC and POSIX message queues
    #[arg(short, long)]
    ipc: bool,
    /// Users and capabilities
    #[arg(short = 'U', long)]
    user: bool,
    /// Root of the cgroups
    #[arg(short = 'C', long)]
    cgroup: bool,
    /// Monotonic clocks
    #[arg(short = 'T', long)]
    time: bool,
}

impl Kinds {
    fn list(&self) -> Vec<NamespaceType> {
        let wanted = [
            (self.pid, NamespaceType::Pid),
            (self.mount, NamespaceType::Mount),
            (self.net, NamespaceType::Network),
            (self.uts, NamespaceType::Uts),
            (self.ipc, NamespaceType::Ipc),
            (self.user, NamespaceType::User),
            (self.cgroup, NamespaceType::Cgroup),
            (self.time, NamespaceType::Time),
        ];
        wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }
}

/// `unshare`.
#[derive(Debug, Args)]
pub(super) struct Unshare {
    #[command(flatten)]
    kinds: Kinds,
    /// Mount a procfs of the new pid namespace at /proc
    #[arg(long)]
    mount_proc: bool,
    /// Directory to have as root
    #[arg(long = "root-dir", visible_alias = "rootfs", value_name = "DIR")]
    root_dir: Option<std::path::PathBuf>,
    /// Command to run, and its arguments [default: $SHELL, or sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Unshare {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let absolute = |path: &std::path::PathBuf| {
            let path = std::fs::canonicalize(path)
                .map_err(|error| Error::flag("--root-dir", path.display(), error))?;
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Error::flag("--root-dir", path.display(), "not UTF-8"))
        };
        let here = std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned));
        let request = UnshareRequest {
            kinds: self.kinds.list(),
            mount_proc: self.mount_proc,
            root: self.root_dir.as_ref().map(absolute).transpose()?,
            args: command(&self.command),
            env: environment(),
            working_dir: match self.root_dir {
                Some(_) => "/".to_owned(),
                None => here.unwrap_or_else(|| "/".to_owned()),
            },
            terminal: has_terminal(),
        };
        code(unshare::unshare(home, &request)?)
    }
}

/// `enter`.
#[derive(Debug, Args)]
pub(super) struct Enter {
    #[command(flatten)]
    kinds: Kinds,
    /// Keep every capability, and leave out the target's seccomp filter and labels
    #[arg(long)]
    privileged: bool,
    /// Container name or ID, or a process ID
    target: String,
    /// Command to run, and its arguments [default: sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The flags of `enter` where they follow the target.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Following {
    #[command(flatten)]
    kinds: Kinds,
    #[arg(long)]
    privileged: bool,
}

impl Enter {
    /// The namespaces, whether confinement is left out, and the command: what follows the target
    /// up to `--` are flags, too.
    fn parts(&self) -> Result<(Vec<NamespaceType>, bool, Vec<String>)> {
        let mut kinds = self.kinds.list();
        let mut privileged = self.privileged;
        let mut words = self.command.as_slice();
        if let Some(at) = words.iter().position(|word| word == "--") {
            let (flags, rest) = words.split_at(at);
            let known = Following::try_parse_from(flags).map_err(|_| {
                Error::Usage(format!(
                    "enter: {:?} before -- are not flags of enter; they are -m -n -u -i -p -U -C -T \
                     and --privileged",
                    flags.join(" ")
                ))
            })?;
            kinds.extend(known.kinds.list());
            privileged |= known.privileged;
            words = rest.get(1..).unwrap_or_default();
        }
        let args = if words.is_empty() { vec!["sh".to_owned()] } else { words.to_vec() };
        Ok((kinds, privileged, args))
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = match Container::find(home, &self.target) {
            // A number is a process's where no container has that name.
            Err(error @ EngineError::NoContainer(_)) => match self.target.parse::<i32>() {
                Ok(pid) => return self.enter(home, Target::Process(pid)),
                Err(_) => return Err(error.into()),
            },
            found => found?,
        };
        self.enter(home, Target::Container(&container))
    }

    fn enter(&self, home: &Home, target: Target<'_>) -> Result<u8> {
        let (kinds, privileged, args) = self.parts()?;
        let request = EnterRequest {
            target,
            kinds,
            privileged,
            args,
            env: environment(),
            terminal: has_terminal(),
        };
        code(enter::enter(home, &request, &mut |text| notice(text))?)
    }
}

fn command(words: &[String]) -> Vec<String> {
    match words.is_empty() {
        true => vec![std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned())],
        false => words.to_vec(),
    }
}

/// What of the environment is text.
fn environment() -> Vec<String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn code(status: i32) -> Result<u8> {
    Ok(u8::try_from(status & 0xff).unwrap_or(255))
}
