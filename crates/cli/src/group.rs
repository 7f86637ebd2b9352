//! `container` and `image`: the same commands under a word that says what they are for.

use clap::Subcommand;

use super::{
    archive, build, container, cp, create, diff, image, inspect, listing, logs, prune, registry,
    stats, update,
};
use husk_engine::error::Result;
use husk_engine::home::Home;

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum ContainerGroup {
    /// Stand at a running container
    Attach(container::Attach),
    /// Copy files between a container and here
    Cp(cp::Cp),
    /// Make a container; start runs its program
    Create(create::Create),
    /// List what a container has changed of its image
    Diff(diff::Diff),
    /// Run one more program in a running container
    Exec(container::Exec),
    /// Write a container's root to a tar
    Export(cp::Export),
    /// Print what is known of containers, as JSON
    Inspect(inspect::Inspect),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Print what a container has written
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(listing::Ps),
    /// Freeze containers
    Pause(container::Several),
    /// List the published ports of a container
    Port(listing::Port),
    /// Remove those that do not run
    Prune(prune::Plain),
    /// Give a container another name
    Rename(container::Rename),
    /// Stop containers and start them again
    Restart(container::Stop),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(container::Rm),
    /// Make a container of an image and run its program
    Run(create::Run),
    /// Run the program of stopped containers
    Start(container::Start),
    /// Show what containers use
    Stats(stats::Stats),
    /// End containers, politely at first
    Stop(container::Stop),
    /// List the processes of a container
    Top(container::Top),
    /// Thaw containers
    Unpause(container::Several),
    /// Change the limits of containers
    Update(update::Update),
    /// Wait until containers have ended and print their exit status
    Wait(container::Several),
}

impl ContainerGroup {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match self {
            Self::Attach(attach) => attach.run(home),
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
            Self::Run(run) => run.run(home),
            Self::Start(start) => start.run(home),
            Self::Stats(stats) => stats.run(home),
            Self::Stop(stop) => stop.run(home, false),
            Self::Top(top) => top.run(home),
            Self::Unpause(several) => several.unpause(home),
            Self::Update(update) => update.run(home),
            Self::Wait(several) => several.wait(home),
        }
    }
}

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum ImageGroup {
    /// Build an image from a Dockerfile
    Build(Box<build::Build>),
    /// Print how an image came to be
    History(image::History),
    /// Make an image of a tar of a root file system
    Import(archive::Import),
    /// Print what is known of images, as JSON
    Inspect(inspect::Inspect),
    /// Read images from a tar
    Load(archive::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(image::Images),
    /// Remove those without a name
    Prune(prune::Images),
    /// Pull an image from a registry
    Pull(registry::Pull),
    /// Push an image to a registry
    Push(registry::Push),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(image::Rmi),
    /// Write images to a tar
    Save(archive::Save),
    /// Give an image one more name
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
