//! A container's network: what its namespace is, who connects it, and undoing that.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use husk_net::pasta::{self, Pasta};
use husk_net::{
    Attachment, Claim, Endpoint, LoopbackProxy, Mode, NetNs, Networks, Publish, Request,
    Reservation,
};

use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::lock::Lock;
use crate::rootless::is_rootless;
use crate::spec::Network;

/// The network of a container that is about to be made.
#[derive(Debug)]
pub enum Connection {
    /// There is nothing to connect.
    Plain(Network),
    /// Addresses and ports on networks of ours, and the namespace to be connected.
    Reserved(Networks, Reservation, NetNs),
    /// Without root: pasta, which writes its pid to the file.
    Pasta {
        /// The published ports.
        ports: Reservation,
        /// See [`pasta::stop`].
        pid_file: PathBuf,
    },
}

fn pasta_pid_file(run: &Path) -> PathBuf {
    run.join("pasta.pid")
}

impl Connection {
    /// Looks up and reserves what the flags ask for; nothing is connected yet.
    ///
    /// # Errors
    /// What is not there, in use, or cannot be combined.
    pub fn prepare(
        home: &Home,
        container: &Container,
        notice: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let config = &container.record.config;
        let unpublishable = |mode: &str| match config.publishes.first() {
            Some(publish) => {
                let problem = format!("a port cannot be published with --network {mode}");
                Err(Error::flag("--publish", publish, problem))
            }
            None => Ok(()),
        };
        match Mode::parse(&config.networks, is_rootless())? {
            Mode::None => unpublishable("none").map(|()| Self::Plain(Network::Own)),
            Mode::Host => unpublishable("host").map(|()| Self::Plain(Network::Host)),
            Mode::Container(other) => {
                unpublishable("container:")?;
                let other = Container::find(home, &other)?;
                let state = other.state()?;
                match state.status {
                    Status::Running => {
                        Ok(Self::Plain(Network::Path(format!("/proc/{}/ns/net", state.pid))))
                    }
                    _ => Err(Error::other(format_args!(
                        "--network container:{0}: container {0} is not running",
                        other.record.name
                    ))),
                }
            }
            Mode::Pasta => {
                // Before anything is made: without it there is no network.
                pasta::find()?;
                let nets = home.networks()?;
                reclaim(home, &nets, notice);
                let ports = nets.reserve_ports(
                    container.id(),
                    &container.record.name,
                    &publishes(container)?,
                )?;
                Ok(Self::Pasta { ports, pid_file: pasta_pid_file(&container.run) })
            }
            Mode::Networks(names) => {
                let nets = home.networks()?;
                reclaim(home, &nets, notice);
                let reservation = nets.reserve(&request(container, &names)?)?;
                Ok(Self::Reserved(nets, reservation, NetNs::make()?))
            }
        }
    }

    /// The namespace that the runtime is to make or join.
    pub fn namespace(&self) -> Network {
        match self {
            Self::Plain(network) => network.clone(),
            Self::Reserved(.., netns) => {
                // By our own number: the runtime's own descriptors are others.
                let (pid, fd) = (std::process::id(), netns.as_fd().as_raw_fd());
                Network::Made(format!("/proc/{pid}/fd/{fd}"))
            }
            Self::Pasta { .. } => Network::Own,
        }
    }

    /// Addresses on networks of ours.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Reserved(_, reservation, _) => reservation.endpoints(),
            Self::Plain(_) | Self::Pasta { .. } => &[],
        }
    }

    fn claims(&self) -> &[Claim] {
        match self {
            Self::Plain(_) => &[],
            Self::Reserved(_, reservation, _) => reservation.claims(),
            Self::Pasta { ports, .. } => ports.claims(),
        }
    }

    /// Whether it takes the container's process to connect it.
    pub fn needs_process(&self) -> bool {
        matches!(self, Self::Pasta { .. })
    }

    /// Connects the namespace, before the program runs. The proxy is for the caller to serve.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn connect(&self, notice: &mut dyn FnMut(String)) -> Result<Option<LoopbackProxy>> {
        let Self::Reserved(nets, reservation, netns) = self else { return Ok(None) };
        nets.set_up(reservation, netns)?.into_iter().for_each(notice);
        Ok(LoopbackProxy::bind(self.claims())?)
    }

    /// Connects the created container's process, where that is what can be connected.
    ///
    /// # Errors
    /// What pasta refused.
    pub fn connect_process(&self, pid: i32) -> Result<()> {
        let Self::Pasta { pid_file, .. } = self else { return Ok(()) };
        let (pid, claims, interface) = (pid.unsigned_abs(), self.claims(), "eth0");
        let user_namespace = pasta::UserNamespace::OfCaller;
        // It listens on the host's loopback, too.
        Ok(Pasta { pid, user_namespace, pid_file, claims, interface, mtu: None }.start()?)
    }
}

/// Takes back addresses and ports of containers that ended unseen: a killed monitor has given
/// none of them back, and their next start would be the first to do so.
fn reclaim(home: &Home, nets: &Networks, notice: &mut dyn FnMut(String)) {
    // The monitor's lock, which keeps the container from being started meanwhile: it must not
    // lose what it has just been given. There is none where its run directory is gone.
    let end = |id: &str| -> Option<Option<Lock>> {
        let path = Container::monitor_lock_of(home, id);
        let lock = match path.parent().is_some_and(Path::exists) {
            // Held: it is being started, runs, or is being taken apart.
            true => Some(Lock::try_exclusive(&path).ok()??),
            false => None,
        };
        // Its process may have outlived the monitor.
        let alive = Container::open(home, id)
            .and_then(|container| container.written_state())
            .is_ok_and(|state| state.is_alive());
        (!alive).then_some(lock)
    };
    if let Err(error) = nets.reclaim(&end) {
        notice(format!("cleaning up after ended containers: {error}"));
    }
}

fn publishes(container: &Container) -> Result<Vec<Publish>> {
    let config = &container.record.config;
    let exposed = if config.publish_all { config.exposed.as_slice() } else { &[] };
    let parse = |text: &String| Ok(text.parse::<Publish>()?);
    config.publishes.iter().chain(exposed).map(parse).collect()
}

fn request(container: &Container, names: &[String]) -> Result<Request> {
    let config = &container.record.config;
    let mac = config.mac.as_deref().map(husk_net::parse_mac).transpose()?;
    let attachment = |(index, network): (usize, &String)| Attachment {
        network: network.clone(),
        addresses: if index == 0 { config.addresses.clone() } else { Vec::new() },
        mac: mac.filter(|_| index == 0),
    };
    Ok(Request {
        container: container.id().to_owned(),
        name: container.record.name.clone(),
        attachments: names.iter().enumerate().map(attachment).collect(),
        publishes: publishes(container)?,
    })
}

/// Undoes whatever connects a container, also one that never was connected.
///
/// # Errors
/// Every step that failed.
pub fn tear_down(home: &Home, container: &Container) -> Result<()> {
    tear_down_of(home, container.id(), &container.run)
}

/// The same of a container that only its id and its run directory are left of.
///
/// # Errors
/// Every step that failed.
pub fn tear_down_of(home: &Home, id: &str, run: &Path) -> Result<()> {
    let stopped = pasta::stop(&pasta_pid_file(run));
    let undone = home.networks()?.tear_down(id);
    Ok(stopped.and(undone)?)
}
