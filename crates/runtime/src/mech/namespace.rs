//! Joining namespaces that exist.

use std::os::fd::{AsFd, OwnedFd};

use husk_spec::NamespaceType;
use husk_sys::namespace;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::plan::{Join, LaunchPlan, clone_flag};
use crate::report::{Error, Result};
use crate::sync::fault::{Context, Fault, Step};

/// An open namespace file.
#[derive(Debug)]
pub struct Opened {
    /// Index in `linux.namespaces`.
    pub index: usize,
    /// Its kind.
    pub kind: NamespaceType,
    /// The file.
    pub file: OwnedFd,
}

/// Opens a namespace's file and checks that it is one, and of the kind named.
pub fn open(join: &Join) -> Result<Opened> {
    let property =
        || format!("linux.namespaces[{}].path ({})", join.index, join.path.to_string_lossy());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&join.path, flags, Mode::empty())
        .map_err(|errno| Error::kernel(property(), "open", errno))?;
    match namespace::kind(file.as_fd()) {
        Ok(kind) if kind == clone_flag(join.kind) => {}
        Ok(kind) => {
            let actual = NamespaceType::ALL
                .into_iter()
                .find(|candidate| clone_flag(*candidate) == kind)
                .map_or("unknown", NamespaceType::name);
            return Err(Error::invalid(
                property(),
                format_args!("a namespace of type {actual}, not {}", join.kind.name()),
            ));
        }
        Err(Errno::NOTTY) => return Err(Error::invalid(property(), "not a namespace file")),
        Err(errno) => return Err(Error::kernel(property(), "ioctl NS_GET_NSTYPE", errno)),
    }
    Ok(Opened { index: join.index, kind: join.kind, file })
}

/// Joins all but a pid namespace: that is entered last, by a clone.
pub fn join(opened: &[Opened]) -> Result<(), Fault> {
    let others: Vec<&Opened> = opened.iter().filter(|o| o.kind != NamespaceType::Pid).collect();
    join_those(&others)
}

/// Joins all, a pid namespace for the processes to be cloned.
pub fn join_all(opened: &[Opened]) -> Result<(), Fault> {
    join_those(&opened.iter().collect::<Vec<_>>())
}

fn join_those(opened: &[&Opened]) -> Result<(), Fault> {
    let of = |kind: NamespaceType| opened.iter().copied().filter(move |o| o.kind == kind);
    // The mount namespace last: with it the host's files are gone.
    let middle = opened
        .iter()
        .copied()
        .filter(|o| !matches!(o.kind, NamespaceType::User | NamespaceType::Mount));
    let mut others = middle.chain(of(NamespaceType::Mount));
    let Some(user) = of(NamespaceType::User).next() else {
        return others.try_for_each(enter);
    };
    // The privilege over the others is the runtime's, which is lost with the user
    // namespace, or comes from that one.
    let mut later = Vec::new();
    for namespace in others {
        match enter(namespace) {
            Err(Fault { errno: Some(Errno::PERM), .. }) => later.push(namespace),
            done => done?,
        }
    }
    enter(user)?;
    later.into_iter().try_for_each(enter)
}

/// Whether the user namespace `user` owns a namespace, ioctl_ns(2).
pub fn belongs_to(opened: &Opened, user: &Opened) -> Result<bool, Fault> {
    match namespace::owner(opened.file.as_fd()) {
        Ok(owner) => Ok(super::resolve::same_file(owner.as_fd(), user.file.as_fd()).at(
            Step::Namespace,
            opened.index,
            "fstat",
        )?),
        // It lies outside of the caller's own, and so of all that can be joined.
        Err(Errno::PERM) => Ok(false),
        Err(errno) => Err(errno).at(Step::Namespace, opened.index, "ioctl NS_GET_USERNS"),
    }
}

/// Joins one.
pub fn enter(opened: &Opened) -> Result<(), Fault> {
    match namespace::setns(opened.file.as_fd(), clone_flag(opened.kind)) {
        // setns(2): to join the user namespace one is in already is an error.
        Err(Errno::INVAL) if opened.kind == NamespaceType::User && is_own(opened) => Ok(()),
        done => done.at(Step::Namespace, opened.index, "setns"),
    }
}

/// Whether it is the one that this process is in, and the host as far as the caller is concerned.
pub fn is_own(opened: &Opened) -> bool {
    let name = match opened.kind {
        NamespaceType::Mount => c"/proc/self/ns/mnt",
        NamespaceType::Network => c"/proc/self/ns/net",
        NamespaceType::Pid => c"/proc/self/ns/pid",
        NamespaceType::Ipc => c"/proc/self/ns/ipc",
        NamespaceType::Uts => c"/proc/self/ns/uts",
        NamespaceType::User => c"/proc/self/ns/user",
        NamespaceType::Cgroup => c"/proc/self/ns/cgroup",
        NamespaceType::Time => c"/proc/self/ns/time",
    };
    let own = rustix::fs::open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    own.is_ok_and(|own| {
        super::resolve::same_file(own.as_fd(), opened.file.as_fd()).unwrap_or(false)
    })
}

/// Refuses what would change a namespace that is named as one to join, but is the host's.
pub fn check_host_is_spared(opened: &[Opened], plan: &LaunchPlan) -> Result<()> {
    for namespace in opened.iter().filter(|namespace| changes(namespace.kind, plan).is_some()) {
        let Some(property) = changes(namespace.kind, plan).filter(|_| is_own(namespace)) else {
            continue;
        };
        let (index, kind) = (namespace.index, namespace.kind.name());
        return Err(Error::invalid(
            property,
            format_args!(
                "would change the host: linux.namespaces[{index}].path is the {kind} namespace of the host"
            ),
        ));
    }
    Ok(())
}

/// The property that changes a namespace of this kind.
fn changes(kind: NamespaceType, plan: &LaunchPlan) -> Option<String> {
    if let Some(sysctl) = plan.sysctls.iter().find(|sysctl| sysctl.kind == kind) {
        return Some(format!("linux.sysctl ({}={})", sysctl.key, sysctl.value));
    }
    let property = match kind {
        NamespaceType::Mount => "root.path",
        NamespaceType::Uts if plan.hostname.is_some() => "hostname",
        NamespaceType::Uts if plan.domainname.is_some() => "domainname",
        NamespaceType::Network if !plan.net_devices.is_empty() => "linux.netDevices",
        _ => return None,
    };
    Some(property.to_owned())
}
