//! `stats`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::output;
use crate::error::Result;
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, name};
use husk_engine::home::Home;
use husk_engine::stats::Sample;

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
        let mut seen = Seen::new();
        let mut rows = self.look(home, &mut seen)?;
        loop {
            if rows.iter().any(|row| row.get("PIDs").is_some_and(|pids| pids != "--")) {
                std::thread::sleep(INTERVAL);
                rows = self.look(home, &mut seen)?;
            }
            self.show(&rows)?;
            if self.no_stream {
                return Ok(0);
            }
            if rows.iter().all(|row| row.get("PIDs").is_some_and(|pids| pids == "--")) {
                std::thread::sleep(INTERVAL);
                rows = self.look(home, &mut seen)?;
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

    fn look(&self, home: &Home, seen: &mut Seen) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        for (container, _) in self.containers(home)? {
            let id = container.id();
            let shown = if self.no_trunc { id } else { name::short(id) };
            let sample = Sample::take(home, &container)?;
            rows.push(row(shown, &container, sample.as_ref(), seen));
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

fn row(shown: &str, container: &Container, sample: Option<&Sample>, seen: &mut Seen) -> Value {
    let id = container.id();
    let Some(sample) = sample else {
        seen.remove(id);
        return json!({
            "ID": shown, "Container": shown, "Name": container.record.name, "CPUPerc": "--",
            "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        });
    };
    let used = &sample.used;
    let now = (used.cpu.usage.total, Instant::now());
    let before = seen.insert(id.to_owned(), now).unwrap_or(now);
    let elapsed = now.1.duration_since(before.1).as_nanos() as f64;
    let share = match elapsed > 0.0 {
        true => now.0.saturating_sub(before.0) as f64 / elapsed * 100.0,
        false => 0.0,
    };
    let (memory, limit) = (used.memory.working_set(), used.memory.limit());
    let (received, sent) = sample.network_bytes();
    let (read, written) = used.block_bytes();
    // Without a cgroup, as an ordinary user may be, there is nothing to read.
    let is_counted = used.memory.usage.usage != 0;
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
        "PIDs": match used.pids.current {
            // A container that runs has a process: nothing counts them.
            0 => "--".to_owned(),
            count => count.to_string(),
        },
    })
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
    fn memory_has_units_of_1024() {
        assert_eq!(binary(1_572_864), "1.500MiB");
        assert_eq!(binary(512), "512B");
    }
}
