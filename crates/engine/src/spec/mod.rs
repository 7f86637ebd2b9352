//! A container's configuration as a runtime-spec document.
//!
//! Pure: everything that depends on the host (ids, addresses, paths) comes in as
//! [`Facts`]. Nothing of an image reaches hooks, annotations or host paths: they are not
//! among what is read here.

pub mod capability;
mod limits;
pub mod masked;
mod mount;
pub mod seccomp;

pub use mount::{FILES, MOUNT_POINTS};
use std::path::{Path, PathBuf};

use husk_image::user::Identity;
use husk_spec::{
    Capabilities, Device, DeviceRule, Linux, Namespace, NamespaceType, Process, Resources, Rlimit,
    Root, Spec, User,
};

use crate::container::config::Config;
use crate::error::{Error, Field, Problem, Result};

pub use limits::limits;

/// What the host has to say.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its hostname.
    pub hostname: &'a str,
    /// Who the process is.
    pub identity: &'a Identity,
    /// The directory with `rootfs`.
    pub run: &'a Path,
    /// The directory with `hosts`, `hostname` and `resolv.conf`: on the disk, where what a
    /// container writes to them is bounded and counted as its other files are.
    pub files: &'a Path,
    /// Its network namespace.
    pub network: Network,
    /// Where volumes are: name, directory, and whether with the mounts below it.
    pub volumes: &'a [(String, String, bool)],
    /// Nodes of the host's /dev, for `--privileged`.
    pub host_devices: Vec<Device>,
    /// Devices of `--device`.
    pub devices: Vec<(Device, String)>,
    /// Without root: the greatest gid of the user namespace.
    pub last_gid: Option<u32>,
    /// Namespaces of other containers: type and file.
    pub joined: Vec<(NamespaceType, String)>,
    /// For `--init`: husk-oci's own file.
    pub init: Option<PathBuf>,
}

/// Where `--init` puts the program that is the container's first: on the tmpfs of /dev,
/// so that the image stays as it is.
const INIT: &str = "/dev/init";

/// The network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// A new one.
    Own,
    /// A new one, which the engine has made: this file.
    Made(String),
    /// The host's.
    Host,
    /// That of another container: this file.
    Path(String),
}

/// Paths that a container cannot write to.
pub const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

/// Builds the document.
///
/// # Errors
/// What cannot be combined, by the flag's name.
pub fn build(config: &Config, facts: &Facts<'_>) -> Result<Spec> {
    let capabilities = capability::resolve(config.privileged, &config.cap_add, &config.cap_drop);
    let unmasked = config.privileged || config.security.unmasked;
    let linux = Linux {
        sysctl: sysctls(config, facts)?,
        resources: Some(resources(config, facts)?),
        // Without root the runtime takes what is delegated, if there is any.
        cgroups_path: cgroups_path(config, facts),
        namespaces: namespaces(config, facts),
        devices: devices(config, facts),
        seccomp: seccomp_profile(config, &capabilities)?,
        masked_paths: if unmasked { Vec::new() } else { masked::masked_paths() },
        readonly_paths: if unmasked { Vec::new() } else { strings(&READONLY) },
        mount_label: None,
        ..Linux::default()
    };
    // In another's a hostname would be changed for everyone there.
    let own_uts = !config.host_namespaces.contains(&NamespaceType::Uts)
        && facts.joined.iter().all(|(joined, _)| *joined != NamespaceType::Uts);
    Ok(Spec {
        // Older runtimes refuse a version that they do not know, and nothing here is newer.
        oci_version: match config.runtime {
            None => husk_spec::VERSION.to_owned(),
            Some(_) => "1.0.2".to_owned(),
        },
        root: Some(Root {
            path: facts.run.join("rootfs").display().to_string(),
            readonly: config.read_only,
        }),
        process: Some(process(config, facts, &capabilities)),
        hostname: own_uts.then(|| facts.hostname.to_owned()),
        domainname: Some(config.domainname.clone()).filter(|name| own_uts && !name.is_empty()),
        mounts: mount::mounts(config, facts)?,
        linux: Some(linux),
        annotations: config.annotations.clone(),
        ..Spec::default()
    })
}

/// Without root and without a wish the runtime takes what is delegated, if there is any.
fn cgroups_path(config: &Config, facts: &Facts<'_>) -> Option<String> {
    match (&config.limits.cgroup_parent, facts.last_gid) {
        (Some(parent), _) => Some(format!("/{}/husk-{}", parent.trim_matches('/'), facts.id)),
        (None, None) => Some(format!("/husk-{}", facts.id)),
        (None, Some(_)) => None,
    }
}

/// The program and its arguments, below husk-oci's `init` where that is asked for.
fn arguments(config: &Config, facts: &Facts<'_>) -> Vec<String> {
    let init: &[&str] = if facts.init.is_some() { &[INIT, "init", "--"] } else { &[] };
    init.iter().map(|word| (*word).to_owned()).chain(config.args.iter().cloned()).collect()
}

fn process(config: &Config, facts: &Facts<'_>, capabilities: &[String]) -> Process {
    let identity = facts.identity;
    let sets = if identity.uid == 0 {
        Capabilities {
            bounding: capabilities.to_vec(),
            effective: capabilities.to_vec(),
            permitted: capabilities.to_vec(),
            ..Capabilities::default()
        }
    } else {
        // Inheritable and ambient stay empty: a program of another user gets none, and
        // gains what the bounding set allows by set-user-id only (CVE-2022-29162).
        Capabilities { bounding: capabilities.to_vec(), ..Capabilities::default() }
    };
    Process {
        terminal: config.tty,
        cwd: config.working_dir.clone(),
        args: arguments(config, facts),
        env: environment(config, facts),
        user: User {
            uid: identity.uid,
            gid: identity.gid,
            additional_gids: groups(config, facts),
            ..User::default()
        },
        rlimits: rlimits(config),
        capabilities: Some(sets),
        no_new_privileges: config.security.no_new_privileges,
        apparmor_profile: config.security.apparmor.clone(),
        selinux_label: config.security.selinux_label.clone(),
        oom_score_adj: config.oom_score_adj,
        ..Process::default()
    }
}

/// With a map of one's own id alone groups cannot be set (user_namespaces(7)); who asks for
/// one is told so.
fn groups(config: &Config, facts: &Facts<'_>) -> Vec<u32> {
    let groups = &facts.identity.groups;
    let alone = facts.last_gid == Some(0) && config.groups.is_empty();
    if alone && groups.iter().all(|gid| *gid == 0) { Vec::new() } else { groups.clone() }
}

/// PATH, HOSTNAME, TERM and HOME where the container's own environment has none.
fn environment(config: &Config, facts: &Facts<'_>) -> Vec<String> {
    let has = |name: &str| config.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let mut env = Vec::new();
    if !has("PATH") {
        env.push(PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={}", facts.hostname));
    }
    if config.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(config.env.iter().cloned());
    // A home with a line feed could forge an entry where it is written to a file
    // (CVE-2022-4318).
    if !has("HOME") && !facts.identity.home.contains('\n') {
        env.push(format!("HOME={}", facts.identity.home));
    }
    env
}

fn rlimits(config: &Config) -> Vec<Rlimit> {
    let rlimit = |(name, soft, hard): &(String, u64, u64)| Rlimit {
        typ: format!("RLIMIT_{}", name.to_ascii_uppercase()),
        soft: *soft,
        hard: *hard,
    };
    config.ulimits.iter().map(rlimit).collect()
}

fn sysctls(
    config: &Config,
    facts: &Facts<'_>,
) -> Result<std::collections::BTreeMap<String, String>> {
    for name in config.sysctls.keys() {
        if name.starts_with("net.") && facts.network == Network::Host {
            let problem = Problem::from("cannot be combined with ");
            let problem = problem.field(Field::NetworkMode).text(" host");
            return Err(Error::field(Field::Sysctls, name, problem));
        }
    }
    let mut sysctls = config.sysctls.clone();
    // As with Docker a server of an ordinary user may have port 80, and ping works.
    if matches!(facts.network, Network::Own | Network::Made(_)) {
        // The kernel takes gids that the user namespace has.
        let last_gid = facts.last_gid.unwrap_or(i32::MAX.unsigned_abs());
        let defaults = [
            ("net.ipv4.ip_unprivileged_port_start", "0".to_owned()),
            ("net.ipv4.ping_group_range", format!("0 {last_gid}")),
        ];
        for (name, value) in defaults {
            sysctls.entry(name.to_owned()).or_insert(value);
        }
    }
    Ok(sysctls)
}

fn namespaces(config: &Config, facts: &Facts<'_>) -> Vec<Namespace> {
    let mut namespaces = Vec::new();
    for typ in [
        NamespaceType::Mount,
        NamespaceType::Pid,
        NamespaceType::Ipc,
        NamespaceType::Uts,
        NamespaceType::Cgroup,
    ] {
        if !config.host_namespaces.contains(&typ) {
            let joined = facts.joined.iter().find(|(joined, _)| *joined == typ);
            namespaces.push(Namespace { typ, path: joined.map(|(_, path)| path.clone()) });
        }
    }
    match &facts.network {
        Network::Own => namespaces.push(Namespace { typ: NamespaceType::Network, path: None }),
        Network::Host => {}
        Network::Made(path) | Network::Path(path) => {
            namespaces.push(Namespace { typ: NamespaceType::Network, path: Some(path.clone()) });
        }
    }
    namespaces
}

fn devices(config: &Config, facts: &Facts<'_>) -> Vec<Device> {
    let mut devices: Vec<Device> = facts.devices.iter().map(|(device, _)| device.clone()).collect();
    if config.privileged {
        devices.extend(facts.host_devices.iter().cloned());
    }
    devices
}

fn resources(config: &Config, facts: &Facts<'_>) -> Result<Resources> {
    let mut resources = limits(&config.limits)?;
    if facts.last_gid.is_some() {
        // No rule is needed: nobody can make a node in a user namespace, and those that
        // are bound are the caller's to open.
        return Ok(resources);
    }
    let rule = |allow, typ: Option<&str>, major, minor, access: &str| DeviceRule {
        allow,
        typ: typ.map(str::to_owned),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    resources.devices.push(rule(config.privileged, None, None, None, "rwm"));
    if config.privileged {
        return Ok(resources);
    }
    // Making a node is harmless where using it is refused; what is used: null, zero,
    // full, random, urandom, tty, console, ptmx and the terminals.
    for typ in ["c", "b"] {
        resources.devices.push(rule(true, Some(typ), None, None, "m"));
    }
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        resources.devices.push(rule(true, Some("c"), Some(major), Some(minor), "rwm"));
    }
    resources.devices.push(rule(true, Some("c"), Some(136), None, "rwm"));
    for (device, access) in &facts.devices {
        resources.devices.push(rule(true, Some(&device.typ), device.major, device.minor, access));
    }
    resources.devices.extend(config.device_rules.iter().cloned());
    Ok(resources)
}

fn seccomp_profile(config: &Config, capabilities: &[String]) -> Result<Option<husk_spec::Seccomp>> {
    let security = &config.security;
    if let Some(profile) = &security.seccomp_profile {
        return Ok(Some(profile.clone()));
    }
    if config.privileged || security.seccomp_unconfined {
        return Ok(None);
    }
    seccomp::default_profile(capabilities, &security.seccomp_allow).map(Some)
}

#[cfg(test)]
mod tests;
