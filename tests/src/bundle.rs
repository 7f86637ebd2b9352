//! A bundle: a root filesystem of busybox and the probe, and a config.json.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::runtime::{self, built};
use crate::user_namespace;

/// The applets that tests call, each a symlink to busybox.
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "dd", "echo", "env", "false", "find", "grep", "head", "hostname",
    "id", "ifconfig", "ionice", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nproc",
    "od", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "setsid", "sh", "sleep", "stat",
    "stty", "taskset", "test", "touch", "true", "tty", "umount", "wc", "yes",
];

/// A bundle directory and the configuration that will be written there.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    id: String,
    user_namespace: bool,
    /// config.json as it will be written.
    pub config: Value,
}

impl Bundle {
    /// Makes a bundle in `dir` whose container is to be called `id`.
    pub(crate) fn make(dir: PathBuf, id: String, user_namespace: bool) -> Bundle {
        let rootfs = dir.join("rootfs");
        fs::create_dir_all(rootfs.join("bin")).expect("a rootfs");
        for directory in ["proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir(rootfs.join(directory)).expect("a rootfs");
        }
        fs::set_permissions(rootfs.join("tmp"), PermissionsExt::from_mode(0o1777)).expect("chmod");
        // What a shell reads from to wait for signals without having a child.
        let never = rootfs.join("never");
        mknodat(CWD, &never, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a FIFO");
        fs::set_permissions(&never, PermissionsExt::from_mode(0o666)).expect("chmod");
        place(&busybox(), &rootfs.join("bin/busybox"));
        place(&built("husk-probe"), &rootfs.join("bin/probe"));
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("a symlink");
        }
        let config = default_config(&id);
        Bundle { dir, id, user_namespace, config }
    }

    /// The bundle's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id its container is to have.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A path inside the root filesystem, as the host sees it.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Sets the property at a JSON pointer ("/process/cwd"); objects on the way
    /// are made where they are missing, and `/-` appends to an array.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Bundle {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            if at.is_null() {
                *at = if key == "-" { json!([]) } else { json!({}) };
            }
            at = if let Value::Array(items) = at {
                if key == "-" {
                    items.push(Value::Null);
                }
                let last = items.len().saturating_sub(1);
                let index = if key == "-" { last } else { key.parse().expect("an index") };
                &mut items[index]
            } else {
                &mut at[key.as_str()]
            };
        }
        *at = value.into();
        self
    }

    /// Removes the property at a JSON pointer.
    pub fn remove(&mut self, pointer: &str) -> &mut Bundle {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.config.pointer_mut(parent).expect("a parent");
        match parent {
            Value::Array(items) => {
                items.remove(key.parse().expect("an index"));
            }
            other => {
                other.as_object_mut().expect("an object").remove(key);
            }
        }
        self
    }

    /// Sets `process.args`.
    pub fn args<S: AsRef<str>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Bundle {
        let args: Vec<Value> = args.into_iter().map(|a| a.as_ref().into()).collect();
        self.set("/process/args", args)
    }

    /// Sets `process.args` to a shell script.
    pub fn shell(&mut self, script: &str) -> &mut Bundle {
        self.args(["/bin/sh", "-c", script])
    }

    /// Appends to `mounts`; returns the new entry's index.
    pub fn mount(&mut self, mount: Value) -> usize {
        self.set("/mounts/-", mount);
        self.config["mounts"].as_array().expect("mounts").len() - 1
    }

    /// Appends a bind mount.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) -> usize {
        self.mount(json!({
            "destination": destination,
            "type": "bind",
            "source": source,
            "options": options,
        }))
    }

    /// Takes a namespace out, or all of them but this one's kind are kept.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Bundle {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != kind);
        self
    }

    /// Sets a namespace entry: new where `path` is none, else joined.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> usize {
        self.without_namespace(kind);
        let entry = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self.set("/linux/namespaces/-", entry);
        self.config["linux"]["namespaces"].as_array().expect("namespaces").len() - 1
    }

    /// Writes config.json.
    pub fn write(&self) {
        let added;
        let config = match self.user_namespace {
            false => &self.config,
            true => {
                user_namespace::give(&self.rootfs(""));
                added = user_namespace::add(&self.config);
                &added
            }
        };
        let text = serde_json::to_string_pretty(config).expect("JSON");
        self.write_text(&text);
    }

    /// Writes any text as config.json.
    pub fn write_text(&self, text: &str) {
        fs::write(self.dir.join("config.json"), text).expect("config.json");
    }
}

/// Debian's static busybox, copied once, so that no test reaches the host's.
fn busybox() -> PathBuf {
    // Once in a process, whose tests are threads of it.
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(copy_of_busybox).clone()
}

fn copy_of_busybox() -> PathBuf {
    let host = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|p| p.exists());
    let host = host.expect("no busybox on this host: install the Debian package busybox-static");
    let copy = built("husk-tests-busybox");
    static COPIED: std::sync::Once = std::sync::Once::new();
    COPIED.call_once(|| {
        if !copy.exists() {
            // Under another name first: suites may run at the same time.
            let draft = built(&format!("husk-tests-busybox.{}", std::process::id()));
            fs::copy(host, &draft).expect("a copy of busybox");
            fs::rename(&draft, &copy).expect("a copy of busybox");
        }
    });
    copy
}

/// A hard link where the filesystem allows it, else a copy.
fn place(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
    }
}

fn default_config(id: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/probe"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "cgroupsPath": runtime::cgroups_path(id),
            "namespaces": [
                { "type": "pid" },
                { "type": "network" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" },
            ],
        },
    })
}
