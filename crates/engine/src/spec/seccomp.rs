//! The default seccomp profile: which system calls a container needs no privilege for.
//!
//! It allows what Docker's default allows and answers EPERM to all else. The table is
//! our own, by what calls are for; who adds a call sees beside which others it stands.
//! What a capability unlocks is allowed with that capability, as with Docker.
//!
//! Docker's older defaults allow three things that this one refuses: io_uring, whose
//! operations no filter sees; AF_ALG sockets, the way into several kernel exploits; and
//! AF_VSOCK sockets, which reach services of the hypervisor and its other guests.
//! `--security-opt seccomp=+io_uring`, `+af_alg` and `+af_vsock` allow them again.
//!
//! A filter sees 64 bits of each argument, of which the kernel drops the upper half where
//! the parameter is an `int`. So every condition here is a masked comparison of the bits
//! that the kernel uses: never a range, and never two conditions on one argument, which a
//! compiler of OCI profiles takes for two rules (docs/seccomp.md).

use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};

use crate::error::{Error, Field, Result};

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
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown";

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
/// Above all families that Linux has (AF_MAX is 46 in Linux 6.18). Those from here on are
/// refused: what they will do is not known.
const FAMILIES: u64 = 64;
/// The bits of an `int` parameter.
const INT: u64 = 0xffff_ffff;
/// Flags of clone(2) that make namespaces: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
/// CLONE_NEWTIME is one of clone3(2) and unshare(2) only.
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

/// `argument & mask == value`
fn masked(index: u32, mask: u64, value: u64) -> SeccompArg {
    SeccompArg { index, op: SeccompOp::MaskedEq, value: mask, value_two: value }
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

/// Sockets of the families below [`FAMILIES`] that are not refused.
///
/// A family is an `int`: 40 with any upper half is AF_VSOCK. Numbers are allowed in aligned
/// blocks of a power of two, each by one masked comparison.
fn sockets(refused: &[u64]) -> Vec<SeccompSyscall> {
    let mut rules = Vec::new();
    let mut from = 0;
    while from < FAMILIES {
        let fits = |size: u64| {
            from.is_multiple_of(size)
                && !refused.iter().any(|one| (from..from + size).contains(one))
        };
        let sizes = std::iter::successors(Some(FAMILIES), |size| Some(size / 2));
        let size = sizes.take_while(|size| *size > 0).find(|size| fits(*size));
        if let Some(size) = size {
            // socketpair(2) makes a socket of the family first, and loads its module.
            rules.push(allow("socket socketpair", vec![masked(0, INT & !(size - 1), from)]));
        }
        from += size.unwrap_or(1);
    }
    rules
}

/// Which argument of clone(2) has the flags.
fn clone_flags(architecture: &str) -> u32 {
    // CONFIG_CLONE_BACKWARDS2: the stack comes first.
    u32::from(architecture == "s390x")
}

/// The default profile for a process that can have `capabilities` (`CAP_NAME`). `extra`
/// names what is allowed on top: `io_uring`, `af_alg`, `af_vsock`.
///
/// # Errors
/// An unknown name in `extra`.
pub fn default_profile(capabilities: &[String], extra: &[String]) -> Result<Seccomp> {
    for name in extra {
        if !matches!(name.as_str(), "io_uring" | "af_alg" | "af_vsock") {
            let problem = "must be one of +io_uring, +af_alg, +af_vsock";
            return Err(Error::field(Field::SeccompGroup, name, problem));
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
    let families = [(AF_ALG, "af_alg"), (AF_VSOCK, "af_vsock")];
    let refused = families.iter().filter(|(_, name)| !wants(name)).map(|(family, _)| *family);
    syscalls.extend(sockets(&refused.collect::<Vec<_>>()));
    for personality in PERSONALITIES {
        syscalls.push(allow("personality", vec![masked(0, INT, personality)]));
    }
    if wants("io_uring") {
        syscalls.push(allow(IO_URING, Vec::new()));
    }
    if !has("CAP_SYS_ADMIN") {
        let flags = clone_flags(std::env::consts::ARCH);
        syscalls.push(allow("clone", vec![masked(flags, NEW_NAMESPACES, 0)]));
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
    use husk_seccomp::{Call, audit_arch, explain, syscall_number};

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

    const ALLOW: u32 = 0x7fff_0000;
    const REFUSED: u32 = 0x5_0000 | EPERM;
    /// What the upper half of a register may hold.
    const UPPER: [u64; 4] = [0, 1 << 32, 1 << 63, 0xffff_ffff_0000_0000];

    /// What the program made of the profile returns for a call.
    fn ret(profile: &Seccomp, arch: SeccompArch, name: &str, arguments: [u64; 2]) -> u32 {
        let native = match arch {
            SeccompArch::Aarch64 | SeccompArch::Arm => SeccompArch::Aarch64,
            _ => SeccompArch::X86_64,
        };
        let [first, second] = arguments;
        let call = Call {
            arch: audit_arch(arch),
            number: syscall_number(arch, name).unwrap(),
            arguments: [first, second, 0, 0, 0, 0],
        };
        let profile = Seccomp { architectures: vec![native, arch], ..profile.clone() };
        explain(&profile, native, &call).unwrap().ret
    }

    const INTERFACES: [SeccompArch; 5] = [
        SeccompArch::X86_64,
        SeccompArch::X86,
        SeccompArch::X32,
        SeccompArch::Aarch64,
        SeccompArch::Arm,
    ];

    #[test]
    fn socket_families() {
        let extra = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        for (allowed, refused) in [
            (&[][..], &[38, 40][..]),
            (&["af_alg"], &[40]),
            (&["af_vsock"], &[38]),
            (&["af_alg", "af_vsock"], &[]),
        ] {
            let profile = default_profile(&[], &extra(allowed)).unwrap();
            for arch in INTERFACES {
                for family in (0..=66).chain([128, 256, 0x8000_0000, 0xffff_ffff]) {
                    let expected =
                        if family < 64 && !refused.contains(&family) { ALLOW } else { REFUSED };
                    for (name, upper) in
                        ["socket", "socketpair"].iter().flat_map(|name| UPPER.map(|up| (name, up)))
                    {
                        let ret = ret(&profile, arch, name, [family | upper, 1]);
                        assert_eq!(ret, expected, "{arch:?} {name}({family} | {upper:#x})");
                    }
                }
            }
        }
    }

    #[test]
    fn no_socket_by_socketcall() {
        let profile = default_profile(&[], &[]).unwrap();
        for upper in UPPER {
            for call in [1, 8] {
                let ret = ret(&profile, SeccompArch::X86, "socketcall", [call | upper, 0x1000]);
                assert_eq!(ret, REFUSED, "socketcall({call})");
            }
        }
    }

    #[test]
    fn namespaces_and_personalities() {
        let profile = default_profile(&[], &[]).unwrap();
        for (arch, upper) in INTERFACES.iter().flat_map(|arch| UPPER.map(|upper| (*arch, upper))) {
            for bit in (0..32).map(|bit| 1 << bit) {
                let expected = if NEW_NAMESPACES & bit == 0 { ALLOW } else { REFUSED };
                let ret = ret(&profile, arch, "clone", [bit | upper | 17, 0]);
                assert_eq!(ret, expected, "{arch:?} clone({bit:#x} | {upper:#x})");
            }
            for (personality, allowed) in [
                (0, true),
                (8, true),
                (0xffff_ffff, true),
                // READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE
                (0x40_0000, false),
                (0x4_0000, false),
            ] {
                let ret = ret(&profile, arch, "personality", [personality | upper, 0]);
                assert_eq!(ret == ALLOW, allowed, "{arch:?} personality({personality:#x})");
            }
            assert_eq!(ret(&profile, arch, "clone3", [upper, 88]), 0x5_0000 | ENOSYS);
        }
        assert_eq!(clone_flags("s390x"), 1);
        assert_eq!(clone_flags("aarch64"), 0);
    }

    /// What a compiler of OCI profiles takes for two rules, and what misses the upper half.
    #[test]
    fn conditions_are_masked_and_one_for_an_argument() {
        let profile = default_profile(&[], &[]).unwrap();
        for rule in &profile.syscalls {
            assert!(rule.args.len() <= 1, "{:?}", rule.names);
            for arg in &rule.args {
                assert!(arg.op == SeccompOp::MaskedEq && arg.value <= INT, "{:?}", rule.names);
            }
        }
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
