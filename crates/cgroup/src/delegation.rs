//! What an unprivileged user lacks, and the systemd drop-in that grants it.

use crate::layout::Delegated;

/// On cgroup v1 nothing is delegated to a user: it is not safe there (cgroups(7)).
pub(crate) const ADVICE_V1: &str = "a user may have cgroups of his own on cgroup v2 only: boot with \
     systemd.unified_cgroup_hierarchy=1, and as root write to \
     /etc/systemd/system/user@.service.d/delegate.conf the lines \"[Service]\" and \
     \"Delegate=cpu cpuset io memory pids\"";

/// Names the controllers that are not delegated and how to delegate them.
pub(crate) fn advice(delegated: &Delegated) -> String {
    let missing = match delegated.missing.is_empty() {
        true => String::new(),
        false => format!("not delegated to this user: {}; ", delegated.missing.join(" ")),
    };
    format!(
        "{missing}as root, write to /etc/systemd/system/user@.service.d/delegate.conf the lines \
         \"[Service]\" and \"Delegate=cpu cpuset io memory pids\", run \
         \"systemctl daemon-reload\", and log in anew"
    )
}
