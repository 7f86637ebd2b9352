//! Which capability makes engines add a rule for a system call: the profiles of
//! Docker, podman and containerd allow some calls to containers that have the
//! capability the call takes.

const CALLS: &[(&str, &[&str])] = &[
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "swapoff",
            "swapon",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_SYS_BOOT", &["kexec_file_load", "kexec_load", "reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module", "query_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PACCT", &["acct"]),
    (
        "CAP_SYS_PTRACE",
        &[
            "kcmp",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
        ],
    ),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    (
        "CAP_SYS_TIME",
        &["adjtimex", "clock_adjtime", "clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
];

/// The capability, as capabilities(7) spells it.
pub(super) fn that_allows(syscall: &str) -> Option<&'static str> {
    CALLS.iter().find(|(_, names)| names.contains(&syscall)).map(|(capability, _)| *capability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known() {
        for (capability, names) in CALLS {
            assert!(crate::plan::capability_bit(capability).is_some(), "{capability}");
            for name in *names {
                let known = husk_spec::SeccompArch::ALL
                    .iter()
                    .any(|arch| husk_seccomp::syscall_number(*arch, name).is_some());
                assert!(known, "{name}");
            }
        }
        assert_eq!(that_allows("mount"), Some("CAP_SYS_ADMIN"));
        assert_eq!(that_allows("read"), None);
    }
}
