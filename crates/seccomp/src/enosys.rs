//! Calls newer than the profile.
//!
//! A program that meets EPERM for a call its C library just learned does not
//! fall back to the older one; with ENOSYS it does. So, where the default action
//! denies, a number above the highest one that the profile names for the
//! architecture gives ENOSYS (opencontainers/runc#2151).

use crate::ret::{enosys, permits};
use crate::rules::{Profile, RuleSet};

/// The highest number the profile knows and what those above give, if the rule
/// holds for the interface: the default action denies, and the profile names at
/// least one call it has, setup(2) with number 0 not counted.
pub(crate) fn newer(profile: &Profile<'_>, set: &RuleSet) -> Option<(u32, u32)> {
    if permits(profile.source.default_action) {
        return None;
    }
    let newest = set.newest.filter(|newest| *newest != 0)?;
    Some((newest, enosys(set.abi.column)))
}
