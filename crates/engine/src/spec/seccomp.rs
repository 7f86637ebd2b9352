//! The default seccomp profile: which system calls a container needs no privilege for.
//!
//! It allows what Docker's default allows and answers EPERM to all else. The table is
//! our own, by what calls are for; who adds a call sees beside which others it stands.
//! What a capability unlocks is allowed with that capability, as with Docker.
//!
//! Two families are refused that older defaults let pass, because they were the way of
//! several kernel exploits and few programs miss them: io_uring (its operations pass by
//! every filter), and sockets of AF_ALG. `--security-opt seccomp=+io_uring` and `+af_alg`
//! bring them back by name.

use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};

use crate::error::{Error, Result};

const FILES: &str = "
    access faccessat faccessat2 chdir fchdir getcwd chmod fchmod fchmodat fchmodat2 chown chown32
    fchown fchown32 fchownat lchown lchown32 close close_range copy_file_range creat open openat
    openat2 dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64 fdatasync fsync sync
    syncfs sync_file_range sync_file_range2 flock ftruncate ftruncate64 truncate truncate64
    getdents getdents64 readdir link linkat symlink symlinkat readlink readlinkat unlink unlinkat
    rename renameat renameat2 mkdir mkdirat rmdir mknod mknodat lseek _llseek read readv pread64
    preadv preadv2 write writev pwrite64 pwritev pwritev2 readahead sendfile sendfile64 splice tee
    vmsplice stat stat64 fstat fstat64 lstat lstat64 newfstatat fstatat64 statx statfs statfs64
    fstatfs fstatfs64 statmount listmount umask utime utimes futimesat utimensat utimensat_time64
    getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat setxattr
    lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
    name_to_handle_at file_getattr file_setattr cachestat ioctl pipe pipe2 inotify_init
    inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark io_setup io_submit io_cancel
    io_destroy io_getevents io_pgetevents io_pgetevents_time64";

const WAITING: &str = "
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2
    signalfd signalfd4 timerfd timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime
    timerfd_gettime64 pause nanosleep clock_nanosleep clock_nanosleep_time64";

const MEMORY: &str = "
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 munlock mlockall
    munlockall membarrier memfd_create memfd_secret map_shadow_stack mseal pkey_alloc pkey_free
    pkey_mprotect remap_file_pages process_mrelease";

const PROCESSES: &str = "
    fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid
    getpgrp getsid setpgid setsid set_tid_address set_robust_list get_robust_list set_thread_area
    get_thread_area rseq futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue kill
    tkill tgkill pidfd_open pidfd_send_signal prctl arch_prctl modify_ldt seccomp restart_syscall
    riscv_hwprobe riscv_flush_icache s390_guarded_storage landlock_create_ruleset
    landlock_add_rule landlock_restrict_self lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr uretprobe ptrace process_vm_readv process_vm_writev pidfd_getfd";

const SIGNALS: &str = "
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal
    sigpending sigprocmask sigreturn sigsuspend alarm getitimer setitimer timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64";

const CREDENTIALS: &str = "
    capget capset getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid
    getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32
    setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid
    setfsuid32 setfsgid setfsgid32 setgroups setgroups32";

const SCHEDULING: &str = "
    getcpu getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64 getrusage ioprio_get
    ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield";

const SYSTEM: &str = "
    uname sysinfo times time gettimeofday clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 adjtimex clock_adjtime clock_adjtime64 getrandom";

const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair";

const IPC: &str = "
    ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl
    shmdt shmget mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink";

const ARM: &str = "
    arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls";

/// Calls that a capability unlocks.
const WITH: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount
         mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

const IO_URING: &str = "io_uring_setup io_uring_enter io_uring_register";

/// Address families of socket(2), linux/socket.h.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// Flags of clone(2) that make namespaces: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Personalities (personality(2)): PER_LINUX, PER_LINUX32, UNAME26 with either, and the
/// question for the current one.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

fn names(list: &str) -> Vec<String> {
    list.split_ascii_whitespace().map(str::to_owned).collect()
}

fn allow(list: &str, args: Vec<SeccompArg>) -> SeccompSyscall {
    SeccompSyscall {
        names: names(list),
        action: SeccompAction::Allow,
        args,
        ..SeccompSyscall::default()
    }
}

fn argument(index: u32, op: SeccompOp, value: u64) -> SeccompArg {
    SeccompArg { index, op, value, ..SeccompArg::default() }
}

/// The interfaces that a program of this machine may use.
fn architectures() -> Vec<SeccompArch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32],
        "aarch64" => vec![SeccompArch::Aarch64, SeccompArch::Arm],
        "riscv64" => vec![SeccompArch::Riscv64],
        "s390x" => vec![SeccompArch::S390x, SeccompArch::S390],
        "powerpc64" => vec![SeccompArch::Ppc64le],
        _ => Vec::new(),
    }
}

/// Sockets of every family but those whose numbers are refused.
fn sockets(af_alg: bool) -> Vec<SeccompSyscall> {
    let mut refused = vec![AF_VSOCK];
    if !af_alg {
        refused.insert(0, AF_ALG);
    }
    // Between two refused numbers, below the first, above the last.
    let mut rules = Vec::new();
    let mut from = 0;
    for family in refused {
        if family > from {
            rules.push(allow(
                "socket",
                vec![argument(0, SeccompOp::Ge, from), argument(0, SeccompOp::Lt, family)],
            ));
        }
        from = family + 1;
    }
    rules.push(allow("socket", vec![argument(0, SeccompOp::Ge, from)]));
    rules
}

/// The default profile for a process that can have `capabilities` (`CAP_NAME`). `extra`
/// names what is allowed on top: `io_uring`, `af_alg`.
///
/// # Errors
/// An unknown name in `extra`.
pub fn default_profile(capabilities: &[String], extra: &[String]) -> Result<Seccomp> {
    for name in extra {
        if !matches!(name.as_str(), "io_uring" | "af_alg") {
            let problem = "the default profile can be widened by +io_uring and +af_alg";
            return Err(Error::flag("--security-opt seccomp=+", name, problem));
        }
    }
    let wants = |name: &str| extra.iter().any(|extra| extra == name);
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    let always = [
        FILES,
        WAITING,
        MEMORY,
        PROCESSES,
        SIGNALS,
        CREDENTIALS,
        SCHEDULING,
        SYSTEM,
        SOCKETS,
        IPC,
        ARM,
    ];
    let mut syscalls: Vec<SeccompSyscall> =
        always.iter().map(|list| allow(list, Vec::new())).collect();
    for (capability, list) in WITH {
        if has(capability) {
            syscalls.push(allow(list, Vec::new()));
        }
    }
    syscalls.extend(sockets(wants("af_alg")));
    for personality in PERSONALITIES {
        syscalls.push(allow("personality", vec![argument(0, SeccompOp::Eq, personality)]));
    }
    if wants("io_uring") {
        syscalls.push(allow(IO_URING, Vec::new()));
    }
    if !has("CAP_SYS_ADMIN") {
        let no_namespaces =
            SeccompArg { value_two: 0, ..argument(0, SeccompOp::MaskedEq, NEW_NAMESPACES) };
        syscalls.push(allow("clone", vec![no_namespaces]));
        // Its flags are in memory that a filter cannot read; for ENOSYS the C library
        // falls back to clone.
        syscalls.push(SeccompSyscall {
            names: names("clone3"),
            action: SeccompAction::Errno,
            errno_ret: Some(ENOSYS),
            ..SeccompSyscall::default()
        });
    }
    Ok(Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: Some(EPERM),
        architectures: architectures(),
        syscalls,
        ..Seccomp::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &Seccomp, name: &str) -> bool {
        profile.syscalls.iter().any(|rule| {
            rule.action == SeccompAction::Allow && rule.names.iter().any(|known| known == name)
        })
    }

    #[test]
    fn what_is_refused_without_privilege() {
        let profile = default_profile(&["CAP_CHOWN".to_owned()], &[]).unwrap();
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "kexec_load",
            "init_module",
            "io_uring_setup",
            "userfaultfd",
            "reboot",
            "swapon",
            "open_by_handle_at",
            "socketcall",
            "chroot",
            "syslog",
            "mbind",
        ] {
            assert!(!allowed(&profile, name), "{name}");
        }
        for name in ["openat2", "execve", "socket", "clone", "futex", "statx", "ptrace"] {
            assert!(allowed(&profile, name), "{name}");
        }
    }

    #[test]
    fn capabilities_and_names_unlock() {
        let with = |caps: &[&str], extra: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            default_profile(&own(caps), &own(extra)).unwrap()
        };
        assert!(allowed(&with(&["CAP_SYS_ADMIN"], &[]), "mount"));
        assert!(allowed(&with(&["CAP_SYS_CHROOT"], &[]), "chroot"));
        assert!(allowed(&with(&[], &["io_uring"]), "io_uring_setup"));
        assert!(default_profile(&[], &["everything".to_owned()]).is_err());
    }

    /// Which families a rule list lets through.
    fn family_passes(profile: &Seccomp, family: u64) -> bool {
        profile.syscalls.iter().filter(|rule| rule.names == ["socket"]).any(|rule| {
            rule.args.iter().all(|arg| match arg.op {
                SeccompOp::Ge => family >= arg.value,
                SeccompOp::Lt => family < arg.value,
                _ => false,
            })
        })
    }

    #[test]
    fn socket_families() {
        let profile = default_profile(&[], &[]).unwrap();
        for (family, passes) in [
            (0, true),
            (1, true),
            (2, true),
            (16, true),
            (37, true),
            (38, false),
            (39, true),
            (40, false),
            (41, true),
        ] {
            assert_eq!(family_passes(&profile, family), passes, "{family}");
        }
        let wide = default_profile(&[], &["af_alg".to_owned()]).unwrap();
        assert!(family_passes(&wide, 38));
        assert!(!family_passes(&wide, 40));
    }

    #[test]
    fn no_call_stands_twice_without_condition() {
        let profile = default_profile(&[], &[]).unwrap();
        let mut seen = std::collections::HashSet::new();
        for rule in profile.syscalls.iter().filter(|rule| rule.args.is_empty()) {
            for name in &rule.names {
                assert!(seen.insert(name.clone()), "duplicate name {name}");
            }
        }
    }
}
