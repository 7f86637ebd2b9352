//! The mounts of a container.

use husk_spec::{Mount, NamespaceType};

use super::{Facts, Network};
use crate::bind_source;
use crate::container::config::{BindRecursive, Config, Mount as Asked};
use crate::error::{Error, Result};

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        typ: Some(typ.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().map(|one| (*one).to_owned()).collect(),
        ..Mount::default()
    }
}

/// Files of the engine's own, as the container sees them, and their names beside its root.
pub const FILES: [(&str, &str); 3] =
    [("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts")];

/// What is mounted over in every container, deepest first: the runtime makes in the root what
/// the image has it not.
pub const MOUNT_POINTS: [&str; 7] =
    ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/etc", "/proc", "/sys", "/dev"];

/// All of them, in the order in which they cover each other: a mount below another one's
/// target comes after it, whatever the flags' order; those of the system first.
pub(super) fn mounts(config: &Config, facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let mut mounts = system(config, facts);
    for (target, name) in FILES {
        let source = facts.files.join(name).display().to_string();
        // As Docker: whoever may write nowhere may not write here either.
        let options: &[&str] = match config.read_only {
            true => &["bind", "rprivate", "ro"],
            false => &["bind", "rprivate"],
        };
        mounts.push(mount(target, "bind", &source, options));
    }
    if let Some(init) = &facts.init {
        let source = init.display().to_string();
        mounts.push(mount(super::INIT, "bind", &source, &["bind", "ro", "nosuid", "nodev"]));
    }
    for one in &config.mounts {
        let one = user(one, facts, config.runtime.is_none())?;
        mounts.retain(|known| known.destination != one.destination);
        mounts.push(one);
    }
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
    Ok(mounts)
}

fn system(config: &Config, facts: &Facts<'_>) -> Vec<Mount> {
    let writable = if config.privileged { "rw" } else { "ro" };
    let shm = format!("size={}", config.shm_size);
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &quiet),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ];
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // tty(4)'s group, where there is such an id.
    if facts.last_gid.is_none_or(|last| last >= 5) {
        terminals.push("gid=5");
    }
    mounts.push(mount("/dev/pts", "devpts", "devpts", &terminals));
    // sysfs shows the devices of the network namespace that mounts it; the host's
    // cannot be mounted anew from inside without owning it, but root does.
    let sys = ["nosuid", "noexec", "nodev", writable];
    mounts.push(match facts.network {
        Network::Host if facts.last_gid.is_some() => {
            mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
        }
        _ => mount("/sys", "sysfs", "sysfs", &sys),
    });
    mounts.push(mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", writable],
    ));
    if config.host_namespaces.contains(&NamespaceType::Ipc) {
        mounts.push(mount(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            &["rbind", "nosuid", "noexec", "nodev"],
        ));
        mounts.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
    } else {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &quiet));
        mounts.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        ));
    }
    mounts
}

fn user(asked: &Asked, facts: &Facts<'_>, own_runtime: bool) -> Result<Mount> {
    // "rro" (mount_setattr(2), AT_RECURSIVE): what is mounted below is read-only as well.
    let access = |read_only: &bool| if *read_only { "rro" } else { "rw" };
    Ok(match asked {
        Asked::Bind { source, target, read_only, propagation, recursive, resolved } => {
            let propagation = if propagation.is_empty() { "rprivate" } else { propagation };
            let source = bind_source::path(source, resolved)?;
            let (bind, access) = match recursive {
                BindRecursive::Enabled => ("rbind", access(read_only)),
                BindRecursive::Readonly => ("rbind", "rro"),
                BindRecursive::Disabled => ("bind", if *read_only { "ro" } else { "rw" }),
                BindRecursive::Writable => ("rbind", if *read_only { "ro" } else { "rw" }),
            };
            let mut options = vec![bind, propagation, access];
            if own_runtime {
                options.push("x-husk.no-source-links");
            }
            mount(target, "bind", &source, &options)
        }
        Asked::Volume { name, target, read_only, .. } => {
            let found = facts.volumes.iter().find(|(known, ..)| known == name);
            let (_, source, recursive) =
                found.ok_or_else(|| Error::other(format_args!("no such volume: {name}")))?;
            let how = if *recursive { "rbind" } else { "bind" };
            mount(target, "bind", source, &[how, "rprivate", access(read_only)])
        }
        Asked::Tmpfs { target, options } => {
            let mut all = vec!["nosuid", "nodev", "noexec"];
            for option in options {
                // What is said takes the place of the default it contradicts.
                let opposite = match option.as_str() {
                    "suid" => "nosuid",
                    "dev" => "nodev",
                    "exec" => "noexec",
                    _ => "",
                };
                all.retain(|known| *known != opposite && known != option);
                all.push(option);
            }
            mount(target, "tmpfs", "tmpfs", &all)
        }
    })
}
