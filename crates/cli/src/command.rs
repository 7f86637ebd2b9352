//! The command line: Docker's words. Flags in, exit code out; what they mean is elsewhere.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    archive, build, container, cp, create, diff, group, image, inspect, listing, logs, network,
    output, reference, registry, stats, system, unbuilt, update, usage, volume,
};
use husk_engine::error::{ENGINE_FAILED, Error, READER_GONE, Result};
use husk_engine::home::Home;
use husk_engine::notice::{self, printable};
use husk_engine::rootless;

/// Containers without a daemon.
#[derive(Debug, Parser)]
#[command(name = "husk", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Places {
    /// Where images, containers and volumes are kept
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    root: Option<PathBuf>,
    /// Where is kept what ends with a reboot
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    runroot: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container of an image and run its program
    Run(create::Run),
    /// Make a container; start runs its program
    Create(create::Create),
    /// Run the program of stopped containers
    Start(container::Start),
    /// End containers, politely at first
    Stop(container::Stop),
    /// Stop containers and start them again
    Restart(container::Stop),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Remove containers
    Rm(container::Rm),
    /// Freeze containers
    Pause(container::Several),
    /// Thaw containers
    Unpause(container::Several),
    /// Wait until containers have ended and print their exit status
    Wait(container::Several),
    /// Attach to a running container
    Attach(container::Attach),
    /// Run one more program in a running container
    Exec(container::Exec),
    /// Print what a container has written
    Logs(logs::Logs),
    /// List containers
    Ps(listing::Ps),
    /// List the processes of a container
    Top(container::Top),
    /// Print what is known of containers or images, as JSON
    Inspect(inspect::Inspect),
    /// List the published ports of a container
    Port(listing::Port),
    /// Copy files between a container and here
    Cp(cp::Cp),
    /// List what a container has changed of its image
    Diff(diff::Diff),
    /// Write a container's root to a tar
    Export(cp::Export),
    /// Give a container another name
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
    /// Give an image one more name
    Tag(image::Tag),
    /// Write images to a tar
    Save(archive::Save),
    /// Read images from a tar
    Load(archive::Load),
    /// Make an image of a tar of a root file system
    Import(archive::Import),
    /// Print how an image came to be
    History(image::History),
    /// Remember a user and password of a registry
    Login(registry::Login),
    /// Forget them
    Logout(registry::Logout),
    /// Show what containers use: CPU, memory, network, disk, processes
    Stats(stats::Stats),
    /// Change the limits of containers
    Update(update::Update),
    /// Tell of this machine and this engine
    Info(system::Info),
    /// Print the versions
    Version(system::Version),
    /// Containers
    #[command(subcommand)]
    Container(group::ContainerGroup),
    /// Images
    #[command(subcommand)]
    Image(group::ImageGroup),
    /// The disk, this machine, and removing what is not used
    #[command(subcommand)]
    System(system::System),
    /// The build cache
    #[command(subcommand)]
    Builder(system::Builder),
    /// Networks
    #[command(subcommand)]
    Network(network::Network),
    /// Volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Print a script that completes husk's words in a shell
    Completion(reference::Completion),
    /// Write the manual pages to a directory
    Man(reference::Man),
    /// Keeps the namespaces of an ordinary user; not for people
    #[command(hide = true)]
    HoldNamespace,
    /// Beside a running container; not for people
    #[command(hide = true)]
    Monitor {
        /// The container's id.
        id: String,
    },
}

/// `--root DIR --runroot DIR monitor ID`, as `launch` writes it: there is one of these for
/// each container, which need not make the tables of everyone's flags.
fn monitor_call() -> Option<(Home, String)> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [root_flag, root, run_flag, run, command, id] = words.as_slice() else { return None };
    let written = root_flag == "--root" && run_flag == "--runroot" && command == "monitor";
    let home = Home { root: root.into(), run: run.into() };
    Some((home, id.to_str()?.to_owned())).filter(|_| written)
}

fn run_monitor(home: &Home, id: &str) -> Result<u8> {
    // First of all: nothing is open yet but what the caller has left open.
    husk_engine::monitor::leave_caller()?;
    let _inside = rootless::enter(home)?;
    husk_engine::monitor::run(home, id).map(|()| 0)
}

/// The command line, as its flags' definitions take it. What is right is parsed by the table
/// of its own command, if that is one of those that are to be quick: to make everyone's takes
/// longer than many a command. What is wrong, or asks for help, needs them all. Gives whether
/// these were asked, which have flags that are refused.
fn matches() -> std::result::Result<(clap::ArgMatches, bool), clap::Error> {
    match quick_table().and_then(|table| table.try_get_matches().ok()) {
        Some(matches) => Ok((matches, false)),
        None => {
            let table = unbuilt::extend(Cli::command());
            table.try_get_matches_from(asked()).map(|matches| (matches, true))
        }
    }
}

/// What was called, with `husk help COMMAND` as Docker's other form of `husk COMMAND --help`.
fn asked() -> Vec<std::ffi::OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

/// What the command line's own mistakes end with. Docker tells a flag that it does not know
/// (125) from a command that it does not know and arguments that are missing (1), and takes
/// a command without any of its words for a question.
fn usage_status(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::SUCCESS,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::InvalidSubcommand => ExitCode::FAILURE,
        _ if error.use_stderr() => ExitCode::from(ENGINE_FAILED),
        _ => ExitCode::SUCCESS,
    }
}

/// Help goes where it was asked for; a mistake is one line.
fn tell(error: &clap::Error) {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return;
    }
    let commands = Cli::command();
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    let asked: Vec<String> =
        asked().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
    let sentence = usage::sentence(error, &asked, &names);
    notice::line(format_args!("husk: {}", printable(&sentence)));
}

fn quick_table() -> Option<clap::Command> {
    let mut words = std::env::args_os().skip(1);
    let word = loop {
        match words.next()?.to_str()? {
            "--root" | "--runroot" => drop(words.next()),
            flag if flag.starts_with('-') => {}
            word => break word.to_owned(),
        }
    };
    let named = clap::Command::new;
    let of_word = match word.as_str() {
        "run" => create::Run::augment_args(named("run")),
        "create" => create::Create::augment_args(named("create")),
        "start" => container::Start::augment_args(named("start")),
        "stop" => container::Stop::augment_args(named("stop")),
        "kill" => container::Kill::augment_args(named("kill")),
        "rm" => container::Rm::augment_args(named("rm")),
        "wait" => container::Several::augment_args(named("wait")),
        "exec" => container::Exec::augment_args(named("exec")),
        "ps" => listing::Ps::augment_args(named("ps")),
        "inspect" => inspect::Inspect::augment_args(named("inspect")),
        _ => return None,
    };
    let table = clap::Command::new("husk").disable_help_subcommand(true).subcommand(of_word);
    Some(Places::augment_args(table))
}

/// The program: parses, runs, and says what went wrong in one line.
pub(crate) fn main() -> ExitCode {
    if let Some((home, id)) = monitor_call() {
        return match run_monitor(&home, &id) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                output::error(&error);
                ExitCode::FAILURE
            }
        };
    }
    let (matches, whole) = match matches() {
        Ok(parsed) => parsed,
        Err(error) => {
            tell(&error);
            return usage_status(&error);
        }
    };
    let refused = if whole { unbuilt::refuse(&matches) } else { Ok(()) };
    let done =
        refused.and_then(|()| Cli::from_arg_matches(&matches).map_err(Error::other)).and_then(run);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Error::ReaderGone) => ExitCode::from(READER_GONE),
        Err(error) => {
            output::error(&error);
            ExitCode::from(exit_status(&matches, &error))
        }
    }
}

/// `run`, `create`, `start` and `exec` end as the container's program would; other
/// commands' failures are 1, as Docker's.
fn exit_status(matches: &clap::ArgMatches, error: &Error) -> u8 {
    match unbuilt::leaf(matches).map(|(name, _)| name).as_deref() {
        Some("exec") if error.is_about_container() => 1,
        Some("run" | "create" | "exec") => error.status(),
        Some("start") if error.status() != ENGINE_FAILED => error.status(),
        _ => 1,
    }
}

/// Whether a command touches files of containers and images, or their processes: an
/// ordinary user does so as root of a user namespace. The others only read what is the
/// user's own, or talk to a monitor or a registry.
fn needs_ids(command: &Command) -> bool {
    !matches!(
        command,
        Command::Ps(_)
            | Command::Logs(_)
            | Command::Port(_)
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
            | Command::Completion(_)
            | Command::Man(_)
            | Command::HoldNamespace
            | Command::Monitor { .. }
    )
}

fn run(cli: Cli) -> Result<u8> {
    let home = Home::new(cli.places.root, cli.places.runroot)?;
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
        Command::Wait(several) => several.wait(&home),
        Command::Attach(attach) => attach.run(&home),
        Command::Exec(exec) => exec.run(&home),
        Command::Logs(logs) => logs.run(&home),
        Command::Ps(ps) => ps.run(&home),
        Command::Top(top) => top.run(&home),
        Command::Inspect(inspect) => inspect.run(&home),
        Command::Port(port) => port.run(&home),
        Command::Cp(cp) => cp.run(&home),
        Command::Diff(diff) => diff.run(&home),
        Command::Export(export) => export.run(&home),
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
        Command::Info(info) => info.run(&home),
        Command::Version(version) => version.run(&home),
        Command::Container(group) => group.run(&home),
        Command::Image(group) => group.run(&home),
        Command::System(system) => system.run(&home),
        Command::Builder(builder) => builder.run(&home),
        Command::Network(network) => network.run(&home),
        Command::Volume(volume) => volume.run(&home),
        Command::Completion(completion) => completion.run(&Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
        Command::HoldNamespace => rootless::hold_namespace(&home).map(|()| 0),
        Command::Monitor { id } => run_monitor(&home, &id),
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
