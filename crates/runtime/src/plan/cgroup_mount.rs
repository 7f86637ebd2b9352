//! Mounts of type `cgroup`: what they mean depends on the host's hierarchies.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use husk_cgroup::Layout;
use husk_spec::NamespaceType;

use super::{Host, Namespaces, Setting, cstring};
use crate::report::{Error, Result};

/// What to mount at the destination.
#[derive(Debug, PartialEq)]
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
        /// Which of them are mounted anew.
        anew: Anew,
    },
}

/// Whether a v1 hierarchy is mounted anew, rooted by a cgroup namespace, or the
/// container's directory of the host's mount is bound. Both show the same:
/// mountinfo's root, too, is told relative to the reader's cgroup namespace. But
/// to mount one the kernel walks every cgroup v2 of the machine
/// (`cgroup1_get_tree`), for each hierarchy again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// There is no cgroup namespace to root it.
    Never,
    /// Where the container has no directory of its own: the root of its new namespace
    /// is then somebody else's.
    Unplaced,
    /// The namespace that is joined has a root of its own.
    Always,
}

/// One hierarchy below the tmpfs.
#[derive(Debug, PartialEq)]
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
    let layout = &host.layout;
    match &layout.v2 {
        _ if !layout.v1.is_empty() => {
            refuse_data(property, data)?;
            let anew = match namespaces.joins(NamespaceType::Cgroup) {
                true => Anew::Always,
                false if namespaced => Anew::Unplaced,
                false => Anew::Never,
            };
            legacy(property, layout, anew)
        }
        None => Err(Error::invalid(
            format_args!("{property}.type (cgroup)"),
            "this host has no cgroup filesystem mounted",
        )),
        Some(unified) if !namespaced => {
            refuse_data(property, data)?;
            Ok(CgroupMount::BoundUnified { mount_point: path_cstring(property, &unified.mount)? })
        }
        Some(_) => {
            let settings =
                data.iter().map(|(_, option)| setting(property, option)).collect::<Result<_>>()?;
            Ok(CgroupMount::Unified { settings })
        }
    }
}

/// What is bound, and each hierarchy of v1, has its settings from the host.
fn refuse_data(property: &str, data: &[(usize, String)]) -> Result<()> {
    match data.first() {
        None => Ok(()),
        Some((index, option)) => Err(Error::invalid(
            format_args!("{property}.options[{index}] ({option})"),
            "unknown mount option for type cgroup on this host",
        )),
    }
}

fn legacy(property: &str, layout: &Layout, anew: Anew) -> Result<CgroupMount> {
    let mut hierarchies = Vec::new();
    let mut links = Vec::new();
    for hierarchy in &layout.v1 {
        let directory = directory(property, &hierarchy.mount)?;
        if hierarchy.controllers.len() > 1 {
            for name in &hierarchy.controllers {
                if name.as_bytes() != directory.as_bytes() {
                    links.push((cstring(property, name)?, directory.clone()));
                }
            }
        }
        hierarchies.push(LegacyMount {
            directory,
            kind: c"cgroup",
            settings: hierarchy
                .controllers
                .iter()
                .map(|controller| setting(property, controller))
                .collect::<Result<_>>()?,
            mount_point: path_cstring(property, &hierarchy.mount)?,
        });
    }
    if let Some(unified) = &layout.v2 {
        hierarchies.push(LegacyMount {
            directory: directory(property, &unified.mount)?,
            kind: c"cgroup2",
            settings: Vec::new(),
            mount_point: path_cstring(property, &unified.mount)?,
        });
    }
    Ok(CgroupMount::Legacy { hierarchies, links, anew })
}

fn setting(property: &str, option: &str) -> Result<Setting> {
    Ok(match option.split_once('=') {
        Some((key, value)) => Setting::Value(cstring(property, key)?, cstring(property, value)?),
        None => Setting::Flag(cstring(property, option)?),
    })
}

/// Name of a hierarchy's directory in the container: as on the host.
fn directory(property: &str, mount: &Path) -> Result<CString> {
    let name = mount.file_name().unwrap_or_default();
    CString::new(name.as_bytes()).map_err(|_| Error::invalid(property, "contains a NUL byte"))
}

fn path_cstring(property: &str, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(property, "contains a NUL byte"))
}
