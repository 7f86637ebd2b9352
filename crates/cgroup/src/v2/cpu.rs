//! `linux.resources.cpu` on v2 (cgroup-v2.rst, "CPU").

use husk_spec::Cpu;

use crate::error::Error;
use crate::limit::Limit;
use crate::setting::Sink;
use crate::v1::cpu::idle;

/// `current` is the quota of `cpu.max` as it stands, for an update of the period alone.
pub(crate) fn settings(cpu: &Cpu, current: Option<Limit>, sink: &mut Sink) -> Result<(), Error> {
    let idle = idle(cpu)?;
    if let Some(idle) = idle {
        sink.set("linux.resources.cpu.idle", "cpu.idle", idle);
    }
    let shares = "linux.resources.cpu.shares";
    match cpu.shares.filter(|shares| *shares != 0) {
        // The kernel refuses a weight for an idle group.
        Some(value) if idle == Some(1) => sink.warn(shares, value, "has no effect beside idle"),
        Some(value) => sink.set(shares, "cpu.weight", weight(value)),
        None => {}
    }
    let quota = Limit::unless_zero("linux.resources.cpu.quota", cpu.quota)?;
    match (quota, cpu.period.filter(|period| *period != 0)) {
        (Some(quota), Some(period)) => {
            sink.set("linux.resources.cpu.quota", "cpu.max", format!("{} {period}", quota.v2()));
        }
        // A number alone leaves the period as it is.
        (Some(quota), None) => sink.set("linux.resources.cpu.quota", "cpu.max", quota.v2()),
        (None, Some(period)) => {
            let quota = current.unwrap_or(Limit::Unlimited).v2();
            sink.set("linux.resources.cpu.period", "cpu.max", format!("{quota} {period}"));
        }
        (None, None) => {}
    }
    if let Some(burst) = cpu.burst {
        sink.set("linux.resources.cpu.burst", "cpu.max.burst", burst);
    }
    const NONE: &str = "cgroup v2 has no realtime shares";
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        let property = "linux.resources.cpu.realtimePeriod";
        return Err(sink.unsupported(property, period, "cpu.rt_period_us", NONE));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        let property = "linux.resources.cpu.realtimeRuntime";
        return Err(sink.unsupported(property, runtime, "cpu.rt_runtime_us", NONE));
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000) for v1's `cpu.shares` (2 to 262144).
///
/// A curve through both ends that also takes the default of one to the default
/// of the other: with L = log2(shares), 10^(L²/612 + 125 L/612 - 7/34). Agreed
/// on between the runtimes in 2025 (runc 1.3.2, crun 1.23), so that a share
/// means the same whichever made the neighbour.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[allow(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight.clamp(1, 10_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_the_weight_that_other_runtimes_give() {
        let pairs =
            [(1, 1), (2, 1), (1024, 100), (2000, 170), (262_144, 10_000), (1 << 40, 10_000)];
        for (shares, expected) in pairs {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
