//! `run` and `create`.

use std::fs::OpenOptions;
use std::io::Write;

use clap::Args;

use super::attach::{self, End, Options};
use super::flags::Flags;
use super::{output, progress};
use crate::error::{EngineError, Error, Result, file};
use husk_engine::checkpoint::{self, ImportRequest, ImportSource, Imported, RestoreRequest};
use husk_engine::container::{self, Container};
use husk_engine::home::Home;
use husk_engine::launch::{self, StartRequest};
use husk_engine::notice::notice;
use husk_engine::remove;
use husk_engine::reporter::{Reporter, Silent};

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
    /// Go on from IMAGE, which container checkpoint --create-image has made
    #[arg(long)]
    from_checkpoint: bool,
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

/// Makes the container, and writes its id down where that is wanted.
fn make(home: &Home, flags: &Flags) -> Result<Container> {
    let request = flags.request()?;
    let reporter: Box<dyn Reporter> = match flags.quiet {
        true => Box::new(Silent),
        false => progress::of(false),
    };
    let create = || {
        let created = container::create(home, &request, &*reporter);
        created.map_err(|error| flags.as_written(error))
    };
    let Some(path) = &flags.cidfile else { return create() };
    // Before anything else is made: a file that is there is somebody else's id.
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let mut opened = created.map_err(file("create --cidfile", path))?;
    let made = create();
    let written = match &made {
        Ok(container) => opened.write_all(container.id().as_bytes()),
        Err(_) => std::fs::remove_file(path),
    };
    written.map_err(file("write --cidfile", path)).and(made)
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
        let imported = match self.from_checkpoint {
            true => Some(self.import(home)?),
            false => None,
        };
        let container = match &imported {
            Some(imported) => imported.container.clone(),
            None => make(home, flags)?,
        };
        let request = match self.detach {
            true => StartRequest::default(),
            false => options.start_request(),
        };
        let mut tell = |text| notice(text);
        let started = match &imported {
            Some(imported) => {
                let restore = RestoreRequest { tcp_close: true, ..RestoreRequest::default() };
                let place = &imported.place;
                checkpoint::restore(home, &container, place, &restore, &request, &mut tell)
                    // A container that never ran is of no use to anybody.
                    .inspect_err(|_| imported.undo(home))
            }
            None => launch::start(home, &container, &request, &mut tell),
        };
        let attachment = match started {
            Ok(attachment) => attachment,
            Err(error) => {
                if flags.remove
                    && imported.is_none()
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

    /// Makes a container of a checkpoint's image.
    fn import(&self, home: &Home) -> Result<Imported> {
        if self.flags.cidfile.is_some() {
            return Err(Error::other("--cidfile does not go with --from-checkpoint"));
        }
        let request = ImportRequest {
            source: ImportSource::Image(self.flags.image.clone()),
            container: self.flags.request()?,
            ignore_rootfs: false,
            ignore_volumes: false,
            ignore_static_ip: true,
            ignore_static_mac: true,
        };
        let reporter: Box<dyn Reporter> = match self.flags.quiet {
            true => Box::new(Silent),
            false => progress::of(false),
        };
        let imported = checkpoint::import(home, &request, &*reporter);
        imported.map_err(|error| self.flags.as_written(error))
    }
}
