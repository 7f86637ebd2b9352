//! The limits of a container's cgroup.

use husk_spec::{BlockIo, Cpu, Memory, Pids, Resources, ThrottleDevice, WeightDevice};

use crate::container::config::{Limits, ThrottleKind};
use crate::device::block_number;
use crate::error::{Field, Result};

/// The limits as the runtime takes them, also for `update`.
///
/// # Errors
/// A device that is no longer there.
pub fn limits(limits: &Limits) -> Result<Resources> {
    let memory = Memory {
        limit: limits.memory,
        swap: limits.memory_swap,
        reservation: limits.memory_reservation,
        swappiness: limits.memory_swappiness,
        disable_oom_killer: limits.oom_kill_disable.then_some(true),
        ..Memory::default()
    };
    let (quota, period) = limits.quota();
    let cpu = Cpu {
        shares: limits.cpu_shares,
        quota,
        period,
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        realtime_runtime: limits.cpu_rt_runtime,
        realtime_period: limits.cpu_rt_period,
        ..Cpu::default()
    };
    let block_io = block_io(limits)?;
    Ok(Resources {
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        pids: limits.pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: Some(block_io).filter(|block_io| *block_io != BlockIo::default()),
        ..Resources::default()
    })
}

fn block_io(limits: &Limits) -> Result<BlockIo> {
    let mut block_io = BlockIo { weight: limits.blkio_weight, ..BlockIo::default() };
    for (path, weight) in &limits.device_weights {
        let (major, minor) = block_number(Field::BlkioWeightDevice, path)?;
        let weight = WeightDevice { major, minor, weight: Some(*weight), leaf_weight: None };
        block_io.weight_device.push(weight);
    }
    for throttle in &limits.throttles {
        let (field, list) = match throttle.kind {
            ThrottleKind::ReadBytes => {
                (Field::BlkioDeviceReadBps, &mut block_io.throttle_read_bps_device)
            }
            ThrottleKind::WriteBytes => {
                (Field::BlkioDeviceWriteBps, &mut block_io.throttle_write_bps_device)
            }
            ThrottleKind::ReadOperations => {
                (Field::BlkioDeviceReadIops, &mut block_io.throttle_read_iops_device)
            }
            ThrottleKind::WriteOperations => {
                (Field::BlkioDeviceWriteIops, &mut block_io.throttle_write_iops_device)
            }
        };
        let (major, minor) = block_number(field, &throttle.device)?;
        list.push(ThrottleDevice { major, minor, rate: throttle.rate });
    }
    Ok(block_io)
}
