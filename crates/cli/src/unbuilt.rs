//! Docker's words that husk does not have yet: known, so that the error can say so instead
//! of suggesting another.

use clap::{Arg, ArgAction, ArgMatches, Command};

use husk_engine::error::{Error, Result};

/// Flags that are not built yet, by their command as it is called without the word of a group:
/// those that take a value, and those that take none. With a letter where Docker has one.
const UNBUILT: [(&str, &[&str], &[&str]); 21] = [
    ("run", &OF_RUN, &[]),
    ("create", &OF_RUN, &[]),
    ("build", &OF_BUILD, &["check", "compress", "squash"]),
    ("update", &["kernel-memory", "restart", "storage-opt"], &[]),
    ("logs", &[], &["details"]),
    ("inspect", &[], &["s/size"]),
    ("rm", &[], &["l/link"]),
    ("rmi", &[], &["no-prune"]),
    ("pull", &[], &["a/all-tags"]),
    ("push", &["platform"], &["a/all-tags"]),
    ("save", &["platform"], &[]),
    ("load", &["platform"], &[]),
    ("import", &["platform"], &[]),
    ("prune", &["filter"], &[]),
    ("system df", &[], &["v/verbose"]),
    ("system prune", &["filter"], &[]),
    ("network create", &["aux-address", "ipam-driver", "ipam-opt"], &["attachable", "ingress"]),
    ("network connect", &["driver-opt", "link", "link-local-ip"], &[]),
    ("network prune", &["filter"], &[]),
    ("volume create", &["o/opt"], &[]),
    ("volume prune", &["filter"], &[]),
];
const OF_RUN: [&str; 6] = [
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
];
/// Flags of `run` and `create` that take a value and will not be built, and why.
const REFUSED: [(&str, &str); 11] = [
    ("cpu-count", "is for Windows; --cpus is what limits here"),
    ("cpu-percent", "is for Windows; --cpus is what limits here"),
    ("disable-content-trust", "has no meaning: images are verified by their digests alone"),
    ("gpus", "needs a vendor's hook, and none is run; give the device nodes with --device"),
    ("io-maxbandwidth", "is for Windows; see --device-read-bps"),
    ("isolation", "is for Windows"),
    ("kernel-memory", "is no longer in the kernel (Linux 5.16); --memory counts it too"),
    ("link", "is Docker's old way; put both on a network, and name the other with --add-host"),
    ("link-local-ip", "is not offered; --ip gives an address of the network"),
    ("storage-opt", "needs quotas below overlayfs; put what grows on a volume or --tmpfs"),
    ("volume-driver", "has no other choice than local"),
];
/// The same of those that take none.
const REFUSED_SWITCHES: [(&str, &str); 1] =
    [("use-api-socket", "would give the container an engine's socket, and there is no daemon")];
const OF_BUILD: [&str; 11] = [
    "add-host",
    "annotation",
    "attest",
    "builder",
    "call",
    "cgroup-parent",
    "cpuset-cpus",
    "memory",
    "no-cache-filter",
    "shm-size",
    "ulimit",
];
/// Commands.
const COMMANDS: [&str; 9] =
    ["commit", "compose", "events", "manifest", "plugin", "search", "secret", "stack", "swarm"];
/// Words with commands below them.
const GROUPS: [&str; 6] = ["container", "image", "builder", "system", "network", "volume"];

/// A command of a group as [`UNBUILT`] has it.
fn canonical(group: &str, name: &str) -> String {
    match (group, name) {
        ("image", "rm") => "rmi".to_owned(),
        ("image" | "container" | "builder" | "", name) => name.to_owned(),
        (group, name) => format!("{group} {name}"),
    }
}

/// The flags of a command: those of one value, and those of none.
fn flags(command: &str) -> (&'static [&'static str], &'static [&'static str]) {
    let found = UNBUILT.iter().find(|(name, ..)| *name == command);
    found.map_or((&[], &[]), |(_, values, switches)| (*values, *switches))
}

/// Its name, and its letter.
fn spelled(flag: &'static str) -> (&'static str, Option<char>) {
    match flag.split_once('/') {
        Some((letter, name)) => (name, letter.chars().next()),
        None => (flag, None),
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
        let unbuilt: &[&str] = match group {
            "network" | "volume" => &[],
            _ => &["commit", "events"],
        };
        command = command.mut_subcommand(group, |below| add(below, group, unbuilt));
    }
    add(command, "", &COMMANDS)
}

fn add(mut command: Command, group: &str, unbuilt: &[&'static str]) -> Command {
    let known: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().into()).collect();
    for name in known {
        let canonical = canonical(group, &name);
        let (values, switches) = flags(&canonical);
        let (refused_values, refused_switches) = refused(&canonical);
        let arg = |flag: &&'static str| {
            let (long, short) = spelled(flag);
            let arg = Arg::new(long).long(long).hide(true);
            short.into_iter().fold(arg, Arg::short)
        };
        command = command.mut_subcommand(name, |mut sub| {
            for flag in values.iter().chain(refused_values.iter().map(|(flag, _)| flag)) {
                let arg = arg(flag).action(ArgAction::Append).num_args(1);
                sub = sub.arg(arg.allow_hyphen_values(true));
            }
            for flag in switches.iter().chain(refused_switches.iter().map(|(flag, _)| flag)) {
                sub = sub.arg(arg(flag).action(ArgAction::SetTrue));
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

/// The command itself without the word of its group, as [`UNBUILT`] has it.
pub(super) fn leaf(matches: &ArgMatches) -> Option<(String, &ArgMatches)> {
    let (name, sub) = matches.subcommand()?;
    match sub.subcommand().filter(|_| GROUPS.contains(&name)) {
        Some((below, sub)) => Some((canonical(name, below), sub)),
        None => Some((name.to_owned(), sub)),
    }
}

/// Refuses them by name.
///
/// # Errors
/// The command or flag is not built yet.
pub(super) fn refuse(matches: &ArgMatches) -> Result<()> {
    let Some((name, sub)) = leaf(matches) else { return Ok(()) };
    if name.rsplit(' ').next().is_some_and(|word| COMMANDS.contains(&word)) {
        return Err(Error::other(format_args!("husk {name} is not built yet")));
    }
    let (values, switches) = flags(&name);
    let given = |flag: &str| sub.value_source(flag) == Some(clap::parser::ValueSource::CommandLine);
    let (of_value, of_none) = refused(&name);
    if let Some((flag, why)) = of_value.iter().chain(of_none).find(|(flag, _)| given(flag)) {
        return Err(Error::other(format_args!("--{flag} {why}")));
    }
    match values.iter().chain(switches).map(|flag| spelled(flag).0).find(|flag| given(flag)) {
        Some(flag) => Err(Error::other(format_args!("husk {name} --{flag} is not built yet"))),
        None => Ok(()),
    }
}
