//! `linux.sysctl`: only what belongs to a namespace of the container.

use std::ffi::CString;

use husk_spec::{Linux, NamespaceType};

use super::{Namespaces, cstring};
use crate::report::{Error, Result};

/// One sysctl to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Its key, for messages.
    pub key: String,
    /// Path below /proc.
    pub path: CString,
    /// What is written.
    pub value: String,
    /// The kind of namespace that it belongs to.
    pub kind: NamespaceType,
}

/// Keys of System V IPC and of POSIX message queues, ipc_namespaces(7).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    names: &[(&str, Option<&str>)],
) -> Result<Vec<Sysctl>> {
    linux
        .sysctl
        .iter()
        .map(|(given, value)| {
            let key = normalise(given);
            let property = format!("linux.sysctl ({given}={value})");
            let kind = namespace_of(&key).ok_or_else(|| {
                Error::invalid(&property, "belongs to no namespace: it would change the host")
            })?;
            if !namespaces.makes(kind) && !namespaces.joins(kind) {
                return Err(Error::invalid(
                    &property,
                    format_args!("needs a {} namespace: it would change the host", kind.name()),
                ));
            }
            let named = names.iter().find(|(name, _)| key.strip_prefix("kernel.") == Some(name));
            if let Some((name, Some(other))) = named
                && other != value
            {
                let why = format_args!("conflicts with {name} ({other})");
                return Err(Error::invalid(&property, why));
            }
            let path = format!("sys/{}", key_to_path(&key));
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(Error::invalid(&property, "not a sysctl"));
            }
            Ok(Sysctl { path: cstring(&property, &path)?, value: value.clone(), key, kind })
        })
        .collect()
}

/// The kind of namespace that a key belongs to.
fn namespace_of(key: &str) -> Option<NamespaceType> {
    match key {
        "kernel.domainname" | "kernel.hostname" => Some(NamespaceType::Uts),
        _ if IPC.contains(&key) || key.starts_with("fs.mqueue.") => Some(NamespaceType::Ipc),
        _ if key.starts_with("net.") => Some(NamespaceType::Network),
        _ if key.starts_with("user.") => Some(NamespaceType::User),
        _ => None,
    }
}

/// sysctl(8) takes both `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x`:
/// the first separator says which. The answer is written with dots.
fn normalise(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => swap(key),
        _ => key.to_owned(),
    }
}

fn key_to_path(key: &str) -> String {
    swap(key)
}

fn swap(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        assert_eq!(normalise("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.eth0/1.forwarding");
        assert_eq!(
            key_to_path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }

    #[test]
    fn only_namespaced_keys() {
        assert_eq!(namespace_of("net.core.somaxconn"), Some(NamespaceType::Network));
        assert_eq!(namespace_of("kernel.shmmax"), Some(NamespaceType::Ipc));
        assert_eq!(namespace_of("kernel.core_pattern"), None);
        assert_eq!(namespace_of("vm.swappiness"), None);
        assert_eq!(namespace_of("network"), None);
    }
}
