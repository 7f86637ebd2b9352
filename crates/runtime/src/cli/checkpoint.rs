//! `checkpoint`, and the flags that it shares with `restore`.

use std::os::fd::OwnedFd;

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::checkpoint::{self, Options, Shared};
use crate::report::{Code, Error, Result};

pub(super) const COMMAND: Command = Command {
    name: "checkpoint",
    usage: "checkpoint [FLAGS] CONTAINER",
    about: "Write the processes of a container to files, and end it",
    flags: &[
        ("--image-path DIR", "directory for the files (./checkpoint)"),
        ("--work-path DIR", "directory for CRIU's log, which is otherwise not kept"),
        ("--parent-path DIR", "files of a --pre-dump, relative to --image-path"),
        ("--leave-running", "let the container go on"),
        ("--tcp-established", "write down TCP connections"),
        ("--tcp-skip-in-flight", "leave out TCP connections that are not established yet"),
        ("--link-remap", "link files that were removed while they are open"),
        ("--ext-unix-sk", "leave out unix sockets that lead outside of the container"),
        ("--shell-job", "allow a terminal that is not the container's own"),
        ("--file-locks", "write down file locks"),
        ("--lazy-pages", "serve memory to a restore elsewhere (userfaultfd)"),
        ("--page-server ADDRESS:PORT", "send memory to a page server"),
        ("--status-fd N", "write a zero byte to descriptor N when --lazy-pages serves"),
        ("--pre-dump", "write down memory only, and let the container go on"),
        ("--manage-cgroups-mode MODE", "soft, full, strict or ignore (soft)"),
        ("--empty-ns network", "leave out what is in a namespace"),
        ("--auto-dedup", "free what a later dump replaces in a --pre-dump"),
    ],
    run,
    enters: false,
};

/// Takes a flag that both have; false where it is not of these.
pub(super) fn take_shared(
    shared: &mut Shared,
    flag: &str,
    arguments: &mut Arguments,
) -> Result<bool> {
    match flag {
        "image-path" => shared.image_path = arguments.value()?,
        "work-path" => shared.work_path = Some(arguments.value()?).filter(|path| !path.is_empty()),
        "tcp-established" => shared.tcp_established = arguments.switch(flag)?,
        "ext-unix-sk" => shared.ext_unix_sk = arguments.switch(flag)?,
        "shell-job" => shared.shell_job = arguments.switch(flag)?,
        "file-locks" => shared.file_locks = arguments.switch(flag)?,
        "link-remap" => shared.link_remap = arguments.switch(flag)?,
        "lazy-pages" => shared.lazy_pages = arguments.switch(flag)?,
        "auto-dedup" => shared.auto_dedup = arguments.switch(flag)?,
        "manage-cgroups-mode" => shared.cgroups = Some(arguments.value()?),
        "empty-ns" => shared.empty_network = is_network(&arguments.value()?)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What is left once all flags are read.
pub(super) fn complete_shared(shared: &mut Shared, global: &Global) {
    if shared.image_path.is_empty() {
        "checkpoint".clone_into(&mut shared.image_path);
    }
    shared.criu.clone_from(&global.criu);
}

fn is_network(namespace: &str) -> Result<bool> {
    match namespace {
        "network" => Ok(true),
        other => Err(Error::new(
            Code::Usage,
            format_args!("--empty-ns ({other})"),
            "only network can be left out",
        )),
    }
}

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let mut options = Options::default();
    let mut id = None;
    while let Some(argument) = arguments.next()? {
        let flag = match argument {
            Argument::Value(value) if id.is_none() => {
                id = Some(value);
                continue;
            }
            Argument::Value(_) => return Err(argument.unexpected()),
            Argument::Flag(flag) => flag,
        };
        match flag.as_str() {
            "parent-path" => {
                options.parent_path = Some(arguments.value()?).filter(|path| !path.is_empty());
            }
            "leave-running" => options.leave_running = arguments.switch(&flag)?,
            "tcp-skip-in-flight" => options.tcp_skip_in_flight = arguments.switch(&flag)?,
            "pre-dump" => options.pre_dump = arguments.switch(&flag)?,
            "page-server" => options.page_server = page_server(&arguments.value()?)?,
            "status-fd" => options.status = status_fd(&arguments.value()?)?,
            _ if take_shared(&mut options.shared, &flag, &mut arguments)? => {}
            _ => return Err(Argument::Flag(flag).unexpected()),
        }
    }
    complete_shared(&mut options.shared, global);
    check(&options)?;
    let id = id.ok_or_else(missing_id)?;
    checkpoint::checkpoint(&global.store()?, &id, options)?;
    Ok(0)
}

fn check(options: &Options) -> Result<()> {
    let usage = |flag: &str, why: &str| Err(Error::new(Code::Usage, flag, why));
    match options {
        Options { pre_dump: true, shared: Shared { lazy_pages: true, .. }, .. } => {
            usage("--pre-dump", "does not go with --lazy-pages")
        }
        Options { status: Some(_), shared: Shared { lazy_pages: false, .. }, .. } => {
            usage("--status-fd", "goes with --lazy-pages")
        }
        _ => Ok(()),
    }
}

fn page_server(value: &str) -> Result<Option<(String, u16)>> {
    if value.is_empty() {
        return Ok(None);
    }
    let parsed = value.rsplit_once(':').and_then(|(address, port)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((address.to_owned(), port.parse().ok()?))
    });
    match parsed {
        Some((address, port)) if !address.is_empty() => Ok(Some((address, port))),
        _ => Err(Error::new(
            Code::Usage,
            format_args!("--page-server ({value})"),
            "not an address and a port, ADDRESS:PORT",
        )),
    }
}

/// A descriptor of the caller's; runc takes -1 for none.
fn status_fd(value: &str) -> Result<Option<OwnedFd>> {
    let refuse =
        |why: &str| Err(Error::new(Code::Usage, format_args!("--status-fd ({value})"), why));
    let number: i32 = match value.parse() {
        Ok(-1) => return Ok(None),
        Ok(number @ 0..) => number,
        _ => return refuse("not a descriptor's number"),
    };
    // A copy by its name in procfs, which for a pipe is opened for writing again.
    match std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{number}")) {
        Ok(file) => Ok(Some(file.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => refuse("not open"),
        Err(error) => Err(Error::io(Code::Usage, format_args!("--status-fd ({value})"), &error)),
    }
}
