//! Docker's words that husk does not have yet: known, so that the error can say so instead
//! of suggesting another.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{Error, Result};

/// Flags of `run` and `create` that take a value.
const VALUES: [&str; 38] = [
    "annotation",
    "attach",
    "blkio-weight-device",
    "cgroup-parent",
    "cgroupns",
    "cidfile",
    "cpu-count",
    "cpu-percent",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "device-cgroup-rule",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "disable-content-trust",
    "gpus",
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "io-maxbandwidth",
    "isolation",
    "kernel-memory",
    "label-file",
    "link",
    "link-local-ip",
    "mac-address",
    "memory-swappiness",
    "network-alias",
    "restart",
    "runtime",
    "storage-opt",
    "userns",
    "volume-driver",
    "volumes-from",
];
/// Those that may take one and those that take none.
const SWITCHES: [&str; 4] = ["init", "no-healthcheck", "oom-kill-disable", "use-api-socket"];
/// Flags of `build` that take a value.
const OF_BUILD: [&str; 20] = [
    "add-host",
    "allow",
    "annotation",
    "attest",
    "build-context",
    "builder",
    "cache-from",
    "cache-to",
    "call",
    "cgroup-parent",
    "cpuset-cpus",
    "memory",
    "metadata-file",
    "no-cache-filter",
    "output",
    "provenance",
    "secret",
    "shm-size",
    "ssh",
    "ulimit",
];
/// Those of `build` that take none.
const SWITCHES_OF_BUILD: [&str; 6] = ["check", "compress", "load", "push", "squash", "force-rm"];
/// Flags of `update` that take a value.
const OF_UPDATE: [&str; 5] =
    ["cpu-rt-period", "cpu-rt-runtime", "kernel-memory", "restart", "storage-opt"];
/// Commands.
const COMMANDS: [&str; 10] = [
    "commit", "compose", "diff", "events", "manifest", "plugin", "search", "secret", "stack",
    "swarm",
];
/// Words with commands below them that are commands here too.
const GROUPS: [&str; 4] = ["container", "image", "builder", "system"];

/// The flags of a command: those of one value, and those of none.
fn flags(command: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match command {
        "run" | "create" => (&VALUES, &SWITCHES),
        "build" => (&OF_BUILD, &SWITCHES_OF_BUILD),
        "update" => (&OF_UPDATE, &[]),
        "logs" => (&[], &["details"]),
        _ => (&[], &[]),
    }
}

/// Adds them, hidden from the help.
pub(super) fn extend(mut command: Command) -> Command {
    for group in GROUPS {
        command = command.mut_subcommand(group, |group| add(group, &["commit", "diff", "events"]));
    }
    add(command, &COMMANDS)
}

fn add(mut command: Command, unbuilt: &[&'static str]) -> Command {
    let known: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().into()).collect();
    for name in known {
        let (values, switches) = flags(&name);
        command = command.mut_subcommand(name, |mut sub| {
            for flag in values {
                let arg = Arg::new(*flag).long(*flag).hide(true).action(ArgAction::Append);
                sub = sub.arg(arg.num_args(1).allow_hyphen_values(true));
            }
            for flag in switches {
                sub = sub.arg(Arg::new(*flag).long(*flag).hide(true).action(ArgAction::SetTrue));
            }
            sub
        });
    }
    for name in unbuilt {
        let rest = Arg::new("rest").num_args(..).trailing_var_arg(true).allow_hyphen_values(true);
        command =
            command.subcommand(Command::new(*name).hide(true).disable_help_flag(true).arg(rest));
    }
    command
}

/// The command itself, below the word of its group.
pub(super) fn leaf(matches: &ArgMatches) -> Option<(&str, &ArgMatches)> {
    let (name, sub) = matches.subcommand()?;
    match sub.subcommand().filter(|_| GROUPS.contains(&name)) {
        Some(below) => Some(below),
        None => Some((name, sub)),
    }
}

/// Refuses them by name.
///
/// # Errors
/// The command or flag is not built yet.
pub(super) fn refuse(matches: &ArgMatches) -> Result<()> {
    let Some((name, sub)) = leaf(matches) else { return Ok(()) };
    if COMMANDS.contains(&name) {
        return Err(Error::other(format_args!("husk {name} is not built yet")));
    }
    let (values, switches) = flags(name);
    let given =
        |flag: &&&str| sub.value_source(flag) == Some(clap::parser::ValueSource::CommandLine);
    match values.iter().chain(switches).find(given) {
        Some(flag) => Err(Error::other(format_args!("husk {name} --{flag} is not built yet"))),
        None => Ok(()),
    }
}
