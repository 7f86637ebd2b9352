//! From a document and facts about the host to the steps that make a container.
//!
//! Everything here is pure: nothing is opened, nothing is made. What comes out
//! is executed by [`crate::create::launch`] and [`crate::exec`] without another look at the document.

pub mod annotation;
mod cgroup_mount;
mod device;
mod hook;
mod identity;
mod landlock;
mod mount;
mod mount_option;
mod namespace;
mod process;
mod sysctl;
mod userns;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt::Display;

use husk_spec::{Hooks, Spec};

pub use cgroup_mount::{Anew, CgroupMount, LegacyMount};
pub use device::{DEFAULT_DEVICES, DEFAULT_LINKS, Device, DeviceKind};
pub use landlock::Landlock;
pub use mount::{IdMap, Mount, MountSource, Setting};
pub use mount_option::{NAMES as MOUNT_OPTIONS, Propagation};
pub use namespace::{Join, Namespaces, clone_flag};
pub use process::{
    CapabilitySets, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, MemoryPolicy, Process, Seccomp,
    Terminal, capability_bit, capability_names, native_architecture, plan as plan_process,
};
pub use sysctl::Sysctl;
pub use userns::UserNamespace;

use crate::report::{Error, Result};

/// Facts about this host that decide what is possible.
#[derive(Debug, Clone)]
pub struct Host {
    /// Effective user id of the runtime.
    pub euid: u32,
    /// Whether the runtime is itself in a user namespace, as podman puts it there
    /// without root: mknod(2) is not to be had, whatever the container asks for.
    pub in_user_namespace: bool,
    /// Whether SELinux is there (/sys/fs/selinux is its filesystem).
    pub selinux: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// The cgroup hierarchies.
    pub layout: husk_cgroup::Layout,
    /// Version of Landlock's ABI, 0 where there is none.
    pub landlock_abi: u32,
}

/// What the command line says about one container.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// Whether its terminal is copied to and from this command's standard streams.
    pub foreground: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `LISTEN_FDS` of the environment.
    pub listen_fds: u32,
    /// Directory on the host that is bound in for sd_notify(3), where the
    /// environment has a `NOTIFY_SOCKET`.
    pub notify_directory: Option<String>,
}

/// The steps that make one container.
#[derive(Debug)]
pub struct LaunchPlan {
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// A new user namespace's maps.
    pub user_namespace: Option<UserNamespace>,
    /// The root filesystem.
    pub root: Root,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Whether devices and links are made below /dev: not where the host's /dev is bound there.
    pub populate_dev: bool,
    /// `linux.devices`, then the default devices that it does not name.
    pub devices: Vec<Device>,
    /// `linux.maskedPaths`: index and path, a path that is named again left out.
    pub masked_paths: Vec<(usize, CString)>,
    /// `linux.readonlyPaths`, likewise.
    pub readonly_paths: Vec<(usize, CString)>,
    /// `linux.sysctl`.
    pub sysctls: Vec<Sysctl>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `linux.netDevices`: name on the host, name in the container.
    pub net_devices: Vec<(String, String)>,
    /// Name of the session keyring to join.
    pub keyring: Option<CString>,
    /// The process.
    pub process: Process,
    /// What was asked for and will be done otherwise or not at all.
    pub warnings: Vec<String>,
}

/// The root filesystem.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    /// Absolute path on the host.
    pub path: CString,
    /// `root.readonly`.
    pub readonly: bool,
    /// Where its mounts are made.
    pub place: RootPlace,
    /// `--no-pivot`: move the mount to / and chroot(2) instead.
    pub no_pivot: bool,
    /// `linux.rootfsPropagation`.
    pub propagation: Option<Propagation>,
}

/// Where a root filesystem and what is mounted below it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootPlace {
    /// In a mount namespace that the container makes or joins.
    OwnNamespace,
    /// In the runtime's: `linux.namespaces` has no mount namespace, so that the container
    /// inherits that one (config-linux.md, "Namespaces"). `delete` takes the mounts away.
    RuntimesNamespace,
    /// Likewise, and nothing is to be mounted: the directory as it is.
    Bare,
}

/// Name of the session keyring of a container; None where its processes keep the caller's.
pub fn session_keyring(id: &str, no_new_keyring: bool) -> Result<Option<CString>> {
    match no_new_keyring {
        true => Ok(None),
        // The name is runc's, which tools look for.
        false => cstring("id", &format!("_ses.{id}")).map(Some),
    }
}

impl LaunchPlan {
    /// Plans one container.
    pub fn new(spec: &Spec, request: &Request, host: &Host) -> Result<Self> {
        check_version(&spec.oci_version)?;
        let mut warnings = Vec::new();
        let default = husk_spec::Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&default);
        if spec.vm.is_some() {
            warnings.push("vm: no virtual machine is made; the property has no effect".to_owned());
        }
        let namespaces = Namespaces::plan(linux)?;
        let user_namespace = userns::plan(linux, &namespaces, host)?;
        let unmapped = user_namespace.is_some() || namespaces.joins(husk_spec::NamespaceType::User);
        let process = spec
            .process
            .as_ref()
            .ok_or_else(|| Error::invalid("process", "missing: there is nothing to run"))?;
        let mut process = process::plan(process, "process", host, &mut warnings)?;
        process.plan_container(linux, request)?;
        let mut mounts = mount::plan(spec, request, host, &namespaces, &mut warnings)?;
        if let Some(directory) = &request.notify_directory {
            mounts.push(Mount::of_notify_directory(directory)?);
            process.set_variable("NOTIFY_SOCKET", crate::mech::notify::SOCKET)?;
        }
        process.plan_annotations(&spec.annotations, host, &mut warnings)?;
        let place = root_place(spec, linux, &namespaces, !mounts.is_empty());
        let populate_dev = match place {
            RootPlace::OwnNamespace => !mounts.iter().any(Mount::binds_dev),
            // What is not mounted would be made in the bundle, and stay there.
            _ => mounts.iter().any(Mount::makes_dev),
        };
        let bound = unmapped || host.in_user_namespace;
        Ok(Self {
            root: root(spec, linux, request, place)?,
            populate_dev,
            devices: device::plan(&linux.devices, bound, &mut warnings)?,
            masked_paths: absolute_paths("linux.maskedPaths", &linux.masked_paths)?,
            readonly_paths: absolute_paths("linux.readonlyPaths", &linux.readonly_paths)?,
            sysctls: sysctl::plan(
                linux,
                &namespaces,
                &[
                    ("hostname", spec.hostname.as_deref()),
                    ("domainname", spec.domainname.as_deref()),
                ],
            )?,
            hostname: identity::hostname(spec.hostname.as_deref(), "hostname", &namespaces)?,
            domainname: identity::hostname(spec.domainname.as_deref(), "domainname", &namespaces)?,
            hooks: hook::plan(spec.hooks.as_ref())?,
            net_devices: identity::net_devices(linux, &namespaces)?,
            keyring: session_keyring(&request.id, request.no_new_keyring)?,
            namespaces,
            user_namespace,
            mounts,
            process,
            warnings,
        })
    }
}

fn root(
    spec: &Spec,
    linux: &husk_spec::Linux,
    request: &Request,
    place: RootPlace,
) -> Result<Root> {
    let root = spec
        .root
        .as_ref()
        .filter(|root| !root.path.is_empty())
        .ok_or_else(|| Error::invalid("root.path", "missing"))?;
    let path = match root.path.starts_with('/') {
        true => root.path.clone(),
        false => format!("{}/{}", request.bundle, root.path),
    };
    let propagation = match linux.rootfs_propagation.as_deref() {
        None | Some("") => None,
        Some(name) => Some(Propagation::from_name(name).ok_or_else(|| {
            Error::invalid(
                format_args!("linux.rootfsPropagation ({name})"),
                "none of shared, slave, private, unbindable",
            )
        })?),
    };
    Ok(Root {
        path: cstring("root.path", &path)?,
        readonly: root.readonly,
        place,
        no_pivot: request.no_pivot,
        propagation,
    })
}

fn root_place(
    spec: &Spec,
    linux: &husk_spec::Linux,
    namespaces: &Namespaces,
    mounts: bool,
) -> RootPlace {
    let mounts = mounts
        || spec.root.as_ref().is_some_and(|root| root.readonly)
        || !linux.masked_paths.is_empty()
        || !linux.readonly_paths.is_empty()
        || linux.rootfs_propagation.is_some();
    match (namespaces.has_mount(), mounts) {
        (true, _) => RootPlace::OwnNamespace,
        (false, true) => RootPlace::RuntimesNamespace,
        (false, false) => RootPlace::Bare,
    }
}

/// The specification is backwards compatible within a major version.
fn check_version(version: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::invalid(format_args!("ociVersion ({version})"), why)
            .hint(format_args!("this runtime reads 1.0.0 to {}", husk_spec::VERSION)))
    };
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').map(str::parse::<u32>).collect();
    match numbers.as_slice() {
        [Ok(1), Ok(_), Ok(_)] => Ok(()),
        [Ok(_), Ok(_), Ok(_)] => refuse("another major version of the specification"),
        _ => refuse("not a version MAJOR.MINOR.PATCH"),
    }
}

/// The paths with their indices, each once.
fn absolute_paths(property: &str, paths: &[String]) -> Result<Vec<(usize, CString)>> {
    let mut named = BTreeSet::new();
    let mut planned = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let at = format!("{property}[{index}]");
        let refuse = |why: &str| Err(Error::invalid(format_args!("{at} ({path})"), why));
        if !path.starts_with('/') {
            return refuse("not an absolute path in the container");
        }
        let parts = || path.split('/').filter(|part| !matches!(*part, "" | "."));
        // What is mounted over the root lies out of sight of who stands in it already.
        if parts().all(|part| part == "..") {
            return refuse("cannot be the root itself, for which there is root.readonly");
        }
        let path = cstring(&at, path)?;
        if named.insert(parts().collect::<Vec<_>>()) {
            planned.push((index, path));
        }
    }
    Ok(planned)
}

/// The highest number is no id: setresuid(2) and chown(2) leave what is there.
fn check_id(property: &str, id: u32) -> Result<()> {
    match id {
        u32::MAX => {
            Err(Error::invalid(format_args!("{property} ({id})"), "4294967295 stands for no id"))
        }
        _ => Ok(()),
    }
}

/// A string for the kernel, which ends it at the first NUL.
pub(crate) fn cstring(property: impl Display, value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::invalid(property, "contains a NUL byte"))
}

/// Bits of a list such as `0-3,8` (cpuset(7), "List format"), bit n of word n / 64.
pub(crate) fn bit_list(text: &str) -> Option<Vec<u64>> {
    /// More CPUs or nodes than any kernel is built for.
    const MAX: usize = 1 << 16;
    let mut words = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        if words.len() <= last / 64 {
            words.resize(last / 64 + 1, 0u64);
        }
        // By words: a document has room for a million ranges, each of all numbers.
        for (index, word) in words.iter_mut().enumerate().take(last / 64 + 1).skip(first / 64) {
            let below = first.saturating_sub(index * 64);
            let above = 63_usize.saturating_sub(last - index * 64);
            *word |= u64::MAX << below & u64::MAX >> above;
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0+build.7", "1.9.1"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "1.0.x", "-1.0.0", "1.0.0.0"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bit_lists() {
        assert_eq!(bit_list("0-2,5"), Some(vec![0b10_0111]));
        assert_eq!(bit_list("64"), Some(vec![0, 1]));
        assert_eq!(bit_list("62-64,63"), Some(vec![3 << 62, 1]));
        assert_eq!(bit_list("1-190"), Some(vec![!1, u64::MAX, u64::MAX >> 1]));
        assert_eq!(bit_list("128-191,0"), Some(vec![1, 0, u64::MAX]));
        assert_eq!(bit_list(""), Some(vec![]));
        for bad in ["a", "3-1", "1-", "-1", "70000", "1-99999999999"] {
            assert_eq!(bit_list(bad), None, "{bad}");
        }
    }
}
