//! Flags of commands that make and show containers.

use clap::Args;

/// Services, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct Services {
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `up`, `create` and `run` have in common.
#[derive(Clone, Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Supplies {
    /// Build images before starting containers
    #[arg(long)]
    pub(crate) build: bool,
    /// Pull image before running: always, missing, never, policy
    #[arg(long, value_name = "WHEN", default_value = "policy")]
    pub(crate) pull: String,
    /// Pull without printing progress information
    #[arg(long)]
    pub(crate) quiet_pull: bool,
    /// Suppress the build output
    #[arg(long)]
    pub(crate) quiet_build: bool,
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(crate) remove_orphans: bool,
}

/// What `up` and `create` have in common.
#[derive(Clone, Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Making {
    #[command(flatten)]
    pub(crate) supplies: Supplies,
    /// Do not build an image, even if its policy says so
    #[arg(long, conflicts_with = "build")]
    pub(crate) no_build: bool,
    /// Recreate containers even if their configuration and image have not changed
    #[arg(long)]
    pub(crate) force_recreate: bool,
    /// If containers already exist, do not recreate them
    #[arg(long, conflicts_with = "force_recreate")]
    pub(crate) no_recreate: bool,
    /// Scale SERVICE to NUM instances
    #[arg(long, value_name = "SERVICE=NUM")]
    pub(crate) scale: Vec<String>,
    /// Assume "yes" as answer to all prompts
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `up`.
#[derive(Clone, Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) making: Making,
    /// Run containers in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Stop all containers if any container was stopped
    #[arg(long, conflicts_with = "detach")]
    pub(crate) abort_on_container_exit: bool,
    /// Stop all containers if any container exited with failure
    #[arg(long, conflicts_with = "detach")]
    pub(crate) abort_on_container_failure: bool,
    /// Return the exit code of the selected service container; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub(crate) exit_code_from: Option<String>,
    /// Recreate dependent containers
    #[arg(long, conflicts_with = "no_recreate")]
    pub(crate) always_recreate_deps: bool,
    /// Restrict attaching to the specified services
    #[arg(long, value_name = "SERVICE")]
    pub(crate) attach: Vec<String>,
    /// Automatically attach to log output of dependent services
    #[arg(long)]
    pub(crate) attach_dependencies: bool,
    /// Do not attach to the specified services
    #[arg(long, value_name = "SERVICE")]
    pub(crate) no_attach: Vec<String>,
    /// Produce monochrome output
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Do not start linked services
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Do not print prefix in logs
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Do not start the services after creating them
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Recreate anonymous volumes instead of keeping those of the previous containers
    #[arg(short = 'V', long)]
    pub(crate) renew_anon_volumes: bool,
    /// Timeout in seconds for container shutdown
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Show timestamps
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Wait for services to be running|healthy; implies detached mode
    #[arg(long)]
    pub(crate) wait: bool,
    /// Maximum duration in seconds to wait for the project to be running|healthy
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait_timeout: Option<u64>,
    /// Watch source code and rebuild/refresh containers when files are updated
    #[arg(short, long, conflicts_with = "detach")]
    pub(crate) watch: bool,
}

/// `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) making: Making,
}

/// `down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Remove images used by services: local (without a custom tag) or all
    #[arg(long, value_name = "WHICH")]
    pub(crate) rmi: Option<String>,
    /// Shutdown timeout in seconds
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Remove named volumes of the file and anonymous volumes of containers
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `ps`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Ps {
    /// Show all stopped containers, those created by the run command included
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Filter services by a property (supported filters: status)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) filter: Option<String>,
    /// Format the output. Values: table, json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
    /// Do not truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Include orphaned services
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) orphans: bool,
    /// Only display IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Display services
    #[arg(long)]
    pub(crate) services: bool,
    /// Filter by status: created, running, paused, restarting, exited
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Vec<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    pub(crate) names: Vec<String>,
}

/// `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Show all stopped Compose projects
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Filter by name
    #[arg(long, value_name = "name=TEXT")]
    pub(crate) filter: Vec<String>,
    /// Format the output. Values: table, json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
    /// Only display project names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `logs`.
#[derive(Clone, Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Logs {
    /// Follow log output
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// Produce monochrome output
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Do not print prefix in logs
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Show logs since timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Number of lines to show from the end of the logs for each container
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<String>,
    /// Show timestamps
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Show logs before a timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Services; all where none is named
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Run command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<usize>,
    /// Disable pseudo-TTY allocation; by default a TTY is allocated where there is one
    #[arg(short = 'T', long)]
    pub(crate) no_tty: bool,
    /// Give extended privileges to the process
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Run the command as this user
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Path to workdir directory for this command
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Service
    pub(crate) service: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `run`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of docker compose's")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) supplies: Supplies,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Run container in background and print container ID
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the entrypoint of the image
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Set environment variables from file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_from_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub(crate) interactive: bool,
    /// Add or override a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Assign a name to the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Disable pseudo-TTY allocation
    #[arg(short = 'T', long = "no-TTY", alias = "no-tty")]
    pub(crate) no_tty: bool,
    /// Do not start linked services
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) publish: Vec<String>,
    /// Do not print what is done
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Automatically remove the container when it exits
    #[arg(long = "rm")]
    pub(crate) remove: bool,
    /// Run command with all service's ports enabled and mapped to the host
    #[arg(short = 'P', long)]
    pub(crate) service_ports: bool,
    /// Use the service's network aliases in the networks the container connects to
    #[arg(long)]
    pub(crate) use_aliases: bool,
    /// Run as specified username or uid
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Service
    pub(crate) service: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}
