//! `container` and `image`: the same commands under a word that says what they are for.

use clap::Subcommand;

use super::{
    archive, build, checkpoint, commit, container, cp, create, diff, image, inspect, listing, logs,
    prune, registry, stats, update,
};
use crate::error::Result;
use husk_engine::home::Home;

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum ContainerGroup {
    /// Attach to a running container
    Attach(container::Attach),
    /// Write the programs of running containers to files, and stop them
    Checkpoint(checkpoint::ContainerCheckpoint),
    /// Create an image from a container's changes
    Commit(commit::Commit),
    /// Copy files between a container and the local file system
    Cp(cp::Cp),
    /// Create a container without starting it
    Create(create::Create),
    /// List changes to a container's file system
    Diff(diff::Diff),
    /// Execute a command in a running container
    Exec(container::Exec),
    /// Export a container's file system as a tar archive
    Export(cp::Export),
    /// Display detailed information on containers
    Inspect(inspect::Inspect),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Fetch the logs of a container
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(listing::Ps),
    /// Pause all processes of containers
    Pause(container::Several),
    /// List port mappings of a container
    Port(listing::Published),
    /// Remove all stopped containers
    Prune(prune::Plain),
    /// Rename a container
    Rename(container::Rename),
    /// Restart containers
    Restart(container::Stop),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(container::Rm),
    /// Start containers from what container checkpoint has written
    Restore(checkpoint::ContainerRestore),
    /// Create and run a new container from an image
    Run(create::Run),
    /// Start stopped containers
    Start(container::Start),
    /// Display a live stream of resource usage of containers
    Stats(stats::Stats),
    /// Stop running containers
    Stop(container::Stop),
    /// Display the running processes of a container
    Top(container::Top),
    /// Unpause all processes of containers
    Unpause(container::Several),
    /// Update the resource limits of containers
    Update(update::Update),
    /// Block until containers stop, then print their exit codes
    Wait(container::Wait),
}

impl ContainerGroup {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match self {
            Self::Attach(attach) => attach.run(home),
            Self::Checkpoint(checkpoint) => checkpoint.run(home),
            Self::Commit(commit) => commit.run(home),
            Self::Cp(cp) => cp.run(home),
            Self::Create(create) => create.run(home),
            Self::Diff(diff) => diff.run(home),
            Self::Exec(exec) => exec.run(home),
            Self::Export(export) => export.run(home),
            Self::Inspect(inspect) => inspect.of("container").run(home),
            Self::Kill(kill) => kill.run(home),
            Self::Logs(logs) => logs.run(home),
            Self::Ls(ps) => ps.run(home),
            Self::Pause(several) => several.pause(home),
            Self::Port(port) => port.run(home),
            Self::Prune(prune) => prune.containers(home),
            Self::Rename(rename) => rename.run(home),
            Self::Restart(stop) => stop.run(home, true),
            Self::Rm(rm) => rm.run(home),
            Self::Restore(restore) => restore.run(home),
            Self::Run(run) => run.run(home),
            Self::Start(start) => start.run(home),
            Self::Stats(stats) => stats.run(home),
            Self::Stop(stop) => stop.run(home, false),
            Self::Top(top) => top.run(home),
            Self::Unpause(several) => several.unpause(home),
            Self::Update(update) => update.run(home),
            Self::Wait(wait) => wait.run(home),
        }
    }
}

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum ImageGroup {
    /// Build an image from a Dockerfile
    Build(Box<build::Build>),
    /// Show the history of an image
    History(image::History),
    /// Create an image from a tar archive of a file system
    Import(archive::Import),
    /// Display detailed information on images
    Inspect(inspect::Inspect),
    /// Load images from a tar archive
    Load(archive::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(image::Images),
    /// Remove unused images
    Prune(prune::Images),
    /// Pull an image from a registry
    Pull(registry::Pull),
    /// Push an image to a registry
    Push(registry::Push),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(image::Rmi),
    /// Save images to a tar archive
    Save(archive::Save),
    /// Create a tag that refers to an image
    Tag(image::Tag),
}

impl ImageGroup {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match self {
            Self::Build(build) => build.run(home),
            Self::History(history) => history.run(home),
            Self::Import(import) => import.run(home),
            Self::Inspect(inspect) => inspect.of("image").run(home),
            Self::Load(load) => load.run(home),
            Self::Ls(images) => images.run(home),
            Self::Prune(prune) => prune.run(home),
            Self::Pull(pull) => pull.run(home),
            Self::Push(push) => push.run(home),
            Self::Rm(rmi) => rmi.run(home),
            Self::Save(save) => save.run(home),
            Self::Tag(tag) => tag.run(home),
        }
    }
}
