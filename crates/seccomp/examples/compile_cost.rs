//! What compiling a profile costs: `compile_cost CONFIG.json|docker|podman [TIMES]`.
//!
//! `docker` and `podman` are the engines' default profiles as the tests find them. Prints the
//! program's length, what the first compile of this process took and the quickest of TIMES,
//! and how the latter is to parsing the same profile's JSON, the quickest of as many.

#![allow(clippy::expect_used, reason = "the tests' module, where it is a failure's word")]

#[path = "../tests/support/engine.rs"]
mod engine;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::{DOCKER, Engine, PODMAN, profiles};
use husk_seccomp::{Program, compile};
use husk_spec::{Seccomp, SeccompArch};
use serde_json::Value;

const NATIVE: SeccompArch = SeccompArch::X86_64;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compile_cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("usage: compile_cost CONFIG.json|docker|podman [TIMES]")?;
    let times: u32 = args.next().map_or(Ok(1), |times| times.parse()).map_err(|_| "TIMES")?;
    let profile = match name.as_str() {
        "docker" => of_engine(&DOCKER)?,
        "podman" => of_engine(&PODMAN)?,
        path => of_config(path)?,
    };
    let text = serde_json::to_string(&profile).map_err(|error| error.to_string())?;
    let (first, program) = timed(|| measured(&profile));
    let length = program?.instructions.len();
    let mut compiled = first;
    let mut parsed = Duration::MAX;
    for _ in 0..times.max(1) {
        compiled = compiled.min(timed(|| measured(&profile)).0);
        parsed = parsed.min(timed(|| serde_json::from_str::<Seccomp>(black_box(&text))).0);
    }
    println!(
        "{length} instructions; first {} us, quickest {} us, {:.2} of parsing its {} bytes",
        first.as_micros(),
        compiled.as_micros(),
        compiled.as_secs_f64() / parsed.as_secs_f64(),
        text.len(),
    );
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = black_box(work());
    (start.elapsed(), result)
}

fn measured(profile: &Seccomp) -> Result<Program, String> {
    compile(black_box(profile), NATIVE).map_err(|error| error.to_string())
}

/// The engine's default profile with the default capabilities.
fn of_engine(engine: &Engine) -> Result<Seccomp, String> {
    let source =
        engine.source().ok_or_else(|| format!("{}'s profile is not there", engine.name))?;
    let [(_, profile), ..] = profiles(&source, NATIVE);
    Ok(profile)
}

/// A container's config.json, or a profile alone.
fn of_config(path: &str) -> Result<Seccomp, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let seccomp = config.pointer("/linux/seccomp").unwrap_or(&config).clone();
    serde_json::from_value(seccomp).map_err(|error| format!("{path}: {error}"))
}
