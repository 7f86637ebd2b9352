//! The command line: Docker's words. Flags in, exit code out; what they mean is elsewhere.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{ENGINE_FAILED, Error, Result, file};
use crate::{
    archive, build, checkpoint, commit, complete, container, context, cp, create, debug, diff,
    events, explain, group, help, image, inspect, listing, logs, namespaces, network, output,
    reference, registry, rules, secret, serve, stats, system, unbuilt, update, usage, volume,
};
use husk_engine::home::Home;
use husk_engine::notice::printable;
use husk_engine::rootless;

/// Run containers without a daemon
#[derive(Debug, Parser)]
#[command(name = "husk", version, disable_help_subcommand = true, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Places {
    /// Directory for images, containers and volumes
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    root: Option<PathBuf>,
    /// Directory for state that need not survive a reboot
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    runroot: Option<PathBuf>,
    /// Directory of the client's config.json [default: $DOCKER_CONFIG, or ~/.docker]
    #[arg(long, value_name = "DIR", display_order = 902)]
    config: Option<PathBuf>,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version, display_order = 903)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create and run a new container from an image
    Run(create::Run),
    /// Create a container without starting it
    Create(create::Create),
    /// Start stopped containers
    Start(container::Start),
    /// Stop running containers
    Stop(container::Stop),
    /// Restart containers
    Restart(container::Stop),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Remove containers
    Rm(container::Rm),
    /// Pause all processes of containers
    Pause(container::Several),
    /// Unpause all processes of containers
    Unpause(container::Several),
    /// Block until containers stop, then print their exit codes
    Wait(container::Wait),
    /// Attach to a running container
    Attach(container::Attach),
    /// Execute a command in a running container
    Exec(container::Exec),
    /// Fetch the logs of a container
    Logs(logs::Logs),
    /// Get events of the engine as they happen, or those of the past
    Events(events::Events),
    /// List containers
    Ps(listing::Ps),
    /// Display the running processes of a container
    Top(container::Top),
    /// Show low-level information on containers, images, networks and volumes
    Inspect(inspect::Inspect),
    /// List port mappings of a container
    Port(listing::Published),
    /// Copy files between a container and the local file system
    Cp(cp::Cp),
    /// List changes to a container's file system
    Diff(diff::Diff),
    /// Export a container's file system as a tar archive
    Export(cp::Export),
    /// Explain why a container ended, cannot start or cannot be reached
    Explain(explain::Explain),
    /// Run a shell with tools beside a container or image that has none
    Debug(debug::Debug),
    /// Run a command in namespaces of a container or process
    Enter(namespaces::Enter),
    /// Run a command in new namespaces
    Unshare(namespaces::Unshare),
    /// Create an image from a container's changes
    Commit(commit::Commit),
    /// Rename a container
    Rename(container::Rename),
    /// Build an image from a Dockerfile
    Build(build::Build),
    /// Pull an image from a registry
    Pull(registry::Pull),
    /// Push an image to a registry
    Push(registry::Push),
    /// List images
    Images(image::Images),
    /// Remove images
    Rmi(image::Rmi),
    /// Create a tag that refers to an image
    Tag(image::Tag),
    /// Save images to a tar archive
    Save(archive::Save),
    /// Load images from a tar archive
    Load(archive::Load),
    /// Create an image from a tar archive of a file system
    Import(archive::Import),
    /// Show the history of an image
    History(image::History),
    /// Log in to a registry
    Login(registry::Login),
    /// Log out of a registry
    Logout(registry::Logout),
    /// Display a live stream of resource usage of containers
    Stats(stats::Stats),
    /// Update the resource limits of containers
    Update(update::Update),
    /// Serve Docker's Engine API on a socket
    Serve(serve::Serve),
    /// Show information about the engine and the host
    Info(system::Info),
    /// Show version information
    Version(system::Version),
    /// Manage containers
    #[command(subcommand)]
    Container(group::ContainerGroup),
    /// Manage images
    #[command(subcommand)]
    Image(group::ImageGroup),
    /// Manage husk: disk usage, information, cleaning up
    #[command(subcommand)]
    System(system::System),
    /// Manage the build cache
    #[command(subcommand)]
    Builder(system::Builder),
    /// Manage the contexts of docker and its kin
    #[command(subcommand)]
    Context(context::Context),
    /// Manage networks
    #[command(subcommand)]
    Network(network::Network),
    /// Manage secrets, which containers get as files or variables
    #[command(subcommand)]
    Secret(secret::Secrets),
    /// Manage checkpoints of containers
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Define and run multi-container applications
    Compose(husk_compose::Compose),
    /// Print a completion script for a shell
    Completion(reference::Completion),
    /// Write the manual pages to a directory
    Man(reference::Man),
    /// Lists what a shell may complete
    #[command(name = "__complete", hide = true)]
    Complete(complete::Complete),
    /// Keeps the namespaces of an ordinary user; not for people
    #[command(hide = true)]
    HoldNamespace,
}

/// A command line that cannot be run.
enum Mistake {
    /// Of clap's: a mistake, or help that was asked for.
    Parse(Box<clap::Error>),
    /// A flag's value.
    Value(String),
}

/// The table of all commands, with Docker's flags that are refused.
pub(crate) fn whole_table() -> clap::Command {
    rules::apply(unbuilt::extend(help::extend(Cli::command())))
}

/// Parses the command line, by the table of its own command if that is one of those that are
/// to be quick: to make everyone's takes longer than many a command. A mistake, or a request
/// for help, needs them all. Gives whether all were used, which have flags that are refused.
fn matches(words: &[OsString]) -> std::result::Result<(clap::ArgMatches, bool), Mistake> {
    let quick = quick_table(words).and_then(|table| {
        let table = rules::apply(table);
        let words = rules::rewrite(&table, words.iter().cloned()).ok()?;
        table.try_get_matches_from(words).ok()
    });
    if let Some(matches) = quick {
        return Ok((matches, false));
    }
    let table = whole_table();
    let words = rules::rewrite(&table, words.iter().cloned()).map_err(Mistake::Value)?;
    let parsed = table.try_get_matches_from(words);
    parsed.map(|matches| (matches, true)).map_err(|error| Mistake::Parse(Box::new(error)))
}

/// What the command line's own mistakes end with. Docker tells a flag that it does not know
/// (125) from a command that it does not know and a wrong number of arguments (1), and takes
/// a command without any of its words for a question. A value that is no number is a mistake of
/// the command line's; any other value is the engine's to refuse, and only `run` ends with 125
/// then.
fn usage_status(error: &clap::Error, called: &str) -> ExitCode {
    let is_number = error.source().is_some_and(|why| why.is::<std::num::ParseIntError>());
    match error.kind() {
        ErrorKind::ValueValidation if !is_number && !called.ends_with(" run") => ExitCode::FAILURE,
        ErrorKind::ArgumentConflict if !called.ends_with(" run") => ExitCode::FAILURE,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::SUCCESS,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::InvalidSubcommand => ExitCode::FAILURE,
        ErrorKind::UnknownArgument if !usage::names_flag(error) => ExitCode::FAILURE,
        _ if error.use_stderr() => ExitCode::from(ENGINE_FAILED),
        _ => ExitCode::SUCCESS,
    }
}

/// Prints help where it was asked for, and a mistake in one line.
fn print_mistake(mistake: &Mistake, words: &[OsString]) -> ExitCode {
    let error = match mistake {
        Mistake::Value(text) => {
            output::error_line(text);
            return ExitCode::from(ENGINE_FAILED);
        }
        Mistake::Parse(error) => error,
    };
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        output::error_line(&printable(&usage::sentence(error, words, &whole_table())));
    }
    usage_status(error, &usage::called_name(words, &whole_table()))
}

fn quick_table(words: &[OsString]) -> Option<clap::Command> {
    let table = clap::Command::new("husk").disable_help_subcommand(true);
    let table = table.disable_version_flag(true).version(env!("CARGO_PKG_VERSION"));
    let table = Places::augment_args(table);
    let word = rules::first_word(&table, words.iter().cloned())?;
    let named = clap::Command::new;
    let of_word = match word.to_str()? {
        "run" => create::Run::augment_args(named("run")),
        "create" => create::Create::augment_args(named("create")),
        "start" => container::Start::augment_args(named("start")),
        "stop" => container::Stop::augment_args(named("stop")),
        "kill" => container::Kill::augment_args(named("kill")),
        "rm" => container::Rm::augment_args(named("rm")),
        "wait" => container::Wait::augment_args(named("wait")),
        "exec" => container::Exec::augment_args(named("exec")),
        "compose" => husk_compose::Compose::augment_args(named("compose")),
        "ps" => listing::Ps::augment_args(named("ps")),
        "inspect" => inspect::Inspect::augment_args(named("inspect")),
        _ => return None,
    };
    Some(table.subcommand(of_word))
}

/// The program: parses, runs, and says what went wrong in one line.
pub(crate) fn main() -> ExitCode {
    // There is one of these for each container, which need not make the tables of everyone's flags.
    if let Some(ended) = husk_engine::monitor::run_if_called(std::env::args_os()) {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::error(&error.into());
                ExitCode::FAILURE
            }
        };
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let (matches, whole) = match matches(&words) {
        Ok(parsed) => parsed,
        Err(mistake) => return print_mistake(&mistake, &words),
    };
    let refused = if whole { unbuilt::refuse(&matches) } else { Ok(()) };
    let done =
        refused.and_then(|()| Cli::from_arg_matches(&matches).map_err(Error::other)).and_then(run);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !matches!(error, Error::ReaderGone) {
                output::error(&error);
            }
            let command = unbuilt::leaf(&matches).map(|(name, _)| name);
            ExitCode::from(error.exit_code(command.as_deref()))
        }
    }
}

/// Whether a command touches files of containers and images, or their processes: an
/// ordinary user does so as root of a user namespace. The others only read what is the
/// user's own, or talk to a monitor or a registry.
fn needs_ids(command: &Command) -> bool {
    if let Command::Compose(compose) = command {
        return compose.needs_engine();
    }
    !matches!(
        command,
        Command::Ps(_)
            | Command::Logs(_)
            | Command::Events(_)
            | Command::System(system::System::Events(_))
            | Command::Port(_)
            | Command::Explain(_)
            | Command::Context(_)
            | Command::Inspect(_)
            | Command::Images(_)
            | Command::History(_)
            | Command::Attach(_)
            | Command::Wait(_)
            | Command::Rename(_)
            | Command::Tag(_)
            | Command::Info(_)
            | Command::Version(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Network(_)
            | Command::Complete(_)
            | Command::Completion(_)
            | Command::Man(_)
            | Command::Serve(_)
            | Command::HoldNamespace
    )
}

/// Where a project's files and variables come from.
fn compose_caller() -> Result<husk_compose::Caller> {
    let current = std::env::current_dir().map_err(file("find", "the working directory"))?;
    // What is not UTF-8 can stand in no compose file.
    let pairs = std::env::vars_os();
    let pairs = pairs
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(husk_compose::Caller { environment: pairs.collect(), current })
}

fn run(cli: Cli) -> Result<u8> {
    let home = Home::new(cli.places.root, cli.places.runroot)?;
    if let Some(directory) = cli.places.config {
        registry::set_config_directory(directory);
    }
    home.check_owner()?;
    // Held to the end: the namespaces last as long as somebody uses them.
    let _inside = match needs_ids(&cli.command) {
        true => Some(rootless::enter(&home)?),
        false => None,
    };
    match cli.command {
        Command::Run(run) => run.run(&home),
        Command::Create(create) => create.run(&home),
        Command::Start(start) => start.run(&home),
        Command::Stop(stop) => stop.run(&home, false),
        Command::Restart(stop) => stop.run(&home, true),
        Command::Kill(kill) => kill.run(&home),
        Command::Rm(rm) => rm.run(&home),
        Command::Pause(several) => several.pause(&home),
        Command::Unpause(several) => several.unpause(&home),
        Command::Wait(wait) => wait.run(&home),
        Command::Attach(attach) => attach.run(&home),
        Command::Exec(exec) => exec.run(&home),
        Command::Logs(logs) => logs.run(&home),
        Command::Events(events) => events.run(&home),
        Command::Ps(ps) => ps.run(&home),
        Command::Top(top) => top.run(&home),
        Command::Inspect(inspect) => inspect.run(&home),
        Command::Port(port) => port.run(&home),
        Command::Cp(cp) => cp.run(&home),
        Command::Diff(diff) => diff.run(&home),
        Command::Export(export) => export.run(&home),
        Command::Explain(explain) => explain.run(&home),
        Command::Debug(debug) => debug.run(&home),
        Command::Enter(enter) => enter.run(&home),
        Command::Unshare(unshare) => unshare.run(&home),
        Command::Context(context) => context.run(),
        Command::Secret(secret) => secret.run(&home),
        Command::Commit(commit) => commit.run(&home),
        Command::Rename(rename) => rename.run(&home),
        Command::Build(build) => build.run(&home),
        Command::Pull(pull) => pull.run(&home),
        Command::Push(push) => push.run(&home),
        Command::Images(images) => images.run(&home),
        Command::Rmi(rmi) => rmi.run(&home),
        Command::Tag(tag) => tag.run(&home),
        Command::Save(save) => save.run(&home),
        Command::Load(load) => load.run(&home),
        Command::Import(import) => import.run(&home),
        Command::History(history) => history.run(&home),
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::Stats(stats) => stats.run(&home),
        Command::Update(update) => update.run(&home),
        Command::Serve(serve) => serve.run(&home),
        Command::Info(info) => info.run(&home),
        Command::Version(version) => version.run(&home),
        Command::Container(group) => group.run(&home),
        Command::Image(group) => group.run(&home),
        Command::System(system) => system.run(&home),
        Command::Builder(builder) => builder.run(&home),
        Command::Network(network) => network.run(&home),
        Command::Checkpoint(checkpoint) => checkpoint.run(&home),
        Command::Volume(volume) => volume.run(&home),
        Command::Compose(compose) => Ok(compose.run(&home, &compose_caller()?)),
        Command::Completion(completion) => completion.run(&help::extend(Cli::command())),
        Command::Complete(complete) => complete.run(&help::extend(Cli::command())),
        Command::Man(man) => man.run(help::extend(Cli::command())),
        Command::HoldNamespace => Ok(rootless::hold_namespace(&home).map(|()| 0)?),
    }
}

/// Does something for each of several objects; goes on where one fails, and fails then.
pub(crate) fn for_each<T: AsRef<str>>(
    names: &[T],
    mut work: impl FnMut(&str) -> Result<()>,
) -> Result<u8> {
    let mut code = 0;
    for name in names {
        if let Err(error) = work(name.as_ref()) {
            output::error(&error);
            code = 1;
        }
    }
    Ok(code)
}
