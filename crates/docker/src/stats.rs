//! `GET /containers/{id}/stats`.

use husk_engine::container::Container;
use husk_engine::stats::{Interface, Sample};
use serde_json::{Map, Value, json};

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Docker's names of counts of block devices, and the runtime's.
const BLOCK: [(&str, &str); 8] = [
    ("io_service_bytes_recursive", "ioServiceBytesRecursive"),
    ("io_serviced_recursive", "ioServicedRecursive"),
    ("io_queue_recursive", "ioQueueRecursive"),
    ("io_service_time_recursive", "ioServiceTimeRecursive"),
    ("io_wait_time_recursive", "ioWaitTimeRecursive"),
    ("io_merged_recursive", "ioMergedRecursive"),
    ("io_time_recursive", "ioTimeRecursive"),
    ("sectors_recursive", "sectorsRecursive"),
];

/// A sample with the one before; all zeros of a container that does not run.
pub fn stats_document(
    container: &Container,
    now: Option<&Sample>,
    before: Option<&Sample>,
) -> Value {
    let mut document = match now {
        Some(now) => stats_sample(now),
        None => json!({
            "read": NEVER, "pids_stats": {}, "blkio_stats": block(None),
            "num_procs": 0, "storage_stats": {}, "cpu_stats": cpu(None), "memory_stats": {},
        }),
    };
    document["name"] = format!("/{}", container.record.name).into();
    document["id"] = container.id().into();
    document["preread"] = before.map_or(NEVER, |before| &before.time).into();
    document["precpu_stats"] = cpu(before);
    document
}

/// A sample by itself.
pub fn stats_sample(sample: &Sample) -> Value {
    let used = &sample.used;
    let mut memory = json!({
        "usage": used.memory.usage.usage,
        "limit": used.memory.limit(),
        "stats": used.memory.raw,
    });
    if used.memory.is_v1() {
        memory["max_usage"] = used.memory.usage.max.into();
    }
    if used.memory.usage.failcnt > 0 {
        memory["failcnt"] = used.memory.usage.failcnt.into();
    }
    let mut pids = json!({ "current": used.pids.current });
    if used.pids.limit > 0 {
        pids["limit"] = used.pids.limit.into();
    }
    let mut shown = json!({
        "read": sample.time,
        "pids_stats": pids,
        "blkio_stats": block(Some(sample)),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(Some(sample)),
        "memory_stats": memory,
    });
    if !sample.networks.is_empty() {
        let networks = sample.networks.iter();
        let networks: Map<String, Value> =
            networks.map(|(name, one)| (name.clone(), interface(one))).collect();
        shown["networks"] = networks.into();
    }
    shown
}

fn cpu(sample: Option<&Sample>) -> Value {
    let of_none = Sample::default();
    let cpu = &sample.unwrap_or(&of_none).used.cpu;
    let mut usage = json!({
        "total_usage": cpu.usage.total,
        "usage_in_kernelmode": cpu.usage.kernel,
        "usage_in_usermode": cpu.usage.user,
    });
    if !cpu.usage.percpu.is_empty() {
        usage["percpu_usage"] = json!(cpu.usage.percpu);
    }
    let mut shown = json!({
        "cpu_usage": usage,
        "throttling_data": {
            "periods": cpu.throttling.periods,
            "throttled_periods": cpu.throttling.throttled_periods,
            "throttled_time": cpu.throttling.throttled_time,
        },
    });
    if let Some(sample) = sample {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        shown["system_cpu_usage"] = sample.system_time.into();
        shown["online_cpus"] = processors.into();
    }
    shown
}

/// cgroup v1 has all lists, be they empty; v2 those that count something, and others null.
fn block(sample: Option<&Sample>) -> Value {
    let is_v1 = sample.is_some_and(|sample| sample.used.memory.is_v1());
    let list = |name: &str| {
        let counts = sample.and_then(|sample| sample.used.blkio.get(name)?.as_ref());
        let Some(counts) = counts else { return if is_v1 { json!([]) } else { Value::Null } };
        let one = |count: &husk_engine::stats::BlockCount| {
            let op = if is_v1 { count.op.clone() } else { count.op.to_ascii_lowercase() };
            json!({ "major": count.major, "minor": count.minor, "op": op, "value": count.value })
        };
        counts.iter().map(one).collect::<Vec<_>>().into()
    };
    BLOCK
        .iter()
        .map(|(shown, name)| ((*shown).to_owned(), list(name)))
        .collect::<Map<_, _>>()
        .into()
}

fn interface(one: &Interface) -> Value {
    json!({
        "rx_bytes": one.rx_bytes, "rx_packets": one.rx_packets, "rx_errors": one.rx_errors,
        "rx_dropped": one.rx_dropped, "tx_bytes": one.tx_bytes, "tx_packets": one.tx_packets,
        "tx_errors": one.tx_errors, "tx_dropped": one.tx_dropped,
    })
}
