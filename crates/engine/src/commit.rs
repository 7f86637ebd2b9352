//! Commit: an image of a container and what it has changed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use husk_image::build::{CommitOptions, commit as commit_changes, config_on};
use husk_image::config::{Empty, RunConfig};
use husk_image::reference::Reference;
use husk_image::store::ImageRecord;

use crate::container::config::Config;
use crate::container::state::Status;
use crate::container::{Container, Source};
use crate::error::{Error, Field, Result, file};
use crate::home::Home;
use crate::reporter::{Reporter, StoreProgress};
use crate::{events, pause, rootfs};

/// What is to be committed, and as what.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The container, by its name or id.
    pub container: String,
    /// The image's name; `latest` where it has no tag.
    pub name: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// A remark for its history.
    pub message: Option<String>,
    /// Instructions of a Dockerfile that change the config and no file, such as `CMD ls`. They
    /// come after what the container's own config says.
    pub changes: Vec<String>,
    /// A container that runs is paused meanwhile. Without it what its programs write meanwhile
    /// is in the image or not.
    pub pause: bool,
}

/// Makes an image of a container's image, its changes to that and its config. What is in
/// volumes and other mounts is not in it.
///
/// # Errors
/// A container that is not there or has no image, a name or an instruction that cannot be
/// honoured; what cannot be read or written.
pub fn commit(
    home: &Home,
    request: &CommitRequest,
    reporter: &dyn Reporter,
) -> Result<ImageRecord> {
    let container = Container::find(home, &request.container)?;
    let Source::Image { manifest, .. } = &container.record.source else {
        return Err(Error::other(format_args!(
            "container {} has no image to commit its changes on: use \"husk export\" and \
             \"husk import\"",
            container.record.name
        )));
    };
    let reference = match &request.name {
        Some(name) => Some(tag(name)?),
        None => None,
    };
    let name = reference.as_ref().map(ToString::to_string);
    let store = home.images()?;
    let base = store.image(manifest)?;
    let image_config = store.config(&base)?.config.unwrap_or_default();
    let progress = StoreProgress(reporter);
    let config = of_container(&container.record.config, image_config);
    let config = config_on(config, &request.changes)
        .map_err(|error| Error::field(Field::Changes, &error.line, error.message))?;
    let cmd = container.record.config.args.iter();
    let cmd = cmd.skip(container.record.config.entrypoint_length);
    let options = CommitOptions {
        config,
        author: request.author.clone().filter(|text| !text.is_empty()),
        message: request.message.clone().filter(|text| !text.is_empty()),
        created_by: cmd.cloned().collect::<Vec<_>>().join(" "),
        reference,
    };
    let upper = changes(&container)?;
    let _paused = match request.pause {
        true => Paused::of(home, &container)?,
        false => None,
    };
    let comment = options.message.clone().unwrap_or_default();
    let image = commit_changes(&store, &base, upper.as_fd(), options, &progress)?;
    let (id, name) = (image.id.to_string(), name.unwrap_or_default());
    let extra = [("comment", &*comment), ("imageID", &*id), ("imageRef", &*name)];
    events::container::record(&container, "commit", &extra);
    Ok(image)
}

fn tag(name: &str) -> Result<Reference> {
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Error::field(Field::Tag, name, "a digest cannot be given"));
    }
    Ok(reference.or_latest())
}

/// The directory of a container's changes, read by this descriptor alone; an empty one of
/// a container that was never started.
fn changes(container: &Container) -> Result<OwnedFd> {
    let upper = rootfs::upper_of(container);
    let opened = match std::fs::File::open(&upper) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let empty = tempfile::tempdir_in(&container.directory)
                .map_err(file("make a directory in", &container.directory))?;
            std::fs::File::open(empty.path()).map_err(file("open", empty.path()))?
        }
        opened => opened.map_err(file("open", &upper))?,
    };
    Ok(opened.into())
}

/// The container's config over that of its image.
fn of_container(config: &Config, image: RunConfig) -> RunConfig {
    let (entrypoint, cmd) = config.args.split_at(config.entrypoint_length.min(config.args.len()));
    let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let exposed: BTreeMap<_, _> =
        config.exposed.iter().map(|port| (port.clone(), Empty {})).collect();
    RunConfig {
        user: text(&config.user),
        exposed_ports: Some(exposed).filter(|ports| !ports.is_empty()),
        env: list(&config.env),
        entrypoint: list(entrypoint),
        cmd: list(cmd),
        working_dir: text(&config.working_dir),
        labels: Some(config.labels.clone()).filter(|labels| !labels.is_empty()),
        stop_signal: text(&config.stop_signal),
        ..image
    }
}

/// A container that was paused for the time of a commit.
struct Paused<'a> {
    home: &'a Home,
    container: &'a Container,
}

impl<'a> Paused<'a> {
    /// None where it does not run, or is paused already.
    fn of(home: &'a Home, container: &'a Container) -> Result<Option<Self>> {
        let state = container.state()?;
        if state.status != Status::Running || state.paused {
            return Ok(None);
        }
        match pause::pause(home, container) {
            Ok(()) => Ok(Some(Self { home, container })),
            // It has ended, or another has paused it.
            Err(Error::NotRunning(_) | Error::Paused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        // One that has ended needs nothing.
        let _ = pause::unpause(self.home, self.container);
    }
}
