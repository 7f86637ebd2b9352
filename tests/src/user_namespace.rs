//! The suite once more, with a user namespace added to every bundle: what holds
//! for a container must hold for one whose root is nobody on the host.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The id on the host that id 0 of the containers is.
pub const FIRST: u32 = 1_000_000;

/// How many ids they have.
pub const SIZE: u32 = 65_536;

/// Whether bundles get a user namespace: in the suite that is called for it, and
/// in any with `HUSK_TEST_USERNS` set.
pub fn is_added() -> bool {
    static ADDED: OnceLock<bool> = OnceLock::new();
    *ADDED.get_or_init(|| {
        let named = std::env::current_exe().is_ok_and(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("userns"))
        });
        named || std::env::var_os("HUSK_TEST_USERNS").is_some()
    })
}

/// Says why a test keeps its bundles without one.
pub(crate) fn announce_exemption(reason: &str) {
    if is_added() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "{test}: without a user namespace: {reason}");
    }
}

/// A configuration with a user namespace, where it has none of its own.
pub(crate) fn add(config: &Value) -> Value {
    let mut config = config.clone();
    let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() else { return config };
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return config;
    }
    let own =
        |kind: &str| namespaces.iter().any(|n| n["type"] == kind && n["path"].as_str().is_none());
    let (own_network, own_pid, own_ipc) = (own("network"), own("pid"), own("ipc"));
    namespaces.push(json!({ "type": "user" }));
    // Two ranges: one alone is too easy.
    let maps = json!([
        { "containerID": 0, "hostID": FIRST, "size": 1000 },
        { "containerID": 1000, "hostID": FIRST + 1000, "size": SIZE - 1000 },
    ]);
    for property in ["uidMappings", "gidMappings"] {
        config["linux"][property] = maps.clone();
    }
    // A new sysfs belongs to a network namespace, a new procfs to a pid namespace,
    // and is to be had by its owner alone.
    if !own_network {
        bind(&mut config, "sysfs", "/sys");
    }
    if !own_pid {
        bind(&mut config, "proc", "/proc");
    }
    // Message queues of another ipc namespace neither, and no test looks at them.
    if !own_ipc && let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "mqueue");
    }
    config
}

fn bind(config: &mut Value, kind: &str, path: &str) {
    let Some(mounts) = config["mounts"].as_array_mut() else { return };
    for mount in mounts.iter_mut().filter(|m| m["type"] == kind && m["destination"] == path) {
        *mount = json!({
            "destination": path, "type": "none", "source": path, "options": ["rbind"],
        });
    }
}

/// Gives what is below `dir` to the ids of the containers. A hard link is the
/// program of all tests and stays.
pub fn give(dir: &Path) {
    let Ok(metadata) = fs::symlink_metadata(dir) else { return };
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let owner = |id: u32| if id < SIZE { id + FIRST } else { id };
    let shared = metadata.is_file() && metadata.nlink() > 1;
    if !shared && (owner(uid), owner(gid)) != (uid, gid) {
        lchown(dir, Some(owner(uid)), Some(owner(gid))).expect("chown");
        // chown(2) clears the set-id bits.
        if !metadata.is_symlink() {
            fs::set_permissions(dir, metadata.permissions()).expect("chmod");
        }
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            give(&entry.path());
        }
    }
}
