//! The capabilities of a container's process.

use crate::error::{Error, Field, Result};

/// What a container has without being asked: Docker's default set.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// All of them in the order of their numbers (capabilities(7), linux/capability.h).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// `net_admin`, `NET_ADMIN`, `CAP_NET_ADMIN` and `all` as CAP_NET_ADMIN and ALL.
///
/// # Errors
/// An unknown name.
pub fn parse(field: Field, text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match ALL.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(Error::field(field, text, "unknown capability (capabilities(7) lists them)")),
    }
}

/// What this process can hand on: a capability that is not in its own bounding set no
/// container can have (capabilities(7)).
fn bounding() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// The set of a container: the default, or all with `privileged`, then `add`, then `drop`.
/// What stands in `add` by name wins over `drop` ALL, as with Docker.
pub fn resolve(privileged: bool, add: &[String], drop: &[String]) -> Vec<String> {
    resolve_within(bounding(), privileged, add, drop)
}

fn resolve_within(bounding: u64, privileged: bool, add: &[String], drop: &[String]) -> Vec<String> {
    let named = |list: &[String], name: &str| list.iter().any(|one| one == name);
    let every = privileged || named(add, "ALL");
    let keep = |index: usize, name: &str| {
        let by_default = DEFAULT.contains(&name) && !named(drop, "ALL");
        let wide = every && bounding & (1 << index) != 0 && !named(drop, "ALL");
        (by_default || wide || named(add, name)) && !named(drop, name)
    };
    let kept = ALL.iter().enumerate().filter(|(index, name)| keep(*index, name));
    kept.map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(privileged: bool, add: &[&str], drop: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        resolve_within(u64::MAX, privileged, &own(add), &own(drop))
    }

    #[test]
    fn combinations() {
        assert_eq!(sets(false, &[], &[]).len(), DEFAULT.len());
        assert_eq!(sets(true, &[], &[]).len(), ALL.len());
        assert_eq!(sets(false, &["CAP_NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert!(sets(false, &[], &["ALL"]).is_empty());
        assert!(!sets(false, &["ALL"], &["CAP_SYS_ADMIN"]).contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(resolve_within(1, true, &[], &["ALL".to_owned()]).is_empty());
    }

    #[test]
    fn names() {
        for text in ["net_admin", "NET_ADMIN", "cap_net_admin"] {
            assert_eq!(parse(Field::CapAdd, text).unwrap(), "CAP_NET_ADMIN");
        }
        assert_eq!(
            parse(Field::CapAdd, "net_amin").unwrap_err().to_string(),
            "HostConfig.CapAdd \"net_amin\": unknown capability (capabilities(7) lists them)"
        );
    }
}
