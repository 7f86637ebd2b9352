//! `linux.intelRdt`: a group of the resctrl filesystem (arch/x86/resctrl.rst;
//! config-linux.md, "IntelRdt").

use std::path::{Path, PathBuf};

use husk_spec::IntelRdt;
use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::kernfs;

const CLOS: &str = "linux.intelRdt.closID";
const SCHEMATA: &str = "linux.intelRdt.schemata";
/// Names that the root of resctrl has for itself.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

/// The group of a container, kept with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdt {
    /// The class of service's directory.
    pub group: PathBuf,
    /// Whether it was made for the container and is removed with it.
    pub made: bool,
    /// The container's own monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct RdtPlan {
    group: PathBuf,
    /// Whether the class is named in the configuration, and so may be shared.
    named: bool,
    schemata: Vec<String>,
    monitor: Option<PathBuf>,
}

/// Decides on the group below a mounted resctrl filesystem.
pub(crate) fn plan(
    rdt: &IntelRdt,
    id: &str,
    mount: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<RdtPlan, Error> {
    let name = rdt.clos_id.as_deref().filter(|name| !name.is_empty());
    let Some(mount) = mount else {
        return Err(Error::Unsupported {
            property: "linux.intelRdt".into(),
            value: name.unwrap_or("set").into(),
            file: "schemata".into(),
            controller: "resctrl",
            reason: "no resctrl filesystem is mounted on /sys/fs/resctrl".into(),
        });
    };
    let group = match name {
        // The default class of service (runtime-spec 1.3).
        Some("/") => mount.to_owned(),
        Some(name) => mount.join(one_name(name)?),
        None => mount.join(one_name(id)?),
    };
    let mut schemata: Vec<String> = Vec::new();
    if let Some(schema) = &rdt.l3_cache_schema {
        // The bandwidth has its own property.
        let lines = schema.lines().filter(|line| !line.starts_with("MB:"));
        schemata.extend(lines.map(str::to_owned));
    }
    schemata.extend(rdt.mem_bw_schema.clone());
    schemata.extend(rdt.schemata.iter().cloned());
    for line in &schemata {
        if line.contains('\n') || parse(line).is_none() {
            let reason = "is no line of a schemata file, such as L3:0=ff";
            return Err(Error::invalid(SCHEMATA, format!("{line:?}"), reason));
        }
    }
    for (old, set) in [("enableCMT", rdt.enable_cmt), ("enableMBM", rdt.enable_mbm)] {
        if set {
            let reason = "is not in runtime-spec 1.3: enableMonitoring makes a monitoring group";
            warnings.push(format!("linux.intelRdt.{old}: true: {reason}"));
        }
    }
    let monitor = match rdt.enable_monitoring {
        true => Some(group.join("mon_groups").join(one_name(id)?)),
        false => None,
    };
    Ok(RdtPlan { group, named: name.is_some(), schemata, monitor })
}

fn one_name(name: &str) -> Result<&str, Error> {
    if name.contains(['/', '\n', '\0']) || matches!(name, "." | "..") || RESERVED.contains(&name) {
        return Err(Error::invalid(CLOS, format!("{name:?}"), "is no name for a group"));
    }
    Ok(name)
}

/// "L3:0=ff;1=f" as its resource and the values of its domains.
fn parse(line: &str) -> Option<(&str, Vec<(u32, &str)>)> {
    let (resource, domains) = line.trim().split_once(':')?;
    let domains = domains.split(';').filter(|domain| !domain.is_empty()).map(|domain| {
        let (number, value) = domain.split_once('=')?;
        Some((number.trim().parse().ok()?, value.trim()))
    });
    let domains: Option<Vec<_>> = domains.collect();
    Some((resource.trim(), domains.filter(|domains| !domains.is_empty())?))
}

impl RdtPlan {
    pub(crate) fn create(&self) -> Result<Rdt, Error> {
        let mut rdt = Rdt { group: self.group.clone(), made: false, monitor: None };
        self.build(&mut rdt).inspect_err(|_| {
            // The error that led here is the one worth telling.
            let _ = rdt.remove();
        })?;
        Ok(rdt)
    }

    fn build(&self, rdt: &mut Rdt) -> Result<(), Error> {
        if self.named && self.schemata.is_empty() {
            // A class that others have configured: it must be there.
            rustix::fs::stat(&self.group)
                .map_err(|errno| Error::system("use the class of service", &self.group, errno))?;
        } else {
            match mkdirat(CWD, &self.group, Mode::from_raw_mode(0o755)) {
                Ok(()) => rdt.made = true,
                Err(Errno::EXIST) if self.named => {
                    must_match(&self.group, &self.schemata)?;
                }
                Err(errno) => return Err(Error::system("mkdir", &self.group, errno)),
            }
        }
        if rdt.made {
            write_schemata(&self.group, &self.schemata)?;
        }
        if let Some(monitor) = &self.monitor {
            mkdirat(CWD, monitor, Mode::from_raw_mode(0o755))
                .map_err(|errno| Error::system("mkdir", monitor, errno))?;
            rdt.monitor = Some(monitor.clone());
        }
        Ok(())
    }
}

/// "If the directory exists, runtimes MUST compare [...] and generate an error
/// if it doesn't match": the kernel writes masks without leading zeros, and all
/// of a resource's domains.
fn must_match(group: &Path, schemata: &[String]) -> Result<(), Error> {
    let text = kernfs::read(&group.join("schemata"))?;
    let there: Vec<_> = text.lines().filter_map(parse).collect();
    for line in schemata {
        let Some((resource, domains)) = parse(line) else { continue };
        let same = there.iter().find(|(other, _)| *other == resource).is_some_and(|(_, all)| {
            domains.iter().all(|(number, value)| {
                let plain = |text: &str| text.trim_start_matches('0').to_ascii_lowercase();
                all.iter().any(|(other, now)| other == number && plain(now) == plain(value))
            })
        });
        if !same {
            let reason = format!("{} exists and says otherwise", group.display());
            return Err(Error::invalid(SCHEMATA, format!("{line:?}"), reason));
        }
    }
    Ok(())
}

fn write_schemata(group: &Path, schemata: &[String]) -> Result<(), Error> {
    let path = group.join("schemata");
    for line in schemata {
        kernfs::try_write(&path, &format!("{line}\n")).map_err(|errno| {
            // The kernel keeps a sentence on what was wrong.
            let mut roots = group.ancestors().map(|up| up.join("info/last_cmd_status"));
            let status = roots.find_map(|path| kernfs::try_read(&path).ok());
            Error::Setting {
                property: SCHEMATA.into(),
                value: line.clone(),
                path: path.clone(),
                controller: "resctrl",
                errno,
                hint: status.map_or_else(String::new, |text| format!(": {}", text.trim())),
            }
        })?;
    }
    Ok(())
}

impl Rdt {
    /// The `tasks` files to enter, in order: the class, then its monitoring group.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = PathBuf> {
        [Some(&self.group), self.monitor.as_ref()].into_iter().flatten().map(|g| g.join("tasks"))
    }

    /// Writes schemata lines, for `update`: a class that is shared stays as it is.
    pub(crate) fn update(&self, schemata: &[String]) -> Result<(), Error> {
        if !self.made {
            let reason = format!("{} is not the container's own", self.group.display());
            return Err(Error::invalid(SCHEMATA, schemata.join(" "), reason));
        }
        for line in schemata {
            if line.contains('\n') || parse(line).is_none() {
                let reason = "is no line of a schemata file, such as L3:0=ff";
                return Err(Error::invalid(SCHEMATA, format!("{line:?}"), reason));
            }
        }
        let before = kernfs::read(&self.group.join("schemata"))?;
        write_schemata(&self.group, schemata).map_err(|cause| {
            let lines: Vec<String> = before.lines().map(|line| line.trim().to_owned()).collect();
            match write_schemata(&self.group, &lines) {
                Ok(()) => cause,
                Err(restore) => {
                    Error::NotRestored { cause: Box::new(cause), restore: Box::new(restore) }
                }
            }
        })
    }

    /// Removes what was made for the container.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let own = self.made.then_some(&self.group);
        for path in self.monitor.iter().chain(own) {
            match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system("rmdir", path, errno)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<RdtPlan, Error> {
        let rdt: IntelRdt = serde_json::from_str(json).unwrap();
        plan(&rdt, "c1", Some(Path::new("/rdt")), &mut Vec::new())
    }

    #[test]
    fn groups() {
        let group = |json: &str| planned(json).unwrap().group;
        assert_eq!(group(r#"{"schemata":["L3:0=f"]}"#), Path::new("/rdt/c1"));
        assert_eq!(group(r#"{"closID":"gold"}"#), Path::new("/rdt/gold"));
        assert_eq!(group(r#"{"closID":"/"}"#), Path::new("/rdt/"));
        let monitored = planned(r#"{"closID":"gold","enableMonitoring":true}"#).unwrap();
        assert_eq!(monitored.monitor.unwrap(), Path::new("/rdt/gold/mon_groups/c1"));
    }

    #[test]
    fn schemata_are_joined_without_a_second_bandwidth() {
        let plan = planned(
            r#"{"l3CacheSchema":"L3:0=7f0;1=1f\nMB:0=9","memBwSchema":"MB:0=20",
                "schemata":["L2:0=3"]}"#,
        );
        assert_eq!(plan.unwrap().schemata, ["L3:0=7f0;1=1f", "MB:0=20", "L2:0=3"]);
    }

    #[test]
    fn what_is_refused() {
        for json in [
            r#"{"closID":".."}"#,
            r#"{"closID":"a/b"}"#,
            r#"{"closID":"info"}"#,
            r#"{"schemata":["L3"]}"#,
            r#"{"schemata":["L3:0=f\nL3:1=f"]}"#,
        ] {
            assert!(matches!(planned(json), Err(Error::Invalid { .. })), "{json}");
        }
        let rdt = IntelRdt::default();
        let error = plan(&rdt, "c1", None, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("resctrl"), "{error}");
    }

    #[test]
    fn a_class_that_exists_must_say_the_same() {
        let directory = std::env::temp_dir().join(format!("husk-rdt-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("schemata"), "    L3:0=00f;1=0ff\n    MB:0=100\n").unwrap();
        let matches = |line: &str| must_match(&directory, &[line.to_owned()]).is_ok();
        assert!(matches("L3:0=f") && matches("L3:1=FF;0=0f") && matches("MB:0=100"));
        assert!(!matches("L3:0=1") && !matches("L2:0=f") && !matches("L3:2=f"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
