//! Docker's words that husk does not have yet: known, so that the error can say so instead
//! of suggesting another.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{Error, Result};

/// Flags of `run` and `create` that take a value.
const VALUES: [&str; 7] = [
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "restart",
];
/// Flags of `run` and `create` that take a value and will not be built, and why.
const REFUSED: [(&str, &str); 12] = [
    ("cpu-count", "is for Windows; --cpus is what limits here"),
    ("cpu-percent", "is for Windows; --cpus is what limits here"),
    ("disable-content-trust", "has no meaning: images are verified by their digests alone"),
    ("gpus", "needs a vendor's hook, and none is run; give the device nodes with --device"),
    ("io-maxbandwidth", "is for Windows; see --device-read-bps"),
    ("isolation", "is for Windows"),
    ("kernel-memory", "is no longer in the kernel (Linux 5.16); --memory counts it too"),
    ("link", "is Docker's old way; put both on a network, and name the other with --add-host"),
    ("link-local-ip", "is not offered; --ip gives an address of the network"),
    ("network-alias", "needs names to be resolved, which is not built yet; see --add-host"),
    ("storage-opt", "needs quotas below overlayfs; put what grows on a volume or --tmpfs"),
    ("volume-driver", "has no other choice than local"),
];
/// The same of those that take none.
const REFUSED_SWITCHES: [(&str, &str); 1] =
    [("use-api-socket", "would give the container an engine's socket, and there is no daemon")];
/// Flags of `build` that take a value.
const OF_BUILD: [&str; 19] = [
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
    "shm-size",
    "ssh",
    "ulimit",
];
/// Those of `build` that take none.
const SWITCHES_OF_BUILD: [&str; 6] = ["check", "compress", "load", "push", "squash", "force-rm"];
/// Flags of `update` that take a value.
const OF_UPDATE: [&str; 3] = ["kernel-memory", "restart", "storage-opt"];
/// Commands.
const COMMANDS: [&str; 9] =
    ["commit", "compose", "events", "manifest", "plugin", "search", "secret", "stack", "swarm"];
/// Words with commands below them that are commands here too.
const GROUPS: [&str; 4] = ["container", "image", "builder", "system"];

/// The flags of a command: those of one value, and those of none.
fn flags(command: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match command {
        "run" | "create" => (&VALUES, &[]),
        "build" => (&OF_BUILD, &SWITCHES_OF_BUILD),
        "update" => (&OF_UPDATE, &[]),
        "logs" => (&[], &["details"]),
        _ => (&[], &[]),
    }
}

type Reasons = &'static [(&'static str, &'static str)];

/// The flags of a command that are refused: those of one value, and those of none.
fn refused(command: &str) -> (Reasons, Reasons) {
    match command {
        "run" | "create" => (&REFUSED, &REFUSED_SWITCHES),
        _ => (&[], &[]),
    }
}

/// Adds them, hidden from the help.
pub(super) fn extend(mut command: Command) -> Command {
    for group in GROUPS {
        command = command.mut_subcommand(group, |group| add(group, &["commit", "events"]));
    }
    add(command, &COMMANDS)
}

fn add(mut command: Command, unbuilt: &[&'static str]) -> Command {
    let known: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().into()).collect();
    for name in known {
        let (values, switches) = flags(&name);
        let (refused_values, refused_switches) = refused(&name);
        command = command.mut_subcommand(name, |mut sub| {
            for flag in values.iter().chain(refused_values.iter().map(|(flag, _)| flag)) {
                let arg = Arg::new(*flag).long(*flag).hide(true).action(ArgAction::Append);
                sub = sub.arg(arg.num_args(1).allow_hyphen_values(true));
            }
            for flag in switches.iter().chain(refused_switches.iter().map(|(flag, _)| flag)) {
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
    let (of_value, of_none) = refused(name);
    if let Some((flag, why)) = of_value.iter().chain(of_none).find(|(flag, _)| given(&flag)) {
        return Err(Error::other(format_args!("--{flag} {why}")));
    }
    match values.iter().chain(switches).find(given) {
        Some(flag) => Err(Error::other(format_args!("husk {name} --{flag} is not built yet"))),
        None => Ok(()),
    }
}
