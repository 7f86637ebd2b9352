//! `process.capabilities`, capabilities(7).

use husk_spec::Capabilities;

/// Names in the order of their numbers, without `CAP_`; the last is of Linux 5.9.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of all capabilities as documents spell them.
pub fn names() -> Vec<String> {
    NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The five sets, bit n for capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What can ever be had.
    pub bounding: u64,
    /// What is checked.
    pub effective: u64,
    /// What passes execve(2) into files' inheritable sets.
    pub inheritable: u64,
    /// What may become effective.
    pub permitted: u64,
    /// What passes execve(2) without file capabilities.
    pub ambient: u64,
}

/// The bit of a capability's name, with or without `CAP_`.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| 1 << number)
}

impl CapabilitySets {
    /// No document, no capability. An unknown name is a warning: config.md asks
    /// for one, and kernels learn new capabilities.
    pub(super) fn plan(
        capabilities: Option<&Capabilities>,
        property: &str,
        warnings: &mut Vec<String>,
    ) -> Self {
        let Some(capabilities) = capabilities else {
            return Self::default();
        };
        let mut set = |name: &str, list: &[String]| {
            list.iter().enumerate().fold(0, |bits, (index, capability)| match bit(capability) {
                Some(bit) => bits | bit,
                None => {
                    warnings.push(format!(
                        "{property}.capabilities.{name}[{index}] ({capability}): unknown capability, not granted"
                    ));
                    bits
                }
            })
        };
        let sets = Self {
            bounding: set("bounding", &capabilities.bounding),
            effective: set("effective", &capabilities.effective),
            inheritable: set("inheritable", &capabilities.inheritable),
            permitted: set("permitted", &capabilities.permitted),
            ambient: set("ambient", &capabilities.ambient),
        };
        sets.warn_of_forbidden(property, warnings);
        sets
    }

    /// What the kernel's own rules leave out, capset(2) and PR_CAP_AMBIENT_RAISE.
    fn warn_of_forbidden(&self, property: &str, warnings: &mut Vec<String>) {
        for (name, forbidden, within) in [
            ("effective", self.effective & !self.permitted, "permitted"),
            ("inheritable", self.inheritable & !self.bounding, "bounding"),
            (
                "ambient",
                self.ambient & !(self.permitted & self.inheritable),
                "permitted and inheritable",
            ),
        ] {
            for capability in Self::names_of(forbidden) {
                warnings.push(format!(
                    "{property}.capabilities.{name} ({capability}): not granted, since it is not in {within}"
                ));
            }
        }
    }

    /// Adds capabilities of `exec --cap`, as runc does: to what may be had and is
    /// had, never to the inheritable set (CVE-2022-29162). What the configuration has in that
    /// set becomes ambient, so that another user than root has it as well.
    pub fn add(&mut self, bits: u64) {
        self.bounding |= bits;
        self.effective |= bits;
        self.permitted |= bits;
        self.ambient |= bits & self.inheritable;
    }

    /// Names of the capabilities in a set.
    pub fn names_of(set: u64) -> Vec<String> {
        (0..NAMES.len())
            .filter(|number| set >> number & 1 == 1)
            .map(|number| format!("CAP_{}", NAMES[number]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(bit("CAP_CHOWN"), Some(1));
        assert_eq!(bit("cap_sys_admin"), Some(1 << 21));
        assert_eq!(bit("CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("CAP_NOSUCH"), None);
        assert_eq!(CapabilitySets::names_of(1 << 40 | 1), ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]);
    }

    #[test]
    fn an_unknown_name_is_a_warning() {
        let mut warnings = Vec::new();
        let capabilities = Capabilities {
            bounding: vec!["CAP_X".into(), "CAP_KILL".into()],
            ..Default::default()
        };
        let sets = CapabilitySets::plan(Some(&capabilities), "process", &mut warnings);
        assert_eq!(sets.bounding, 1 << 5);
        assert_eq!(
            warnings,
            ["process.capabilities.bounding[0] (CAP_X): unknown capability, not granted"]
        );
    }
}
