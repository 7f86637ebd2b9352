//! Mounts of type `cgroup`: what they mean depends on the host's hierarchies.

use std::ffi::CString;

use husk_spec::NamespaceType;

use super::{Host, Namespaces, Setting, cstring};
use crate::report::{Error, Result};

/// The cgroup hierarchies of this host, cgroups(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// cgroup v2 alone.
    Unified {
        /// Where it is mounted.
        mount_point: String,
    },
    /// cgroup v1, perhaps with v2 beside it.
    Legacy(Vec<Hierarchy>),
    /// None is mounted.
    None,
}

/// One mounted v1 hierarchy, or v2 beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Name of its directory: `memory`, `cpu,cpuacct`, `systemd`, `unified`.
    pub directory: String,
    /// Options of its mount, such as `memory` or `name=systemd`; None for v2.
    pub options: Option<String>,
    /// Where it is mounted on the host.
    pub mount_point: String,
}

/// What to mount at the destination.
#[derive(Debug, PartialEq, Eq)]
pub enum CgroupMount {
    /// One v2 filesystem, rooted at the container's cgroup by its cgroup namespace.
    Unified {
        /// Settings from the options.
        settings: Vec<Setting>,
    },
    /// The container's directory of the host's v2 hierarchy, bound: there is no
    /// cgroup namespace to root a mount of its own.
    BoundUnified {
        /// Where the hierarchy is mounted on the host.
        mount_point: CString,
    },
    /// A tmpfs with one directory a hierarchy.
    Legacy {
        /// The hierarchies.
        hierarchies: Vec<LegacyMount>,
        /// Links such as `cpu` to `cpu,cpuacct`.
        links: Vec<(CString, CString)>,
        /// Whether the hierarchies are mounted anew, in a cgroup namespace, or
        /// bound from the host.
        namespaced: bool,
    },
}

/// One hierarchy below the tmpfs.
#[derive(Debug, PartialEq, Eq)]
pub struct LegacyMount {
    /// Name of its directory.
    pub directory: CString,
    /// Filesystem type, for a mount of its own.
    pub kind: &'static std::ffi::CStr,
    /// Settings for a mount of its own.
    pub settings: Vec<Setting>,
    /// Where it is mounted on the host, for a bind.
    pub mount_point: CString,
}

pub(super) fn plan(
    property: &str,
    host: &Host,
    namespaces: &Namespaces,
    data: &[(usize, String)],
) -> Result<CgroupMount> {
    let namespaced =
        namespaces.makes(NamespaceType::Cgroup) || namespaces.joins(NamespaceType::Cgroup);
    match &host.hierarchies {
        Hierarchies::None => Err(Error::invalid(
            format_args!("{property}.type (cgroup)"),
            "this host has no cgroup filesystem mounted",
        )),
        Hierarchies::Unified { mount_point } if !namespaced => Ok(CgroupMount::BoundUnified {
            mount_point: cstring(property, mount_point)?,
        }),
        Hierarchies::Unified { .. } => {
            let mut settings = Vec::new();
            for (_, option) in data {
                settings.push(match option.split_once('=') {
                    Some((key, value)) => {
                        Setting::Value(cstring(property, key)?, cstring(property, value)?)
                    }
                    None => Setting::Flag(cstring(property, option)?),
                });
            }
            Ok(CgroupMount::Unified { settings })
        }
        Hierarchies::Legacy(hierarchies) => legacy(property, hierarchies, namespaced),
    }
}

fn legacy(property: &str, hierarchies: &[Hierarchy], namespaced: bool) -> Result<CgroupMount> {
    let mut mounts = Vec::new();
    let mut links = Vec::new();
    for hierarchy in hierarchies {
        let settings = match &hierarchy.options {
            None => Vec::new(),
            Some(options) => options
                .split(',')
                .map(|option| {
                    Ok(match option.split_once('=') {
                        Some((key, value)) => {
                            Setting::Value(cstring(property, key)?, cstring(property, value)?)
                        }
                        None => Setting::Flag(cstring(property, option)?),
                    })
                })
                .collect::<Result<_>>()?,
        };
        let directory = cstring(property, &hierarchy.directory)?;
        if hierarchy.directory.contains(',') {
            for name in hierarchy.directory.split(',') {
                links.push((cstring(property, name)?, directory.clone()));
            }
        }
        mounts.push(LegacyMount {
            directory,
            kind: if hierarchy.options.is_some() { c"cgroup" } else { c"cgroup2" },
            settings,
            mount_point: cstring(property, &hierarchy.mount_point)?,
        });
    }
    Ok(CgroupMount::Legacy { hierarchies: mounts, links, namespaced })
}
