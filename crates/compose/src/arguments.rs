//! The command line: docker compose's words and flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
