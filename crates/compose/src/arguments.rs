//! The command line: docker compose's words and flags.

mod making;
mod others;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(crate) use making::{Create, Down, Exec, Logs, Ls, Making, Ps, Run, Services, Up};
pub(crate) use others::{
    Attach, Build, Commit, Cp, Events, Export, Images, Kill, Port, Pull, Push, Restart, Rm, Scale,
    Stats, Stop, Systemd, Version, Wait, Watch,
};

/// `compose`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Compose {
    /// Compose configuration files
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<String>,
    /// Project name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Specify an alternate working directory (default: the path of the first Compose file)
    #[arg(long, value_name = "DIR")]
    pub(crate) project_directory: Option<String>,
    /// Specify a profile to enable
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// Specify an alternate environment file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<String>,
    /// Control max parallelism, -1 for unlimited
    #[arg(long, value_name = "N", default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) parallel: i64,
    /// Set type of progress output: auto, tty, plain, json, quiet
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub(crate) progress: String,
    /// Control when to print ANSI control characters: never, always, auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) ansi: String,
    /// Include all resources, even those not used by services
    #[arg(long)]
    pub(crate) all_resources: bool,
    /// Print what would be done, and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// What is to be done.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Its commands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Command {
    /// Parse, resolve and render compose file in canonical format
    #[command(visible_alias = "convert")]
    Config(Config),
    /// Create and start containers
    Up(Up),
    /// Stop and remove containers, networks
    Down(Down),
    /// List containers
    Ps(Ps),
    /// List running compose projects
    Ls(Ls),
    /// View output from containers
    Logs(Logs),
    /// Execute a command in a running container
    Exec(Exec),
    /// Run a one-off command on a service
    Run(Run),
    /// Creates containers for a service
    Create(Create),
    /// Start services
    Start(Services),
    /// Stop services
    Stop(Stop),
    /// Restart service containers
    Restart(Restart),
    /// Force stop service containers
    Kill(Kill),
    /// Removes stopped service containers
    Rm(Rm),
    /// Pause services
    Pause(Services),
    /// Unpause services
    Unpause(Services),
    /// Build or rebuild services
    Build(Build),
    /// Pull service images
    Pull(Pull),
    /// Push service images
    Push(Push),
    /// List images used by the created containers
    Images(Images),
    /// Print the public port for a port binding
    Port(Port),
    /// Display the running processes
    Top(Services),
    /// Display a live stream of container(s) resource usage statistics
    Stats(Stats),
    /// Receive real time events from containers
    Events(Events),
    /// Copy files/folders between a service container and the local filesystem
    Cp(Cp),
    /// Scale services
    Scale(Scale),
    /// Block until containers of all (or specified) services stop
    Wait(Wait),
    /// Attach local standard input, output, and error streams to a service's running container
    Attach(Attach),
    /// List volumes
    Volumes(Images),
    /// Watch build context for service and rebuild/refresh containers when files are updated
    Watch(Watch),
    /// Export a service container's filesystem as a tar archive
    Export(Export),
    /// Create a new image from a service container's changes
    Commit(Commit),
    /// Print a systemd unit that starts the project at boot
    Systemd(Systemd),
    /// Show version information
    Version(Version),
}

/// `config`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Config {
    /// Format the output. Values: yaml, json
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    pub(crate) format: String,
    /// Print environment used for interpolation
    #[arg(long)]
    pub(crate) environment: bool,
    /// Print the service config hash, one per line
    #[arg(long, value_name = "SERVICES")]
    pub(crate) hash: Option<String>,
    /// Print the image names, one per line
    #[arg(long)]
    pub(crate) images: bool,
    /// Print the model names, one per line
    #[arg(long)]
    pub(crate) models: bool,
    /// Print the network names, one per line
    #[arg(long)]
    pub(crate) networks: bool,
    /// Do not check model consistency; may produce invalid Compose output
    #[arg(long)]
    pub(crate) no_consistency: bool,
    /// Do not resolve service env files
    #[arg(long)]
    pub(crate) no_env_resolution: bool,
    /// Do not interpolate environment variables
    #[arg(long)]
    pub(crate) no_interpolate: bool,
    /// Do not normalize compose model
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Do not resolve file paths
    #[arg(long)]
    pub(crate) no_path_resolution: bool,
    /// Save to file (default to stdout)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the profile names, one per line
    #[arg(long)]
    pub(crate) profiles: bool,
    /// Only validate the configuration, do not print anything
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the service names, one per line
    #[arg(long)]
    pub(crate) services: bool,
    /// Print model variables and default values
    #[arg(long)]
    pub(crate) variables: bool,
    /// Print the volume names, one per line
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    pub(crate) names: Vec<String>,
}
