//! `linux.resources.memory` on v1 (cgroup-v1/memory.rst).

use husk_spec::Memory;

use crate::error::Error;
use crate::limit::Limit;
use crate::setting::{Refusal, Sink};

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";

pub(crate) fn settings(memory: &Memory, sink: &mut Sink) -> Result<(), Error> {
    let limit = Limit::unless_zero(LIMIT, memory.limit)?;
    // No limit of memory with one of both together left in place would be refused.
    let swap = match Limit::unless_zero(SWAP, memory.swap)? {
        None if limit == Some(Limit::Unlimited) => Some(Limit::Unlimited),
        swap => swap,
    };
    if let (Some(Limit::At(limit)), Some(Limit::At(swap))) = (limit, swap)
        && swap < limit
    {
        return Err(Error::invalid(
            SWAP,
            swap,
            format!("is memory and swap together, less than the memory limit of {limit}"),
        ));
    }
    if let Some(limit) = limit {
        sink.set(LIMIT, "memory.limit_in_bytes", limit.v1());
    }
    if let Some(swap) = swap {
        let refusal = match swap {
            Limit::Unlimited => Refusal::NoneIfAbsent,
            Limit::At(_) => Refusal::Error,
        };
        sink.push(SWAP, "memory.memsw.limit_in_bytes", swap.v1(), refusal);
    }
    let reservation = "linux.resources.memory.reservation";
    if let Some(soft) = Limit::unless_zero(reservation, memory.reservation)? {
        sink.set(reservation, "memory.soft_limit_in_bytes", soft.v1());
    }
    let kernel = "linux.resources.memory.kernel";
    if let Some(limit) = Limit::unless_zero(kernel, memory.kernel)? {
        // Linux 5.16 answers ENOTSUPP; runtime-spec calls the property not recommended.
        sink.push(kernel, "memory.kmem.limit_in_bytes", limit.v1(), Refusal::Warning);
    }
    let tcp = "linux.resources.memory.kernelTCP";
    if let Some(limit) = Limit::unless_zero(tcp, memory.kernel_tcp)? {
        sink.set(tcp, "memory.kmem.tcp.limit_in_bytes", limit.v1());
    }
    if let Some(swappiness) = swappiness(memory)? {
        sink.set("linux.resources.memory.swappiness", "memory.swappiness", swappiness);
    }
    if let Some(disable) = memory.disable_oom_killer {
        let property = "linux.resources.memory.disableOOMKiller";
        sink.set(property, "memory.oom_control", u8::from(disable));
    }
    if let Some(hierarchy) = memory.use_hierarchy {
        // Always on since Linux 5.11, which refuses 0.
        let property = "linux.resources.memory.useHierarchy";
        sink.push(property, "memory.use_hierarchy", u8::from(hierarchy), Refusal::Warning);
    }
    Ok(())
}

/// The swappiness, checked against the range of the specification.
pub(crate) fn swappiness(memory: &Memory) -> Result<Option<u64>, Error> {
    match memory.swappiness {
        Some(value) if value > 100 => {
            Err(Error::invalid("linux.resources.memory.swappiness", value, "must be 0 to 100"))
        }
        value => Ok(value),
    }
}
