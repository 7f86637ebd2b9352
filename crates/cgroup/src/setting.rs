//! One write into a container's cgroup, and the list that controllers fill.

use std::borrow::Cow;

use rustix::io::Errno;

use crate::controller::Controller;
use crate::error::Error;

/// One value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) controller: Controller,
    pub(crate) v2: bool,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: String,
    /// The property's path in `config.json`, which messages name.
    pub(crate) property: Cow<'static, str>,
    /// What a refusal means.
    pub(crate) refusal: Refusal,
    /// The file and value of a kernel that has not the first file.
    pub(crate) otherwise: Option<(&'static str, String)>,
}

/// What to do when the kernel refuses a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The container cannot have what it asked for.
    Error,
    /// The specification or the kernel made the setting void: the caller is told.
    Warning,
    /// The value is what the kernel does anyway where the file is absent.
    NoneIfAbsent,
}

impl Setting {
    /// The controller's name in the hierarchy that the setting is for.
    pub(crate) fn controller_name(&self) -> &'static str {
        self.controller.name(self.v2)
    }
}

/// What the controllers' modules produce: settings in the order of their
/// writing, and warnings for what the layout has no counterpart of.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) list: Vec<Setting>,
    pub(crate) warnings: Vec<String>,
}

/// Where one controller's settings go.
pub(crate) struct Sink<'a> {
    settings: &'a mut Settings,
    controller: Controller,
    v2: bool,
}

impl Settings {
    pub(crate) fn of(&mut self, controller: Controller, v2: bool) -> Sink<'_> {
        Sink { settings: self, controller, v2 }
    }
}

impl Sink<'_> {
    /// Adds a setting that must succeed.
    pub(crate) fn set(
        &mut self,
        property: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) {
        self.push(property, file, value, Refusal::Error);
    }

    /// Adds a setting with another meaning of a refusal.
    pub(crate) fn push(
        &mut self,
        property: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        refusal: Refusal,
    ) {
        self.settings.list.push(Setting {
            controller: self.controller,
            v2: self.v2,
            file: file.into(),
            value: value.to_string(),
            property: property.into(),
            refusal,
            otherwise: None,
        });
    }

    /// Names another file for the last setting, for kernels without the first.
    pub(crate) fn or_if_absent(&mut self, file: &'static str, value: String) {
        if let Some(last) = self.settings.list.last_mut() {
            last.otherwise = Some((file, value));
        }
    }

    /// Tells the caller that a property has no effect here.
    pub(crate) fn warn(&mut self, property: &str, value: impl ToString, reason: &str) {
        self.settings.warnings.push(format!("{property}: {}: {reason}", value.to_string()));
    }

    /// The error for a property that this controller has no file for.
    pub(crate) fn unsupported(
        &self,
        property: &str,
        value: impl ToString,
        file: &str,
        reason: &str,
    ) -> Error {
        Error::Unsupported {
            property: property.into(),
            value: value.to_string(),
            file: file.into(),
            controller: self.controller.name(self.v2),
            reason: reason.into(),
        }
    }
}

/// What an errno of a cgroup file means, where the reader would not guess it.
pub(crate) fn hint(setting: &Setting, errno: Errno) -> String {
    let text = match (errno, setting.controller, &*setting.file) {
        (Errno::NOENT, Controller::Memory, file)
            if file.contains("swap") || file.contains("memsw") =>
        {
            "the kernel does not account swap (CONFIG_SWAP, swapaccount=1)"
        }
        (Errno::NOENT, _, file) => {
            return format!(": this kernel has no {file}");
        }
        (Errno::BUSY, Controller::Memory, "memory.limit_in_bytes") => {
            "more is in use than that, and the kernel could not reclaim it"
        }
        (Errno::INVAL, Controller::Memory, "memory.memsw.limit_in_bytes") => {
            "memory and swap together must not be less than the memory limit"
        }
        (Errno::INVAL, Controller::Memory, "memory.limit_in_bytes") => {
            "the memory limit must not exceed that of memory and swap together"
        }
        (Errno::INVAL, Controller::Cpu, "cpu.cfs_quota_us" | "cpu.max") => {
            "a quota is at least 1000 µs, a period 1000 to 1000000 µs, \
             and a parent's share is not exceeded (v1)"
        }
        (Errno::INVAL, Controller::Cpu, file) if file.starts_with("cpu.rt_") => {
            "the parent cgroup grants no such realtime share"
        }
        (Errno::INVAL, Controller::Pids, _) => "at most 4194304 processes; -1 is no limit",
        (Errno::ACCESS | Errno::PERM, ..) => "not permitted to this user",
        (Errno::NODEV, Controller::Io, _) => "no such block device",
        (Errno::RANGE, ..) => "out of the kernel's range",
        _ => return String::new(),
    };
    format!(": {text}")
}
