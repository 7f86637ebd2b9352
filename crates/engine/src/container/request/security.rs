//! What the program may do: capabilities, filters, devices, resource limits.

use husk_spec::DeviceRule;

use super::{ContainerRequest, DeviceRequest, Ulimit};
use crate::container::config::Security;
use crate::error::{Error, Field, Result};
use crate::rootless::is_rootless;
use crate::spec::{capability, seccomp};

/// Names of limits (getrlimit(2)).
const ULIMITS: [&str; 16] = [
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

impl ContainerRequest {
    /// Rules of devices, as the devices controller of cgroup v1 has them.
    pub(super) fn device_rules(&self) -> Result<Vec<DeviceRule>> {
        let number = |text: &str| match text {
            "*" => Some(None),
            text => text.parse::<u32>().ok().map(|number| Some(i64::from(number))),
        };
        let parse = |text: &str| {
            let mut words = text.split_ascii_whitespace();
            let typ = words.next().filter(|typ| matches!(*typ, "a" | "b" | "c"))?;
            let (major, minor) = words.next()?.split_once(':')?;
            let access = words.next().filter(|access| is_access(access))?;
            words.next().is_none().then_some(DeviceRule {
                allow: true,
                typ: Some(typ.to_owned()),
                major: number(major)?,
                minor: number(minor)?,
                access: Some(access.to_owned()),
            })
        };
        let rules = &self.host_config.device_cgroup_rules;
        let bad =
            |text: &String, problem: &str| Error::field(Field::DeviceCgroupRules, text, problem);
        if let (true, Some(text)) = (is_rootless(), rules.first()) {
            return Err(bad(text, "requires root: device rules need the devices controller"));
        }
        let problem = "must be a rule such as 'c 10:200 rwm'";
        rules.iter().map(|text| parse(text).ok_or_else(|| bad(text, problem))).collect()
    }

    pub(super) fn devices(&self) -> Result<Vec<(String, String, String)>> {
        let resolve = |device: &DeviceRequest| {
            let host = device.path_on_host.clone();
            let or = |text: &String, default: &str| match text.as_str() {
                "" => default.to_owned(),
                text => text.to_owned(),
            };
            let inside = or(&device.path_in_container, &host);
            let access = or(&device.cgroup_permissions, "rwm");
            if !host.starts_with('/') || !inside.starts_with('/') {
                return Err(Error::field(Field::Devices, host, "must be an absolute path"));
            }
            if !is_access(&access) {
                return Err(Error::field(Field::Devices, access, "must be some of rwm"));
            }
            Ok((host, inside, access))
        };
        self.host_config.devices.iter().map(resolve).collect()
    }

    pub(super) fn security(&self) -> Result<Security> {
        let mut security = Security::default();
        for text in &self.host_config.security_opt {
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, "true"));
            let bad = |problem: &str| Error::field(Field::SecurityOpt, text, problem);
            match (name, value) {
                ("no-new-privileges", "true" | "false") => {
                    security.no_new_privileges = value == "true";
                }
                ("seccomp", "unconfined") => security.seccomp_unconfined = true,
                // Docker's word for the default.
                ("seccomp", "builtin") => {}
                ("seccomp", value) => match value.strip_prefix('+') {
                    Some(name) => security.seccomp_allow.push(name.to_owned()),
                    None => security.seccomp_profile = Some(seccomp_profile(value)?),
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
        seccomp::default_profile(&[], &security.seccomp_allow)?;
        Ok(security)
    }

    pub(super) fn ulimits(&self) -> Result<Vec<(String, u64, u64)>> {
        let resolve = |Ulimit { name, soft, hard }: &Ulimit| {
            let number = |value: &u64| match *value {
                u64::MAX => "-1".to_owned(),
                value => value.to_string(),
            };
            let bad = |problem: &str| {
                let (soft, hard) = (number(soft), number(hard));
                Error::field(Field::Ulimits, format_args!("{name}={soft}:{hard}"), problem)
            };
            if !ULIMITS.contains(&name.as_str()) {
                return Err(bad("unknown limit (see getrlimit(2))"));
            }
            if soft > hard {
                return Err(bad("the soft limit is above the hard limit"));
            }
            Ok((name.clone(), *soft, *hard))
        };
        self.host_config.ulimits.iter().map(resolve).collect()
    }
}

fn is_access(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| "rwm".contains(character))
}

/// A profile's JSON. It is shown by its beginning only where it is wrong.
fn seccomp_profile(text: &str) -> Result<husk_spec::Seccomp> {
    husk_spec::parse(text.as_bytes()).map_err(|error| {
        let shown: String = text.chars().take(40).collect();
        Error::field(Field::SeccompProfile, shown, error.to_string())
    })
}

pub(super) fn capabilities(field: Field, names: &[String]) -> Result<Vec<String>> {
    names.iter().map(|name| capability::parse(field, name)).collect()
}
