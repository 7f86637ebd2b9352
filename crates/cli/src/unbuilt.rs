//! Docker's words that husk does not have: known, so that an error can name them instead of
//! suggesting another, and so that a flag that would change nothing is taken.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::error::{Error, Result};

/// What a flag of Docker's does here.
#[derive(Clone, Copy)]
enum Kind {
    /// It takes a value and is not supported: why, and what to use instead.
    Refused(&'static str),
    /// The same of one without a value.
    RefusedSwitch(&'static str),
    /// These values change nothing and are taken, as is the empty one; why others are refused.
    Harmless(&'static [&'static str], &'static str),
    /// The boolean that changes nothing, and why the other one is refused.
    HarmlessBool(bool, &'static str),
}
use Kind::{Harmless, HarmlessBool, Refused, RefusedSwitch};

/// A command's name as it is called without the word of its group; "" are the flags before the
/// command.
type Commands = &'static [&'static str];
const RUN: Commands = &["run", "create"];
const NETWORK_CREATE: Commands = &["network create"];
const BUILD: Commands = &["build"];

const WINDOWS: &str = "is for Windows";
const NO_TRUST: &str = "cannot be false: image signatures are not verified; pull by digest";
const NO_DAEMON: &str = "is not supported: husk has no daemon to connect to";

/// Flags: their letter where Docker has one, a slash, and their name. That is also the id, which
/// no flag of husk's own has.
const FLAGS: [(Commands, &str, Kind); 76] = [
    (&[""], "D/debug", HarmlessBool(true, "")),
    (&[""], "l/log-level", Harmless(&["debug", "info", "warn", "error", "fatal"], LOG_LEVELS)),
    (&[""], "c/context", Harmless(&["default"], NO_DAEMON)),
    (&[""], "H/host", Harmless(&[], NO_DAEMON)),
    (&[""], "/tls", HarmlessBool(false, NO_DAEMON)),
    (&[""], "/tlsverify", HarmlessBool(false, NO_DAEMON)),
    (&[""], "/tlscacert", Refused(NO_DAEMON)),
    (&[""], "/tlscert", Refused(NO_DAEMON)),
    (&[""], "/tlskey", Refused(NO_DAEMON)),
    (RUN, "/cpu-count", Refused("is for Windows; use --cpus")),
    (RUN, "/cpu-percent", Refused("is for Windows; use --cpus")),
    (RUN, "/io-maxbandwidth", Refused("is for Windows; see --device-read-bps")),
    (RUN, "/io-maxiops", Refused("is for Windows; see --device-read-iops")),
    (&["run", "create", "build"], "/isolation", Harmless(&["default"], WINDOWS)),
    (
        &["run", "create", "build", "pull", "push"],
        "/disable-content-trust",
        HarmlessBool(true, NO_TRUST),
    ),
    (RUN, "/gpus", Refused("needs a vendor's hook; pass the device nodes with --device")),
    (
        &["run", "create", "update"],
        "/kernel-memory",
        Refused("is no longer in the kernel (Linux 5.16); --memory includes it"),
    ),
    (RUN, "/link-local-ip", Refused("is not supported; --ip sets an address on the network")),
    (
        &["run", "create", "update"],
        "/storage-opt",
        Refused("needs quotas below overlayfs; put what grows on a volume or --tmpfs"),
    ),
    (RUN, "/volume-driver", Harmless(&["local"], "must be local, the only volume driver")),
    (RUN, "/use-api-socket", RefusedSwitch("cannot be honored: there is no daemon, and no socket")),
    (&["create"], "a/attach", Refused("is decided at start; use husk start --attach")),
    (BUILD, "/add-host", Refused("is not supported; pass the address with --build-arg")),
    (BUILD, "/annotation", Refused("is not supported; use --label")),
    (BUILD, "/attest", Refused("is not supported: no attestations are made")),
    (BUILD, "/builder", Harmless(&["default"], "must be default: husk build is the only builder")),
    (BUILD, "/call", Harmless(&["build"], "must be build: checks are made while it builds")),
    (BUILD, "/cgroup-parent", Refused(NO_LIMITS)),
    (BUILD, "/cpu-period", Refused(NO_LIMITS)),
    (BUILD, "/cpu-quota", Refused(NO_LIMITS)),
    (BUILD, "c/cpu-shares", Refused(NO_LIMITS)),
    (BUILD, "/cpuset-cpus", Refused(NO_LIMITS)),
    (BUILD, "/cpuset-mems", Refused(NO_LIMITS)),
    (BUILD, "m/memory", Refused(NO_LIMITS)),
    (BUILD, "/memory-swap", Refused(NO_LIMITS)),
    (BUILD, "/no-cache-filter", Refused("is not supported; use --no-cache")),
    (BUILD, "/security-opt", Refused(NO_LIMITS)),
    (BUILD, "/shm-size", Refused(NO_LIMITS)),
    (BUILD, "/ulimit", Refused(NO_LIMITS)),
    (BUILD, "/check", RefusedSwitch("is not supported: a Dockerfile is checked while it is built")),
    (BUILD, "D/debug", HarmlessBool(true, "")),
    // The context is not sent anywhere.
    (BUILD, "/compress", HarmlessBool(true, "")),
    (BUILD, "/squash", RefusedSwitch("is not supported; use COPY --from in a last stage")),
    (&["builder prune"], "/builder", Harmless(&["default"], "must be default, the only builder")),
    (&["builder prune"], "D/debug", HarmlessBool(true, "")),
    (&["builder prune"], "/max-used-space", Refused(NO_SPACE)),
    (&["builder prune"], "/min-free-space", Refused(NO_SPACE)),
    (&["builder prune"], "/reserved-space", Refused(NO_SPACE)),
    (&["builder prune"], "/verbose", RefusedSwitch("is not supported; see husk system df -v")),
    (&["rm"], "l/link", RefusedSwitch("is not supported; use husk network disconnect")),
    // An image has no untagged parents here.
    (&["rmi"], "/no-prune", HarmlessBool(true, "")),
    (&["pull", "push"], "a/all-tags", RefusedSwitch("is not supported; name each tag")),
    (
        &["push", "save", "load", "import", "rmi", "history", "inspect"],
        "/platform",
        Refused("is not supported: an image here has one platform; choose it with husk pull"),
    ),
    (&["images"], "/tree", RefusedSwitch("is not supported: an image here has one platform")),
    (NETWORK_CREATE, "/ipam-driver", Harmless(&["default"], "must be default")),
    (NETWORK_CREATE, "/ipam-opt", Refused("is for other IPAM drivers than default")),
    (NETWORK_CREATE, "/ipv4", HarmlessBool(true, "cannot be false: every network has IPv4")),
    (NETWORK_CREATE, "/scope", Harmless(&["local"], "must be local")),
    (NETWORK_CREATE, "/config-from", Refused("is for Swarm; give the settings here")),
    (
        NETWORK_CREATE,
        "/config-only",
        RefusedSwitch("is for Swarm; give the settings at each network"),
    ),
    (NETWORK_CREATE, "/ingress", RefusedSwitch("is for Swarm")),
    (
        &["network connect"],
        "/driver-opt",
        Refused("is not supported; set options at network create"),
    ),
    (
        &["network connect"],
        "/gw-priority",
        Refused("is not supported: the first network has the default route"),
    ),
    (
        &["network connect"],
        "/link-local-ip",
        Refused("is not supported; --ip sets an address on the network"),
    ),
    (&["network inspect"], "v/verbose", HarmlessBool(false, "is for Swarm's networks")),
    (&["volume create"], "/availability", Refused(SWARM_VOLUME)),
    (&["volume create"], "/group", Refused(SWARM_VOLUME)),
    (&["volume create"], "/limit-bytes", Refused(SWARM_VOLUME)),
    (&["volume create"], "/required-bytes", Refused(SWARM_VOLUME)),
    (&["volume create"], "/scope", Refused(SWARM_VOLUME)),
    (&["volume create"], "/secret", Refused(SWARM_VOLUME)),
    (&["volume create"], "/sharing", Refused(SWARM_VOLUME)),
    (&["volume create"], "/topology-preferred", Refused(SWARM_VOLUME)),
    (&["volume create"], "/topology-required", Refused(SWARM_VOLUME)),
    (&["volume create"], "/type", Refused(SWARM_VOLUME)),
    (&["volume ls"], "/cluster", HarmlessBool(false, SWARM_VOLUME)),
];
const SWARM_VOLUME: &str = "is for Swarm's cluster volumes";
const NO_SPACE: &str = "is not supported; use --filter until=TIME";
const NO_LIMITS: &str =
    "is not supported by build; do the step with husk run and its flags, and husk commit";
const LOG_LEVELS: &str = "must be one of debug, info, warn, error, fatal";

/// Docker's commands and those of its usual plugins, by the group they are in, and what to use
/// instead.
const COMMANDS: [(&str, &[&str], &str); 12] = [
    ("", &["node", "service", "stack", "swarm"], "there is one machine; use husk compose"),
    ("", &["config"], "it is for Swarm; use husk secret, or a bind mount"),
    ("", &["bake", "buildx"], "use husk build for each target"),
    ("", &["init", "scout"], "it is a plugin of Docker Desktop"),
    ("", &["manifest"], "an image here has one platform; see husk image inspect"),
    ("", &["plugin"], "there are no plugins; network and volume drivers are built in"),
    ("", &["search"], "registries have no common search; look on the registry's page"),
    ("", &["trust"], "signatures of Notary are not verified; pull by digest"),
    ("volume", &["update"], SWARM_VOLUME),
    ("builder", &["du"], "use husk system df -v"),
    (
        "builder",
        &[
            "bake",
            "create",
            "dial-stdio",
            "history",
            "imagetools",
            "inspect",
            "ls",
            "rm",
            "stop",
            "use",
            "version",
        ],
        "there is one builder; use husk build",
    ),
    ("context", &["export", "import", "update"], "use husk context rm and create"),
];
/// Words with commands below them.
const GROUPS: [&str; 8] =
    ["container", "context", "image", "builder", "system", "network", "volume", "secret"];

/// A command of a group as [`FLAGS`] has it.
pub(super) fn canonical(group: &str, name: &str) -> String {
    match (group, name) {
        ("image", "rm") => "rmi".to_owned(),
        ("image", "ls") => "images".to_owned(),
        ("container", "ls") => "ps".to_owned(),
        ("system", "info") => "info".to_owned(),
        ("image" | "container" | "builder", "prune") => format!("{group} {name}"),
        ("image" | "container" | "builder" | "", name) => name.to_owned(),
        (group, name) => format!("{group} {name}"),
    }
}

/// A flag's name, and its letter.
fn spelled(flag: &'static str) -> (&'static str, Option<char>) {
    let (letter, name) = flag.split_once('/').unwrap_or_default();
    (name, letter.chars().next())
}

/// Adds them, hidden from the help.
pub(super) fn extend(mut command: Command) -> Command {
    command = add_flags(command, "");
    for group in GROUPS {
        command = command.mut_subcommand(group, |below| add_commands(below, group));
    }
    add_commands(command, "")
}

fn add_flags(mut command: Command, name: &str) -> Command {
    for (_, flag, kind) in FLAGS.iter().filter(|(commands, ..)| commands.contains(&name)) {
        let (long, short) = spelled(flag);
        let is_known = |arg: &Arg| {
            let aliases = arg.get_all_aliases().into_iter().flatten();
            arg.get_long().into_iter().chain(aliases).any(|known| known == long)
        };
        if command.get_arguments().any(is_known) {
            continue;
        }
        let arg = Arg::new(*flag).long(long).hide(true);
        let arg = match kind {
            RefusedSwitch(_) => arg.action(ArgAction::SetTrue),
            HarmlessBool(..) => arg.action(ArgAction::Set).value_parser(value_parser!(bool)),
            Refused(_) | Harmless(..) => arg.action(ArgAction::Append),
        };
        command = command.arg(short.into_iter().fold(arg, Arg::short));
    }
    command
}

fn add_commands(mut command: Command, group: &str) -> Command {
    let known: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().into()).collect();
    for name in &known {
        let canonical = canonical(group, name);
        command = command.mut_subcommand(name, |sub| add_flags(sub, &canonical));
    }
    let unbuilt = COMMANDS.iter().filter(|(of, ..)| *of == group).flat_map(|(_, names, _)| *names);
    for name in unbuilt.filter(|name| known.iter().all(|known| known != *name)) {
        let rest = Arg::new("rest").num_args(..).trailing_var_arg(true).allow_hyphen_values(true);
        command =
            command.subcommand(Command::new(*name).hide(true).disable_help_flag(true).arg(rest));
    }
    command
}

/// The command itself without the word of its group, as [`FLAGS`] has it.
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
/// The command or flag is not supported.
pub(super) fn refuse(matches: &ArgMatches) -> Result<()> {
    refuse_flags("", matches)?;
    let Some((name, sub)) = leaf(matches) else { return Ok(()) };
    let (group, word) = match matches.subcommand() {
        Some((group, below)) if GROUPS.contains(&group) => {
            (group, below.subcommand_name().unwrap_or_default())
        }
        Some((word, _)) => ("", word),
        None => ("", ""),
    };
    if let Some(instead) = unbuilt(group, word, sub) {
        let called = [group, word].join(" ");
        let text = format_args!("husk {} is not supported: {instead}", called.trim());
        return Err(Error::other(text));
    }
    refuse_flags(&name, sub)
}

/// What to use instead of a command that is not there.
fn unbuilt(group: &str, word: &str, sub: &ArgMatches) -> Option<&'static str> {
    // A command of this name that was built since has other arguments.
    sub.try_contains_id("rest").ok()?;
    let mut known = COMMANDS.iter();
    known.find(|(of, names, _)| *of == group && names.contains(&word)).map(|(.., why)| *why)
}

fn refuse_flags(command: &str, matches: &ArgMatches) -> Result<()> {
    let of_command = || FLAGS.iter().filter(|(commands, ..)| commands.contains(&command));
    for id in matches.ids() {
        if matches.value_source(id.as_str()) != Some(ValueSource::CommandLine) {
            continue;
        }
        let found = of_command().find(|(_, flag, _)| id == flag);
        let Some((_, flag, kind)) = found else { continue };
        let (name, _) = spelled(flag);
        let value = || {
            let values = matches.get_many::<String>(id.as_str());
            values.into_iter().flatten().next_back().cloned().unwrap_or_default()
        };
        match kind {
            Harmless(values, _) if value().is_empty() || values.contains(&value().as_str()) => {}
            Harmless(_, why) => {
                return Err(Error::other(format_args!("--{name} {:?} {why}", value())));
            }
            HarmlessBool(harmless, why) => {
                // Without a reason both change nothing.
                if !why.is_empty() && matches.get_one(id.as_str()) != Some(harmless) {
                    return Err(Error::other(format_args!("--{name} {why}")));
                }
            }
            Refused(why) | RefusedSwitch(why) => {
                return Err(Error::other(format_args!("--{name} {why}")));
            }
        }
    }
    Ok(())
}
