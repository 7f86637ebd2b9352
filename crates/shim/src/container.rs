//! What a shim knows of a container and of the processes in it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use husk_cgroup::{Cgroup, Layout, Manager, OomWatch, V1};
use husk_oci_client::Runtime;
use serde::Deserialize;

use crate::message::task::Status;
use crate::message::{Any, Mount, Timestamp};
use crate::options::Options;
use crate::server::Caller;
use crate::stdio::{Streams, Uris};

/// A container: a task, in containerd's words.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its number in this shim, for tokens.
    pub(crate) number: u32,
    pub(crate) bundle: PathBuf,
    pub(crate) options: Options,
    pub(crate) runtime: Runtime,
    pub(crate) rootfs: Vec<Mount>,
    /// The images that its start restores.
    pub(crate) checkpoint: Option<String>,
    /// Where its last checkpoint went.
    pub(crate) image_path: String,
    /// Whether the root filesystem was mounted by this shim.
    pub(crate) mounted: bool,
    /// Whether the death of its first process ends all others: it has a pid namespace of its own.
    pub(crate) owns_pid_namespace: bool,
    pub(crate) paused: bool,
    /// Whether `kill --all` was sent after the first process's death.
    pub(crate) killed_all: bool,
    /// Where it accounts, for statistics.
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<OomWatch>,
    /// Whether the kernel has killed for want of memory, and containerd was not told yet.
    pub(crate) oom_pending: bool,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The runtime is making the container.
    Creating,
    /// The container waits for its start; or the exec is only known.
    Created,
    /// The runtime is starting it.
    Starting,
    /// It was started.
    Started,
    /// Its start failed, and it never ran.
    Failed,
}

/// A process of a container.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) uris: Uris,
    pub(crate) pid: Option<i32>,
    /// Of an exec: its description, in the JSON of the runtime specification.
    pub(crate) spec: Option<Any>,
    /// How it ended.
    pub(crate) exit: Option<Exit>,
    /// Whether containerd was told so.
    pub(crate) exit_published: bool,
    /// Calls of Wait.
    pub(crate) waiters: Vec<Caller>,
    /// Numbers of the streams that are copied.
    pub(crate) streams: Vec<u32>,
    pub(crate) stdin_holder: Option<OwnedFd>,
    pub(crate) readers: Vec<OwnedFd>,
    /// The terminal's controlling side.
    pub(crate) console: Option<OwnedFd>,
    /// A terminal's size that was set before there was one.
    pub(crate) size: Option<(u16, u16)>,
    /// Whether a deletion is under way.
    pub(crate) deleting: bool,
    /// Streams of a terminal that the runtime has not sent yet.
    pub(crate) coming: Option<Streams>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Its exit code, or 128 and the signal's number.
    pub(crate) status: u32,
    pub(crate) at: Timestamp,
}

impl Process {
    pub(crate) fn new(phase: Phase, uris: Uris) -> Self {
        Self {
            phase,
            uris,
            pid: None,
            spec: None,
            exit: None,
            exit_published: false,
            waiters: Vec::new(),
            streams: Vec::new(),
            stdin_holder: None,
            readers: Vec::new(),
            console: None,
            size: None,
            deleting: false,
            coming: None,
        }
    }

    /// Its state, in containerd's terms.
    pub(crate) fn status(&self, paused: bool) -> Status {
        match self.phase {
            _ if self.exit_published => Status::Stopped,
            Phase::Failed => Status::Stopped,
            Phase::Creating | Phase::Created => Status::Created,
            Phase::Starting | Phase::Started if paused => Status::Paused,
            Phase::Starting | Phase::Started => Status::Running,
        }
    }

    /// Whether it may still come to run or is running.
    pub(crate) fn is_live(&self) -> bool {
        match self.phase {
            Phase::Creating | Phase::Starting => true,
            Phase::Created => self.pid.is_some() && self.exit.is_none(),
            Phase::Started => self.exit.is_none(),
            Phase::Failed => false,
        }
    }

    /// Whether its exit is known and may be told.
    pub(crate) fn has_exit_to_publish(&self) -> bool {
        self.exit.is_some()
            && !self.exit_published
            && !matches!(self.phase, Phase::Creating | Phase::Starting)
    }
}

impl Container {
    /// A process by its exec id; the empty one is the container's first.
    pub(crate) fn process(&mut self, exec: &str) -> Option<&mut Process> {
        match exec {
            "" => Some(&mut self.init),
            exec => self.execs.get_mut(exec),
        }
    }

    /// All processes with their exec ids, the first one last.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = (&str, &mut Process)> {
        let execs = self.execs.iter_mut().map(|(id, process)| (id.as_str(), process));
        execs.chain(std::iter::once(("", &mut self.init)))
    }
}

/// What a shim reads of a container's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Configuration {
    pub(crate) annotations: BTreeMap<String, String>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Configuration {
    /// The most that a configuration may have, in bytes, as for the runtime.
    const LIMIT: u64 = 16 << 20;

    /// Reads `config.json` of a bundle.
    ///
    /// # Errors
    /// It cannot be read, or is malformed.
    pub(crate) fn read(bundle: &std::path::Path) -> Result<Self, String> {
        use std::io::Read as _;
        let path = bundle.join("config.json");
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = std::fs::File::open(&path).map_err(|error| named(&error))?;
        let mut text = Vec::new();
        file.take(Self::LIMIT).read_to_end(&mut text).map_err(|error| named(&error))?;
        serde_json::from_slice(&text).map_err(|error| named(&error))
    }

    /// Whether the container has a pid namespace of its own.
    pub(crate) fn owns_pid_namespace(&self) -> bool {
        self.linux.namespaces.iter().any(|entry| entry.kind == "pid" && entry.path.is_empty())
    }
}

/// The cgroup that a process is in; `None` for one that is in no cgroup of its own.
pub(crate) fn cgroup_of(pid: i32) -> Option<Cgroup> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let layout = Layout::detect().ok()?;
    let mut cgroup = Cgroup::none();
    cgroup.manager = Manager::Cgroupfs;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some(path) = path.strip_prefix('/').filter(|path| !path.is_empty()) else { continue };
        if names.is_empty() {
            cgroup.v2 = layout.v2.as_ref().map(|unified| unified.mount.join(path));
        } else if let Some(hierarchy) =
            layout.v1.iter().find(|hierarchy| hierarchy.controllers.join(",") == names)
        {
            cgroup.v1.push(V1 {
                controllers: hierarchy.controllers.clone(),
                mount: hierarchy.mount.clone(),
                path: hierarchy.mount.join(path),
            });
        }
    }
    (!cgroup.is_none()).then_some(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_pid_namespace_is_not_owned() {
        let parse = |text: &str| serde_json::from_str::<Configuration>(text).expect("JSON");
        assert!(parse(r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#).owns_pid_namespace());
        let joined = r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#;
        assert!(!parse(joined).owns_pid_namespace());
        assert!(!parse(r#"{"annotations":{"a":"b"}}"#).owns_pid_namespace());
    }

    #[test]
    fn statuses() {
        let mut process = Process::new(Phase::Created, Uris::default());
        assert_eq!(process.status(false), Status::Created);
        process.phase = Phase::Started;
        process.pid = Some(7);
        assert_eq!(process.status(true), Status::Paused);
        process.exit = Some(Exit { status: 0, at: Timestamp::default() });
        assert_eq!(process.status(false), Status::Running, "until containerd was told");
        process.exit_published = true;
        assert_eq!(process.status(false), Status::Stopped);
    }
}
