//! Namespaces that are not the container's own.

use husk_spec::NamespaceType;

use super::ContainerRequest;
use crate::error::{Error, Field, Problem, Result};

fn joinable(typ: NamespaceType) -> bool {
    matches!(typ, NamespaceType::Pid | NamespaceType::Ipc)
}

impl ContainerRequest {
    /// `container:NAME` of the pid and the ipc namespace.
    pub(super) fn joined_namespaces(&self) -> Result<Vec<(NamespaceType, String)>> {
        let host = &self.host_config;
        let mut joined = Vec::new();
        for (field, value, typ) in [
            (Field::PidMode, &host.pid_mode, NamespaceType::Pid),
            (Field::IpcMode, &host.ipc_mode, NamespaceType::Ipc),
        ] {
            match value.strip_prefix("container:") {
                Some("") => return Err(Error::field(field, value, "must name a container")),
                Some(name) => joined.push((typ, name.to_owned())),
                None => {}
            }
        }
        Ok(joined)
    }

    pub(super) fn host_namespaces(&self) -> Result<Vec<NamespaceType>> {
        let host = &self.host_config;
        let mut namespaces = Vec::new();
        for (field, value, typ) in [
            (Field::PidMode, &host.pid_mode, NamespaceType::Pid),
            (Field::IpcMode, &host.ipc_mode, NamespaceType::Ipc),
            (Field::UTSMode, &host.uts_mode, NamespaceType::Uts),
            (Field::CgroupnsMode, &host.cgroupns_mode, NamespaceType::Cgroup),
        ] {
            match value.as_str() {
                "" | "private" => {}
                "host" => namespaces.push(typ),
                // Ours always is.
                "shareable" if typ == NamespaceType::Ipc => {}
                other if other.starts_with("container:") && joinable(typ) => {}
                other if joinable(typ) => {
                    let problem = "must be private, host or container:NAME";
                    return Err(Error::field(field, other, problem));
                }
                other => return Err(Error::field(field, other, "must be private or host")),
            }
        }
        if !matches!(host.userns_mode.as_str(), "" | "host") {
            let problem = "must be host: run husk as an ordinary user for a user namespace";
            return Err(Error::field(Field::UsernsMode, &host.userns_mode, problem));
        }
        if namespaces.contains(&NamespaceType::Uts) && !self.hostname.is_empty() {
            let problem = Problem::from("cannot be combined with ").field(Field::UTSMode);
            return Err(Error::field(Field::Hostname, &self.hostname, problem.text(" host")));
        }
        Ok(namespaces)
    }
}
