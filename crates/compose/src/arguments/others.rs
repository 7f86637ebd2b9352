//! Flags of commands for containers that are there.

use clap::Args;

/// `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Shutdown timeout in seconds
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Do not restart dependent services
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Shutdown timeout in seconds
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Signal to send to the container
    #[arg(short, long, default_value = "SIGKILL")]
    pub(crate) signal: String,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Do not ask to confirm removal
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Stop the containers, if required, before removing
    #[arg(short, long)]
    pub(crate) stop: bool,
    /// Remove any anonymous volumes attached to containers
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `build`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Build {
    /// Set build-time variables for services
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pub(crate) pull: bool,
    /// Push service images
    #[arg(long)]
    pub(crate) push: bool,
    /// Suppress the build output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Set SSH authentications used when building service images
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    pub(crate) ssh: Option<String>,
    /// Also build dependencies (transitively)
    #[arg(long)]
    pub(crate) with_dependencies: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `pull`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Pull {
    /// Ignore images that can be built
    #[arg(long)]
    pub(crate) ignore_buildable: bool,
    /// Pull what it can and ignore images with pull failures
    #[arg(long)]
    pub(crate) ignore_pull_failures: bool,
    /// Also pull services declared as dependencies
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// Apply pull policy: missing or always
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub(crate) policy: String,
    /// Pull without printing progress information
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push what it can and ignore images with push failures
    #[arg(long)]
    pub(crate) ignore_push_failures: bool,
    /// Also push images of services declared as dependencies
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// Push without printing progress information
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `images` and `volumes`.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Format the output. Values: table, json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
    /// Only display IDs or names
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `port`.
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: String,
    /// Service
    pub(crate) service: String,
    /// Port in the container
    #[arg(value_name = "PRIVATE_PORT")]
    pub(crate) port: u16,
}

/// `stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Format output as json, table, or by a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print the first result only, do not stream
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Output events as a stream of json objects
    #[arg(long)]
    pub(crate) json: bool,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `cp`.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Always follow symbol link in the source
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// SERVICE:PATH, PATH or -
    pub(crate) source: String,
    /// SERVICE:PATH, PATH or -
    pub(crate) destination: String,
}

/// `scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Do not start linked services
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Services and their number of containers
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    pub(crate) scale: Vec<String>,
}

/// `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Drop the project when the first container stops
    #[arg(long)]
    pub(crate) down_project: bool,
    /// Services
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching from a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Service
    pub(crate) service: String,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Do not build and start services before watching
    #[arg(long)]
    pub(crate) no_up: bool,
    /// Hide build output
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
    /// Service
    pub(crate) service: String,
}

/// `commit`.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Author
    #[arg(short, long)]
    pub(crate) author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// Commit message
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Service
    pub(crate) service: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) image: Option<String>,
}

/// `systemd`.
#[derive(Debug, Args)]
pub(crate) struct Systemd {}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Format the output. Values: pretty, json
    #[arg(short, long, value_name = "FORMAT", default_value = "pretty")]
    pub(crate) format: String,
    /// Show only the version number
    #[arg(long)]
    pub(crate) short: bool,
}
