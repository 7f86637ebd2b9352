//! `cargo xtask fuzz`: libFuzzer, led by coverage, on a stable compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use lexopt::{Arg, ValueExt};

use crate::debian::{self, Need};
use crate::scratch::Scratch;
use crate::{cargo, interrupt, process};

const HELP: &str = "\
cargo xtask fuzz [TARGET...] [OPTIONS]

Builds the targets in fuzz/ with coverage and runs each, from the inputs in fuzz/seeds and
from what earlier runs have found (target/fuzz/corpus). Without a TARGET all of them.
cargo xtask test runs the same checks, bounded and without coverage.

  --time SECONDS   how long each runs (60)
  --runs N         how many inputs each is given, instead of a time
  --list           print the targets

An input that panics, takes more than 10 seconds or more than 1 GiB of memory is kept in
target/fuzz/artifacts, and is the exit code.
";

/// What cargo-fuzz asks the compiler for, as far as a stable one knows it.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

const NEEDS: &[Need] = &[Need { package: "g++", purpose: "libFuzzer, which is C++" }];

/// What was asked for.
struct Options {
    targets: Vec<String>,
    /// `-max_total_time=` or `-runs=`.
    bound: String,
}

/// Runs the command.
///
/// # Errors
/// A target is unknown or does not build. One that finds something is the exit code.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let known = targets()?;
    let mut options = Options { targets: Vec::new(), bound: "-max_total_time=60".into() };
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("time") => {
                options.bound = format!("-max_total_time={}", positive(&mut arguments, "--time")?);
            }
            Arg::Long("runs") => {
                options.bound = format!("-runs={}", positive(&mut arguments, "--runs")?);
            }
            Arg::Long("list") => {
                known.iter().for_each(|target| println!("{target}"));
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Value(target) => options.targets.push(target.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(target) = options.targets.iter().find(|target| !known.contains(target)) {
        bail!("no target {target:?}: there are {}", known.join(", "));
    }
    if options.targets.is_empty() {
        options.targets = known;
    }
    interrupt::note()?;
    debian::provide(NEEDS);
    let programs = build(&options.targets)?;
    let mut found = Vec::new();
    for (target, program) in options.targets.iter().zip(&programs) {
        if !run(target, program, &options.bound)? {
            found.push(target.as_str());
        }
        interrupt::check()?;
    }
    if found.is_empty() {
        println!("{}: nothing found", options.targets.join(", "));
        return Ok(ExitCode::SUCCESS);
    }
    println!("found something: {} (the inputs are in target/fuzz/artifacts)", found.join(", "));
    Ok(ExitCode::FAILURE)
}

fn positive(arguments: &mut lexopt::Parser, flag: &str) -> anyhow::Result<u32> {
    let number: u32 = arguments.value()?.parse().with_context(|| flag.to_owned())?;
    // To libFuzzer 0 seconds are no bound at all.
    if number == 0 { bail!("{flag} 0: at least 1") } else { Ok(number) }
}

fn directory() -> PathBuf {
    cargo::workspace().join("fuzz")
}

/// The names of the files in fuzz/fuzz_targets.
fn targets() -> anyhow::Result<Vec<String>> {
    let directory = directory().join("fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the targets; returns the program of each.
fn build(targets: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = cargo::command();
    command.current_dir(directory()).args(["build", "--release", "--target-dir"]);
    command.arg(output());
    targets.iter().for_each(|target| {
        command.args(["--bin", target]);
    });
    command.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}")).env_remove("RUSTFLAGS");
    let mut built = cargo::executables(&mut command, "bin", None)?;
    targets
        .iter()
        .map(|target| built.remove(target).with_context(|| format!("{target} was not built")))
        .collect()
}

/// Where builds, inputs and finds go.
fn output() -> PathBuf {
    cargo::workspace().join("target/fuzz")
}

/// Runs one target; whether it found nothing.
fn run(target: &str, program: &Path, bound: &str) -> anyhow::Result<bool> {
    let corpus = output().join("corpus").join(target);
    let artifacts = output().join("artifacts").join(target);
    for directory in [&corpus, &artifacts] {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    // What a target writes goes with it, however it ends.
    let scratch = Scratch::new("fuzz")?;
    let mut command = Command::new(program);
    command.env("TMPDIR", scratch.path());
    // Not a line for each input that is kept.
    command.args(["-verbosity=0", "-print_final_stats=1"]);
    command.args([bound, "-timeout=10", "-rss_limit_mb=1024"]);
    command.arg(format!("-dict={}", directory().join("dictionaries").join(target).display()));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // New finds go to the first; the second, in the tree, is only read.
    command.arg(corpus).arg(directory().join("seeds").join(target));
    eprintln!("==> {}", process::describe(&command));
    let status = command.status().with_context(|| program.display().to_string())?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_seeds_and_a_dictionary() {
        for target in targets().expect("targets") {
            let seeds = fs::read_dir(directory().join("seeds").join(&target)).expect("seeds");
            assert!(seeds.count() > 0, "{target}");
            assert!(directory().join("dictionaries").join(&target).exists(), "{target}");
        }
    }
}
