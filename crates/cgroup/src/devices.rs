//! `linux.resources.devices` as rules, before it is known who enforces them.

use husk_spec::DeviceRule;

use crate::error::Error;

/// Kinds of access, as the eBPF context encodes them (`BPF_DEVCG_ACC_*`).
pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Char,
}

/// One rule. A later one overrides an earlier one in the accesses it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    /// `None` for both kinds.
    pub(crate) kind: Option<Kind>,
    /// `None` for every number.
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u8,
}

impl Rule {
    /// Whether the rule speaks of every access to every device.
    pub(crate) fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// What follows the container's own rules: every device node can be made (not
/// opened), and those that every container has can be used. runc appends the
/// same list, tun included since 1.2.4.
pub(crate) const DEFAULTS: [Rule; 11] = {
    const fn char(major: u32, minor: Option<u32>, access: u8) -> Rule {
        Rule { allow: true, kind: Some(Kind::Char), major: Some(major), minor, access }
    }
    const fn mknod(kind: Kind) -> Rule {
        Rule { allow: true, kind: Some(kind), major: None, minor: None, access: MKNOD }
    }
    [
        mknod(Kind::Char),
        mknod(Kind::Block),
        char(1, Some(3), ALL),    // null
        char(1, Some(5), ALL),    // zero
        char(1, Some(7), ALL),    // full
        char(1, Some(8), ALL),    // random
        char(1, Some(9), ALL),    // urandom
        char(5, Some(0), ALL),    // tty
        char(5, Some(2), ALL),    // ptmx
        char(136, None, ALL),     // pts
        char(10, Some(200), ALL), // net/tun
    ]
};

/// The container's own rules, checked. What none of them names is denied.
pub(crate) fn parse(rules: &[DeviceRule]) -> Result<Vec<Rule>, Error> {
    rules.iter().enumerate().map(|(at, rule)| parse_one(at, rule)).collect()
}

fn parse_one(at: usize, rule: &DeviceRule) -> Result<Rule, Error> {
    let property = |name: &str| format!("linux.resources.devices[{at}].{name}");
    let kind = match rule.typ.as_deref() {
        None | Some("" | "a") => None,
        Some("b") => Some(Kind::Block),
        Some("c" | "u") => Some(Kind::Char),
        Some(other) => {
            return Err(Error::invalid(
                &property("type"),
                format!("{other:?}"),
                "must be a, b or c",
            ));
        }
    };
    let number = |name: &str, value: Option<i64>| match value {
        // -1 stands for every number with callers that follow v1's "*".
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::invalid(&property(name), value, "no device has such a number")),
    };
    let mut access = 0;
    for letter in rule.access.as_deref().unwrap_or_default().chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => {
                let given = format!("{:?}", rule.access.as_deref().unwrap_or_default());
                return Err(Error::invalid(
                    &property("access"),
                    given,
                    "must be made of r, w and m",
                ));
            }
        };
    }
    Ok(Rule {
        allow: rule.allow,
        kind,
        major: number("major", rule.major)?,
        minor: number("minor", rule.minor)?,
        access: if access == 0 { ALL } else { access },
    })
}
