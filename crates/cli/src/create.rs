//! `run` and `create`.

use std::fs::OpenOptions;
use std::io::Write;

use clap::Args;
use husk_image::facts::Facts;
use husk_image::platform::Platform;
use husk_image::store::ImageRecord;

use super::attach::{self, End, Options};
use super::flags::Flags;
use super::{embedded, output, progress, registry};
use crate::error::{EngineError, Error, Result, file};
use husk_engine::container::{Container, Parts, Source, name};
use husk_engine::home::Home;
use husk_engine::image::PullRequest;
use husk_engine::launch::{self, StartRequest};
use husk_engine::notice::notice;
use husk_engine::remove;

/// `run`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Run {
    /// Run the container in the background and print its ID
    #[arg(short, long)]
    detach: bool,
    /// Attach only to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", conflicts_with = "detach")]
    attach: Vec<String>,
    /// Proxy received signals to the process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    flags: Flags,
}

/// `create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Create {
    #[command(flatten)]
    flags: Flags,
}

/// The image in the store, pulled where it is missing or of another platform than was asked for.
fn find_image(home: &Home, flags: &Flags) -> Result<ImageRecord> {
    let Some(text) = flags.platform.as_deref() else { return image_of(home, flags, None) };
    let wanted: Platform = text.parse().map_err(|e| Error::flag("--platform", text, e))?;
    let record = image_of(home, flags, Some(&wanted))?;
    match is_of(&record, &wanted) {
        true => Ok(record),
        false => {
            let problem = format_args!("the image {} is for {}", flags.image, record.platform);
            Err(Error::flag("--platform", text, problem))
        }
    }
}

fn is_of(record: &ImageRecord, wanted: &Platform) -> bool {
    let own = &record.platform;
    own.os == wanted.os
        && own.architecture == wanted.architecture
        && (wanted.variant.is_none() || own.variant == wanted.variant)
}

fn image_of(home: &Home, flags: &Flags, wanted: Option<&Platform>) -> Result<ImageRecord> {
    let store = home.images()?;
    let found = store.find(&flags.image);
    match (flags.pull.as_str(), found) {
        ("missing", Ok(record)) if wanted.is_some_and(|wanted| !is_of(&record, wanted)) => {}
        ("missing" | "never", Ok(record)) => return Ok(record),
        ("missing" | "always" | "never", found) => {
            if let Some(record) = embedded::image(home, &flags.image)? {
                return Ok(record);
            }
            if flags.pull == "never" {
                return Ok(found?);
            }
        }
        (other, _) => {
            return Err(Error::flag("--pull", other, "must be always, missing or never"));
        }
    }
    // A malformed name is not announced as one that is pulled.
    flags.image.parse::<husk_image::reference::Reference>()?;
    if flags.pull == "missing" && !flags.quiet {
        match wanted {
            Some(wanted) => {
                notice(format_args!(
                    "unable to find image {} for {wanted} locally; pulling it",
                    flags.image
                ));
            }
            None => {
                notice(format_args!("unable to find image {} locally; pulling it", flags.image));
            }
        }
    }
    let request = PullRequest {
        image: flags.image.clone(),
        platform: flags.platform.clone(),
        registry: registry::access(flags.tls_verify),
    };
    let pulled = husk_engine::image::pull(home, &request, &*progress::of(flags.quiet))?;
    Ok(pulled.image)
}

/// Makes the container, and writes its id down where that is wanted.
fn make(home: &Home, flags: &Flags) -> Result<Container> {
    let id = name::new_id()?;
    let Some(path) = &flags.cidfile else { return make_with(home, flags, id) };
    // Before anything else is made: a file that is there is somebody else's id.
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let mut opened = created.map_err(file("create --cidfile", path))?;
    let made = make_with(home, flags, id.clone());
    let written = match &made {
        Ok(_) => opened.write_all(id.as_bytes()),
        Err(_) => std::fs::remove_file(path),
    };
    written.map_err(file("write --cidfile", path)).and(made)
}

fn make_with(home: &Home, flags: &Flags, id: String) -> Result<Container> {
    let store = home.images()?;
    // Until the container is written down nothing is collected, its own beginnings included.
    let _activity = store.activity()?;
    if embedded::is_host(home, &flags.image)? {
        let config = flags.resolve(home, &embedded::host_facts())?;
        let parts = Parts { image: flags.image.clone(), source: Source::Host, config };
        return Ok(Container::create(home, id, &flags.name, parts)?);
    }
    let record = find_image(home, flags)?;
    let facts = Facts::of(&store.config(&record)?)?;
    let config = flags.resolve(home, &facts)?;
    store.pin(&id, &record.manifest)?;
    let source = Source::Image { id: record.id, manifest: record.manifest };
    let parts = Parts { image: flags.image.clone(), source, config };
    let created = Container::create(home, id.clone(), &flags.name, parts);
    if created.is_err() {
        store.unpin(&id)?;
    }
    Ok(created?)
}

impl Create {
    /// Runs it.
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = make(home, &self.flags)?;
        output::line(container.id())?;
        Ok(0)
    }
}

/// Removes a container of --rm that could not be started, unless another has started it.
fn remove_again(home: &Home, container: &Container) -> Result<()> {
    match container.lock().and_then(|_lock| remove::remove(home, container, true, false)) {
        Err(EngineError::NoContainer(_)) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

impl Run {
    /// Runs it.
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let flags = &self.flags;
        if flags.tty && !self.detach && flags.interactive {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
            if !terminal {
                return Err(Error::NotTerminal);
            }
        }
        if let Some(other) =
            self.attach.iter().find(|one| !["stdin", "stdout", "stderr"].contains(&one.as_str()))
        {
            return Err(Error::flag("--attach", other, "must be stdin, stdout or stderr"));
        }
        let stands_at =
            |stream: &str| self.attach.is_empty() || self.attach.iter().any(|one| one == stream);
        let options = Options {
            stdin: flags.interactive && stands_at("stdin"),
            stdout: stands_at("stdout"),
            stderr: stands_at("stderr"),
            tty: flags.tty,
            detach_keys: attach::parse_keys(&flags.detach_keys)?,
            signals: self.sig_proxy,
        };
        let container = make(home, flags)?;
        let request = match self.detach {
            true => StartRequest::default(),
            false => options.start_request(),
        };
        let attachment = match launch::start(home, &container, &request, &mut |text| notice(text)) {
            Ok(attachment) => attachment,
            Err(error) => {
                if flags.remove
                    && let Err(why) = remove_again(home, &container)
                {
                    notice(format_args!(
                        "container {} was not removed: {why}",
                        container.record.name
                    ));
                }
                return Err(error.into());
            }
        };
        if self.detach {
            output::line(container.id())?;
            return Ok(0);
        }
        let signals = options.block_signals()?;
        match attach::serve(&attachment, signals.as_ref(), &options)? {
            End::Exited(code) => Ok(u8::try_from(code & 0xff).unwrap_or(255)),
            End::Detached => Ok(0),
        }
    }
}
