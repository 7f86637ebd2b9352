//! `cargo xtask test`: sets up, builds, runs every test and counts them.

mod ceiling;
pub(crate) mod debian_root;
mod deny;
mod edge;
mod profile;
mod runner;
mod tally;

use std::process::ExitCode;

use anyhow::bail;
use lexopt::Arg;

use crate::cargo::{self, Metadata, Profile};
use crate::{debian, interrupt, process, vm};
use runner::Runner;
pub(crate) use tally::Tally;

const HELP: &str = "\
cargo xtask test [PART...] [OPTIONS] [-- FILTER...]

Installs what is missing (as root), builds, and runs the tests. Without a PART all of:

  format     cargo fmt --check
  lint       cargo clippy, no warning allowed
  doc        cargo doc, no warning allowed
  deny       cargo deny: licences, advisories, sources; skipped without cargo-deny, and
             advisories without their database
  unit       unit, golden and documentation tests of the workspace
  blackbox   the suites in tests/, against the built programs; a suite's own name
             (conformance, lifecycle, engines, ...) runs that one alone
  edges      nothing but husk-oci links the runtime
  ceilings   crates, binary size, system calls and instructions (bench/ceilings.json)
  vm         a few checks in a virtual machine with systemd, cgroup v2 and AppArmor; the
             suites in there: cargo xtask vm

  --no-setup   install nothing
  --release    black-box tests against the release build
  -- FILTER    only tests whose names contain FILTER (unit and blackbox)

The last line counts the tests: `N passed, N failed`, and `, N skipped` where a test said
why it could not run here.
";

const PARTS: [&str; 9] =
    ["format", "lint", "doc", "deny", "unit", "blackbox", "edges", "ceilings", "vm"];

/// What was asked for.
struct Options {
    parts: Vec<String>,
    filters: Vec<String>,
    setup: bool,
    profile: Profile,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|p| p == part)
    }
}

/// Runs the command.
///
/// # Errors
/// A part is unknown, or the build fails. A test that fails is the exit code.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let mut options =
        Options { parts: Vec::new(), filters: Vec::new(), setup: true, profile: Profile::Dev };
    loop {
        if let Some(raw) = arguments.try_raw_args()
            && raw.peek().is_some_and(|next| next == "--")
        {
            options.filters.extend(raw.skip(1).map(|word| word.to_string_lossy().into_owned()));
            break;
        }
        let Some(argument) = arguments.next()? else { break };
        match argument {
            Arg::Long("no-setup") => options.setup = false,
            Arg::Long("release") => options.profile = Profile::Release,
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Value(part) => options.parts.push(part.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::note()?;
    let metadata = Metadata::read()?;
    let suites = metadata.suites();
    if let Some(part) =
        options.parts.iter().find(|p| !PARTS.contains(&p.as_str()) && !suites.contains(p))
    {
        bail!("no part {part:?}: there are {} and {}", PARTS.join(", "), suites.join(", "));
    }
    if options.setup {
        debian::provide(debian::TESTS);
    }
    let tally = run(&options, &metadata, &suites)?;
    interrupt::check()?;
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(options: &Options, metadata: &Metadata, suites: &[String]) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if options.wants("format") {
        let mut command = cargo::command();
        command.args(["fmt", "--all", "--check"]);
        tally.check("format", process::run(&mut command));
    }
    if options.wants("lint") {
        let mut command = cargo::command();
        command.args(["clippy", "--workspace", "--all-targets", "--quiet"]);
        command.args(["--", "--deny", "warnings"]);
        tally.check("lint", process::run(&mut command));
    }
    interrupt::check()?;
    if options.wants("doc") {
        let mut command = cargo::command();
        command.args(["doc", "--workspace", "--no-deps", "--quiet"]);
        command.env("RUSTDOCFLAGS", "--deny warnings");
        tally.check("doc", process::run(&mut command));
    }
    if options.wants("deny") {
        deny::check(&mut tally);
    }
    interrupt::check()?;
    if options.wants("edges") {
        tally.check("edges: nothing but husk-oci links the runtime", edge::check(metadata));
    }
    let mut runner = Runner::find(&options.filters);
    if options.wants("unit") {
        match profile::docker() {
            Ok(path) => runner.docker_profile = path,
            // The test that wants it says that it is skipped.
            Err(error) => eprintln!("xtask: no seccomp profile of Docker's: {error:#}"),
        }
        match debian_root::tar() {
            Ok(path) => runner.debian_tar = path,
            Err(error) => eprintln!("xtask: no Debian root file system: {error:#}"),
        }
        tally.add("unit", runner.unit()?);
        interrupt::check()?;
        tally.add("documentation", runner.documentation()?);
        interrupt::check()?;
    }
    let suites: Vec<&str> = suites
        .iter()
        .filter(|suite| options.wants("blackbox") || options.parts.contains(suite))
        .map(String::as_str)
        .collect();
    if !suites.is_empty() && !process::is_root() {
        suites.iter().for_each(|suite| tally.skip(suite, "makes containers as root: use sudo -E"));
    } else if !suites.is_empty() {
        tally.add("black box", runner.black_box(&suites, metadata, options.profile)?);
        interrupt::check()?;
    }
    if options.wants("ceilings") {
        ceiling::check(metadata, &mut tally)?;
        interrupt::check()?;
    }
    if options.wants("vm") {
        vm::smoke(&mut tally)?;
    }
    Ok(tally)
}
