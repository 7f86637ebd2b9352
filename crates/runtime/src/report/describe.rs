//! From coordinates to words: which property of the configuration a failed
//! step stands for, with its value.

use husk_spec::{Mount, Spec};
use rustix::io::Errno;
use rustix::process::WaitStatus;

use crate::plan::DEFAULT_DEVICES;
use crate::report::{Code, Error};
use crate::state::record::Record;
use crate::sync::fault::{Fault, Step};

/// Where a process is described: in `config.json` at `process`, or for `exec` elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The container's configuration.
    pub spec: &'a Spec,
    /// The process.
    pub process: &'a husk_spec::Process,
    /// Its place.
    pub property: &'static str,
}

/// The failure as the user is told it.
pub fn fault(fault: &Fault, described: Described<'_>) -> Error {
    let spec = described.spec;
    let code = match fault.step {
        Step::Exec => Code::Exec,
        Step::CreateContainer | Step::StartContainer => Code::Hook,
        _ => Code::Kernel,
    };
    Error {
        code,
        path: property(fault, described),
        op: (!fault.op.is_empty()).then(|| fault.op.to_string()),
        errno: fault.errno,
        detail: fault.detail.clone(),
        hint: hint(fault, spec),
    }
}

fn property(fault: &Fault, described: Described<'_>) -> String {
    let Described { spec, process, property: own } = described;
    let index = fault.index as usize;
    let linux = spec.linux.as_ref();
    let property = fault.step.property();
    let element = |value: Option<&String>| match value {
        Some(value) => format!("{property}[{index}] ({value})"),
        None => format!("{property}[{index}]"),
    };
    match fault.step {
        Step::Mount => match spec.mounts.get(index) {
            Some(mount) => format!("mounts[{index}] ({})", describe_mount(mount)),
            None => "NOTIFY_SOCKET".to_owned(),
        },
        Step::Namespace => {
            let namespace = linux.and_then(|linux| linux.namespaces.get(index));
            match namespace.and_then(|namespace| namespace.path.as_ref()) {
                Some(path) => format!("{property}[{index}].path ({path})"),
                None => property.to_owned(),
            }
        }
        Step::Device => device(index, spec),
        Step::MaskedPath => element(linux.and_then(|linux| linux.masked_paths.get(index))),
        Step::ReadonlyPath => element(linux.and_then(|linux| linux.readonly_paths.get(index))),
        Step::Sysctl => match linux.and_then(|linux| linux.sysctl.iter().nth(index)) {
            Some((key, value)) => format!("{property} ({key}={value})"),
            None => property.to_owned(),
        },
        Step::Root | Step::PivotRoot => match &spec.root {
            Some(root) => format!("{property} ({})", root.path),
            None => property.to_owned(),
        },
        Step::CreateContainer | Step::StartContainer => format!("{property}[{index}]"),
        Step::Domainname => {
            format!("{property} ({})", spec.domainname.as_deref().unwrap_or_default())
        }
        Step::Groups => format!("{own}.user.additionalGids ({:?})", process.user.additional_gids),
        Step::Rlimits => match process.rlimits.get(index) {
            Some(rlimit) => {
                let (soft, hard) = (limit(rlimit.soft), limit(rlimit.hard));
                format!("{own}.rlimits[{index}] ({}, soft {soft}, hard {hard})", rlimit.typ)
            }
            None => format!("{own}.rlimits[{index}]"),
        },
        Step::OomScore => {
            format!("{own}.oomScoreAdj ({})", process.oom_score_adj.unwrap_or_default())
        }
        Step::Exec => {
            let name = process.args.first().map_or("", String::as_str);
            format!("{own}.args[0] ({name})")
        }
        Step::Label => {
            let (name, value) = match index {
                0 => ("apparmorProfile", &process.apparmor_profile),
                _ => ("selinuxLabel", &process.selinux_label),
            };
            format!("{own}.{name} ({})", value.as_deref().unwrap_or_default())
        }
        Step::Cwd => format!("{own}.cwd ({})", process.cwd),
        Step::User => format!("{own}.user ({}:{})", process.user.uid, process.user.gid),
        Step::Hostname => format!("{property} ({})", spec.hostname.as_deref().unwrap_or_default()),
        _ => property.to_owned(),
    }
}

/// A limit as getrlimit(2) has it.
fn limit(value: u64) -> String {
    match value {
        u64::MAX => "unlimited".to_owned(),
        _ => value.to_string(),
    }
}

/// `tmpfs on /x, size=banana`.
fn describe_mount(mount: &Mount) -> String {
    let bind = mount.typ.as_deref() == Some("bind")
        || mount.options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind"));
    let what = match (bind, mount.source.as_deref(), mount.typ.as_deref()) {
        (true, Some(source), _) => source,
        (_, _, Some(kind)) => kind,
        _ => "?",
    };
    let mut text = format!("{what} on {}", mount.destination);
    for option in &mount.options {
        text += ", ";
        text += option;
    }
    text
}

fn device(index: usize, spec: &Spec) -> String {
    let devices = spec.linux.as_ref().map_or(&[][..], |linux| &linux.devices);
    match devices.get(index) {
        Some(device) => format!("linux.devices[{index}] ({})", device.path),
        None => {
            let mut unnamed = DEFAULT_DEVICES.iter().filter(|(path, ..)| {
                devices.iter().all(|device| device.path.as_bytes() != path.to_bytes())
            });
            match unnamed.nth(index - devices.len()) {
                Some((path, ..)) => format!("default device ({})", path.to_string_lossy()),
                None => "default devices".to_owned(),
            }
        }
    }
}

fn hint(fault: &Fault, spec: &Spec) -> Option<String> {
    let rootless = husk_userns::is_rootless();
    let hint = match (fault.step, fault.errno) {
        (Step::Label, Some(Errno::NOENT)) if fault.index == 0 => {
            "no such profile is loaded; aa-status lists them, apparmor_parser loads one"
        }
        (Step::Rlimits, Some(Errno::PERM)) => "to raise a hard limit takes CAP_SYS_RESOURCE",
        (Step::OomScore, Some(Errno::ACCESS)) => "to lower it takes CAP_SYS_RESOURCE",
        (Step::User | Step::Groups, Some(Errno::INVAL)) => {
            "the id is not mapped in the user namespace"
        }
        (
            Step::UserNamespace | Step::Mount | Step::Root | Step::Propagation,
            Some(Errno::PERM | Errno::ACCESS),
        ) if husk_userns::powerless_hint().is_some() => husk_userns::powerless_hint()?,
        (Step::Groups, Some(Errno::PERM)) if rootless => {
            "groups cannot be set with a map of one's own id alone"
        }
        (Step::Mount, Some(Errno::PERM)) if rootless || has_user_namespace(spec) => {
            let mount = spec.mounts.get(fault.index as usize)?;
            match mount.typ.as_deref() {
                Some("sysfs") => {
                    "a new sysfs needs a new network namespace beside the user namespace; else bind /sys (rbind, ro)"
                }
                Some("proc") => {
                    "a new procfs needs a new pid namespace beside the user namespace, and nothing mounted over the caller's own /proc; else bind /proc (rbind)"
                }
                Some("mqueue") => {
                    "a new mqueue needs a new ipc namespace beside the user namespace"
                }
                _ => "not allowed in a user namespace",
            }
        }
        (Step::Device, Some(Errno::NOENT)) if rootless || has_user_namespace(spec) => {
            "in a user namespace the host's device of the same path is bound, and there is none"
        }
        (Step::Namespace, Some(Errno::PERM)) => {
            "to join it takes CAP_SYS_ADMIN over the user namespace that it belongs to"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn has_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.into_iter().any(|namespace| namespace.typ == husk_spec::NamespaceType::User)
}

/// A process that went without a word.
pub fn death(status: Option<WaitStatus>, record: &Record) -> Error {
    let how = match status {
        Some(status) => match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => format!("was killed by signal {signal} while it was set up"),
            (None, Some(code)) => format!("ended with status {code} while it was set up"),
            (None, None) => "ended while it was set up".to_owned(),
        },
        None => "ended while it was set up".to_owned(),
    };
    let error = Error::new(Code::Kernel, format_args!("container {}", record.id), how);
    match crate::state::oom::oom_killed(record) {
        Some(why) => error.hint(why),
        None => error,
    }
}
