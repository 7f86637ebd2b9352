//! The command line of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use lexopt::Arg;

use super::measure::MEASURES;
use crate::cargo;

pub(super) const HELP: &str = "\
cargo xtask bench [OPTIONS]

Measures husk-oci beside runc, crun and youki, as far as they are on PATH, and beside the
floor (bench/floor.c: the same container by bare system calls), in interleaved rounds.
Prints a table; writes results.json, table.md and plots to bench/results/.

  --rounds N         rounds of each timing (100; of pull 3)
  --only A,B,...     only these parts: run plain profile plain-profile cold-profile lifecycle
                     exec state throughput alive counts waterfall; or, alone,
                     engine (husk run beside podman and ctr) or pull (husk pull beside podman)
  --peer NAME=PATH   another runtime to compare with; repeatable
  --no-path          leave out the runtimes that are on PATH
  --subject PATH     the runtime under test, instead of husk-oci as it is released
  --alive N          containers alive at once (1000)
  --host-cgroups     no cgroup v2 of the run's own: the host's hierarchies as they are, with
                     limits of memory, cpu, pids and devices for containers that stay. Without
                     the floor, and who cannot run a container there takes no part
  --runs N           runs of each width of the throughput (400)
  --instructions S   seconds a peer gets for its instructions to be counted (120)
  --results DIR      where to write (bench/results)

A quick look: cargo xtask bench --rounds 10 --only run,exec
";

/// The parts that are not timings of rounds.
const PARTS: [&str; 6] = ["throughput", "alive", "counts", "waterfall", "engine", "pull"];

/// Those of them that no other part can stand beside.
const ALONE: [&str; 2] = ["engine", "pull"];

/// What the command line asked for.
pub(super) struct Options {
    /// Rounds of each timing.
    pub(super) rounds: usize,
    /// The parts wanted; none means all.
    only: Vec<String>,
    /// Runtimes named on the command line.
    pub(super) peers: Vec<(String, PathBuf)>,
    /// Whether PATH is searched for more.
    pub(super) search: bool,
    /// The runtime under test.
    pub(super) subject: Option<PathBuf>,
    /// Containers alive at once.
    pub(super) alive: usize,
    /// Runs of each width.
    pub(super) runs: usize,
    /// How long one peer's instructions may be counted.
    pub(super) patience: Duration,
    /// Where to write.
    pub(super) results: PathBuf,
    /// Whether the host's cgroup hierarchies are used as they are.
    pub(super) host_cgroups: bool,
    /// Whether we are in our own mount namespace already.
    pub(super) inside: bool,
}

impl Options {
    /// Reads the command line; `None` for `--help`.
    ///
    /// # Errors
    /// An option or a part is unknown, or a value is no number.
    pub(super) fn parse(mut arguments: lexopt::Parser) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            rounds: 0,
            only: Vec::new(),
            peers: Vec::new(),
            search: true,
            subject: None,
            alive: 1000,
            runs: 400,
            patience: Duration::from_secs(120),
            results: cargo::workspace().join("bench/results"),
            host_cgroups: false,
            inside: false,
        };
        let mut rounds = None;
        while let Some(argument) = arguments.next()? {
            let flag = match argument {
                Arg::Long(flag) => flag.to_owned(),
                Arg::Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            };
            let mut value = || -> anyhow::Result<String> {
                arguments.value()?.into_string().map_err(|v| anyhow::anyhow!("{v:?} is no text"))
            };
            match flag.as_str() {
                "rounds" => rounds = Some(number("--rounds", &value()?)?),
                "alive" => options.alive = number("--alive", &value()?)?,
                "runs" => options.runs = number("--runs", &value()?)?,
                "instructions" => {
                    let seconds = number("--instructions", &value()?)?;
                    options.patience = Duration::from_secs(seconds as u64);
                }
                "only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "peer" => {
                    let peer = value()?;
                    let (name, path) = peer.split_once('=').context("--peer is NAME=PATH")?;
                    options.peers.push((name.to_owned(), path.into()));
                }
                "no-path" => options.search = false,
                "subject" => options.subject = Some(value()?.into()),
                "results" => options.results = value()?.into(),
                "host-cgroups" => options.host_cgroups = true,
                "inside-namespace" => options.inside = true,
                "help" => return Ok(None),
                other => bail!("no option --{other}; --help lists them"),
            }
        }
        let known = |part: &String| {
            PARTS.contains(&part.as_str()) || MEASURES.iter().any(|(name, ..)| name == part)
        };
        if let Some(part) = options.only.iter().find(|part| !known(part)) {
            bail!("--only {part}: no such part; --help lists them");
        }
        if let (Some(part), 2..) =
            (options.only.iter().find(|part| ALONE.contains(&part.as_str())), options.only.len())
        {
            bail!("--only {part} is a table of its own: ask for it alone");
        }
        options.rounds = rounds.unwrap_or(if options.is_pull() { 3 } else { 100 });
        if options.host_cgroups && (options.is_engine() || options.is_pull()) {
            bail!("--host-cgroups is for a comparison of runtimes, not for engine or pull");
        }
        Ok(Some(options))
    }

    /// Whether the engine is measured, which is a table of its own.
    pub(super) fn is_engine(&self) -> bool {
        self.only.iter().any(|part| part == "engine")
    }

    /// Whether pulling is measured, which is a table of its own, too.
    pub(super) fn is_pull(&self) -> bool {
        self.only.iter().any(|part| part == "pull")
    }

    /// Whether a part is to be measured.
    pub(super) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|p| p == part)
    }
}

fn number(flag: &str, value: &str) -> anyhow::Result<usize> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{flag} {value}: not a number above 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Option<Options>> {
        Options::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn the_hosts_cgroups_are_for_comparisons_of_runtimes() {
        let options = parse(&["--host-cgroups", "--only", "alive"]).expect("parse").expect("help");
        assert!(options.host_cgroups);
        for other in ["engine", "pull"].map(|part| ["--host-cgroups", "--only", part]) {
            let error = parse(&other).err().expect("refused").to_string();
            assert!(error.contains("--host-cgroups"), "{error}");
        }
    }
}
