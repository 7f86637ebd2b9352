//! Where it all happens: a private mount namespace, by default with cgroup v2 alone, a tmpfs,
//! bundles.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bundle::{self, Bundle};
use crate::cargo;

const CGROUP2: &str = "/sys/fs/cgroup";
const BUSYBOX: &str = "/bin/busybox";

/// Which bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `spec`'s own config with /bin/true.
    Default,
    /// The same without device rules: what the floor does, and what a runtime that insists
    /// on raising RLIMIT_MEMLOCK can run without CAP_SYS_RESOURCE.
    Plain,
    /// An engine's config: seccomp profile of 437 system calls and device rules.
    Profile,
    /// The same without device rules.
    PlainProfile,
    /// `spec`'s own config with a process that stays; with limits in the host's hierarchies.
    Sleeping,
    /// The same without device rules.
    PlainSleeping,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Default, "default"),
    (Kind::Plain, "plain"),
    (Kind::Profile, "profile"),
    (Kind::PlainProfile, "plain-profile"),
    (Kind::Sleeping, "sleeping"),
    (Kind::PlainSleeping, "plain-sleeping"),
];

/// The place.
pub(crate) struct Site {
    /// A tmpfs of this mount namespace only.
    pub(crate) work: PathBuf,
    /// A cgroup of ours, for the floor; not made in the host's hierarchies.
    pub(crate) cgroup: PathBuf,
    /// What every id and cgroup of this run begins with.
    pub(crate) prefix: String,
    /// Whether the containers that stay have no device rules, because a peer cannot load them.
    pub(crate) plain: bool,
    /// Whether the host's cgroup hierarchies are used as they are.
    host_cgroups: bool,
}

/// Enters a mount namespace of our own by starting ourselves again through unshare(1): the
/// process has threads of the standard library's choosing, and unshare(2) is for one thread.
///
/// # Errors
/// Only returns when unshare cannot be executed.
pub(crate) fn enter_namespace(arguments: &[std::ffi::OsString]) -> anyhow::Error {
    let own = match crate::process::own_path() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(own)
        .arg("bench")
        .args(arguments)
        .arg("--inside-namespace")
        .exec();
    anyhow::Error::from(error).context("unshare (Debian package util-linux)")
}

impl Site {
    /// Mounts, sweeps what a killed run has left, and makes our cgroup; with `host_cgroups`
    /// nothing is mounted on the host's hierarchies, which a runtime needs to be there.
    ///
    /// # Errors
    /// A mount or directory cannot be made.
    pub(crate) fn prepare(host_cgroups: bool) -> anyhow::Result<Self> {
        if !host_cgroups
            && rustix::fs::access(format!("{CGROUP2}/cgroup.procs"), rustix::fs::Access::EXISTS)
                .is_err()
        {
            mount("cgroup2", CGROUP2, "cgroup2", MountFlags::empty(), None)
                .context("mount cgroup2 on /sys/fs/cgroup")?;
        }
        sweep_stale();
        let prefix = format!("huskbench{}x", std::process::id());
        let work = std::env::temp_dir().join(&prefix);
        fs::create_dir(&work).with_context(|| format!("mkdir {}", work.display()))?;
        let cgroup = Path::new(CGROUP2).join(&prefix);
        let site = Self { cgroup, work, prefix, plain: false, host_cgroups };
        mount("tmpfs", &site.work, "tmpfs", MountFlags::empty(), Some(c"mode=700"))
            .context("mount tmpfs")?;
        // /tmp itself may be mounted without exec or dev; this tmpfs is not.
        let flags = rustix::fs::statvfs(&site.work).context("statvfs")?.f_flag;
        if flags.contains(StatVfsMountFlags::NOSUID) {
            bail!("{} is nosuid", site.work.display());
        }
        if !host_cgroups {
            fs::create_dir(&site.cgroup)
                .with_context(|| format!("mkdir {}", site.cgroup.display()))?;
        }
        fs::create_dir_all(site.work.join("state")).context("mkdir state")?;
        Ok(site)
    }

    /// Where the bundle of that kind is.
    pub(crate) fn bundle(&self, kind: Kind) -> PathBuf {
        let name = KINDS.iter().find(|(k, _)| *k == kind).map_or("default", |(_, name)| name);
        self.work.join("bundles").join(name)
    }

    /// The bundle of containers that stay.
    pub(crate) fn sleeping(&self) -> Kind {
        if self.plain { Kind::PlainSleeping } else { Kind::Sleeping }
    }

    /// Makes every bundle, the default ones from `runtime`'s own `spec`.
    ///
    /// # Errors
    /// busybox-static is missing, or a file cannot be written.
    pub(crate) fn make_bundles(&self, runtime: &Path) -> anyhow::Result<()> {
        let realistic = cargo::workspace().join("bench/default-profile-config.json");
        let realistic: Value = serde_json::from_slice(
            &fs::read(&realistic).with_context(|| realistic.display().to_string())?,
        )
        .with_context(|| realistic.display().to_string())?;
        for (kind, _) in KINDS {
            let directory = self.bundle(kind);
            let made = match kind {
                Kind::Profile | Kind::PlainProfile => Bundle::from_config(&directory, &realistic)?,
                _ => Bundle::from_spec(&directory, runtime, false)?,
            };
            let mut config = made.config()?;
            let arguments: &[&str] = match kind {
                Kind::Sleeping | Kind::PlainSleeping => &["/bin/sleep", "1000000"],
                _ => &["/bin/true"],
            };
            bundle::set_process(&mut config, arguments, "bench")?;
            // The newest version may be more than a peer's release knows, and nothing newer
            // is in these bundles.
            config["ociVersion"] = json!("1.0.2");
            if matches!(kind, Kind::Plain | Kind::PlainProfile | Kind::PlainSleeping)
                && let Some(resources) = config.pointer_mut("/linux/resources")
            {
                *resources = json!({});
            }
            if kind == Kind::Sleeping && self.host_cgroups {
                config["linux"]["resources"] = limits();
            }
            made.write(&config)?;
            fill(&made)?;
        }
        Ok(())
    }

    /// The cgroups of containers whose id begins with `id`, in every hierarchy.
    pub(crate) fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find(Path::new(CGROUP2), id, &mut found);
        found
    }

    /// Removes all: containers left by peers that failed, cgroups, the tmpfs.
    pub(crate) fn clear(&self) {
        sweep(Path::new(CGROUP2), &self.prefix);
        if let Err(error) = rustix::mount::unmount(&self.work, rustix::mount::UnmountFlags::DETACH)
        {
            eprintln!("xtask: umount {}: {error}", self.work.display());
        }
        if let Err(error) = fs::remove_dir(&self.work) {
            eprintln!("xtask: rmdir {}: {error}", self.work.display());
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.clear();
    }
}

/// busybox under three names, and the mount points that the floor does not make.
fn fill(bundle: &Bundle) -> anyhow::Result<()> {
    if !Path::new(BUSYBOX).exists() {
        bail!("{BUSYBOX} is missing: apt-get install busybox-static");
    }
    bundle.install(Path::new(BUSYBOX), "/bin/busybox")?;
    for name in ["true", "sleep", "sh"] {
        symlink("busybox", bundle.rootfs().join("bin").join(name)).context("symlink")?;
    }
    for name in ["proc", "dev", "sys"] {
        fs::create_dir_all(bundle.rootfs().join(name)).context("mkdir")?;
    }
    Ok(())
}

/// A limit of each of the controllers that engines use.
fn limits() -> Value {
    json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "memory": { "limit": 64 << 20 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 32 },
    })
}

/// Every topmost cgroup below `parent` whose name holds `prefix`.
///
/// Runtimes choose different parents for a container without a cgroupsPath; all put the id
/// into the name.
fn find(parent: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        if entry.file_name().to_string_lossy().contains(prefix) {
            found.push(entry.path());
        } else {
            find(&entry.path(), prefix, found);
        }
    }
}

/// Kills and removes every cgroup below `parent` whose name holds `prefix`.
fn sweep(parent: &Path, prefix: &str) {
    let mut found = Vec::new();
    find(parent, prefix, &mut found);
    for path in found {
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            kill_each(&path);
        }
        remove_tree(&path);
    }
}

/// What cgroup.kill does, where there is none (v1).
fn kill_each(path: &Path) {
    for pid in fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Removes a cgroup and those below it; waits a moment for killed processes to be gone.
fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    for _ in 0..100 {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("xtask: rmdir {}: {error}", path.display());
                return;
            }
            _ => return,
        }
    }
    eprintln!("xtask: {} still holds processes", path.display());
}

/// Removes what an earlier run left that was killed outright (SIGKILL): its mounts went with
/// its namespace, but cgroups and one directory stay.
fn sweep_stale() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("huskbench").and_then(|rest| rest.strip_suffix('x'))
        else {
            continue;
        };
        if !pid.is_empty() && !Path::new("/proc").join(pid).exists() {
            sweep(Path::new(CGROUP2), &name);
            let _ = rustix::fs::unlinkat(CWD, entry.path(), rustix::fs::AtFlags::REMOVEDIR);
        }
    }
}
