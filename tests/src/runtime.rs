//! Which runtime is tested, and how it is called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The runtime under test: `RUNTIME` (a path, or a name looked up in `PATH`),
/// else `HUSK_OCI`, else the `husk-oci` that was built beside this suite.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("RUNTIME") {
        Some(runtime) => callable(&find(&runtime.to_string_lossy())),
        None => husk_oci(),
    })
}

/// `husk-oci` itself, whatever `RUNTIME` says.
pub fn husk_oci() -> PathBuf {
    let path = match std::env::var_os("HUSK_OCI") {
        Some(path) => PathBuf::from(path),
        None => built("husk-oci"),
    };
    assert!(
        path.exists(),
        "{} does not exist: build it with `cargo build --package husk-runtime`",
        path.display()
    );
    path
}

/// An executable of the profile this suite was built in: suites stand in
/// `target/.../deps`, executables one directory above.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let dir = own.parent().expect("a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("a directory") } else { dir };
    dir.join(name)
}

/// The name of the runtime under test: husk-oci, runc, crun, ...
pub fn name() -> String {
    let name = path().file_name().expect("a file name").to_string_lossy().into_owned();
    name.trim_end_matches("-in-cgroup2").to_owned()
}

/// Whether `RUNTIME` is one that has systemd make its cgroups: `HUSK_CGROUP_MANAGER=systemd`.
pub fn by_systemd() -> bool {
    std::env::var_os("HUSK_CGROUP_MANAGER").is_some_and(|manager| manager == "systemd")
}

/// `linux.cgroupsPath` for an id, in the form that the cgroup manager asks for.
pub fn cgroups_path(id: &str) -> String {
    if by_systemd() { format!("system.slice:husk:{id}") } else { format!("/{id}") }
}

fn find(runtime: &str) -> PathBuf {
    if runtime.contains('/') {
        return fs::canonicalize(runtime).unwrap_or_else(|e| panic!("RUNTIME={runtime}: {e}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(runtime))
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("RUNTIME={runtime}: not in PATH (Debian package: {runtime})"))
}

/// crun refuses a hybrid cgroup layout in part: on such a host it gets a mount
/// namespace of its own, where /sys/fs/cgroup is cgroup v2 alone.
fn callable(runtime: &Path) -> PathBuf {
    let crun = runtime.file_name().is_some_and(|name| name == "crun");
    if !crun || Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return runtime.to_owned();
    }
    let wrapper = crate::case::shared_dir().join("crun-in-cgroup2");
    let script = format!(
        "#!/bin/sh\nexec unshare -m --propagation slave sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"' crun {} \"$@\"\n",
        runtime.display()
    );
    fs::write(&wrapper, script).expect("a wrapper");
    fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).expect("chmod");
    wrapper
}
