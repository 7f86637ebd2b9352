//! `mounts`: each entry becomes one operation.

use std::ffi::CString;

use husk_spec::{IdMapping, Spec};
use husk_sys::mount::MountAttr;

use super::cgroup_mount::{self, CgroupMount};
use super::mount_option::{self, MountOption, Propagation};
use super::{Host, Namespaces, Request, cstring, userns};
use crate::report::{Error, Result};

/// Where a mount comes from.
#[derive(Debug, PartialEq)]
pub enum MountSource {
    /// A new instance of a filesystem, fsopen(2).
    Filesystem {
        /// Its type.
        kind: CString,
        /// What fsconfig(2) is told, in order.
        settings: Vec<Setting>,
    },
    /// A file or directory of the host.
    Bind {
        /// Absolute path in the runtime's mount namespace.
        path: CString,
        /// With the mounts below it.
        recursive: bool,
        /// Links on the way are followed; else they are refused.
        links: bool,
    },
    /// The cgroup filesystem, as this host has it.
    Cgroup(CgroupMount),
    /// A change of the mount that is already there.
    Remount {
        /// New settings of its superblock; empty where only attributes change.
        settings: Vec<Setting>,
    },
}

/// One call of fsconfig(2).
#[derive(Debug, PartialEq)]
pub enum Setting {
    /// `FSCONFIG_SET_FLAG`.
    Flag(CString),
    /// `FSCONFIG_SET_STRING`.
    Value(CString, CString),
}

/// One mount.
#[derive(Debug, PartialEq)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: CString,
    /// Where it comes from.
    pub source: MountSource,
    /// Attributes of the mount itself.
    pub attributes: MountAttr,
    /// Attributes for it and all mounts below.
    pub recursive_attributes: MountAttr,
    /// Propagation types, in order.
    pub propagation: Vec<Propagation>,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// The destination must be a directory itself, no symbolic link: what /proc,
    /// /sys and /dev lead to is relied upon later.
    pub plain_directory: bool,
    /// An idmapped mount.
    pub id_map: Option<IdMap>,
}

/// The maps of an idmapped mount, mount_setattr(2), "ID-mapped mounts".
#[derive(Debug, PartialEq)]
pub struct IdMap {
    /// With the mounts below it.
    pub recursive: bool,
    /// The maps; empty for those of the container's user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// As `uid_mappings`.
    pub gid_mappings: Vec<IdMapping>,
}

impl Mount {
    /// The directory of the socket for sd_notify(3).
    pub(super) fn of_notify_directory(directory: &str) -> Result<Self> {
        Ok(Self {
            destination: cstring("NOTIFY_SOCKET", crate::mech::notify::DIRECTORY)?,
            source: MountSource::Bind {
                path: cstring("NOTIFY_SOCKET", directory)?,
                recursive: false,
                links: true,
            },
            attributes: MountAttr::default(),
            recursive_attributes: MountAttr::default(),
            propagation: Vec::new(),
            copy_up: false,
            plain_directory: false,
            id_map: None,
        })
    }

    /// Whether this is a new filesystem at /dev, in which nodes are to be made.
    pub fn makes_dev(&self) -> bool {
        matches!(self.source, MountSource::Filesystem { .. })
            && self.destination.as_bytes() == b"/dev"
    }

    /// Whether this is the host's /dev at /dev, where nothing must be made.
    pub fn binds_dev(&self) -> bool {
        matches!(self.source, MountSource::Bind { .. }) && self.destination.as_bytes() == b"/dev"
    }
}

/// Files of procfs that others may stand in for (lxcfs does), as runc allows.
/// None of them is one that this or another program writes to for protection.
const PROC_STAND_INS: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/kernel/random/boot_id",
];

pub(super) fn plan(
    spec: &Spec,
    request: &Request,
    host: &Host,
    namespaces: &Namespaces,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    let label = spec
        .linux
        .as_ref()
        .and_then(|linux| linux.mount_label.as_deref())
        .filter(|label| !label.is_empty());
    if label.is_some() && !host.selinux {
        return Err(Error::invalid("linux.mountLabel", "SELinux is not enabled on this host"));
    }
    let context = Context { request, host, namespaces, label };
    spec.mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| context.mount(index, mount, warnings))
        .collect()
}

struct Context<'a> {
    request: &'a Request,
    host: &'a Host,
    namespaces: &'a Namespaces,
    label: Option<&'a str>,
}

/// What the options of one mount add up to.
#[derive(Default)]
struct Collected {
    bind: Option<bool>,
    remount: bool,
    attributes: MountAttr,
    recursive_attributes: MountAttr,
    propagation: Vec<Propagation>,
    superblock: Vec<&'static str>,
    data: Vec<(usize, String)>,
    copy_up: bool,
    id_map: Option<bool>,
    no_source_links: bool,
}

impl Context<'_> {
    fn mount(
        &self,
        index: usize,
        mount: &husk_spec::Mount,
        warnings: &mut Vec<String>,
    ) -> Result<Mount> {
        let property = format!("mounts[{index}]");
        let destination = destination(&property, &mount.destination, warnings)?;
        let mut collected = collect(&mount.options);
        let kind = mount.typ.as_deref().unwrap_or_default();
        if kind == "bind" && collected.bind.is_none() {
            collected.bind = Some(false);
        }
        let id_map = id_map(&property, mount, &collected)?;
        let source = self.source(&property, &destination, mount, &collected, warnings)?;
        if destination == "/" && !collected.remount {
            return Err(Error::invalid(
                format_args!("{property}.destination (/)"),
                "nothing can be mounted over the root, which root.path gives; only remount",
            ));
        }
        check_proc(&property, &destination, kind, &source)?;
        let plain_directory = matches!(kind, "proc" | "sysfs")
            || matches!(destination.as_str(), "/proc" | "/sys" | "/dev");
        Ok(Mount {
            destination: cstring(format_args!("{property}.destination"), &destination)?,
            source,
            attributes: collected.attributes,
            recursive_attributes: collected.recursive_attributes,
            propagation: collected.propagation,
            copy_up: collected.copy_up,
            plain_directory,
            id_map,
        })
    }

    fn source(
        &self,
        property: &str,
        destination: &str,
        mount: &husk_spec::Mount,
        collected: &Collected,
        warnings: &mut Vec<String>,
    ) -> Result<MountSource> {
        let kind = mount.typ.as_deref().unwrap_or_default();
        let source = mount.source.as_deref().unwrap_or_default();
        if collected.copy_up && (kind != "tmpfs" || collected.bind.is_some() || collected.remount) {
            return Err(Error::invalid(
                format_args!("{property}.options (tmpcopyup)"),
                format_args!("only for a new mount of type tmpfs, and this is none ({kind})"),
            ));
        }
        if collected.remount {
            return Ok(MountSource::Remount {
                settings: match collected.bind {
                    Some(_) => Vec::new(),
                    None => settings(property, "", collected)?,
                },
            });
        }
        if let Some(recursive) = collected.bind {
            return self.bind(property, destination, source, collected, recursive, warnings);
        }
        match kind {
            "" => {
                let why = format_args!("missing, for the mount on {destination}");
                Err(Error::invalid(format_args!("{property}.type"), why))
            }
            "cgroup" => {
                warn_of_kept(property, "mount of cgroups", collected, warnings);
                cgroup_mount::plan(property, self.host, self.namespaces, &collected.data)
                    .map(MountSource::Cgroup)
            }
            _ => {
                let mut settings = settings(property, source, collected)?;
                if let Some(label) = self.label.filter(|_| !matches!(kind, "proc" | "sysfs")) {
                    settings.push(Setting::Value(
                        c"context".to_owned(),
                        cstring("linux.mountLabel", label)?,
                    ));
                }
                Ok(MountSource::Filesystem {
                    kind: cstring(format_args!("{property}.type"), kind)?,
                    settings,
                })
            }
        }
    }

    fn bind(
        &self,
        property: &str,
        destination: &str,
        source: &str,
        collected: &Collected,
        recursive: bool,
        warnings: &mut Vec<String>,
    ) -> Result<MountSource> {
        if source.is_empty() {
            let why = format_args!("missing, for the bind mount on {destination}");
            return Err(Error::invalid(format_args!("{property}.source"), why));
        }
        if let Some((option, data)) = collected.data.first() {
            return Err(Error::invalid(
                format_args!("{property}.options[{option}] ({data})"),
                format_args!("unknown mount option for a bind mount on {destination}"),
            ));
        }
        warn_of_kept(property, "bind mount", collected, warnings);
        let path = match source.starts_with('/') {
            true => source.to_owned(),
            false => format!("{}/{source}", self.request.bundle),
        };
        let path = cstring(format_args!("{property}.source"), &path)?;
        Ok(MountSource::Bind { path, recursive, links: !collected.no_source_links })
    }
}

/// A superblock that others have is not this mount's to set.
fn warn_of_kept(property: &str, what: &str, collected: &Collected, warnings: &mut Vec<String>) {
    for flag in &collected.superblock {
        warnings.push(format!(
            "{property}.options ({flag}): a {what} keeps its filesystem's own setting"
        ));
    }
}

fn collect(options: &[String]) -> Collected {
    let mut collected = Collected::default();
    for (index, option) in options.iter().enumerate() {
        match mount_option::look_up(option) {
            None if option.is_empty() => {}
            None => collected.data.push((index, option.clone())),
            Some(MountOption::Nothing) => {}
            Some(MountOption::SuperblockDefault(flag)) => {
                collected.superblock.retain(|set| *set != flag);
            }
            Some(MountOption::Bind { recursive }) => collected.bind = Some(recursive),
            Some(MountOption::Remount) => collected.remount = true,
            Some(MountOption::Attribute { bits, set, recursive }) => {
                mount_option::apply(collected.attributes_mut(recursive), bits, set);
            }
            Some(MountOption::AccessTime { mode, recursive }) => {
                mount_option::apply_atime(collected.attributes_mut(recursive), mode);
            }
            Some(MountOption::Propagation(propagation)) => collected.propagation.push(propagation),
            Some(MountOption::Superblock(flag)) => collected.superblock.push(flag),
            Some(MountOption::CopyUp) => collected.copy_up = true,
            Some(MountOption::IdMap { recursive }) => collected.id_map = Some(recursive),
            Some(MountOption::NoSourceLinks) => collected.no_source_links = true,
        }
    }
    collected
}

impl Collected {
    fn attributes_mut(&mut self, recursive: bool) -> &mut MountAttr {
        if recursive { &mut self.recursive_attributes } else { &mut self.attributes }
    }
}

fn settings(property: &str, source: &str, collected: &Collected) -> Result<Vec<Setting>> {
    let mut settings = Vec::with_capacity(collected.data.len() + 1);
    if !source.is_empty() {
        settings.push(Setting::Value(
            c"source".to_owned(),
            cstring(format_args!("{property}.source"), source)?,
        ));
    }
    for flag in &collected.superblock {
        settings.push(Setting::Flag(cstring(property, flag)?));
    }
    for (index, option) in &collected.data {
        let property = format!("{property}.options[{index}]");
        settings.push(match option.split_once('=') {
            Some((key, value)) => {
                Setting::Value(cstring(&property, key)?, cstring(&property, value)?)
            }
            None => Setting::Flag(cstring(&property, option)?),
        });
    }
    Ok(settings)
}

/// Absolute, without `.`, `..` and double slashes.
fn destination(property: &str, path: &str, warnings: &mut Vec<String>) -> Result<String> {
    let property = format!("{property}.destination");
    if path.is_empty() {
        return Err(Error::invalid(property, "missing"));
    }
    if !path.starts_with('/') {
        // config.md asks for an absolute path; runc mends it, so callers rely on that.
        warnings.push(format!("{property} ({path}): not an absolute path; taken from the root"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Nothing but procfs may stand at /proc, and little below it: programs in the
/// container write to it for their protection (CVE-2019-16884).
fn check_proc(property: &str, destination: &str, kind: &str, source: &MountSource) -> Result<()> {
    let refuse = || {
        Err(Error::invalid(
            format_args!("{property}.destination ({destination})"),
            "only procfs may be mounted at /proc, and nothing below it",
        ))
    };
    match (destination, source) {
        // The source is looked at when it is opened: procfs itself may be bound.
        ("/proc", MountSource::Bind { .. }) => Ok(()),
        ("/proc", MountSource::Remount { .. }) => Ok(()),
        ("/proc", _) if kind == "proc" => Ok(()),
        ("/proc", _) => refuse(),
        (below, _) if !below.starts_with("/proc/") => Ok(()),
        (stand_in, _) if PROC_STAND_INS.contains(&stand_in) => Ok(()),
        _ => refuse(),
    }
}

fn id_map(
    property: &str,
    mount: &husk_spec::Mount,
    collected: &Collected,
) -> Result<Option<IdMap>> {
    let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    let recursive = match (collected.id_map, mapped) {
        (None, false) => return Ok(None),
        // config.md: mappings without the option make the mount idmapped, not recursively.
        (None, true) => false,
        (Some(recursive), _) => recursive,
    };
    if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
        let why = "uidMappings and gidMappings go together";
        return Err(Error::invalid(format_args!("{property} (on {})", mount.destination), why));
    }
    for (name, maps) in [("uidMappings", &mount.uid_mappings), ("gidMappings", &mount.gid_mappings)]
    {
        userns::check(&format!("{property}.{name}"), maps)?;
    }
    if collected.bind.is_none() || collected.remount {
        let why = "only a bind mount can be idmapped";
        return Err(Error::invalid(format_args!("{property} (on {})", mount.destination), why));
    }
    Ok(Some(IdMap {
        recursive,
        uid_mappings: mount.uid_mappings.clone(),
        gid_mappings: mount.gid_mappings.clone(),
    }))
}
