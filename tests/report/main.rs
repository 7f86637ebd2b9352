//! Runs a suite on several runtimes and prints how each fares, as Markdown:
//!
//! `cargo run --package husk-tests --bin conformance-report -- [--suite NAME] [--write FILE] RUNTIME...`
//!
//! With `--write` the tables replace what stands between the markers of FILE,
//! which is how docs/conformance.md and, for the suite `hostile`, docs/security.md
//! are kept.

mod conformance;
mod hostile;
mod suite;

use std::process::ExitCode;
use std::{env, fs};

use suite::Results;

const SECURITY: &str = "docs/security.md";

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<(), String> {
    let (mut name, mut write, mut runtimes) = ("conformance".to_owned(), None, Vec::new());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--suite" => name = value()?,
            "--write" => write = Some(value()?),
            _ => runtimes.push(argument),
        }
    }
    if runtimes.is_empty() {
        return Err("no runtime given (husk-oci, runc, crun, or a path)".to_owned());
    }
    // Read first: what is wrong with it is told before minutes of tests.
    let cases = match name.as_str() {
        "conformance" => Vec::new(),
        "hostile" => {
            let text = fs::read_to_string(SECURITY).map_err(|e| format!("{SECURITY}: {e}"))?;
            hostile::cases(&text)?
        }
        _ => return Err(format!("no suite {name:?}: conformance or hostile")),
    };
    let suite = suite::build(&name)?;
    let mut results: Vec<(String, Results)> = Vec::new();
    for runtime in &runtimes {
        eprintln!("conformance-report: {runtime} ...");
        results.push((suite::label(&suite, runtime), suite::run(&suite, runtime)?));
    }
    let tables = match name.as_str() {
        "hostile" => hostile::tables(&cases, &results)?,
        _ => conformance::tables(&results),
    };
    match write {
        Some(file) => suite::replace(&file, &tables),
        None => {
            print!("{tables}");
            Ok(())
        }
    }
}
