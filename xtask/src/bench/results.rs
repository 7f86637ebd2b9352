//! What a run of the benchmark found, as it is written to results.json.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Serialize;

use super::alive::Crowd;
use super::options::Options;
use super::peer::Peer;
use super::statistics::Summary;
use crate::process;

/// Either a figure or the reason why there is none.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Found<T> {
    /// Measured.
    Value(T),
    /// The peer failed or hung: its message.
    Failed(String),
}

impl<T> From<anyhow::Result<T>> for Found<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

impl<T> Found<T> {
    /// The figure.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Failed(_) => None,
        }
    }
}

/// One row for every peer.
#[derive(Serialize)]
pub(crate) struct Row<T> {
    /// The peer.
    pub(crate) peer: String,
    /// What it came to.
    pub(crate) found: Found<T>,
}

/// One timed thing.
#[derive(Serialize)]
pub(crate) struct Timing {
    /// The word that selects it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) title: String,
    /// In order of the peers.
    pub(crate) rows: Vec<Row<Summary>>,
}

/// Many at a time.
#[derive(Serialize)]
pub(crate) struct Rate {
    /// Runs a second.
    pub(crate) per_second: f64,
    /// Each run's own time.
    pub(crate) each: Summary,
}

/// One width of the throughput.
#[derive(Serialize)]
pub(crate) struct Throughput {
    /// How many at a time.
    pub(crate) width: usize,
    /// In order of the peers.
    pub(crate) rows: Vec<Row<Rate>>,
}

/// One figure without a clock.
#[derive(Serialize)]
pub(crate) struct Count {
    /// The word that names it.
    pub(crate) name: String,
    /// What is counted.
    pub(crate) title: String,
    /// Bytes, or just a number.
    pub(crate) bytes: bool,
    /// In order of the peers.
    pub(crate) rows: Vec<Row<u64>>,
}

/// All of it.
#[derive(Serialize)]
pub(crate) struct Results {
    /// When, in UTC, as date(1) prints it.
    pub(crate) date: String,
    /// The kernel, the processor, how many of them, how much memory.
    pub(crate) machine: BTreeMap<&'static str, String>,
    /// Every peer's name and version.
    pub(crate) versions: Vec<(String, String)>,
    /// Rounds of the timings.
    pub(crate) rounds: usize,
    /// Whether the standing containers have no device rules.
    pub(crate) plain: bool,
    /// Whether the host's cgroup hierarchies are used, and the standing containers limited.
    pub(crate) host_cgroups: bool,
    /// Timings.
    pub(crate) timings: Vec<Timing>,
    /// Throughput.
    pub(crate) throughput: Vec<Throughput>,
    /// Many alive at once.
    pub(crate) alive: Vec<Row<Crowd>>,
    /// Figures without a clock.
    pub(crate) counts: Vec<Count>,
}

impl Results {
    /// With the machine described and nothing measured.
    pub(crate) fn new(peers: &[Peer], options: &Options, plain: bool) -> Self {
        let versions = peers.iter().map(|peer| (peer.name.clone(), peer.version.clone())).collect();
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M"])),
            machine: machine(),
            versions,
            rounds: options.rounds,
            plain,
            host_cgroups: options.host_cgroups,
            timings: Vec::new(),
            throughput: Vec::new(),
            alive: Vec::new(),
            counts: Vec::new(),
        }
    }
}

fn machine() -> BTreeMap<&'static str, String> {
    let field = |file: &str, key: &str| {
        fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .find_map(|line| {
                Some(line.strip_prefix(key)?.trim_start_matches([' ', '\t', ':']).to_owned())
            })
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    BTreeMap::from([
        ("kernel", said(Command::new("uname").arg("-r"))),
        ("processor", field("/proc/cpuinfo", "model name")),
        ("processors", processors.to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
    ])
}

fn said(command: &mut Command) -> String {
    process::output(command).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
