//! `GET /metrics`: what Prometheus collects of the containers, in its text form (version 0.0.4).

use std::fmt::Write;

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::stats::Sample;
use serde_json::Value;

use crate::failure::Result;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

/// # Errors
/// What cannot be read.
pub(crate) async fn metrics(service: &Shared) -> Result<Reply> {
    let text = service.blocking(collect).await?;
    Ok(reply::text("text/plain; version=0.0.4; charset=utf-8", text))
}

/// Of the running containers: name, type, help, and where it is in a sample.
const GAUGES: [(&str, &str, &str, &str); 4] = [
    (
        "husk_container_cpu_seconds_total",
        "counter",
        "CPU time used",
        "/cpu_stats/cpu_usage/total_usage",
    ),
    ("husk_container_memory_bytes", "gauge", "Memory in use", "/memory_stats/usage"),
    ("husk_container_memory_limit_bytes", "gauge", "Limit of the memory", "/memory_stats/limit"),
    ("husk_container_pids", "gauge", "Processes and threads", "/pids_stats/current"),
];

fn collect(service: &Service) -> Result<String> {
    let mut counts =
        [("created", 0), ("running", 0), ("paused", 0), ("restarting", 0), ("exited", 0)];
    let mut samples: Vec<(String, Value)> = Vec::new();
    let mut killed = Vec::new();
    for container in Container::survey(&service.home)?.0 {
        let Ok(state) = container.state() else { continue };
        if !service.sees(&container) {
            continue;
        }
        let word = state.word();
        counts.iter_mut().filter(|(name, _)| *name == word).for_each(|(_, count)| *count += 1);
        let label = format!(
            "{{id=\"{}\",name=\"{}\"}}",
            husk_engine::container::name::short(container.id()),
            container.record.name
        );
        killed.push((label.clone(), u8::from(state.oom_killed)));
        if state.status == Status::Running
            && let Ok(Some(sample)) = Sample::take(&service.home, &container)
        {
            samples.push((label, husk_docker::stats_sample(&sample)));
        }
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = head(&mut text, "husk_containers", "gauge", "Containers by state");
    for (name, count) in counts {
        let _ = writeln!(text, "husk_containers{{state=\"{name}\"}} {count}");
    }
    let help = "Whether the kernel killed in it for want of memory";
    let _ = head(&mut text, "husk_container_oom_killed", "gauge", help);
    for (label, value) in killed {
        let _ = writeln!(text, "husk_container_oom_killed{label} {value}");
    }
    for (name, kind, help, pointer) in GAUGES {
        let _ = head(&mut text, name, kind, help);
        for (label, sample) in &samples {
            let value = sample.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            let _ = match kind {
                "counter" => writeln!(text, "{name}{label} {:.9}", value as f64 / 1e9),
                _ => writeln!(text, "{name}{label} {value}"),
            };
        }
    }
    for (name, direction, field) in [
        ("husk_container_network_receive_bytes_total", "received", "rx_bytes"),
        ("husk_container_network_transmit_bytes_total", "sent", "tx_bytes"),
    ] {
        let _ = head(&mut text, name, "counter", &format!("Bytes {direction}"));
        for (label, sample) in &samples {
            let all = sample["networks"].as_object().into_iter().flatten();
            let sum: u64 = all.filter_map(|(_, one)| one[field].as_u64()).sum();
            let _ = writeln!(text, "{name}{label} {sum}");
        }
    }
    for (name, word) in [
        ("husk_container_io_read_bytes_total", "read"),
        ("husk_container_io_write_bytes_total", "write"),
    ] {
        let _ = head(&mut text, name, "counter", &format!("Bytes of block devices, {word}"));
        for (label, sample) in &samples {
            let all = sample["blkio_stats"]["io_service_bytes_recursive"].as_array();
            let of_word = all
                .into_iter()
                .flatten()
                .filter(|one| one["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case(word)));
            let sum: u64 = of_word.filter_map(|one| one["value"].as_u64()).sum();
            let _ = writeln!(text, "{name}{label} {sum}");
        }
    }
    Ok(text)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}
