//! `process.scheduler`, `process.ioPriority` and `linux.personality`.

use husk_spec::{IoPriority, Personality, Scheduler};
use husk_sys::schedule::SchedAttr;

use crate::report::{Error, Result};

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

pub(super) fn scheduler(scheduler: &Scheduler, property: &str) -> Result<SchedAttr> {
    let property = format!("{property}.scheduler");
    let Some((_, policy)) = POLICIES.iter().find(|(name, _)| *name == scheduler.policy) else {
        return Err(Error::invalid(
            format_args!("{property}.policy ({})", scheduler.policy),
            "unknown policy",
        ));
    };
    let mut flags = 0;
    for (index, name) in scheduler.flags.iter().enumerate() {
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
    if !(-20..=19).contains(&scheduler.nice) {
        return Err(Error::invalid(
            format_args!("{property}.nice ({})", scheduler.nice),
            "not in -20 to 19",
        ));
    }
    let priority = u32::try_from(scheduler.priority).map_err(|_| {
        Error::invalid(format_args!("{property}.priority ({})", scheduler.priority), "negative")
    })?;
    Ok(SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: *policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

/// Class << 13 | priority, ioprio_set(2).
pub(super) fn io_priority(priority: &IoPriority, property: &str) -> Result<u32> {
    let property = format!("{property}.ioPriority");
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return Err(Error::invalid(
                format_args!("{property}.class ({other})"),
                "unknown class",
            ));
        }
    };
    match u32::try_from(priority.priority) {
        Ok(level) if level <= 7 => Ok(class << 13 | level),
        _ => Err(Error::invalid(
            format_args!("{property}.priority ({})", priority.priority),
            "not in 0 to 7",
        )),
    }
}

/// `PER_LINUX` or `PER_LINUX32`.
pub(super) fn personality(personality: &Personality) -> Result<u32> {
    if let Some(flag) = personality.flags.first() {
        return Err(Error::invalid(
            format_args!("linux.personality.flags[0] ({flag})"),
            "the specification has no flags yet",
        ));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::invalid(
            format_args!("linux.personality.domain ({other})"),
            "neither LINUX nor LINUX32",
        )),
    }
}
