//! Facts about this host, gathered once.

use husk_spec::{Process, Spec};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use crate::plan::annotation::LANDLOCK;
use crate::plan::{Host, LaunchPlan};
use crate::report::{Code, Error};

/// What a plan needs to know. What neither document asks for is not looked for.
pub fn facts(spec: &Spec, process: Option<&Process>, layout: husk_cgroup::Layout) -> Host {
    let linux = spec.linux.as_ref();
    let selinux = process.is_some_and(|process| process.selinux_label.is_some())
        || linux.is_some_and(|linux| linux.mount_label.is_some());
    let profile = process.is_some_and(|process| process.apparmor_profile.is_some());
    let landlock = spec.annotations.contains_key(LANDLOCK);
    Host {
        euid: rustix::process::geteuid().as_raw(),
        in_user_namespace: husk_userns::in_user_namespace(),
        selinux: selinux && there(c"/sys/fs/selinux/enforce"),
        apparmor: profile && apparmor(),
        layout,
        landlock_abi: if landlock { husk_sys::landlock::abi().unwrap_or(0) } else { 0 },
    }
}

fn there(path: &std::ffi::CStr) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

/// Whether AppArmor is enabled: there, and its module's parameter says yes.
pub fn apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

/// A failure of the cgroup crate in the runtime's words.
pub fn cgroup_error(error: husk_cgroup::Error) -> Error {
    let errno = error.errno();
    let code = if errno.is_some() { Code::Kernel } else { Code::InvalidConfig };
    // Its text names the file and the errno already.
    Error { errno: None, ..Error::new(code, error, "") }
}

/// What to do about a refused clone3(2).
pub fn explain_clone(error: Error, plan: &LaunchPlan) -> Error {
    let hint = match error.errno {
        Some(Errno::NOSYS) => "Linux 5.14 or later is needed",
        Some(errno @ (Errno::NOSPC | Errno::USERS)) => {
            return error.hint(husk_userns::user_namespace_hint(errno));
        }
        Some(errno @ (Errno::PERM | Errno::ACCESS)) if plan.user_namespace.is_some() => {
            return error.hint(husk_userns::user_namespace_hint(errno));
        }
        Some(Errno::PERM) => {
            "without root, linux.namespaces needs one of type user: see husk-oci spec --rootless"
        }
        Some(Errno::AGAIN) => "a limit of processes is reached: RLIMIT_NPROC or a pids cgroup",
        _ => return error,
    };
    error.hint(hint)
}
