//! `linux.resources.cpu` on v1 (sched-bwc.rst, sched-rt-group.rst).

use husk_spec::Cpu;

use crate::error::Error;
use crate::limit::Limit;
use crate::setting::Sink;

/// MIN_SHARES and MAX_SHARES of the kernel, which clamps silently to them.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(crate) fn settings(cpu: &Cpu, sink: &mut Sink) -> Result<(), Error> {
    let idle = idle(cpu)?;
    if let Some(idle) = idle {
        sink.set("linux.resources.cpu.idle", "cpu.idle", idle);
    }
    let shares = "linux.resources.cpu.shares";
    match cpu.shares.filter(|shares| *shares != 0) {
        Some(value) if !SHARES.contains(&value) => {
            return Err(Error::invalid(shares, value, "must be 2 to 262144"));
        }
        // The kernel refuses a weight for an idle group.
        Some(value) if idle == Some(1) => sink.warn(shares, value, "has no effect beside idle"),
        Some(value) => sink.set(shares, "cpu.shares", value),
        None => {}
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        sink.set("linux.resources.cpu.period", "cpu.cfs_period_us", period);
    }
    let quota = "linux.resources.cpu.quota";
    if let Some(limit) = Limit::unless_zero(quota, cpu.quota)? {
        sink.set(quota, "cpu.cfs_quota_us", limit.v1());
    }
    if let Some(burst) = cpu.burst {
        sink.set("linux.resources.cpu.burst", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        sink.set("linux.resources.cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
    let runtime = "linux.resources.cpu.realtimeRuntime";
    if let Some(limit) = Limit::unless_zero(runtime, cpu.realtime_runtime)? {
        sink.set(runtime, "cpu.rt_runtime_us", limit.v1());
    }
    Ok(())
}

/// `cpu.idle`, a switch.
pub(crate) fn idle(cpu: &Cpu) -> Result<Option<i64>, Error> {
    match cpu.idle {
        Some(value) if !(0..=1).contains(&value) => {
            Err(Error::invalid("linux.resources.cpu.idle", value, "must be 0 or 1"))
        }
        value => Ok(value),
    }
}
