//! Namespaces that are not the container's own.

use husk_spec::NamespaceType;

use super::Flags;
use crate::error::{Error, Result};

fn joinable(typ: NamespaceType) -> bool {
    matches!(typ, NamespaceType::Pid | NamespaceType::Ipc)
}

impl Flags {
    /// `container:NAME` of `--pid` and `--ipc`.
    pub(super) fn joined_namespaces(&self) -> Result<Vec<(NamespaceType, String)>> {
        let mut joined = Vec::new();
        for (flag, value, typ) in
            [("--pid", &self.pid, NamespaceType::Pid), ("--ipc", &self.ipc, NamespaceType::Ipc)]
        {
            match value.as_deref().and_then(|value| value.strip_prefix("container:")) {
                Some("") => return Err(Error::flag(flag, "container:", "must name a container")),
                Some(name) => joined.push((typ, name.to_owned())),
                None => {}
            }
        }
        Ok(joined)
    }

    pub(super) fn host_namespaces(&self) -> Result<Vec<NamespaceType>> {
        let mut namespaces = Vec::new();
        for (flag, value, typ) in [
            ("--pid", &self.pid, NamespaceType::Pid),
            ("--ipc", &self.ipc, NamespaceType::Ipc),
            ("--uts", &self.uts, NamespaceType::Uts),
            ("--cgroupns", &self.cgroupns, NamespaceType::Cgroup),
        ] {
            match value.as_deref() {
                None | Some("" | "private") => {}
                Some("host") => namespaces.push(typ),
                // Ours always is.
                Some("shareable") if typ == NamespaceType::Ipc => {}
                Some(other) if other.starts_with("container:") && joinable(typ) => {}
                Some(other) if joinable(typ) => {
                    return Err(Error::flag(
                        flag,
                        other,
                        "must be private, host or container:NAME",
                    ));
                }
                Some(other) => {
                    return Err(Error::flag(flag, other, "must be private or host"));
                }
            }
        }
        if let Some(other) = self.userns.as_deref().filter(|one| !matches!(*one, "" | "host")) {
            let problem = "must be host: run husk as an ordinary user for a user namespace";
            return Err(Error::flag("--userns", other, problem));
        }
        if namespaces.contains(&NamespaceType::Uts) && !self.hostname.is_empty() {
            return Err(Error::flag(
                "--hostname",
                &self.hostname,
                "cannot be combined with --uts host",
            ));
        }
        Ok(namespaces)
    }
}
