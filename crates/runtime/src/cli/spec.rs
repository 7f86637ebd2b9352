//! `spec`: a configuration to start from.

use std::io::Write;

use husk_spec::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceType, Process,
    Resources, Rlimit, Root, Spec,
};

use super::arguments::{Argument, Arguments};
use super::state::json;
use super::{Command, Exit, Global};
use crate::report::{Code, Error};

pub(super) const COMMAND: Command = Command {
    name: "spec",
    usage: "spec [FLAGS]",
    about: "Write a config.json to start from",
    flags: &[
        ("-b, --bundle DIR", "the bundle's directory (the current one)"),
        ("--rootless", "for a user without root's privilege"),
    ],
    run,
    enters: false,
};

fn run(_: &Global, mut arguments: Arguments) -> Exit {
    let (mut bundle, mut rootless) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "b" | "bundle") => {
                bundle = Some(arguments.value()?);
            }
            Argument::Flag(flag) if flag == "rootless" => rootless = arguments.switch(&flag)?,
            other => return Err(other.unexpected()),
        }
    }
    let path = match bundle {
        Some(bundle) => format!("{bundle}/config.json"),
        None => "config.json".to_owned(),
    };
    let mut spec = default_spec();
    if rootless {
        make_rootless(&mut spec);
    }
    let text = json(&spec)? + "\n";
    let failed = |error| Error::new(Code::InvalidConfig, &path, error);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(0)
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

/// What `runc spec` writes, so that it means the same everywhere.
fn default_spec() -> Spec {
    let capabilities = strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Spec {
        oci_version: husk_spec::VERSION.to_owned(),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        process: Some(Process {
            terminal: true,
            args: strings(&["sh"]),
            env: strings(&[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ]),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { typ: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        hostname: Some("husk".to_owned()),
        mounts: mounts(),
        linux: Some(Linux {
            resources: Some(Resources {
                devices: vec![DeviceRule {
                    allow: false,
                    access: Some("rwm".to_owned()),
                    ..DeviceRule::default()
                }],
                ..Resources::default()
            }),
            namespaces: [
                NamespaceType::Pid,
                NamespaceType::Network,
                NamespaceType::Ipc,
                NamespaceType::Uts,
                NamespaceType::Mount,
                NamespaceType::Cgroup,
            ]
            .map(|typ| Namespace { typ, path: None })
            .to_vec(),
            masked_paths: strings(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: strings(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        typ: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: strings(options),
        ..Mount::default()
    }
}

fn mounts() -> Vec<Mount> {
    let quiet = ["nosuid", "noexec", "nodev"];
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

/// A user namespace with the caller as its root; no limits, which would take a
/// delegated cgroup; devpts without a group that is not mapped.
fn make_rootless(spec: &mut Spec) {
    let Some(linux) = &mut spec.linux else { return };
    linux.namespaces.retain(|namespace| namespace.typ != NamespaceType::Network);
    linux.namespaces.push(Namespace { typ: NamespaceType::User, path: None });
    let own = |host_id| vec![IdMapping { container_id: 0, host_id, size: 1 }];
    linux.uid_mappings = own(rustix::process::geteuid().as_raw());
    linux.gid_mappings = own(rustix::process::getegid().as_raw());
    linux.resources = None;
    for mount in &mut spec.mounts {
        mount.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        // The host's network namespace is not the container's own, so that a new
        // sysfs is not to be had: the host's is bound, read-only.
        if mount.destination == "/sys" {
            *mount =
                self::mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
}
