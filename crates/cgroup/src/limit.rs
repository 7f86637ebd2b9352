//! The number forms that properties of several controllers share.

use crate::error::Error;

/// An amount with a way to say "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// -1 in `config.json`.
    Unlimited,
    At(i64),
}

impl Limit {
    /// A property whose 0 means that it is not set, as callers of `update` send it.
    pub(crate) fn unless_zero(property: &str, value: Option<i64>) -> Result<Option<Self>, Error> {
        match value {
            None | Some(0) => Ok(None),
            Some(value) => Self::new(property, value).map(Some),
        }
    }

    pub(crate) fn new(property: &str, value: i64) -> Result<Self, Error> {
        match value {
            -1 => Ok(Self::Unlimited),
            0.. => Ok(Self::At(value)),
            _ => Err(Error::invalid(property, value, "must be -1 (no limit) or not negative")),
        }
    }

    /// What v1 files take.
    pub(crate) fn v1(self) -> i64 {
        match self {
            Self::Unlimited => -1,
            Self::At(value) => value,
        }
    }

    /// What v2 files take.
    pub(crate) fn v2(self) -> String {
        match self {
            Self::Unlimited => "max".to_owned(),
            Self::At(value) => value.to_string(),
        }
    }
}

/// A device's numbers as cgroup files spell them.
pub(crate) fn device(property: &str, major: i64, minor: i64) -> Result<String, Error> {
    // dev_t of the kernel: 12 bits of major, 20 of minor (MINORBITS).
    if (0..1 << 12).contains(&major) && (0..1 << 20).contains(&minor) {
        return Ok(format!("{major}:{minor}"));
    }
    Err(Error::invalid(property, format!("{major}:{minor}"), "no device has such numbers"))
}
