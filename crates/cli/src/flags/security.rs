//! What the program may do: capabilities, filters, devices, resource limits.

use husk_spec::DeviceRule;

use super::Flags;
use crate::error::{Error, Result, file};
use husk_engine::container::config::Security;
use husk_engine::error::Field;
use husk_engine::rootless::is_rootless;
use husk_engine::spec::capability;

impl Flags {
    /// `--device-cgroup-rule`, as the devices controller of cgroup v1 has them.
    pub(super) fn device_rules(&self) -> Result<Vec<DeviceRule>> {
        let number = |text: &str| match text {
            "*" => Some(None),
            text => text.parse::<u32>().ok().map(|number| Some(i64::from(number))),
        };
        let parse = |text: &str| {
            let mut words = text.split_ascii_whitespace();
            let typ = words.next().filter(|typ| matches!(*typ, "a" | "b" | "c"))?;
            let (major, minor) = words.next()?.split_once(':')?;
            let access = words.next().filter(|access| access.chars().all(|c| "rwm".contains(c)))?;
            words.next().is_none().then_some(DeviceRule {
                allow: true,
                typ: Some(typ.to_owned()),
                major: number(major)?,
                minor: number(minor)?,
                access: Some(access.to_owned()),
            })
        };
        let (flag, problem) = ("--device-cgroup-rule", "must be a rule such as 'c 10:200 rwm'");
        if let (true, Some(text)) = (is_rootless(), self.device_cgroup_rule.first()) {
            return Err(Error::flag(
                flag,
                text,
                "requires root: device rules need the devices controller",
            ));
        }
        let rule = |text: &String| parse(text).ok_or_else(|| Error::flag(flag, text, problem));
        self.device_cgroup_rule.iter().map(rule).collect()
    }

    pub(super) fn devices(&self) -> Result<Vec<(String, String, String)>> {
        let mut devices = Vec::new();
        for text in &self.device {
            let parts: Vec<&str> = text.split(':').collect();
            let access_of =
                |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
            let (host, inside, access) = match parts.as_slice() {
                [host] => (*host, *host, "rwm"),
                [host, access] if access_of(access) => (*host, *host, *access),
                [host, inside] => (*host, *inside, "rwm"),
                [host, inside, access] if access_of(access) => (*host, *inside, *access),
                _ => return Err(Error::flag("--device", text, "must be HOST[:CONTAINER[:rwm]]")),
            };
            if !host.starts_with('/') || !inside.starts_with('/') {
                return Err(Error::flag("--device", text, "must be an absolute path"));
            }
            devices.push((host.to_owned(), inside.to_owned(), access.to_owned()));
        }
        Ok(devices)
    }

    pub(super) fn security(&self) -> Result<Security> {
        let mut security = Security::default();
        for text in &self.security_opt {
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, "true"));
            let bad = |problem: &str| Error::flag("--security-opt", text, problem);
            match (name, value) {
                ("no-new-privileges", "true" | "false") => {
                    security.no_new_privileges = value == "true";
                }
                ("seccomp", "unconfined") => security.seccomp_unconfined = true,
                ("seccomp", value) => match value.strip_prefix('+') {
                    Some(name) => security.seccomp_allow.push(name.to_owned()),
                    None => security.seccomp_profile = Some(seccomp_file(value)?),
                },
                ("apparmor", profile) => security.apparmor = Some(profile.to_owned()),
                ("systempaths", "unconfined") => security.unmasked = true,
                // Nothing is labelled unless asked for.
                ("label", "disable") => security.selinux_label = None,
                ("label", label) if label.matches(':').count() >= 3 => {
                    security.selinux_label = Some(label.to_owned());
                }
                ("label", _) => return Err(bad("label= must be disable or a whole SELinux label")),
                _ => {
                    return Err(bad(
                        "must be one of no-new-privileges, seccomp=, apparmor=, label=, systempaths=unconfined",
                    ));
                }
            }
        }
        husk_engine::spec::seccomp::default_profile(&[], &security.seccomp_allow)?;
        Ok(security)
    }

    pub(super) fn ulimits(&self) -> Result<Vec<(String, u64, u64)>> {
        const NAMES: [&str; 16] = [
            "as",
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        let mut ulimits = Vec::new();
        for text in &self.ulimit {
            let bad = |problem: &str| Error::flag("--ulimit", text, problem);
            let number = |text: &str| match text {
                "-1" | "unlimited" => Ok(u64::MAX),
                text => text.parse().map_err(|_| bad("must be NAME=SOFT[:HARD]")),
            };
            let (name, value) =
                text.split_once('=').ok_or_else(|| bad("must be NAME=SOFT[:HARD]"))?;
            if !NAMES.contains(&name) {
                return Err(bad("unknown limit (see getrlimit(2))"));
            }
            let (soft, hard) = value.split_once(':').unwrap_or((value, value));
            let (soft, hard) = (number(soft)?, number(hard)?);
            if soft > hard {
                return Err(bad("the soft limit is above the hard limit"));
            }
            ulimits.push((name.to_owned(), soft, hard));
        }
        Ok(ulimits)
    }
}

fn seccomp_file(path: &str) -> Result<husk_spec::Seccomp> {
    let opened = std::fs::File::open(path).map_err(file("open --security-opt seccomp", path))?;
    let failed = |error: husk_spec::LoadError| Error::flag("--security-opt seccomp", path, error);
    let bytes = husk_spec::read_bounded(opened).map_err(failed)?;
    husk_spec::parse(&bytes).map_err(failed)
}

pub(super) fn capabilities(field: Field, names: &[String]) -> Result<Vec<String>> {
    names.iter().map(|name| Ok(capability::parse(field, name)?)).collect()
}
