//! Flags that stand before the command.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use husk_cgroup::Manager;

use super::arguments::{Argument, Arguments};
use crate::report::{Code, Error, Log, Result, set_log};
use crate::state::Store;
use crate::timing;

pub(super) const FLAGS: &[(&str, &str)] = &[
    (
        "--root DIR",
        "where the state of containers is kept (/run/husk-oci; without root $XDG_RUNTIME_DIR/husk-oci)",
    ),
    ("--log FILE", "write messages to a file as well"),
    ("--log-only", "write messages to that file alone"),
    ("--log-format text|json", "format of messages (text)"),
    ("--debug", "tell each step and when it was done, on stderr or in the file of --log"),
    ("--systemd-cgroup", "have systemd make the cgroups"),
    ("--cgroup-manager MANAGER", "cgroupfs, systemd or disabled (cgroupfs)"),
    ("--rootless true|false|auto", "whether to run without root's privilege (auto)"),
    (
        "--timings[=FILE]",
        "tell where the time went: on stderr, or as trace spans appended to FILE (see TRACEPARENT)",
    ),
    ("--criu PATH", "the program that checkpoint and restore use (criu in PATH)"),
    ("-v, --version", "print the version"),
    ("-h, --help", "print this"),
];

/// What the global flags say.
#[derive(Debug)]
pub(super) struct Global {
    pub(super) root: Option<String>,
    pub(super) manager: Manager,
    pub(super) rootless: Option<bool>,
    /// Whether times are taken, and the file that they go to.
    pub(super) timings: Option<Option<File>>,
    /// Where CRIU is, if not in PATH.
    pub(super) criu: Option<String>,
    pub(super) version: bool,
    pub(super) help: bool,
    pub(super) command: Option<String>,
}

impl Global {
    pub(super) fn parse(arguments: &mut Arguments) -> Result<Self> {
        let mut global = Self {
            root: None,
            manager: Manager::Cgroupfs,
            rootless: None,
            timings: None,
            criu: None,
            version: false,
            help: false,
            command: None,
        };
        let mut log = Log::default();
        let mut log_file = None;
        while let Some(argument) = arguments.next()? {
            let flag = match argument {
                Argument::Value(command) => {
                    global.command = Some(command);
                    break;
                }
                Argument::Flag(flag) => flag,
            };
            match flag.as_str() {
                "root" => global.root = Some(arguments.value()?),
                "log" => log_file = Some(arguments.value()?),
                "log-format" => log.json = log_format(&arguments.value()?)?,
                "log-only" => log.only = arguments.switch("log-only")?,
                "debug" => log.debug = arguments.switch("debug")?,
                "systemd-cgroup" => {
                    if arguments.switch("systemd-cgroup")? {
                        global.manager = Manager::Systemd;
                    }
                }
                "cgroup-manager" => global.manager = manager(&arguments.value()?)?,
                "rootless" => global.rootless = rootless_flag(&arguments.value()?)?,
                "timings" => global.timings = Some(timings(arguments)?),
                "criu" => global.criu = Some(arguments.value()?).filter(|path| !path.is_empty()),
                "v" | "version" => global.version = true,
                "h" | "help" => global.help = true,
                _ => return Err(Argument::Flag(flag).unexpected()),
            }
        }
        if let Some(path) = log_file.filter(|path| !path.is_empty()) {
            log.file = Some(open_log(&path)?);
        }
        if log.only && log.file.is_none() {
            return Err(Error::new(Code::Usage, "--log-only", "goes with --log FILE"));
        }
        if log.debug {
            timing::begin()?;
        }
        set_log(log);
        Ok(global)
    }

    /// Where the state of containers is kept.
    pub(super) fn store(&self) -> Result<Store> {
        if let Some(root) = &self.root {
            return Ok(Store::new(std::path::absolute(root).map_err(|error| {
                Error::io(Code::Usage, format_args!("--root ({root})"), &error)
            })?));
        }
        if !self.is_rootless() {
            return Ok(Store::new("/run/husk-oci"));
        }
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
            Some(directory) => Ok(Store::new(std::path::Path::new(&directory).join("husk-oci"))),
            None => Err(Error::new(
                Code::Usage,
                "--root",
                "neither given nor to be told from XDG_RUNTIME_DIR, which is not set",
            )
            .hint("a login session sets it; or name a directory with --root")),
        }
    }

    /// Whether to make do without a cgroup that must not be made, as runc's flag means it.
    pub(super) fn makes_do(&self) -> bool {
        self.rootless.unwrap_or_else(husk_userns::is_rootless)
    }

    /// Without root's privilege over the host: by another user, or by the root of
    /// a user namespace that says it is not the host's.
    fn is_rootless(&self) -> bool {
        self.rootless.unwrap_or_else(|| {
            !rustix::process::geteuid().is_root()
                || (std::env::var_os("XDG_RUNTIME_DIR").is_some()
                    && std::env::var_os("USER").is_none_or(|user| user != "root")
                    && husk_userns::in_user_namespace())
        })
    }
}

fn log_format(value: &str) -> Result<bool> {
    match value {
        "text" => Ok(false),
        "json" => Ok(true),
        other => Err(Error::new(
            Code::Usage,
            format_args!("--log-format ({other})"),
            "neither text nor json",
        )),
    }
}

fn manager(value: &str) -> Result<Manager> {
    match value {
        "cgroupfs" => Ok(Manager::Cgroupfs),
        "systemd" => Ok(Manager::Systemd),
        "disabled" => Ok(Manager::Disabled),
        other => Err(Error::new(
            Code::Usage,
            format_args!("--cgroup-manager ({other})"),
            "none of cgroupfs, systemd, disabled",
        )),
    }
}

fn rootless_flag(value: &str) -> Result<Option<bool>> {
    match value {
        "auto" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        other => Err(Error::new(
            Code::Usage,
            format_args!("--rootless ({other})"),
            "none of true, false, auto",
        )),
    }
}

fn open_log(path: &str) -> Result<File> {
    append_to(path).map_err(|error| Error::io(Code::Usage, format_args!("--log ({path})"), &error))
}

/// Begins to take times; gives the file that they go to, if one is named.
fn timings(arguments: &mut Arguments) -> Result<Option<File>> {
    let path = arguments.optional_value()?;
    timing::begin()?;
    path.map(|path| {
        append_to(&path)
            .map_err(|error| Error::io(Code::Usage, format_args!("--timings ({path})"), &error))
    })
    .transpose()
}

fn append_to(path: &str) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}
