//! What compiling a profile costs: `compile_cost CONFIG.json [TIMES]`.
//!
//! Prints the program's length and the nanoseconds of the quickest compile.

use std::process::ExitCode;
use std::time::Instant;

use husk_seccomp::{Program, compile};
use husk_spec::{Seccomp, SeccompArch};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compile_cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(profile: &Seccomp) -> Result<Program, String> {
    compile(profile, SeccompArch::X86_64).map_err(|error| error.to_string())
}

fn run() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: compile_cost CONFIG.json [TIMES]")?;
    let times: u32 = args.next().map_or(Ok(1), |times| times.parse()).map_err(|_| "TIMES")?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let config: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let seccomp = config.pointer("/linux/seccomp").unwrap_or(&config).clone();
    let profile: Seccomp =
        serde_json::from_value(seccomp).map_err(|error| format!("{path}: {error}"))?;
    let mut best = u128::MAX;
    let mut length = 0;
    for _ in 0..times.max(1) {
        let start = Instant::now();
        length = std::hint::black_box(measured(&profile)?).instructions.len();
        best = best.min(start.elapsed().as_nanos());
    }
    println!("{length} instructions, {best} ns");
    Ok(())
}
