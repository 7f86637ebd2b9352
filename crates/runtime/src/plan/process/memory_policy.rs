//! `linux.memoryPolicy`, set_mempolicy(2).

use crate::plan::bit_list;
use crate::report::{Error, Result};

/// Modes and their numbers, `<linux/mempolicy.h>`.
pub const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Flags that are or-ed to the mode.
pub const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// Arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// Mode and flags.
    pub mode: u32,
    /// Nodes, bit n of word n / 64.
    pub nodes: Vec<u64>,
}

impl MemoryPolicy {
    pub(super) fn plan(policy: &husk_spec::MemoryPolicy) -> Result<Self> {
        let property = "linux.memoryPolicy";
        let Some((_, mode)) = MODES.iter().find(|(name, _)| *name == policy.mode) else {
            return Err(Error::invalid(
                format_args!("{property}.mode ({})", policy.mode),
                "unknown mode",
            ));
        };
        let mut flags = 0;
        for (index, name) in policy.flags.iter().enumerate() {
            match FLAGS.iter().find(|(known, _)| known == name) {
                Some((_, flag)) => flags |= flag,
                None => {
                    return Err(Error::invalid(
                        format_args!("{property}.flags[{index}] ({name})"),
                        "unknown flag",
                    ));
                }
            }
        }
        let list = policy.nodes.as_deref().unwrap_or_default();
        let nodes = bit_list(list).ok_or_else(|| {
            Error::invalid(
                format_args!("{property}.nodes ({list})"),
                "not a list of nodes such as 0-1,3",
            )
        })?;
        Ok(Self { mode: mode | flags, nodes })
    }
}
