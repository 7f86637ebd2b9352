//! Changing a living container's limits: all of them, or none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use husk_spec::Resources;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::create::{apply, hand_down, place};
use crate::error::Error;
use crate::kernfs;
use crate::layout::{Home, Layout};
use crate::limit::Limit;
use crate::plan::unified_plan;
use crate::resources::{self, Current};
use crate::setting::{Refusal, Setting, Settings};
use crate::{systemd, v1, v2};

const LIMIT: &str = "linux.resources.memory.limit";

/// How to get back to where an update began.
#[derive(Debug, Default)]
struct Undo {
    settings: Vec<Setting>,
    /// Every file that the update touches, with its text before.
    texts: Vec<(PathBuf, String)>,
    /// The v1 list of devices, where it is changed.
    devices: Option<v1::devices::List>,
    /// For a v2 cpuset that was empty, what was in effect.
    effective: Vec<(PathBuf, String)>,
}

impl Undo {
    /// Gives a cpuset that was empty what was in effect: with processes inside the kernel
    /// does not let it be emptied again (ENOSPC of cpuset.c).
    fn refill(&self, path: &Path) -> bool {
        let effective = self.effective.iter().find(|(cpuset, _)| cpuset == path);
        effective.is_some_and(|(_, text)| kernfs::write(path, text.trim_end()).is_ok())
    }
}

impl Cgroup {
    /// Changes what `resources` names and leaves the rest; a list of devices
    /// that is not empty takes the place of the one in force.
    ///
    /// Returns warnings for the caller, one line each.
    ///
    /// # Errors
    ///
    /// As for [`crate::plan`], and the kernel's refusals; what was changed until
    /// then is restored. Also a memory limit that is known to kill.
    pub fn update(&self, resources: &Resources) -> Result<Vec<String>, Error> {
        if self.is_none() {
            let reason = "the container was made without a cgroup".to_owned();
            return Err(Error::NoHierarchy { reason });
        }
        let layout = Layout::detect()?;
        let mut settings = resources::settings(resources, &layout, self.current(&layout)?)?;
        self.check_memory(resources, &layout)?;
        let mut undo = Undo::default();
        let mut filter = None;
        let mut devices = None;
        if !resources.devices.is_empty() {
            let rules = resources::device_rules(Some(resources))?;
            match layout.home(Controller::Devices) {
                Home::V1(_) => {
                    let new = v1::devices::List::new(&rules)?;
                    if self.unit.is_some() && new.hides_exceptions() {
                        return Err(systemd::cannot_except());
                    }
                    self.change_devices(&new, &mut settings, &mut undo)?;
                    devices = Some(new);
                }
                Home::V2 => filter = Some(v2::devices::program(&rules)?),
                Home::Nowhere => {}
            }
        }
        self.enable(&settings.list, &layout)?;
        self.remember(&settings.list, &mut undo)?;
        let mut warnings = settings.warnings;
        // systemd first: it writes rounded values, and the files have the last word.
        let told = self.tell(&settings.list, devices.as_ref());
        let result =
            told.and_then(|()| apply(&settings.list, &self.v1, self.v2.as_deref(), &mut warnings));
        // Replaced atomically, so it needs no undoing where it comes last.
        let result = result.and_then(|()| match (filter, &self.v2) {
            (Some(program), Some(cgroup)) => v2::devices::replace(cgroup, &program),
            _ => Ok(()),
        });
        match result {
            Ok(()) => Ok(warnings),
            Err(cause) => Err(self.restore(&undo, cause)),
        }
    }

    /// Changes the container's resctrl group: `--l3-cache-schema`, `--mem-bw-schema`.
    pub fn update_rdt(&self, schemata: &[String]) -> Result<(), Error> {
        match &self.rdt {
            Some(rdt) => rdt.update(schemata),
            None => Err(Error::invalid(
                "linux.intelRdt.schemata",
                schemata.join(" "),
                "the container was made without intelRdt",
            )),
        }
    }

    fn restore(&self, undo: &Undo, cause: Error) -> Error {
        // A file that refuses what it said before may not have changed at all:
        // what counts is what it says afterwards.
        let told = self.tell(&undo.settings, undo.devices.as_ref());
        let written = apply(&undo.settings, &self.v1, self.v2.as_deref(), &mut Vec::new());
        for (path, before) in &undo.texts {
            let restore = match kernfs::read_if_there(path) {
                Ok(now) if now.as_ref() == Some(before) => continue,
                Ok(_) if undo.refill(path) => continue,
                Ok(now) => written.err().unwrap_or_else(|| Error::Malformed {
                    path: path.clone(),
                    text: now.unwrap_or_default(),
                }),
                Err(error) => error,
            };
            return Error::NotRestored { cause: Box::new(cause), restore: Box::new(restore) };
        }
        match told {
            // Where systemd is what failed, it has nothing to be told.
            Err(restore) if !matches!(cause, Error::Systemd { .. }) => {
                Error::NotRestored { cause: Box::new(cause), restore: Box::new(restore) }
            }
            _ => cause,
        }
    }

    /// Tells systemd. A v1 list of devices it then writes as it understands it, by names of
    /// drivers: where that says something else, what was there is written again.
    fn tell(&self, settings: &[Setting], devices: Option<&v1::devices::List>) -> Result<(), Error> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let settings = &self.with_whole_quota(settings)?;
        let directory = self.v1.iter().find(|directory| directory.has(Controller::Devices));
        let Some(directory) = directory.filter(|_| devices.is_none()) else {
            return unit.set(settings, devices);
        };
        let path = directory.path.join("devices.list");
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let before = kernfs::read(&path)?;
        unit.set(settings, None)?;
        if lines(&before) == lines(&kernfs::read(&path)?) {
            return Ok(());
        }
        let Some(list) = v1::devices::List::parse(&before) else { return Ok(()) };
        let mut again = Settings::default();
        list.settings(&mut again.of(Controller::Devices, false));
        apply(&again.list, &self.v1, None, &mut Vec::new())
    }

    /// What systemd is to be told: it keeps quota and period as one property and the other, of
    /// which an update may name one alone.
    fn with_whole_quota(&self, settings: &[Setting]) -> Result<Vec<Setting>, Error> {
        let mut whole = settings.to_vec();
        let stands = |like: &Setting, file: &str| {
            place(like, &self.v1, self.v2.as_deref()).and_then(|at| kernfs::read(&at.join(file)))
        };
        for setting in whole.iter_mut().filter(|setting| setting.v2 && setting.file == "cpu.max") {
            if let Some((_, period)) = stands(setting, "cpu.max")?.trim_end().split_once(' ')
                && !setting.value.contains(' ')
            {
                setting.value = format!("{} {period}", setting.value);
            }
        }
        let files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"];
        let given = |file: &str| settings.iter().find(|s| !s.v2 && s.file == file);
        if let ([Some(one), None], [_, file]) | ([None, Some(one)], [file, _]) =
            (files.map(given), files)
        {
            let value = stands(one, file)?.trim_end().to_owned();
            whole.push(Setting { file: file.into(), value, ..one.clone() });
        }
        Ok(whole)
    }

    /// What stands in files that hold two properties.
    fn current(&self, layout: &Layout) -> Result<Current, Error> {
        let first = |controller: Controller, file: &str| -> Result<Option<Limit>, Error> {
            let (Home::V2, Some(v2)) = (layout.home(controller), &self.v2) else { return Ok(None) };
            let path = v2.join(file);
            let Some(text) = kernfs::read_if_there(&path)? else { return Ok(None) };
            match text.split_whitespace().next().map(|word| (word, word.parse())) {
                Some((_, Ok(value))) => Ok(Some(Limit::At(value))),
                Some(("max", _)) => Ok(Some(Limit::Unlimited)),
                _ => Err(Error::Malformed { path, text }),
            }
        };
        Ok(Current {
            memory: first(Controller::Memory, "memory.max")?,
            quota: first(Controller::Cpu, "cpu.max")?,
        })
    }

    /// Refuses a memory limit below what is used.
    ///
    /// With `checkBeforeUpdate` that is any use. Without it v1's kernel takes a
    /// limit that it can reclaim down to and refuses others; v2's takes any and
    /// kills, so that memory that cannot be reclaimed is counted here.
    fn check_memory(&self, resources: &Resources, layout: &Layout) -> Result<(), Error> {
        let Some(memory) = &resources.memory else { return Ok(()) };
        let Some(limit @ 1..) = memory.limit else { return Ok(()) };
        let Some((directory, is_v2)) = self.home(Controller::Memory, layout) else {
            return Ok(());
        };
        let file = if is_v2 { "memory.current" } else { "memory.usage_in_bytes" };
        if memory.check_before_update == Some(true) {
            let used = number(&directory.join(file))?;
            if limit < used {
                let reason = format!("{used} bytes are in use, and checkBeforeUpdate is set");
                return Err(Error::invalid(LIMIT, limit, reason));
            }
        }
        if is_v2 {
            let held = unreclaimable(directory)?;
            if limit < held {
                let reason = format!(
                    "the processes hold {held} bytes that cannot be reclaimed: they would be killed"
                );
                return Err(Error::invalid(LIMIT, limit, reason));
            }
        }
        Ok(())
    }

    /// Adds the writes for a v1 list of devices and those that undo them.
    fn change_devices(
        &self,
        new: &v1::devices::List,
        settings: &mut Settings,
        undo: &mut Undo,
    ) -> Result<(), Error> {
        let mut sink = settings.of(Controller::Devices, false);
        let directory = self.v1.iter().find(|directory| directory.has(Controller::Devices));
        let Some(directory) = directory else {
            let (property, file) = ("linux.resources.devices", "devices.allow");
            return Err(sink.unsupported(
                property,
                "set",
                file,
                "the container has no cgroup there",
            ));
        };
        let path = directory.path.join("devices.list");
        let text = kernfs::read(&path)?;
        let mut back = Settings::default();
        let mut to_old = back.of(Controller::Devices, false);
        if let Some(old) = v1::devices::List::parse(&text) {
            new.changes(&old, &mut sink);
            old.changes(new, &mut to_old);
            undo.devices = Some(old);
        } else {
            // Allowed by default, with exceptions that the kernel does not tell:
            // what can be restored is the default.
            new.settings(&mut sink);
            to_old.set("linux.resources.devices", "devices.allow", "a");
        }
        undo.settings = back.list;
        undo.texts.push((path, text));
        Ok(())
    }

    /// Enables controllers that the container did not have until now.
    fn enable(&self, settings: &[Setting], layout: &Layout) -> Result<(), Error> {
        let (Some(unified), Some(v2)) = (&layout.v2, &self.v2) else { return Ok(()) };
        if !settings.iter().any(|setting| setting.v2) {
            return Ok(());
        }
        let Ok(path) = v2.strip_prefix(&unified.mount) else { return Ok(()) };
        hand_down(&unified_plan(unified, &Path::new("/").join(path), settings, layout), settings)
    }

    /// Adds, for every setting, the one that writes back what stands there.
    fn remember(&self, settings: &[Setting], undo: &mut Undo) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for setting in settings.iter().filter(|s| s.controller != Controller::Devices) {
            let directory = place(setting, &self.v1, self.v2.as_deref())?;
            let (file, new) = match &setting.otherwise {
                Some((file, value)) if !directory.join(&*setting.file).exists() => {
                    ((*file).to_owned(), value)
                }
                _ => (setting.file.to_string(), &setting.value),
            };
            let path = directory.join(&file);
            let Some(text) = kernfs::read_if_there(&path)? else { continue };
            let value = former(&file, new, &text);
            if setting.v2 && setting.controller == Controller::Cpuset && value == "\n" {
                let effective = kernfs::read(&directory.join(format!("{file}.effective")))?;
                undo.effective.push((path.clone(), effective));
            }
            if !undo.texts.iter().any(|(other, _)| *other == path) {
                undo.texts.push((path, text));
            }
            if seen.insert((setting.controller, file.clone(), value.clone())) {
                undo.settings.push(Setting {
                    file: file.into(),
                    value,
                    otherwise: None,
                    refusal: Refusal::Warning,
                    ..setting.clone()
                });
            }
        }
        Ok(())
    }

    /// The directory with a controller's files, and whether it is v2's.
    pub(crate) fn home(&self, controller: Controller, layout: &Layout) -> Option<(&Path, bool)> {
        if let Some(directory) = self.v1.iter().find(|directory| directory.has(controller)) {
            return Some((&directory.path, false));
        }
        match layout.home(controller) {
            Home::V2 => self.v2.as_deref().map(|path| (path, true)),
            _ => None,
        }
    }
}

/// What to write so that a file says again what it says now, where `new` is to
/// be written to it.
fn former(file: &str, new: &str, text: &str) -> String {
    let key = new.split_whitespace().next().unwrap_or_default();
    let line = || text.lines().find(|line| line.split_whitespace().next() == Some(key));
    let default = match file {
        "memory.oom_control" => {
            let state = text.lines().find_map(|line| line.strip_prefix("oom_kill_disable "));
            return state.unwrap_or("0").to_owned();
        }
        // Files with a line for each device: one that is not listed has no limit.
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "rdma.max" => "hca_handle=max hca_object=max",
        "io.weight" | "io.bfq.weight" if key.contains(':') => "default",
        "io.weight" | "io.bfq.weight" => {
            let default = text.lines().find_map(|line| line.strip_prefix("default "));
            return default.unwrap_or(text).trim().to_owned();
        }
        _ if new.contains(' ') && key.contains(':') => "0",
        "net_prio.ifpriomap" => "0",
        _ => {
            let whole = text.trim_end();
            // An empty write is no write: a line feed empties a v2 cpuset.
            return if whole.is_empty() { "\n".to_owned() } else { whole.to_owned() };
        }
    };
    line().map_or_else(|| format!("{key} {default}"), |line| line.trim_end().to_owned())
}

fn number(path: &Path) -> Result<i64, Error> {
    let text = kernfs::read(path)?;
    text.trim().parse().map_err(|_| Error::Malformed { path: PathBuf::from(path), text })
}

/// Bytes that the kernel can neither drop nor write out: anonymous and shared
/// memory beyond what may be swapped.
fn unreclaimable(directory: &Path) -> Result<i64, Error> {
    let text = kernfs::read(&directory.join("memory.stat"))?;
    let value = |key: &str| -> i64 {
        let line = text.lines().filter_map(|line| line.split_once(' '));
        line.into_iter()
            .find(|(name, _)| *name == key)
            .and_then(|(_, v)| v.parse().ok())
            .unwrap_or(0)
    };
    let held = value("anon") + value("shmem");
    let limit = match kernfs::read_if_there(&directory.join("memory.swap.max"))? {
        Some(text) => text.trim().parse().unwrap_or(i64::MAX),
        None => i64::MAX,
    };
    let memory = kernfs::read(Path::new("/proc/meminfo"))?;
    let free = memory
        .lines()
        .find_map(|line| line.strip_prefix("SwapFree:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024);
    let used = kernfs::read_if_there(&directory.join("memory.swap.current"))?;
    let used = used.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0);
    Ok(held - free.min(limit.saturating_sub(used)).clamp(0, held))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's failure")]

    use super::*;
    use crate::plan::V1;

    /// systemd computes a second's quota, for which it needs the period in force.
    #[test]
    fn quota_and_period_are_told_together() {
        let directory = std::env::temp_dir().join(format!("husk-quota-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (file, text) in [
            ("cpu.max", "10000 50000\n"),
            ("cpu.cfs_quota_us", "10000\n"),
            ("cpu.cfs_period_us", "50000\n"),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
        let v1 = V1 {
            controllers: vec!["cpu".to_owned()],
            mount: directory.clone(),
            path: directory.clone(),
        };
        let cgroup = Cgroup { v2: Some(directory.clone()), v1: vec![v1], ..Cgroup::none() };
        let whole = |v2: bool, file: &'static str, value: &str| {
            let mut settings = Settings::default();
            settings.of(Controller::Cpu, v2).set("p", file, value);
            let whole = cgroup.with_whole_quota(&settings.list).unwrap();
            whole.into_iter().map(|s| format!("{} {}", s.file, s.value)).collect::<Vec<_>>()
        };
        assert_eq!(whole(true, "cpu.max", "20000"), ["cpu.max 20000 50000"]);
        assert_eq!(whole(true, "cpu.max", "max 7000"), ["cpu.max max 7000"]);
        assert_eq!(whole(true, "cpu.weight", "7"), ["cpu.weight 7"]);
        let both = ["cpu.cfs_quota_us 20000", "cpu.cfs_period_us 50000"];
        assert_eq!(whole(false, "cpu.cfs_quota_us", "20000"), both);
        let both = ["cpu.cfs_period_us 7000", "cpu.cfs_quota_us 10000"];
        assert_eq!(whole(false, "cpu.cfs_period_us", "7000"), both);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_written_back() {
        let of = former;
        assert_eq!(of("pids.max", "5", "max\n"), "max");
        assert_eq!(of("cpu.max", "1 2", "max 100000\n"), "max 100000");
        assert_eq!(of("cpuset.cpus", "0", "\n"), "\n");
        let oom = "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n";
        assert_eq!(of("memory.oom_control", "0", oom), "1");
        assert_eq!(of("io.max", "8:0 rbps=1", ""), "8:0 rbps=max wbps=max riops=max wiops=max");
        let max =
            "8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=7 wbps=max riops=max wiops=9\n";
        assert_eq!(of("io.max", "8:0 rbps=1", max), "8:0 rbps=7 wbps=max riops=max wiops=9");
        assert_eq!(of("io.weight", "50", "default 100\n8:0 7\n"), "100");
        assert_eq!(of("io.weight", "8:0 50", "default 100\n8:0 7\n"), "8:0 7");
        assert_eq!(of("io.weight", "8:16 50", "default 100\n8:0 7\n"), "8:16 default");
        assert_eq!(of("blkio.throttle.read_bps_device", "8:0 5", ""), "8:0 0");
        assert_eq!(of("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 2\n"), "eth0 2");
        assert_eq!(of("rdma.max", "mlx hca_handle=1", ""), "mlx hca_handle=max hca_object=max");
    }
}
