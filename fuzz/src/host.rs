//! The hosts that documents are planned for, and what all refusals have in common.

use std::sync::OnceLock;

use husk_runtime::plan::Host;
use husk_runtime::report::Error;

/// Root on this host, and a user in a user namespace without anything.
pub(crate) fn all() -> &'static [Host] {
    static HOSTS: OnceLock<Vec<Host>> = OnceLock::new();
    HOSTS.get_or_init(|| {
        let layout = husk_cgroup::Layout::detect().unwrap_or_default();
        let root = Host {
            euid: 0,
            in_user_namespace: false,
            selinux: true,
            apparmor: true,
            layout,
            landlock_abi: 5,
        };
        let user = Host {
            euid: 1000,
            in_user_namespace: true,
            selinux: false,
            apparmor: false,
            layout: husk_cgroup::Layout::default(),
            landlock_abi: 0,
        };
        vec![root, user]
    })
}

/// An error that a terminal or a log shows as one line.
pub(crate) fn assert_one_line(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
