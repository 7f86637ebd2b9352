//! `cargo xtask conformance`: the counts of docs/conformance.md and docs/security.md.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lexopt::Arg;

use crate::cargo::{self, Profile};
use crate::{debian, process};

const HELP: &str = "\
cargo xtask conformance [RUNTIME...]

Runs the suite tests/conformance against husk-oci, runc and crun, or against the runtimes
named, and rewrites the tables of docs/conformance.md.

  --hostile   the suite tests/hostile and docs/security.md instead
  --print     print the tables and leave the file alone
";

const REPORT: &str = "conformance-report";

/// Runs the command.
///
/// # Errors
/// Not root, the build fails, or a runtime cannot be tested.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let (mut runtimes, mut write) = (Vec::new(), true);
    let (mut suite, mut document) = ("conformance", "docs/conformance.md");
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("print") => write = false,
            Arg::Long("hostile") => (suite, document) = ("hostile", "docs/security.md"),
            Arg::Value(runtime) => runtimes.push(runtime.to_string_lossy().into_owned()),
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !process::is_root() {
        bail!("the suite makes containers as root: sudo -E cargo xtask conformance");
    }
    debian::provide(debian::TESTS);
    if runtimes.is_empty() {
        runtimes = ["husk-oci", "runc", "crun"].map(str::to_owned).to_vec();
    }
    let mut tests = cargo::command();
    tests.args(["test", "--no-run", "--workspace", "--test", suite]);
    cargo::executables(&mut tests, "test", None)?;
    let report: PathBuf = cargo::build_one(cargo::SUITES, REPORT, Profile::Dev)?;
    let mut command = std::process::Command::new(report);
    command.current_dir(cargo::workspace());
    if runtimes.iter().any(|runtime| runtime == "husk-oci") {
        let husk_oci = cargo::build_one("husk-runtime", "husk-oci", Profile::Dev)?;
        command.env("HUSK_OCI", husk_oci);
    }
    command.args(["--suite", suite]);
    if write {
        command.args(["--write", document]);
    }
    process::run(command.args(&runtimes)).context("the report")?;
    Ok(ExitCode::SUCCESS)
}
