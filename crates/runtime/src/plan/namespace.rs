//! `linux.namespaces` and `linux.timeOffsets`.

use std::ffi::CString;

use husk_spec::{Linux, NamespaceType};

use super::cstring;
use crate::report::{Error, Result};

/// The `CLONE_NEW*` constant of a kind of namespace, namespaces(7).
pub const fn clone_flag(kind: NamespaceType) -> u32 {
    match kind {
        NamespaceType::Time => 0x80,
        NamespaceType::Mount => 0x2_0000,
        NamespaceType::Cgroup => 0x200_0000,
        NamespaceType::Uts => 0x400_0000,
        NamespaceType::Ipc => 0x800_0000,
        NamespaceType::User => 0x1000_0000,
        NamespaceType::Pid => 0x2000_0000,
        NamespaceType::Network => 0x4000_0000,
    }
}

/// A namespace that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Index in `linux.namespaces`.
    pub index: usize,
    /// Its kind.
    pub kind: NamespaceType,
    /// Its file.
    pub path: CString,
}

/// The namespaces to make and to join.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    made: Vec<NamespaceType>,
    joined: Vec<Join>,
    /// Lines for `/proc/PID/timens_offsets`, time_namespaces(7).
    pub time_offsets: Option<String>,
}

impl Namespaces {
    pub(super) fn plan(linux: &Linux) -> Result<Self> {
        let mut namespaces = Self::default();
        for (index, namespace) in linux.namespaces.iter().enumerate() {
            let kind = namespace.typ;
            let property = format!("linux.namespaces[{index}]");
            if namespaces.makes(kind) || namespaces.joins(kind) {
                return Err(Error::invalid(
                    format_args!("{property}.type ({})", kind.name()),
                    "named twice",
                ));
            }
            match namespace.path.as_deref() {
                None | Some("") => namespaces.made.push(kind),
                Some(path) if path.starts_with('/') => namespaces.joined.push(Join {
                    index,
                    kind,
                    path: cstring(format_args!("{property}.path"), path)?,
                }),
                Some(path) => {
                    return Err(Error::invalid(
                        format_args!("{property}.path ({path})"),
                        "not an absolute path",
                    ));
                }
            }
        }
        namespaces.time_offsets = time_offsets(linux, &namespaces)?;
        Ok(namespaces)
    }

    /// Whether a new one of this kind is made.
    pub fn makes(&self, kind: NamespaceType) -> bool {
        self.made.contains(&kind)
    }

    /// Whether an existing one of this kind is joined.
    pub fn joins(&self, kind: NamespaceType) -> bool {
        self.joined.iter().any(|join| join.kind == kind)
    }

    /// Whether the container has mounts of its own.
    pub fn has_mount(&self) -> bool {
        self.makes(NamespaceType::Mount) || self.joins(NamespaceType::Mount)
    }

    /// The namespaces to join.
    pub fn joined(&self) -> &[Join] {
        &self.joined
    }

    /// Flags for clone3(2): what is made there and then. A cgroup namespace is
    /// not, since its root is the cgroup of the process that makes it, and with
    /// `CLONE_INTO_CGROUP` that is still the parent's (copy_cgroup_ns, Linux 6.18).
    /// A time namespace is not either: its offsets can be set only before a
    /// process enters it.
    pub fn clone_flags(&self) -> u32 {
        self.made
            .iter()
            .filter(|kind| !matches!(kind, NamespaceType::Cgroup | NamespaceType::Time))
            .map(|kind| clone_flag(*kind))
            .sum()
    }
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Option<String>> {
    if linux.time_offsets.is_empty() {
        return Ok(None);
    }
    if !namespaces.makes(NamespaceType::Time) {
        return Err(Error::invalid("linux.timeOffsets", "needs a new time namespace"));
    }
    let mut lines = String::new();
    for (clock, offset) in &linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(
                format_args!("linux.timeOffsets ({clock})"),
                "only the clocks monotonic and boottime have an offset",
            ));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(Error::invalid(
                format_args!("linux.timeOffsets.{clock}.nanosecs ({})", offset.nanosecs),
                "a second or more",
            ));
        }
        lines += &format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
    }
    Ok(Some(lines))
}
