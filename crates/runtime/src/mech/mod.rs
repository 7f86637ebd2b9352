//! One file a kernel mechanism: what each does to the process that becomes the
//! container, or to a container that exists.

pub mod capability;
pub mod cgroup_mount;
pub mod copy_up;
pub mod core_scheduling;
pub mod credential;
pub mod device;
pub mod hook;
pub mod idmap;
pub mod joined_proc;
pub mod landlock;
pub mod limit;
pub mod lsm;
pub mod mask;
pub mod mount;
pub mod namespace;
pub mod net_device;
pub mod notify;
pub mod pivot_root;
pub mod plain_mount;
pub mod proc;
pub mod resolve;
pub mod rootfs;
pub mod rtnetlink;
pub mod seccomp;
pub mod sysctl;
pub mod terminal;
pub mod userns;
