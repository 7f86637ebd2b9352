//! `stats`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::output;
use crate::error::{Error, Result};
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, name};
use husk_engine::home::Home;
use husk_engine::runtime::Runtime;

/// Between two looks: over less the CPU's share says little.
const INTERVAL: Duration = Duration::from_secs(1);
/// Home, and clear to the end of the screen (console_codes(4)).
const REDRAW: &str = "\x1b[H\x1b[J";

/// `stats`.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Include stopped containers
    #[arg(short, long)]
    all: bool,
    /// Print the first result only, do not stream
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate IDs
    #[arg(long)]
    no_trunc: bool,
    /// Format output as json, table, or by a Go template such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long)]
    format: Option<String>,
    /// Names or IDs (default: all running containers)
    containers: Vec<String>,
}

/// CPU time used, in nanoseconds, and when that was.
type Seen = HashMap<String, (u64, Instant)>;

impl Stats {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let runtime = Runtime::find(home)?;
        let mut seen = Seen::new();
        let mut rows = self.look(home, &runtime, &mut seen)?;
        loop {
            if rows.iter().any(|row| row.get("PIDs").is_some_and(|pids| pids != "--")) {
                std::thread::sleep(INTERVAL);
                rows = self.look(home, &runtime, &mut seen)?;
            }
            self.show(&rows)?;
            if self.no_stream {
                return Ok(0);
            }
            if rows.iter().all(|row| row.get("PIDs").is_some_and(|pids| pids == "--")) {
                std::thread::sleep(INTERVAL);
                rows = self.look(home, &runtime, &mut seen)?;
            }
        }
    }

    fn containers(&self, home: &Home) -> Result<Vec<(Container, State)>> {
        let mut found = Vec::new();
        for name in &self.containers {
            let container = Container::find(home, name)?;
            let state = container.state()?;
            found.push((container, state));
        }
        if self.containers.is_empty() {
            for container in Container::all(home)? {
                let Ok(state) = container.state() else { continue };
                if self.all || state.status == Status::Running {
                    found.push((container, state));
                }
            }
        }
        Ok(found)
    }

    fn look(&self, home: &Home, runtime: &Runtime, seen: &mut Seen) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        for (container, state) in self.containers(home)? {
            let id = container.id();
            let used = match state.status {
                // It may end while we look: then it is one that does not run.
                Status::Running => runtime.output(&["events", "--stats", id]).ok(),
                _ => None,
            };
            let used: Option<Value> =
                used.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::other)?;
            let used = used.as_ref().and_then(|event| event.get("data"));
            let shown = if self.no_trunc { id } else { name::short(id) };
            rows.push(row(shown, &container, used, state.pid, seen));
        }
        Ok(rows)
    }

    fn show(&self, rows: &[Value]) -> Result<()> {
        let live = !self.no_stream && std::io::stdout().is_terminal();
        if live {
            output::print(REDRAW)?;
        }
        let columns = [
            ("CONTAINER ID", "ID"),
            ("NAME", "Name"),
            ("CPU %", "CPUPerc"),
            ("MEM USAGE / LIMIT", "MemUsage"),
            ("MEM %", "MemPerc"),
            ("NET I/O", "NetIO"),
            ("BLOCK I/O", "BlockIO"),
            ("PIDS", "PIDs"),
        ];
        output::listing(self.format.as_deref(), &columns, rows)
    }
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn row(
    shown: &str,
    container: &Container,
    used: Option<&Value>,
    pid: i32,
    seen: &mut Seen,
) -> Value {
    let id = container.id();
    let Some(used) = used else {
        seen.remove(id);
        return json!({
            "ID": shown, "Container": shown, "Name": container.record.name, "CPUPerc": "--",
            "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        });
    };
    let now = (number(used, "/cpu/usage/total"), Instant::now());
    let before = seen.insert(id.to_owned(), now).unwrap_or(now);
    let elapsed = now.1.duration_since(before.1).as_nanos() as f64;
    let share = match elapsed > 0.0 {
        true => now.0.saturating_sub(before.0) as f64 / elapsed * 100.0,
        false => 0.0,
    };
    let (memory, limit) = memory(used, husk_engine::system::total_memory());
    let (received, sent) = network(pid);
    let (read, written) = block(used);
    // Without a cgroup, as an ordinary user may be, there is nothing to read.
    let is_counted = used.pointer("/memory/usage/usage").is_some_and(|usage| *usage != 0);
    let pair = |one, other| format!("{} / {}", output::size(one), output::size(other));
    json!({
        "ID": shown,
        "Container": shown,
        "Name": container.record.name,
        "CPUPerc": if is_counted { format!("{share:.2}%") } else { "--".to_owned() },
        "MemUsage": match is_counted {
            true => format!("{} / {}", binary(memory), binary(limit)),
            false => "-- / --".to_owned(),
        },
        "MemPerc": match is_counted {
            true => format!("{:.2}%", memory as f64 / limit.max(1) as f64 * 100.0),
            false => "--".to_owned(),
        },
        "NetIO": pair(received, sent),
        "BlockIO": pair(read, written),
        "PIDs": match number(used, "/pids/current") {
            // A container that runs has a process: nothing counts them.
            0 => "--".to_owned(),
            count => count.to_string(),
        },
    })
}

/// What is used without the part of the page cache that is given back at once, and the
/// limit, at most what the machine has.
fn memory(used: &Value, machine: u64) -> (u64, u64) {
    let raw = |name: &str| number(used, &format!("/memory/raw/{name}"));
    let inactive = match raw("total_inactive_file") {
        0 => raw("inactive_file"),
        inactive => inactive,
    };
    let usage = number(used, "/memory/usage/usage").saturating_sub(inactive);
    let limit = number(used, "/memory/usage/limit");
    let limited = (1..machine).contains(&limit);
    (usage, if limited { limit } else { machine })
}

/// Bytes received and sent by the process's network namespace, without its loopback
/// (proc_pid_net(5)).
fn network(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let fields: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        if name.trim() != "lo" {
            sum.0 += fields.first().unwrap_or(&0);
            sum.1 += fields.get(8).unwrap_or(&0);
        }
    }
    sum
}

fn block(used: &Value) -> (u64, u64) {
    let entries = used.pointer("/blkio/ioServiceBytesRecursive").and_then(Value::as_array);
    let mut sum = (0, 0);
    for entry in entries.into_iter().flatten() {
        match entry.get("op").and_then(Value::as_str) {
            Some("Read") => sum.0 += number(entry, "/value"),
            Some("Write") => sum.1 += number(entry, "/value"),
            _ => {}
        }
    }
    sum
}

/// Powers of 1024, as Docker prints memory.
pub(super) fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_without_idle_cache_and_within_the_machine() {
        let used = |limit: u64| json!({"memory": {"usage": {"usage": 500, "limit": limit}, "raw": {"inactive_file": 100}}});
        assert_eq!(memory(&used(1000), 5000), (400, 1000));
        assert_eq!(memory(&used(u64::MAX / 2), 5000), (400, 5000));
        assert_eq!(memory(&used(0), 5000), (400, 5000));
        assert_eq!(binary(1_572_864), "1.500MiB");
        assert_eq!(binary(512), "512B");
    }
}
