//! `linux.resources.memory` on v2 (cgroup-v2.rst, "Memory").

use husk_spec::Memory;

use crate::error::Error;
use crate::limit::Limit;
use crate::setting::{Refusal, Sink};
use crate::v1::memory::swappiness;

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";

/// `current` is `memory.max` as it stands, for an update of `swap` alone.
pub(crate) fn settings(
    memory: &Memory,
    current: Option<Limit>,
    sink: &mut Sink,
) -> Result<(), Error> {
    let limit = Limit::unless_zero(LIMIT, memory.limit)?;
    if let Some(limit) = limit {
        sink.set(LIMIT, "memory.max", limit.v2());
    }
    if let Some(swap) = swap(limit.or(current), limit, Limit::unless_zero(SWAP, memory.swap)?)? {
        let refusal = match swap {
            Limit::Unlimited | Limit::At(0) => Refusal::NoneIfAbsent,
            Limit::At(_) => Refusal::Error,
        };
        sink.push(SWAP, "memory.swap.max", swap.v2(), refusal);
    }
    let reservation = "linux.resources.memory.reservation";
    if let Some(low) = Limit::unless_zero(reservation, memory.reservation)? {
        sink.set(reservation, "memory.low", low.v2());
    }
    dropped(memory, sink)
}

/// The specification's `swap` counts memory and swap together, as v1 does;
/// `memory.swap.max` counts swap alone.
fn swap(
    effective: Option<Limit>,
    given: Option<Limit>,
    swap: Option<Limit>,
) -> Result<Option<Limit>, Error> {
    match (effective, swap) {
        // As on v1, where no memory limit means none for both.
        (_, None) => Ok((given == Some(Limit::Unlimited)).then_some(Limit::Unlimited)),
        (_, Some(Limit::Unlimited)) => Ok(Some(Limit::Unlimited)),
        (Some(Limit::At(limit)), Some(Limit::At(both))) if both >= limit => {
            Ok(Some(Limit::At(both - limit)))
        }
        (Some(Limit::At(limit)), Some(Limit::At(both))) => Err(Error::invalid(
            SWAP,
            both,
            format!("is memory and swap together, less than the memory limit of {limit}"),
        )),
        (None | Some(Limit::Unlimited), Some(Limit::At(both))) => Err(Error::invalid(
            SWAP,
            both,
            "is memory and swap together, which v2 can only keep beside a memory limit",
        )),
    }
}

/// What v2 has no counterpart of and the specification allows to be ignored.
fn dropped(memory: &Memory, sink: &mut Sink) -> Result<(), Error> {
    const NONE: &str = "has no effect on cgroup v2";
    let mut warn = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            sink.warn(&format!("linux.resources.memory.{name}"), value, NONE);
        }
    };
    let text = |value: Option<Limit>| value.map(|limit| limit.v1().to_string());
    let kernel = Limit::unless_zero("linux.resources.memory.kernel", memory.kernel)?;
    let tcp = Limit::unless_zero("linux.resources.memory.kernelTCP", memory.kernel_tcp)?;
    warn("kernel", text(kernel));
    warn("kernelTCP", text(tcp));
    warn("swappiness", swappiness(memory)?.map(|value| value.to_string()));
    // False is what v2 does.
    let oom = memory.disable_oom_killer.filter(|disable| *disable);
    warn("disableOOMKiller", oom.map(|value| value.to_string()));
    // True is what v2 does.
    let hierarchy = memory.use_hierarchy.filter(|hierarchy| !hierarchy);
    warn("useHierarchy", hierarchy.map(|value| value.to_string()));
    Ok(())
}
