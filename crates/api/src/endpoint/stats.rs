//! `GET /containers/{id}/stats`: what the runtime reads from the container's cgroup, as Docker
//! writes it, with the sample before.

use std::collections::BTreeMap;
use std::time::Duration;

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::runtime::Runtime;
use serde_json::{Value, json};

use super::system::memory as machine_memory;
use crate::call::Call;
use crate::failure::Result;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Nanoseconds in a clock tick of /proc/stat, which has a hundred a second everywhere.
const TICK: u64 = 10_000_000;
const NEVER: &str = "0001-01-01T00:00:00Z";

/// # Errors
/// A container that is not there.
pub(crate) async fn stats(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let container = service.find(id).await?;
    let (streams, one_shot) = (call.query.is_or("stream", true), call.query.is("one-shot"));
    if !streams {
        let mut before = None;
        if !one_shot {
            before = sample(&service, &container).await;
            if before.is_some() {
                tokio::time::sleep(INTERVAL).await;
            }
        }
        let now = sample(&service, &container).await;
        return reply::json(&document(&container, now.as_ref(), before.as_ref()));
    }
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    tokio::spawn(async move {
        let mut before: Option<Value> = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
            }
            if !container.directory.join("container.json").exists() {
                return;
            }
            let now = sample(&service, &container).await;
            let Ok(line) = reply::line(&document(&container, now.as_ref(), before.as_ref())) else {
                return;
            };
            if sender.send(Ok(line)).await.is_err() {
                return;
            }
            before = now;
        }
    });
    Ok(answer)
}

/// One sample; `None` of a container that does not run.
async fn sample(service: &Shared, container: &Container) -> Option<Value> {
    let container = container.clone();
    service.blocking(move |service| Ok(read(service, &container))).await.ok().flatten()
}

pub(super) fn read(service: &Service, container: &Container) -> Option<Value> {
    let state = container.state().ok().filter(|state| state.status == Status::Running)?;
    let runtime = Runtime::of(&service.home, container).ok()?;
    // It may end while we look.
    let text = runtime.output(&["events", "--stats", container.id()]).ok()?;
    let event: Value = serde_json::from_str(&text).ok()?;
    let mut sample = of_event(event.get("data")?);
    sample["read"] = husk_engine::clock::timestamp().into();
    sample["cpu_stats"]["system_cpu_usage"] = system_time().into();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sample["cpu_stats"]["online_cpus"] = processors.into();
    let networks = networks(state.pid);
    if !networks.is_empty() {
        sample["networks"] = json!(networks);
    }
    Some(sample)
}

/// What the runtime says, in Docker's words.
fn of_event(data: &Value) -> Value {
    let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let limit = match number("/memory/usage/limit") {
        limit if (1..machine_memory()).contains(&limit) => limit,
        _ => machine_memory(),
    };
    let mut memory = json!({
        "usage": number("/memory/usage/usage"),
        "limit": limit,
        "stats": data.pointer("/memory/raw").cloned().unwrap_or_else(|| json!({})),
    });
    let is_v1 = data.pointer("/memory/raw/total_inactive_file").is_some();
    if is_v1 {
        memory["max_usage"] = number("/memory/usage/max").into();
    }
    if number("/memory/usage/failcnt") > 0 {
        memory["failcnt"] = number("/memory/usage/failcnt").into();
    }
    let mut cpu = json!({
        "total_usage": number("/cpu/usage/total"),
        "usage_in_kernelmode": number("/cpu/usage/kernel"),
        "usage_in_usermode": number("/cpu/usage/user"),
    });
    if let Some(each) = data.pointer("/cpu/usage/percpu").filter(|each| each.is_array()) {
        cpu["percpu_usage"] = each.clone();
    }
    let mut pids = json!({ "current": number("/pids/current") });
    if number("/pids/limit") > 0 {
        pids["limit"] = number("/pids/limit").into();
    }
    let block = |name: &str| -> Value {
        let entries = data.pointer(&format!("/blkio/{name}")).and_then(Value::as_array);
        let lower = |op: &str| if is_v1 { op.to_owned() } else { op.to_ascii_lowercase() };
        let one = |entry: &Value| {
            json!({
                "major": entry["major"], "minor": entry["minor"], "value": entry["value"],
                "op": lower(entry["op"].as_str().unwrap_or_default()),
            })
        };
        match entries {
            Some(entries) => entries.iter().map(one).collect::<Vec<_>>().into(),
            None if is_v1 => json!([]),
            None => Value::Null,
        }
    };
    json!({
        "pids_stats": pids,
        "blkio_stats": {
            "io_service_bytes_recursive": block("ioServiceBytesRecursive"),
            "io_serviced_recursive": block("ioServicedRecursive"),
            "io_queue_recursive": block("ioQueueRecursive"),
            "io_service_time_recursive": block("ioServiceTimeRecursive"),
            "io_wait_time_recursive": block("ioWaitTimeRecursive"),
            "io_merged_recursive": block("ioMergedRecursive"),
            "io_time_recursive": block("ioTimeRecursive"),
            "sectors_recursive": block("sectorsRecursive"),
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": {
            "cpu_usage": cpu,
            "throttling_data": {
                "periods": number("/cpu/throttling/periods"),
                "throttled_periods": number("/cpu/throttling/throttledPeriods"),
                "throttled_time": number("/cpu/throttling/throttledTime"),
            },
        },
        "memory_stats": memory,
    })
}

/// A sample with the one before; all zeros of a container that does not run.
fn document(container: &Container, now: Option<&Value>, before: Option<&Value>) -> Value {
    let nothing = json!({
        "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    });
    let mut document = match now {
        Some(now) => now.clone(),
        None => json!({
            "read": NEVER, "pids_stats": {}, "blkio_stats": {
                "io_service_bytes_recursive": null, "io_serviced_recursive": null,
                "io_queue_recursive": null, "io_service_time_recursive": null,
                "io_wait_time_recursive": null, "io_merged_recursive": null,
                "io_time_recursive": null, "sectors_recursive": null,
            },
            "num_procs": 0, "storage_stats": {}, "cpu_stats": nothing, "memory_stats": {},
        }),
    };
    document["name"] = format!("/{}", container.record.name).into();
    document["id"] = container.id().into();
    document["preread"] = before.map_or_else(|| NEVER.into(), |before| before["read"].clone());
    document["precpu_stats"] = before.map_or(nothing, |before| before["cpu_stats"].clone());
    document
}

/// Nanoseconds of all processors since the boot, idle ones included (proc_stat(5)).
fn system_time() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // Guests' time is a part of the user's.
    let ticks = first.split_whitespace().skip(1).take(8).filter_map(|n| n.parse::<u64>().ok());
    ticks.sum::<u64>().saturating_mul(TICK)
}

/// What its interfaces have moved, loopback left out (proc_pid_net(5)).
fn networks(pid: i32) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut networks = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let fields: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        if name.trim() != "lo" {
            networks.insert(
                name.trim().to_owned(),
                json!({
                    "rx_bytes": field(0), "rx_packets": field(1), "rx_errors": field(2),
                    "rx_dropped": field(3), "tx_bytes": field(8), "tx_packets": field(9),
                    "tx_errors": field(10), "tx_dropped": field(11),
                }),
            );
        }
    }
    networks
}
