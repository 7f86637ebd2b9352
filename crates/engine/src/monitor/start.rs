//! From a container's record to its running process.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use husk_image::user;
use husk_net::Service;
use husk_net::etc_files::{ExtraHost, HostResolver, HostsFile, ResolvConf, hostname_file};
use husk_spec::{ConsoleSize, NamespaceType};
use rustix::process::{PidfdFlags, pidfd_open};

use super::execute::{Executed, execute};
use super::protocol;
use super::serve::Program;
use crate::connection::joiners::{self, Membership};
use crate::connection::{self, Connection};
use crate::container::config::{Config, Mount};
use crate::container::state::{State, Status, boot_id, start_ticks};
use crate::container::{Container, name};
use crate::error::{Result, file};
use crate::home::Home;
use crate::runtime::Runtime;
use crate::spec::{self, Facts, Network};
use crate::volume::Volume;
use crate::{copy_up, device, rootfs, rootless, secret};

/// What is taken of a file that a container can write: 1 MiB.
const MAX_FILE: u64 = 1 << 20;

/// A container that has just been started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) program: Program,
    pub(super) state: State,
    /// Where the kernel counts its kills for want of memory.
    pub(super) memory_events: Option<PathBuf>,
    /// Ports and names to be served, unless they are served already.
    pub(super) service: Option<Service>,
    pub(super) connection: Connection,
    /// Namespaces of others that it is in.
    pub(super) membership: Membership,
}

/// Starts the container; the current directory is its run directory. `notice` gets what
/// the person should see. `size` is the terminal's, in rows and columns. `kept` is the network of
/// the last run where that is still connected. On an error nothing is left but the record and
/// what was kept.
pub(super) fn start(
    home: &Home,
    container: &Container,
    size: Option<(u16, u16)>,
    kept: Option<Connection>,
    notice: &mut dyn FnMut(String),
) -> Result<Started> {
    let runtime = Runtime::of(home, container)?;
    let is_kept = kept.is_some();
    let clean = || match is_kept {
        true => clean_program(home, &runtime, container),
        false => clean(home, &runtime, container),
    };
    // What an engine that was killed may have left.
    clean()?;
    let started = prepare_and_run(home, &runtime, container, size, kept, notice);
    if started.is_err() {
        // The start's own failure is what the person has to see.
        let _ = clean();
    }
    started
}

/// Ends and undoes whatever there is of an earlier run; tries every step.
pub(super) fn clean(home: &Home, runtime: &Runtime, container: &Container) -> Result<()> {
    let cleaned = clean_program(home, runtime, container);
    cleaned.and(connection::release(home, container))
}

/// The same of everything but the network.
pub(super) fn clean_program(home: &Home, runtime: &Runtime, container: &Container) -> Result<()> {
    let known = home.oci().join(container.id()).exists();
    let deleted = match known {
        true => runtime.output(&["delete", "--force", container.id()]).map(drop),
        false => Ok(()),
    };
    let unmounted = rootfs::unmount(container);
    secret::discard(container);
    let _ = std::fs::remove_file(container.run.join("paused"));
    let _ = std::fs::remove_dir_all(container.run.join(crate::exec::DIRECTORY));
    deleted.and(unmounted)
}

fn prepare_and_run(
    home: &Home,
    runtime: &Runtime,
    container: &Container,
    size: Option<(u16, u16)>,
    kept: Option<Connection>,
    notice: &mut dyn FnMut(String),
) -> Result<Started> {
    let config = &secret::provide(home, container)?;
    let root = rootfs::mount(home, container)?;
    let identity = user::lookup(root.as_fd(), &config.user, &config.groups)?;
    rootfs::make_directory_in(root.as_fd(), &config.working_dir)?;
    let volumes = volumes(home, config, root.as_fd())?;
    drop(root);
    let mut membership = Membership::default();
    let network = match kept {
        Some(kept) => kept,
        None => Connection::prepare(home, container, &mut membership, notice)?,
    };
    let mut joined = joined(home, container, &mut membership)?;
    // Of an earlier run, where others are in it.
    let ipc = match is_own_ipc(config) {
        true => joiners::kept(home, container, NamespaceType::Ipc),
        false => None,
    };
    if let Some(ipc) = &ipc {
        let (pid, fd) = (std::process::id(), ipc.as_raw_fd());
        joined.push((NamespaceType::Ipc, format!("/proc/{pid}/fd/{fd}")));
    }
    let hostname = hostname(container, &network);
    write_files(container, &network, &hostname, notice)?;
    let facts = Facts {
        id: container.id(),
        hostname: &hostname,
        identity: &identity,
        run: &container.run,
        files: &container.directory,
        network: network.namespace(),
        volumes: &volumes,
        host_devices: if config.privileged { device::of_host() } else { Vec::new() },
        devices: device::asked(&config.devices)?,
        last_gid: rootless::last_gid(),
        joined,
        init: config.init.then(Runtime::own).transpose()?,
    };
    let mut spec = spec::build(config, &facts)?;
    if let (Some(process), Some((height, width))) = (&mut spec.process, size) {
        process.console_size = Some(ConsoleSize { height, width });
    }
    husk_record::write_json(&container.run.join("config.json"), &spec)?;
    let executed = execute(runtime, container, &network, notice);
    if executed.is_err() {
        // What is left of it is the caller's to undo.
        let _ = network.abandon();
    }
    let Executed { pid, streams, service } = executed?;
    let number = pid.as_raw_nonzero().get();
    // The program may have ended: until it is waited for, its pid is its own.
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(file("open a pidfd of", "the container"))?;
    let state = State {
        status: Status::Running,
        pid: number,
        start_ticks: start_ticks(number).unwrap_or_default(),
        boot: boot_id(),
        monitor: rustix::process::getpid().as_raw_nonzero().get(),
        protocol: protocol::VERSION,
        started: crate::clock::timestamp(),
        ..State::default()
    };
    let memory_events = super::oom::events_of(number, container.id());
    let program = Program { pid, pidfd, streams };
    Ok(Started { program, state, memory_events, service, connection: network, membership })
}

/// The namespaces of other containers.
fn joined(
    home: &Home,
    container: &Container,
    membership: &mut Membership,
) -> Result<Vec<(NamespaceType, String)>> {
    let wanted = container.record.config.joined_namespaces.iter();
    let join = |(typ, name): &(NamespaceType, String)| {
        let other = Container::find(home, name)?;
        Ok((*typ, membership.join(&other, container.id(), *typ)?))
    };
    wanted.map(join).collect()
}

/// Whether the container's ipc namespace is nobody else's.
fn is_own_ipc(config: &Config) -> bool {
    let is_ipc = |typ: &NamespaceType| *typ == NamespaceType::Ipc;
    !config.host_namespaces.iter().any(is_ipc)
        && !config.joined_namespaces.iter().any(|(typ, _)| is_ipc(typ))
}

fn hostname(container: &Container, network: &Connection) -> String {
    let config = &container.record.config;
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    match network {
        Connection::Plain(Network::Host) => {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        }
        // As its file says, which stays when the other container ends.
        Connection::Joined { hostname, .. } => hostname.clone(),
        _ => name::short(container.id()).to_owned(),
    }
}

/// hosts, hostname and resolv.conf.
fn write_files(
    container: &Container,
    network: &Connection,
    hostname: &str,
    notice: &mut dyn FnMut(String),
) -> Result<()> {
    if let Connection::Joined { directory, .. } = network {
        return share_files(container, directory);
    }
    let config = &container.record.config;
    let extra: Vec<ExtraHost> =
        config.add_hosts.iter().map(|text| text.parse()).collect::<Result<_, husk_net::Error>>()?;
    let endpoints = network.endpoints();
    let addresses: Vec<_> =
        endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|one| one.address).collect();
    let mut gateways: Vec<_> = endpoints
        .first()
        .map(|endpoint| endpoint.addresses.iter().map(|one| one.gateway).collect())
        .unwrap_or_default();
    let mut host_file = None;
    if matches!(network, Connection::Plain(Network::Host)) {
        // A host without the file has no names but DNS's.
        host_file = Some(std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        gateways = vec![std::net::IpAddr::from([127, 0, 0, 1])];
    }
    let hosts = HostsFile {
        names: &[hostname],
        addresses: &addresses,
        extra: &extra,
        gateways: &gateways,
        host: host_file.as_deref(),
    };
    let asked = connection::dns_options(config);
    let host = HostResolver::read();
    let resolv = match network {
        Connection::Plain(Network::Host) => ResolvConf::for_host_network(&host, &asked)?,
        Connection::Pasta { .. } => {
            ResolvConf::for_forwarder(&host, &asked, husk_net::pasta::DNS_FORWARDER)?
        }
        _ if network.has_names() => {
            ResolvConf::for_own_server(&host, &asked, husk_net::dns::ADDRESS)?
        }
        _ => {
            let has_ipv6 = addresses.iter().any(std::net::IpAddr::is_ipv6);
            ResolvConf::for_own_network(&host, &asked, has_ipv6)?
        }
    };
    if matches!(network, Connection::Reserved(..)) {
        resolv.notices.into_iter().for_each(notice);
    }
    let hostname = match network {
        Connection::Plain(Network::Host) => format!("{hostname}\n"),
        _ => hostname_file(hostname)?,
    };
    for (name, text) in
        [("hosts", hosts.text()?), ("hostname", hostname), ("resolv.conf", resolv.text)]
    {
        write_file(container, name, text.as_bytes())?;
    }
    Ok(())
}

/// The files of the container whose network this one joins.
fn share_files(container: &Container, directory: &Path) -> Result<()> {
    for name in ["hosts", "hostname", "resolv.conf"] {
        let path = directory.join(name);
        // Whatever that container has written there.
        let mut bytes = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(file("read", &path))?;
        write_file(container, name, &bytes)?;
    }
    Ok(())
}

fn write_file(container: &Container, name: &str, text: &[u8]) -> Result<()> {
    // A new file: the last run's may still be mounted in a container that was left behind.
    let path = container.directory.join(name);
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, text).map_err(file("write", &path))?;
    // Read by every user of the container, whatever our own umask.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).map_err(file("chmod", &path))
}

/// The volumes, made where they are not there. An empty one gets what the image has in
/// its place.
fn volumes(
    home: &Home,
    config: &Config,
    root: std::os::fd::BorrowedFd<'_>,
) -> Result<Vec<(String, String, bool)>> {
    let mut volumes = Vec::new();
    for mount in &config.mounts {
        if let Mount::Volume { name, anonymous, target, no_copy, .. } = mount {
            let fill = |data: &Path| match no_copy {
                true => Ok(()),
                false => copy_up::fill(root, target, data),
            };
            let data = Volume::prepare(home, name, *anonymous, &fill)?;
            let (_, recursive) = Volume::source(home, name)?;
            volumes.push((name.clone(), data.display().to_string(), recursive));
        }
    }
    Ok(volumes)
}
