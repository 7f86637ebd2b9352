//! The systemd driver: a transient scope for each container, asked for over D-Bus.
//!
//! An own client of some hundred lines stands here instead of `zbus`: that
//! brings an async executor and threads of its own, which a program that
//! forks must not have, and is larger than all of husk-oci.

mod bus;
mod name;
mod placeholder;
mod property;
mod variant;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use self::bus::{Bus, Socket};
use self::name::Name;
pub use self::placeholder::Placeholder;
use self::wire::{Property, Value, Writer};
use crate::error::Error;
use crate::kernfs;
use crate::layout::{self, Layout};
use crate::setting::Setting;
use crate::v1::devices::List;

/// How often a scope is asked for whose name is taken, and how long each time is waited:
/// half a second, in which one that has lost its last process goes.
const ATTEMPTS: usize = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// A container's scope, kept with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The unit's name.
    pub name: String,
    /// Whether it is the user's own manager that has it.
    pub user: bool,
}

/// The scope to be made.
#[derive(Debug)]
pub(crate) struct ScopePlan {
    name: Name,
    user: bool,
    properties: Vec<Property>,
}

/// What went wrong between us and systemd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No manager could be reached.
    #[error("no manager answers ({tried}){}", no_manager_hint(tried))]
    Connect {
        /// Each socket with its errno.
        tried: String,
    },
    /// The manager refused a call.
    #[error("{member}: {text} ({name})")]
    Refused {
        /// The method.
        member: String,
        /// The D-Bus name of the error.
        name: String,
        /// Its text.
        text: String,
    },
    /// A job ended otherwise than well.
    #[error("{member}: the job ended as {result:?}")]
    Job {
        /// The method that began it.
        member: String,
        /// `canceled`, `timeout`, `failed`, `dependency` or `skipped`.
        result: String,
    },
    /// What came is not what D-Bus says must come.
    #[error("{socket}: {what}")]
    Malformed {
        /// The socket.
        socket: String,
        /// What is wrong.
        what: String,
    },
    /// Nothing came.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// The kernel lets a user move processes within what is his alone (cgroups(7),
    /// "Delegation containment").
    #[error(
        "it cannot be entered from {from}, which is another manager's; run it within one's own: \
         systemd-run --user --scope COMMAND"
    )]
    OutOfReach {
        /// The caller's cgroup.
        from: String,
    },
}

fn no_manager_hint(tried: &str) -> &'static str {
    if tried.contains("/run/systemd/private") {
        "; is systemd the init of this host? --cgroup-manager cgroupfs does without"
    } else {
        "; without a login session, \"loginctl enable-linger\" starts the user's manager"
    }
}

/// Decides on the scope: its name, and the properties that annotations ask for.
pub(crate) fn plan(
    cgroups_path: Option<&str>,
    id: &str,
    annotations: &BTreeMap<String, String>,
    user: bool,
    settings: &[Setting],
    devices: Option<&List>,
) -> Result<ScopePlan, Error> {
    let name = Name::new(cgroups_path, id, user)?;
    let mut properties = vec![
        Property::new("Description", Value::Text(format!("husk container {id}"))),
        Property::new("Slice", Value::Text(name.slice.clone())),
        // The cgroup is ours below the scope, and systemd enables every controller.
        Property::new("Delegate", Value::Bool(true)),
        // A container is no part of the shutdown order of its own accord.
        Property::new("DefaultDependencies", Value::Bool(false)),
        // A scope that ended by an OOM kill would stay as failed, in the way of
        // the next container of this name.
        Property::new("CollectMode", Value::Text("inactive-or-failed".into())),
        Property::new("MemoryAccounting", Value::Bool(true)),
        Property::new("CPUAccounting", Value::Bool(true)),
        Property::new("IOAccounting", Value::Bool(true)),
        Property::new("TasksAccounting", Value::Bool(true)),
    ];
    properties.extend(property::of_settings(settings));
    if let Some(list) = devices {
        properties.extend(property::of_devices(list, &proc_devices()?, false));
    }
    for given in property::of_annotations(annotations)? {
        properties.retain(|own| own.name != given.name);
        properties.push(given);
    }
    Ok(ScopePlan { name, user, properties })
}

impl ScopePlan {
    /// The cgroup below the manager's own one.
    pub(crate) fn path(&self) -> PathBuf {
        self.name.path()
    }

    pub(crate) fn unit(&self) -> Unit {
        Unit { name: self.name.unit.clone(), user: self.user }
    }

    /// Starts the scope with a process in it and returns its cgroup, from the root.
    pub(crate) fn start(&self, pid: i32) -> Result<PathBuf, Error> {
        let path = self.start_at(&sockets(self.user), pid)?;
        let own = if self.user { kernfs::read(Path::new("/proc/self/cgroup"))? } else { "".into() };
        match own.lines().find_map(|line| line.strip_prefix("0::")) {
            Some(own) if !may_enter(own, &path)? => {
                let failure = Failure::OutOfReach { from: own.to_owned() };
                Err(Error::Systemd { unit: self.name.unit.clone(), failure })
            }
            _ => Ok(path),
        }
    }

    fn start_at(&self, sockets: &[Socket], pid: i32) -> Result<PathBuf, Error> {
        let unit = &self.name.unit;
        let fail = |failure| Error::Systemd { unit: unit.clone(), failure };
        let mut bus = Bus::connect(sockets).map_err(fail)?;
        let mut properties = understood(&mut bus, &self.properties).map_err(fail)?;
        properties.push(Property::new("PIDs", Value::Numbers(vec![pid.cast_unsigned()])));
        let mut started = start(&mut bus, unit, &properties);
        for _ in 0..ATTEMPTS {
            if !matches!(&started, Err(Failure::Refused { name, .. }) if name.ends_with(".UnitExists"))
            {
                break;
            }
            // One that failed stays until it is forgotten; a living one stays. One that has
            // ended may be gone since, and that of a create that was killed goes by itself
            // when systemd has seen that nobody is left in it.
            let mut body = Writer::default();
            body.text(unit);
            match bus.manager("ResetFailedUnit", "s", body) {
                Err(Failure::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => {}
                reset => drop(reset.map_err(fail)?),
            }
            started = start(&mut bus, unit, &properties);
            if started.is_err() {
                crate::wait::pause(PAUSE);
            }
        }
        started.map_err(fail)?;
        let interface = "org.freedesktop.systemd1.Scope";
        let path = bus.property(&self.name.object(), interface, "ControlGroup").map_err(fail)?;
        // What comes here becomes a path to write to and to remove.
        let path = PathBuf::from(path);
        let plain = path.components().skip(1).all(|c| matches!(c, std::path::Component::Normal(_)));
        if !path.ends_with(unit) || !path.is_absolute() || !plain {
            let socket = bus.socket().display().to_string();
            let what = format!("the scope's ControlGroup is {:?}", path.display().to_string());
            return Err(fail(Failure::Malformed { socket, what }));
        }
        Ok(path)
    }
}

/// Whether the caller may make processes in a cgroup: `cgroup.procs` of what holds both.
fn may_enter(own: &str, path: &Path) -> Result<bool, Error> {
    let Some(v2) = Layout::detect()?.v2 else { return Ok(true) };
    let common = common(Path::new(own), path);
    let file = layout::below(&v2.mount, &common).join("cgroup.procs");
    match accessat(CWD, &file, Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        // Out of our sight in a cgroup namespace: the kernel says what it means.
        Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(Error::system("access", file, errno)),
    }
}

/// The deepest directory that holds both.
fn common(one: &Path, other: &Path) -> PathBuf {
    one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// Those that a manager of its version takes. An older one refuses what it does not know of,
/// and does not undo it.
fn understood(bus: &mut Bus, properties: &[Property]) -> Result<Vec<Property>, Failure> {
    let mut properties = properties.to_vec();
    let idle = property::idle();
    if properties.contains(&idle) && bus.version()? < 252 {
        properties.retain(|property| *property != idle);
    }
    Ok(properties)
}

fn start(bus: &mut Bus, unit: &str, properties: &[Property]) -> Result<(), Failure> {
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    body.properties(properties);
    body.no_structures();
    finished(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
}

/// Calls a method that begins a job, and waits for the job's end.
fn finished(bus: &mut Bus, member: &str, signature: &str, body: Writer) -> Result<(), Failure> {
    let job = bus.manager(member, signature, body)?.into_iter().next().unwrap_or_default();
    match bus.job(&job)?.as_str() {
        "done" => Ok(()),
        result => Err(Failure::Job { member: member.to_owned(), result: result.to_owned() }),
    }
}

impl Unit {
    /// Stops the scope; one that is gone, as it goes with its last process, is no error.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        self.stop_at(&sockets(self.user))
    }

    fn stop_at(&self, sockets: &[Socket]) -> Result<(), Error> {
        let fail = |failure| Error::Systemd { unit: self.name.clone(), failure };
        let mut bus = Bus::connect(sockets).map_err(fail)?;
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        match finished(&mut bus, "StopUnit", "ss", body) {
            Err(Failure::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            result => result.map_err(fail),
        }
    }

    /// Tells systemd of limits that have changed, and of a v1 list of devices.
    pub(crate) fn set(&self, settings: &[Setting], devices: Option<&List>) -> Result<(), Error> {
        let mut properties = property::of_settings(settings);
        if let Some(list) = devices {
            properties.extend(property::of_devices(list, &proc_devices()?, true));
        }
        self.set_at(&sockets(self.user), &properties)
    }

    fn set_at(&self, sockets: &[Socket], properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let fail = |failure| Error::Systemd { unit: self.name.clone(), failure };
        let mut bus = Bus::connect(sockets).map_err(fail)?;
        let mut body = Writer::default();
        body.text(&self.name);
        // For this run only: nothing is written to /etc.
        body.truth(true);
        body.properties(&understood(&mut bus, properties).map_err(fail)?);
        bus.manager("SetUnitProperties", "sba(sv)", body).map_err(fail)?;
        // The answer comes before systemd has written the files. It takes up the next
        // call only when it has, so that the answer to one says that ours now stay.
        let mut body = Writer::default();
        body.text(&self.name);
        bus.manager("GetUnit", "s", body).map(drop).map_err(fail)
    }
}

/// For a v1 list of devices that systemd would undo at its next change of the unit.
pub(crate) fn cannot_except() -> Error {
    let reason = "with cgroup v1 systemd cannot allow all devices but some";
    Error::invalid("linux.resources.devices", "--cgroup-manager systemd", reason)
}

fn proc_devices() -> Result<String, Error> {
    kernfs::read(Path::new("/proc/devices"))
}

fn sockets(user: bool) -> Vec<Socket> {
    bus::sockets(user, |name| std::env::var(name).ok())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
