//! Containers in the namespaces of another one, which outlive the other's program.
//!
//! ```text
//! <run>/containers/OWNER/joined/JOINER   who keeps which namespaces of OWNER, as JSON
//! ```
//!
//! The monitor of a container that joins holds the namespaces by descriptors, and writes down
//! which they are before its program runs. The owner's next start finds them there and uses them
//! again, whatever became of its own monitor. A pid namespace ends with its first process
//! (pid_namespaces(7)), so that nothing is to be kept of it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use husk_spec::NamespaceType;
use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::container::state::{Status, start_ticks};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};

/// What the monitor of a container that has joined holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    monitor: i32,
    /// When that process started: a pid alone can be another process by now.
    start_ticks: u64,
    /// The descriptors of that process.
    held: Vec<(NamespaceType, i32)>,
}

/// Namespaces of other containers that a container has joined. Dropped when its program has
/// ended: then the others need not keep them.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    held: Vec<(NamespaceType, OwnedFd, PathBuf)>,
}

/// The namespace's name in /proc/PID/ns.
fn file_name(typ: NamespaceType) -> &'static str {
    match typ {
        NamespaceType::Network => "net",
        typ => typ.name(),
    }
}

fn directory(owner: &Container) -> PathBuf {
    owner.run.join("joined")
}

impl Membership {
    /// Takes hold of a namespace of a running container, and gives its file in /proc.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Restarting`]; a file that cannot be written.
    pub(crate) fn join(
        &mut self,
        owner: &Container,
        joiner: &str,
        typ: NamespaceType,
    ) -> Result<String> {
        let state = owner.running()?;
        let path = format!("/proc/{}/ns/{}", state.pid, file_name(typ));
        let gone = || Error::NotRunning(owner.record.name.clone());
        let Ok(descriptor) = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return Err(match owner.running() {
                Ok(now) if now.pid == state.pid => file("open", &path)(rustix::io::Errno::ACCESS),
                _ => gone(),
            });
        };
        let here = std::process::id();
        let number = descriptor.as_raw_fd();
        if typ != NamespaceType::Pid {
            let written = directory(owner).join(joiner);
            make_directory(&directory(owner))?;
            self.held.push((typ, descriptor, written.clone()));
            husk_record::write_json(&written, &self.record(&written))?;
        } else {
            self.held.push((typ, descriptor, PathBuf::new()));
        }
        // The owner looks for who has joined when its program has ended: not before this.
        match owner.running() {
            Ok(now) if now.pid == state.pid => Ok(format!("/proc/{here}/fd/{number}")),
            Ok(_) => Err(gone()),
            Err(error) => Err(error),
        }
    }

    fn record(&self, written: &Path) -> Record {
        let monitor = rustix::process::getpid().as_raw_nonzero().get();
        let of_owner = self.held.iter().filter(|(_, _, path)| path == written);
        Record {
            monitor,
            start_ticks: start_ticks(monitor).unwrap_or_default(),
            held: of_owner.map(|(typ, descriptor, _)| (*typ, descriptor.as_raw_fd())).collect(),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        for (_, _, written) in self.held.iter().filter(|(_, _, path)| path != Path::new("")) {
            // The owner may be removed by now.
            let _ = std::fs::remove_file(written);
        }
    }
}

/// A namespace of `owner`'s last run that another container is in.
pub(crate) fn kept(home: &Home, owner: &Container, typ: NamespaceType) -> Option<OwnedFd> {
    let entries = std::fs::read_dir(directory(owner)).ok()?;
    entries.flatten().find_map(|entry| {
        let joiner = entry.file_name().into_string().ok()?;
        of_joiner(home, &entry.path(), &joiner, typ)
    })
}

fn of_joiner(home: &Home, path: &Path, joiner: &str, typ: NamespaceType) -> Option<OwnedFd> {
    let record: Record = husk_record::read(path).ok()??;
    let (_, number) = *record.held.iter().find(|(held, _)| *held == typ)?;
    let lives = start_ticks(record.monitor) == Some(record.start_ticks);
    let path = match lives {
        true => format!("/proc/{}/fd/{number}", record.monitor),
        // Its program may have outlived it.
        false => {
            let state = Container::open(home, joiner).ok()?.state().ok()?;
            if state.status != Status::Running {
                return None;
            }
            format!("/proc/{}/ns/{}", state.pid, file_name(typ))
        }
    };
    let descriptor = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // The monitor may have let go of it, and the number be another file's.
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()?;
    let is_namespace = opened.to_str()?.starts_with(&format!("{}:[", file_name(typ)));
    is_namespace.then_some(descriptor)
}
