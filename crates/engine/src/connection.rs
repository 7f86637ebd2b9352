//! A container's network: what its namespace is, who connects it, and undoing that.

pub(crate) mod joiners;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use husk_net::etc_files::{DnsOptions, HostResolver, ResolvConf};
use husk_net::pasta::{self, Pasta};
use husk_net::{
    Attachment, Claim, Endpoint, Mode, NetNs, Networks, Publish, Request, Reservation, Service, dns,
};
use husk_spec::NamespaceType;

use crate::container::Container;
use crate::container::config::Config;
use crate::container::state::Status;
use crate::error::{Error, Field, Problem, Result};
use crate::events::{Journal, NetworkName};
use crate::home::Home;
use crate::lock::Lock;
use crate::rootless::is_rootless;
use crate::settings::Settings;
use crate::spec::Network;
use joiners::Membership;

/// The network of a container that is about to be made.
#[derive(Debug)]
pub enum Connection {
    /// There is nothing to connect.
    Plain(Network),
    /// A namespace of an earlier run with nothing but loopback, which others are in.
    Rejoined(NetNs),
    /// Another container's namespace.
    Joined {
        /// The namespace's file in /proc.
        path: String,
        /// The other container's directory, where its hosts, hostname and resolv.conf are.
        directory: PathBuf,
        /// The other container's hostname.
        hostname: String,
    },
    /// Addresses and ports on networks of ours, and the namespace to be connected.
    Reserved(Box<Networks>, Reservation, NetNs),
    /// The same of an earlier run, connected all the time: others are in the namespace.
    Kept(Reservation, NetNs),
    /// Without root: pasta, which writes its pid to the file.
    Pasta {
        /// The published ports.
        ports: Reservation,
        /// See [`pasta::stop`].
        pid_file: PathBuf,
        /// See [`Pasta::forward_dns`].
        forward_dns: bool,
        /// The namespace of an earlier run, where others are in it.
        namespace: Option<NetNs>,
    },
}

fn pasta_pid_file(run: &Path) -> PathBuf {
    run.join("pasta.pid")
}

impl Connection {
    /// Looks up and reserves what the flags ask for; nothing is connected yet. The namespace of
    /// an earlier run is used again where others are in it.
    ///
    /// # Errors
    /// What is not there, in use, or cannot be combined.
    pub(crate) fn prepare(
        home: &Home,
        container: &Container,
        membership: &mut Membership,
        notice: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let config = &container.record.config;
        let kept = || joiners::kept(home, container, NamespaceType::Network).map(NetNs::from);
        let discard_publishes = |mode: &str, notice: &mut dyn FnMut(String)| {
            if !config.publishes.is_empty() {
                notice(format!("Published ports are discarded when using {mode} network mode"));
            }
        };
        match Mode::parse(&config.networks, is_rootless())? {
            Mode::None => {
                discard_publishes("none", notice);
                Ok(kept().map_or(Self::Plain(Network::Own), Self::Rejoined))
            }
            Mode::Host => {
                discard_publishes("host", notice);
                Ok(Self::Plain(Network::Host))
            }
            Mode::Container(other) => {
                refuse_own_settings(config)?;
                let other = Container::find(home, &other)?;
                Ok(Self::Joined {
                    path: membership.join(&other, container.id(), NamespaceType::Network)?,
                    directory: other.directory.clone(),
                    hostname: hostname_of(&other),
                })
            }
            Mode::Pasta => {
                // Before anything is made: without it there is no network.
                pasta::find()?;
                let nets = home.networks()?;
                reclaim(home, &nets, notice);
                let ports = nets.reserve_ports(
                    container.id(),
                    &container.record.name,
                    &publishes(home, container, &nets)?,
                )?;
                let forward_dns =
                    config.dns.is_empty() || config.dns.contains(&pasta::DNS_FORWARDER);
                let pid_file = pasta_pid_file(&container.run);
                Ok(Self::Pasta { ports, pid_file, forward_dns, namespace: kept() })
            }
            Mode::Networks(attachments) => {
                let nets = home.networks()?;
                reclaim(home, &nets, notice);
                let reservation = nets.reserve(&request(home, &nets, container, attachments)?)?;
                let netns = kept().map_or_else(NetNs::make, Ok)?;
                Ok(Self::Reserved(Box::new(nets), reservation, netns))
            }
        }
    }

    /// The namespace that the runtime is to make or join.
    pub fn namespace(&self) -> Network {
        match self {
            Self::Plain(network) => network.clone(),
            Self::Joined { path, .. } => Network::Path(path.clone()),
            Self::Reserved(.., netns)
            | Self::Kept(_, netns)
            | Self::Rejoined(netns)
            | Self::Pasta { namespace: Some(netns), .. } => {
                // By our own number: the runtime's own descriptors are others.
                let (pid, fd) = (std::process::id(), netns.as_fd().as_raw_fd());
                Network::Made(format!("/proc/{pid}/fd/{fd}"))
            }
            Self::Pasta { namespace: None, .. } => Network::Own,
        }
    }

    /// What is to be kept until the next start of the same monitor, being connected: `None` where
    /// there is nothing that outlives the program.
    pub(crate) fn into_kept(self) -> Option<Self> {
        match self {
            Self::Reserved(_, mut reservation, netns) => {
                reservation.release_ports();
                Some(Self::Kept(reservation, netns))
            }
            kept @ Self::Kept(..) => Some(kept),
            _ => None,
        }
    }

    /// Addresses on networks of ours.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Reserved(_, reservation, _) | Self::Kept(reservation, _) => {
                reservation.endpoints()
            }
            Self::Plain(_) | Self::Rejoined(_) | Self::Joined { .. } | Self::Pasta { .. } => &[],
        }
    }

    fn claims(&self) -> &[Claim] {
        match self {
            Self::Plain(_) | Self::Rejoined(_) | Self::Joined { .. } => &[],
            Self::Reserved(_, reservation, _) | Self::Kept(reservation, _) => reservation.claims(),
            Self::Pasta { ports, .. } => ports.claims(),
        }
    }

    /// Whether it takes the container's process to connect it.
    pub fn needs_process(&self) -> bool {
        matches!(self, Self::Pasta { .. })
    }

    /// Connects the namespace, before the program runs. The service is for the monitor to
    /// dispatch as long as the container runs.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn connect(
        &self,
        config: &Config,
        notice: &mut dyn FnMut(String),
    ) -> Result<Option<Service>> {
        let Self::Reserved(nets, reservation, netns) = self else { return Ok(None) };
        nets.set_up(reservation, netns)?.into_iter().for_each(notice);
        Ok(Some(Service::start(nets, self.claims(), self.names(netns, config)?)?))
    }

    /// Whether the container is on a network whose containers have names.
    pub fn has_names(&self) -> bool {
        self.endpoints().iter().any(|endpoint| endpoint.network != husk_net::DEFAULT_NETWORK)
    }

    fn names(&self, netns: &NetNs, config: &Config) -> Result<Option<dns::Config>> {
        let Self::Reserved(nets, reservation, _) = self else { return Ok(None) };
        let Some(first) = reservation.endpoints().first().filter(|_| self.has_names()) else {
            return Ok(None);
        };
        // An internal network leads nowhere, also not by way of the host's own server.
        let leads_out = self.endpoints().iter().any(|endpoint| endpoint.default_route);
        let asked = dns_options(config);
        let servers = ResolvConf::upstream(&HostResolver::read(), &asked, leads_out);
        Ok(Some(dns::Config {
            networks: (**nets).clone(),
            container: first.container.clone(),
            netns: netns.try_clone()?,
            servers,
        }))
    }

    /// Undoes what [`Self::connect`] did for a container that then could not be started.
    ///
    /// # Errors
    /// Every step that failed.
    pub fn abandon(&self) -> Result<()> {
        let Self::Reserved(nets, reservation, _) = self else { return Ok(()) };
        Ok(nets.abandon(reservation)?)
    }

    /// Connects the created container's process, where that is what can be connected.
    ///
    /// # Errors
    /// What pasta refused.
    pub fn connect_process(&self, pid: i32) -> Result<()> {
        let Self::Pasta { pid_file, forward_dns, .. } = self else { return Ok(()) };
        let forward_dns = *forward_dns;
        let (pid, claims, interface) = (pid.unsigned_abs(), self.claims(), "eth0");
        let user_namespace = pasta::UserNamespace::OfCaller;
        // It listens on the host's loopback, too.
        Ok(Pasta { pid, user_namespace, pid_file, claims, interface, mtu: None, forward_dns }
            .start()?)
    }
}

/// Whether a container's network as it was connected is what its record says by now.
pub(crate) fn is_unchanged(before: &Config, now: &Config) -> bool {
    let of = |config: &Config| {
        let Config { networks, addresses, mac, publishes, exposed, publish_all, .. } =
            config.clone();
        let Config { dns, dns_search, dns_options, hostname, .. } = config.clone();
        let names = (dns, dns_search, dns_options, hostname);
        ((networks, addresses, mac), (publishes, exposed, publish_all), names)
    };
    of(before) == of(now)
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
        let alive =
            Container::open(home, id).and_then(|container| container.lives()).unwrap_or(false);
        (!alive).then_some(lock)
    };
    if let Err(error) = nets.reclaim(&end) {
        notice(format!("cleaning up after ended containers: {error}"));
    }
}

/// The published ports, with the address of the host that is meant where none is said.
fn publishes(home: &Home, container: &Container, nets: &Networks) -> Result<Vec<Publish>> {
    let config = &container.record.config;
    let exposed = if config.publish_all { config.exposed.as_slice() } else { &[] };
    let mut all = Vec::new();
    for text in config.publishes.iter().chain(exposed) {
        all.push(text.parse::<Publish>()?);
    }
    if all.iter().any(|publish| publish.host_ip.is_none()) {
        let address = publish_address(home, config, nets)?;
        all.iter_mut().for_each(|publish| publish.host_ip = publish.host_ip.or(address));
    }
    Ok(all)
}

/// What the first network says, and what the settings say for all.
fn publish_address(home: &Home, config: &Config, nets: &Networks) -> Result<Option<IpAddr>> {
    if let Mode::Networks(attachments) = Mode::parse(&config.networks, is_rootless())?
        && let Some(first) = attachments.first()
        && let Some(address) = nets.inspect(&first.network)?.settings().host_binding
    {
        return Ok(Some(address.into()));
    }
    Ok(Settings::read(home)?.publish_address)
}

/// `--dns` and the like.
pub fn dns_options(config: &Config) -> DnsOptions {
    DnsOptions {
        servers: config.dns.clone(),
        search: config.dns_search.clone(),
        options: config.dns_options.clone(),
    }
}

/// Whether the container was given the right to configure its network.
fn configures_network(config: &Config) -> bool {
    let is_given = |name: &String| ["ALL", "CAP_NET_ADMIN"].contains(&name.as_str());
    let is_taken = config.cap_drop.iter().any(|name| name == "CAP_NET_ADMIN");
    config.privileged || (config.cap_add.iter().any(is_given) && !is_taken)
}

/// Asked of the record, not of the file, which the container can write.
fn hostname_of(other: &Container) -> String {
    let config = &other.record.config;
    let is_on_hosts_network = config.networks.first().is_some_and(|mode| mode == "host");
    if !config.hostname.is_empty() {
        config.hostname.clone()
    } else if is_on_hosts_network {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        crate::container::name::short(other.id()).to_owned()
    }
}

/// `--ip`, `--ip6` and `--mac-address` are of the first network.
fn request(
    home: &Home,
    nets: &Networks,
    container: &Container,
    mut attachments: Vec<Attachment>,
) -> Result<Request> {
    let config = &container.record.config;
    if let Some(first) = attachments.first_mut() {
        let mac = config.mac.as_deref().map(husk_net::parse_mac).transpose()?;
        first.addresses.extend(&config.addresses);
        first.mac = mac.or(first.mac);
    }
    if !config.hostname.is_empty() {
        attachments.iter_mut().for_each(|one| one.aliases.push(config.hostname.clone()));
    }
    Ok(Request {
        container: container.id().to_owned(),
        name: container.record.name.clone(),
        attachments,
        publishes: publishes(home, container, nets)?,
        configures_network: configures_network(config),
    })
}

/// A container in another's network has the other's names, files and ports.
fn refuse_own_settings(config: &Config) -> Result<()> {
    let dns = config.dns.first().map(ToString::to_string);
    let own = [
        (Field::PortBindings, config.publishes.first().cloned()),
        (Field::Hostname, Some(config.hostname.clone()).filter(|name| !name.is_empty())),
        (Field::ExtraHosts, config.add_hosts.first().cloned()),
        (Field::Dns, dns),
        (Field::DnsSearch, config.dns_search.first().cloned()),
        (Field::DnsOptions, config.dns_options.first().cloned()),
    ];
    for (field, value) in own {
        if let Some(value) = value {
            let problem = Problem::from("cannot be combined with ").field(Field::NetworkMode);
            let problem =
                problem.text(" container:NAME, which shares that container's network and names");
            return Err(Error::field(field, value, problem));
        }
    }
    Ok(())
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
    let nets = home.networks()?;
    let undone = nets.tear_down(id);
    // A monitor that was to remove them may have been killed.
    let removed = nets.remove_idle(husk_net::LINGER).map(drop);
    Ok(stopped.and(undone).and(removed)?)
}

/// As [`tear_down`], of a container whose processes have ended, by the monitor that will call
/// [`linger`]: nothing here waits for the kernel.
///
/// # Errors
/// Every step that failed.
pub fn release(home: &Home, container: &Container) -> Result<()> {
    let stopped = pasta::stop(&pasta_pid_file(&container.run));
    let undone = home.networks()?.release(container.id());
    Ok(stopped.and(undone)?)
}

/// Removes what [`release`] has left, once nobody waits: bridges that no container has come to
/// within a second.
///
/// # Errors
/// Every step that failed; what is left is found by the next command that removes a container.
pub fn linger(home: &Home) -> Result<()> {
    Ok(home.networks()?.linger()?)
}

/// `network connect`: now if the container runs, and at each of its starts. Returns
/// notices.
///
/// # Errors
/// What is not there, in use, or cannot be combined.
pub fn join(home: &Home, container: Container, attachment: &Attachment) -> Result<Vec<String>> {
    let (mut container, _lock) = locked(home, container)?;
    let mut attachments = attachments_of(&container)?;
    let (id, name) = (container.id().to_owned(), container.record.name.clone());
    let nets = home.networks()?;
    // What it may not be is said before anything is connected.
    Mode::parse(&[husk_net::network_value(attachment)], is_rootless())?;
    if attachments.iter().any(|present| present.network == attachment.network) {
        let network = attachment.network.clone();
        return Err(husk_net::Error::AlreadyConnected { container: name, network }.into());
    }
    let notices = match running_namespace(&container)? {
        Some(namespace) => {
            let configures = configures_network(&container.record.config);
            let mut attachment = attachment.clone();
            let hostname = container.record.config.hostname.clone();
            attachment.aliases.extend(Some(hostname).filter(|name| !name.is_empty()));
            nets.connect(&id, &name, &attachment, configures, &namespace)?.1
        }
        None => {
            nets.check_addresses(attachment)?;
            Vec::new()
        }
    };
    record(home, &container, "connect", &attachment.network);
    attachments.push(attachment.clone());
    container.record.config.networks = attachments.iter().map(husk_net::network_value).collect();
    container.write()?;
    Ok(notices)
}

/// `network disconnect`, likewise.
///
/// # Errors
/// [`husk_net::Error::NotConnected`]; what could not be undone.
pub fn leave(home: &Home, container: Container, network: &str) -> Result<()> {
    let (mut container, _lock) = locked(home, container)?;
    let mut attachments = attachments_of(&container)?;
    let (id, name) = (container.id().to_owned(), container.record.name.clone());
    let Some(at) = attachments.iter().position(|present| present.network == network) else {
        let network = network.to_owned();
        return Err(husk_net::Error::NotConnected { container: name, network }.into());
    };
    if let Some(namespace) = running_namespace(&container)? {
        match home.networks()?.disconnect(&id, &name, network, &namespace) {
            // A record that is ahead of what is connected.
            Ok(()) | Err(husk_net::Error::NotConnected { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    record(home, &container, "disconnect", network);
    attachments.remove(at);
    let config = &mut container.record.config;
    if at == 0 {
        // Those of the first network are not another's.
        config.addresses.clear();
        config.mac = None;
    }
    config.networks = attachments.iter().map(husk_net::network_value).collect();
    if config.networks.is_empty() {
        config.networks.push("none".to_owned());
    }
    container.write()
}

/// Records that a container was connected or disconnected by a command of its own.
fn record(home: &Home, container: &Container, action: &str, network: &str) {
    if let Some(network) = NetworkName::find(home, network) {
        Journal::of(home).connection(action, &network, container.id());
    }
}

/// The container as it is once no other command changes it.
fn locked(home: &Home, container: Container) -> Result<(Container, Lock)> {
    let lock = container.lock()?;
    Ok((Container::open(home, container.id())?, lock))
}

/// The networks that a container is to be on.
fn attachments_of(container: &Container) -> Result<Vec<Attachment>> {
    let config = &container.record.config;
    match Mode::parse(&config.networks, is_rootless())? {
        Mode::Networks(attachments) => Ok(attachments),
        Mode::None => Ok(Vec::new()),
        Mode::Host | Mode::Container(_) | Mode::Pasta => Err(Error::other(format_args!(
            "container {} has --network {}: it cannot be connected to other networks",
            container.record.name,
            config.networks.first().map_or("pasta", String::as_str)
        ))),
    }
}

fn running_namespace(container: &Container) -> Result<Option<NetNs>> {
    let state = container.state()?;
    match state.status {
        Status::Running => Ok(Some(NetNs::of_process(state.pid.unsigned_abs())?)),
        _ => Ok(None),
    }
}
