//! What a build needs of the engine: images for FROM, and a container for each RUN.
//!
//! A step's container is an ordinary one with the build's mount for its root. It belongs
//! to this process: its monitor kills and removes it when we are gone, however we went.

use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;

use husk_image::build::dockerfile::StepNetwork;
use husk_image::build::{RunStep, Runner};
use husk_image::platform::Platform;
use husk_image::reference::Reference;
use husk_image::store::ImageRecord;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::Cancel;
use super::mount_points::MountPoints;
use super::mounts;
use crate::container::config::{Config, LogOptions};
use crate::container::{Container, Parts, Source, name};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::launch::{self, StartRequest};
use crate::monitor::protocol::{Event, Request};
use crate::remove;
use crate::reporter::Reporter;

const SIGKILL: i32 = 9;

/// How much of a quiet step's output is kept for the case that it fails, in bytes.
const KEPT: usize = 8 << 10;

/// Finds an image that is not in the store: its name, what it is for.
pub(super) type Find<'a> = dyn FnMut(&Reference, &Platform) -> Result<ImageRecord> + 'a;

/// Runs the steps of one build.
pub(super) struct Steps<'a> {
    /// The engine's directories.
    pub(super) home: &'a Home,
    /// `--network`; empty for the default bridge.
    pub(super) networks: Vec<String>,
    /// Pull images that are in the store too.
    pub(super) pull: bool,
    /// Keep the output of steps to ourselves, unless they fail.
    pub(super) quiet: bool,
    /// Pulls.
    pub(super) find: &'a mut Find<'a>,
    /// Ends the build.
    pub(super) cancel: Option<&'a dyn Cancel>,
    /// It was asked to end.
    pub(super) cancelled: bool,
    /// What was pulled already.
    pub(super) pulled: HashSet<(String, String)>,
    /// Takes the output of steps.
    pub(super) reporter: &'a dyn Reporter,
}

impl Runner for Steps<'_> {
    fn run(&mut self, step: &RunStep<'_>) -> Result<(), String> {
        let targets: Vec<&str> = step.mounts.iter().map(|mount| mount.target.as_str()).collect();
        let points =
            MountPoints::missing(step.rootfs, &targets).map_err(|error| error.to_string())?;
        self.hold(true);
        let ran = self.step(step);
        self.hold(false);
        let removed = points.remove(step.rootfs).map_err(|error| error.to_string());
        let code = ran.map_err(|error| error.to_string())?;
        removed?;
        match code {
            0 => Ok(()),
            _ if self.cancelled => Err("interrupted".to_owned()),
            129..=192 => Err(format!("the command was ended by signal {}", code - 128)),
            code => Err(format!("the command ended with exit status {code}")),
        }
    }

    fn image(&mut self, reference: &Reference, platform: &Platform) -> Result<ImageRecord, String> {
        let wanted = (reference.to_string(), platform.to_string());
        let known = !self.pull || self.pulled.contains(&wanted);
        let store = self.home.images().map_err(|error| error.to_string())?;
        if known
            && let Ok(record) = store.find(&reference.to_string())
            && record.platform.architecture == platform.architecture
            && record.platform.os == platform.os
        {
            return Ok(record);
        }
        let found = (self.find)(reference, platform).map_err(|error| error.to_string())?;
        self.pulled.insert(wanted);
        Ok(found)
    }
}

impl Steps<'_> {
    fn hold(&self, held: bool) {
        if let Some(cancel) = self.cancel {
            cancel.hold(held);
        }
    }

    /// Runs a step and gives its exit status; its container is gone then.
    fn step(&mut self, step: &RunStep<'_>) -> Result<i32> {
        let id = name::new_id()?;
        let parts = Parts {
            image: "(build)".to_owned(),
            source: Source::Tree,
            config: self.config(step, &id),
        };
        let called = format!("build-{}", name::short(&id));
        let container = Container::create(self.home, id, &called, parts)?;
        let ran = attach_tree(&container, step.rootfs)
            .and_then(|()| mounts::write_secrets(self.home, container.id(), &step.mounts))
            .and_then(|()| self.attend(&container));
        // Its monitor has removed it, unless it did not come so far.
        let removed =
            container.lock().and_then(|_lock| remove::remove(self.home, &container, true, true));
        let code = ran?;
        match removed {
            Ok(_) | Err(Error::NoContainer(_)) => Ok(code),
            Err(error) => Err(error),
        }
    }

    fn config(&self, step: &RunStep<'_>, id: &str) -> Config {
        Config {
            mounts: mounts::asked(self.home, id, &step.mounts),
            args: step.arguments.clone(),
            env: step.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            working_dir: step.working_dir.clone(),
            user: step.user_name.clone(),
            networks: match step.network {
                StepNetwork::Default => self.networks.clone(),
                StepNetwork::None => vec!["none".to_owned()],
                StepNetwork::Host => vec!["host".to_owned()],
            },
            privileged: step.insecure,
            shm_size: 64 << 20,
            auto_remove: true,
            log: LogOptions { disabled: true, ..LogOptions::default() },
            ..Config::default()
        }
    }

    /// Starts the container and shows what it writes until it has ended.
    fn attend(&mut self, container: &Container) -> Result<i32> {
        let request = StartRequest { attach: true, owned: true, ..StartRequest::default() };
        let attachment = launch::start(self.home, container, &request, &mut |text| {
            self.reporter.notice(&text);
        })?;
        let mut kept = VecDeque::new();
        loop {
            let mut fds = vec![PollFd::new(&attachment.0, PollFlags::IN)];
            if let Some(cancel) = self.cancel.filter(|_| !self.cancelled) {
                fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(file("poll", "the monitor's socket")(errno)),
            }
            let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            let (event, signal) = (ready(0), ready(1));
            if signal {
                // A second one is not waited with.
                self.cancelled = true;
                self.hold(false);
                let _ = attachment.send(&Request::Signal(SIGKILL));
            }
            if !event {
                continue;
            }
            match attachment.receive().map_err(file("read from", "the monitor"))? {
                Some(Event::Stdout(data) | Event::Stderr(data)) => self.show(&data, &mut kept),
                Some(Event::Notice(text)) => self.reporter.notice(&text),
                Some(Event::Exited(code)) => {
                    if code != 0 && self.quiet {
                        kept.make_contiguous();
                        self.reporter.output(kept.as_slices().0);
                    }
                    return Ok(code);
                }
                Some(Event::Started | Event::Failed(..)) => {}
                None => return Err(Error::other("the monitor of the step's container is gone")),
            }
        }
    }

    fn show(&self, data: &[u8], kept: &mut VecDeque<u8>) {
        if !self.quiet {
            self.reporter.output(data);
            return;
        }
        kept.extend(data);
        let over = kept.len().saturating_sub(KEPT);
        drop(kept.drain(..over));
    }
}

/// Puts the build's mount where the monitor finds it; [`crate::rootfs::discard`] takes it
/// away.
fn attach_tree(container: &Container, tree: &OwnedFd) -> Result<()> {
    let target = crate::rootfs::tree_of(container);
    make_directory(&target)?;
    rustix::mount::move_mount(tree, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(file("attach the step's root at", &target))?;
    // Private, so that what is mounted below it reaches no other namespace, nor stays there.
    let private = rustix::mount::MountPropagationFlags::PRIVATE;
    let changed = rustix::mount::mount_change(&target, private);
    if changed.is_err() {
        let _ = rustix::mount::unmount(&target, UnmountFlags::DETACH);
    }
    changed.map_err(file("make private the step's root at", &target))
}
