//! `create`, and what it shares with `run`: the flags that make a container.

use husk_spec::Spec;
use rustix::fs::{self, CWD, Mode, OFlags, ResolveFlags};

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::create::announce::connect;
use crate::create::launch::{self, Options};
use crate::mech::notify;
use crate::plan::Request;
use crate::report::{Code, Error, Result};
use crate::state::check_id;

pub(super) const COMMAND: Command = Command {
    name: "create",
    usage: "create [FLAGS] CONTAINER",
    about: "Make a container; start runs its program",
    flags: FLAGS,
    run,
    enters: true,
};

const FLAGS: &[(&str, &str)] = &[
    ("-b, --bundle DIR", "the bundle's directory (the current one)"),
    ("-f, --config FILE", "the configuration, if it is not the bundle's config.json"),
    ("--console-socket PATH", "socket that receives the terminal's other end"),
    ("--pidfd-socket PATH", "socket that receives a pidfd of the container's process"),
    ("--pid-file FILE", "write the process id to a file"),
    ("--no-pivot", "move the root over / instead of pivot_root (for a host on a ramdisk)"),
    ("--no-new-keyring", "stay in the caller's session keyring"),
    ("--preserve-fds N", "pass N descriptors from 3 on to the container"),
    ("--no-subreaper", "accepted for old callers; create leaves the caller's setting alone"),
];

/// The flags' values.
#[derive(Default)]
pub(super) struct Flags {
    bundle: Option<String>,
    config: Option<String>,
    pub(super) console_socket: Option<String>,
    pidfd_socket: Option<String>,
    pid_file: Option<String>,
    no_pivot: bool,
    no_new_keyring: bool,
    preserve_fds: u32,
    id: Option<String>,
}

impl Flags {
    /// Takes one argument; false where it is not of these.
    pub(super) fn take(&mut self, argument: &Argument, arguments: &mut Arguments) -> Result<bool> {
        let flag = match argument {
            Argument::Value(id) if self.id.is_none() => {
                self.id = Some(id.clone());
                return Ok(true);
            }
            Argument::Value(_) => return Ok(false),
            Argument::Flag(flag) => flag.as_str(),
        };
        match flag {
            "b" | "bundle" => self.bundle = Some(arguments.value()?),
            "f" | "config" => self.config = Some(arguments.value()?),
            "console-socket" => self.console_socket = non_empty(arguments.value()?),
            "pidfd-socket" => self.pidfd_socket = non_empty(arguments.value()?),
            "pid-file" => self.pid_file = non_empty(arguments.value()?),
            "no-pivot" => self.no_pivot = arguments.switch(flag)?,
            "no-new-keyring" => self.no_new_keyring = arguments.switch(flag)?,
            "preserve-fds" => self.preserve_fds = arguments.number(flag)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the bundle, and says how its container is made.
    pub(super) fn resolve(
        self,
        global: &Global,
        waits_for_start: bool,
    ) -> Result<(Spec, Vec<u8>, Options)> {
        let id = self.id.ok_or_else(missing_id)?;
        check_id(&id)?;
        let listen_fds = listen_fds();
        check_preserved(self.preserve_fds, listen_fds)?;
        let bundle = absolute_bundle(self.bundle.as_deref().unwrap_or("."))?;
        let path = self.config.unwrap_or_else(|| format!("{bundle}/config.json"));
        let (spec, bytes) = read_config(&path)?;
        let console = match &self.console_socket {
            Some(socket) => Some(connect(socket).map_err(|errno| {
                Error::kernel(format_args!("--console-socket ({socket})"), "connect", errno)
            })?),
            None => None,
        };
        let notify_directory = match notify::manager() {
            Some(_) => Some(format!("{}/notify", global.store()?.root().join(&id).display())),
            None => None,
        };
        let options = Options {
            request: Request {
                id,
                bundle,
                no_pivot: self.no_pivot,
                foreground: false,
                no_new_keyring: self.no_new_keyring,
                preserve_fds: self.preserve_fds,
                listen_fds,
                notify_directory,
            },
            explains_seccomp: false,
            block: None,
            cgroup_manager: global.manager,
            rootless: global.makes_do(),
            console,
            pidfd_socket: self.pidfd_socket,
            pid_file: self.pid_file,
            waits_for_start,
        };
        Ok((spec, bytes, options))
    }
}

fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

fn read_config(path: &str) -> Result<(Spec, Vec<u8>)> {
    let failed = |error: husk_spec::LoadError| match error {
        husk_spec::LoadError::Property { property, line, column, reason } => Error::invalid(
            &property,
            format_args!("{reason} ({path}, line {line}, column {column})"),
        ),
        other => Error::document(path, other),
    };
    let file = std::fs::File::open(path).map_err(|error| failed(error.into()))?;
    if !file.metadata().map_err(|error| failed(error.into()))?.is_file() {
        return Err(Error::invalid(path, "not a regular file"));
    }
    let bytes = husk_spec::read_bounded(file).map_err(failed)?;
    let spec = husk_spec::parse(&bytes).map_err(failed)?;
    Ok((spec, bytes))
}

/// `LISTEN_FDS`, sd_listen_fds(3). `LISTEN_PID` need not be ours: a manager that
/// calls a runtime means the container.
fn listen_fds() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether the descriptors to be passed are open. What is closed now could be a
/// descriptor of our own later.
pub(super) fn check_preserved(preserve_fds: u32, listen_fds: u32) -> Result<()> {
    let Some(last) = preserve_fds.checked_add(listen_fds) else {
        return Err(Error::new(Code::Usage, "--preserve-fds", "too many"));
    };
    for number in 3..last.saturating_add(3) {
        if !is_callers(number) {
            let property = if number - 3 < preserve_fds { "--preserve-fds" } else { "LISTEN_FDS" };
            return Err(Error::new(
                Code::Usage,
                property,
                format_args!("descriptor {number} is not open"),
            ));
        }
    }
    Ok(())
}

/// Whether a descriptor comes from the caller. One that is opened here, `--log` say, is
/// close-on-exec, which none is that has passed execve(2).
fn is_callers(number: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
        return false;
    };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| !OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC))
}

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let mut flags = Flags::default();
    while let Some(argument) = arguments.next()? {
        match &argument {
            // crun's; this runtime leaves the caller's setting alone.
            Argument::Flag(flag) if flag == "no-subreaper" => drop(arguments.switch(flag)?),
            _ if flags.take(&argument, &mut arguments)? => {}
            _ => return Err(argument.unexpected()),
        }
    }
    let (spec, bytes, options) = flags.resolve(global, true)?;
    launch::launch(&global.store()?, &spec, &bytes, &options)?;
    Ok(0)
}

/// The bundle's path, absolute and without links.
fn absolute_bundle(path: &str) -> Result<String> {
    if is_canonical(path) {
        return Ok(path.to_owned());
    }
    let absolute = std::fs::canonicalize(path).map_err(|error| {
        Error::io(Code::InvalidConfig, format_args!("--bundle ({path})"), &error)
    })?;
    absolute.into_os_string().into_string().map_err(|_| {
        Error::new(Code::InvalidConfig, format_args!("--bundle ({path})"), "not UTF-8")
    })
}

/// Whether a path is absolute and plain and has no link in it, which the kernel
/// sees at one look where realpath(3) asks for each component.
fn is_canonical(path: &str) -> bool {
    let mut components = path.split('/');
    let plain = components.next() == Some("")
        && components.all(|component| !matches!(component, "" | "." | ".."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    plain && fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths() {
        let directory = std::env::temp_dir().canonicalize().unwrap();
        let directory = directory.join(format!("husk-canonical-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("bundle")).unwrap();
        std::os::unix::fs::symlink("bundle", directory.join("link")).unwrap();
        let path = |name: &str| format!("{}/{name}", directory.display());
        assert!(is_canonical(&path("bundle")));
        for name in ["link", "missing", "", "bundle/", "./bundle", "link/../bundle"] {
            assert!(!is_canonical(&path(name)), "{name:?}");
        }
        assert!(!is_canonical("."));
        assert_eq!(absolute_bundle(&path("link")).unwrap(), path("bundle"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
