//! `cargo xtask vm`: the tests that need another kernel, systemd and AppArmor.

mod image;
mod machine;
mod payload;
mod recipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use lexopt::Arg;

use crate::cargo::{self, Metadata, Profile};
use crate::scratch::Scratch;
use crate::test::Tally;
use crate::{debian, interrupt};
use machine::Size;
use payload::Payload;

const HELP: &str = "\
cargo xtask vm [OPTIONS] [PART...]
cargo xtask vm [OPTIONS] -- CMD [ARG...]

Boots Debian's kernel under qemu (software emulation, no KVM) with systemd, pure cgroup v2
and AppArmor, the freshly built programs in /husk, and runs parts of the black-box suites
there. The image is built once, as root, and kept in $XDG_CACHE_HOME/husk-vm.

  smoke      a few checks of each of the following (--smoke is the same)
  root       the suites as root, cgroupfs driver
  systemd    the suites as root, with --systemd-cgroup
  user       the suites that can do without root, as a user with a delegated cgroup
  CMD        any command, as root, with /husk first on PATH; its exit code is ours.
             /husk/as-user CMD runs it as the user without privileges

  --suite NAME     only this suite of tests/ (repeatable)
  --filter WORD    only tests whose names contain WORD (repeatable)
  --package NAME   put the test executables of this package into /husk/deps too
  --file PATH      put this file into /husk/files
  --runtime PATH   another runtime under test: a path inside the machine
                   (/usr/bin/crun and /usr/sbin/runc are there)
  --release        the release build
  --cpus N         processors (2)
  --memory MB      memory (2048)
  --timeout S      seconds from power on to power off (900)
  --console FILE   keep what the kernel and systemd say
";

const PARTS: [&str; 4] = ["smoke", "root", "systemd", "user"];

/// Suites that need no root: they make their containers in a user namespace.
const ROOTLESS_SUITES: [&str; 1] = ["rootless"];

struct Options {
    parts: Vec<String>,
    suites: Vec<String>,
    filters: Vec<String>,
    packages: Vec<String>,
    files: Vec<PathBuf>,
    runtime: Option<String>,
    profile: Profile,
    size: Size,
    console: Option<PathBuf>,
    command: Option<Vec<String>>,
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> anyhow::Result<Option<Self>> {
        let limit = Duration::from_secs(900);
        let mut options = Self {
            parts: Vec::new(),
            suites: Vec::new(),
            filters: Vec::new(),
            packages: Vec::new(),
            files: Vec::new(),
            runtime: None,
            profile: Profile::Dev,
            size: Size { processors: 2, memory: 2048, limit },
            console: None,
            command: None,
        };
        loop {
            if let Some(raw) = arguments.try_raw_args()
                && raw.peek().is_some_and(|next| next == "--")
            {
                let words = raw.skip(1).map(|word| word.to_string_lossy().into_owned());
                options.command = Some(words.collect());
                break;
            }
            let Some(argument) = arguments.next()? else { break };
            let flag = match argument {
                Arg::Long(flag) => flag.to_owned(),
                Arg::Short('h') => return Ok(None),
                Arg::Value(part) => {
                    options.parts.push(part.to_string_lossy().into_owned());
                    continue;
                }
                other => return Err(other.unexpected().into()),
            };
            if !options.flag(&flag, &mut arguments)? {
                return Ok(None);
            }
        }
        options.validate()?;
        Ok(Some(options))
    }

    /// Takes one long option; false for `--help`.
    fn flag(&mut self, flag: &str, arguments: &mut lexopt::Parser) -> anyhow::Result<bool> {
        let mut value = || -> anyhow::Result<String> {
            arguments.value()?.into_string().map_err(|v| anyhow::anyhow!("{v:?} is no text"))
        };
        let number = |text: String| match text.parse::<usize>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(anyhow::anyhow!("--{flag} {text}: not a number above 0")),
        };
        match flag {
            "smoke" => self.parts.push("smoke".to_owned()),
            "suite" => self.suites.push(value()?),
            "filter" => self.filters.push(value()?),
            "package" => self.packages.push(value()?),
            "file" => self.files.push(value()?.into()),
            "runtime" => self.runtime = Some(value()?),
            "release" => self.profile = Profile::Release,
            "cpus" => self.size.processors = number(value()?)?,
            "memory" => self.size.memory = number(value()?)?,
            "timeout" => self.size.limit = Duration::from_secs(number(value()?)? as u64),
            "console" => self.console = Some(value()?.into()),
            "help" => return Ok(false),
            other => bail!("no option --{other}; --help lists them"),
        }
        Ok(true)
    }

    fn validate(&mut self) -> anyhow::Result<()> {
        if let Some(part) = self.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            bail!("no part {part:?}: there are {}", PARTS.join(", "));
        }
        if self.command.is_some() && !self.parts.is_empty() {
            bail!("either parts or a command");
        }
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            bail!("no command after --");
        }
        if self.parts.is_empty() {
            self.parts = PARTS.map(str::to_owned).to_vec();
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// The image or a program cannot be built, or the machine does not come up.
pub(crate) fn command(arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    if cfg!(not(target_arch = "x86_64")) {
        bail!("the virtual machine is made for x86-64");
    }
    interrupt::note()?;
    debian::provide(debian::VM);
    let image = image::provide()?;
    interrupt::check()?;
    let payload = payload(&options)?;
    let scratch = Scratch::new("vm")?;
    let disk = payload.write(scratch.path())?;
    let console = match &options.console {
        Some(path) => path.clone(),
        None => scratch.path().join("console"),
    };
    interrupt::check()?;
    eprintln!("==> booting; at most {} s", options.size.limit.as_secs());
    let ending = machine::boot(&image, &disk, &console, &options.size)?;
    eprintln!("==> the machine lived for {:.0} s", ending.time.as_secs_f64());
    let Some(code) = ending.code else {
        bail!(
            "the script did not come to its end; the console's last lines:\n{}",
            machine::last_words(&console)
        );
    };
    if options.command.is_some() {
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    let tally = Tally::from_output(&ending.output, code == 0);
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds what goes into the machine, and the script.
fn payload(options: &Options) -> anyhow::Result<Payload> {
    let metadata = Metadata::read()?;
    let mut packages = metadata.programs();
    if options.runtime.is_some() {
        // Then a workspace whose runtime does not build is no obstacle.
        packages.retain(|package| *package != "husk-runtime");
    }
    eprintln!("==> building what goes into the machine");
    let programs = cargo::build(&packages, options.profile)?;
    let mut tests = BTreeMap::new();
    let suites: Vec<String> = metadata
        .suites()
        .into_iter()
        .filter(|suite| options.suites.is_empty() || options.suites.contains(suite))
        .collect();
    if let Some(suite) = options.suites.iter().find(|suite| !suites.contains(suite)) {
        bail!("no suite {suite:?}: there are {}", metadata.suites().join(", "));
    }
    let beyond_smoke = options.parts.iter().any(|part| part != "smoke");
    if beyond_smoke && options.command.is_none() && !suites.is_empty() {
        let mut command = cargo::command();
        command.args(["test", "--no-run", "--package", cargo::SUITES]);
        suites.iter().for_each(|suite| {
            command.args(["--test", suite]);
        });
        tests = cargo::executables(&mut command, "test")?;
    }
    for package in &options.packages {
        let mut command = cargo::command();
        command.args(["test", "--no-run", "--package", package]);
        tests.extend(cargo::test_executables(&mut command)?);
    }
    let runtime = options.runtime.clone().unwrap_or_else(|| "/husk/husk-oci".to_owned());
    let script = match &options.command {
        Some(words) => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ") + "\n",
        None => script(options, &suites),
    };
    let files = options.files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?;
    Ok(Payload { programs, tests, files, runtime, script })
}

fn absolute(file: &Path) -> anyhow::Result<PathBuf> {
    file.canonicalize().with_context(|| file.display().to_string())
}

/// The parts as a shell script; it fails if any of them does.
fn script(options: &Options, suites: &[String]) -> String {
    let filters: String =
        options.filters.iter().map(|filter| format!(" {}", quote(filter))).collect();
    let mut script = "failed=0\n".to_owned();
    for part in &options.parts {
        let prefix = match part.as_str() {
            "smoke" => {
                script += "echo '---- smoke'\n/husk/smoke || failed=1\n";
                continue;
            }
            "systemd" => "RUNTIME=/husk/systemd/husk-oci ",
            "user" => "/husk/as-user ",
            _ => "",
        };
        for suite in suites {
            let rootless = ROOTLESS_SUITES.contains(&suite.as_str());
            if rootless == (part == "user") {
                script += &format!(
                    "echo '---- {part}: {suite}'\n{prefix}/husk/deps/{suite}{filters} || failed=1\n"
                );
            }
        }
    }
    script + "exit $failed\n"
}

/// One word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        let parsed = Options::parse(lexopt::Parser::from_args(words))?;
        parsed.context("help")
    }

    #[test]
    fn a_command_is_all_that_follows_the_dashes() {
        let options = parse(&["--memory", "512", "--", "ls", "-l", "--", "a b"]).expect("parse");
        assert_eq!(options.command.expect("a command"), ["ls", "-l", "--", "a b"]);
        assert_eq!(options.size.memory, 512);
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn parts_and_commands_exclude_each_other() {
        assert!(parse(&["smoke", "--", "true"]).is_err());
        assert!(parse(&["--"]).is_err());
        assert!(parse(&["everything"]).is_err());
        assert!(parse(&["--cpus", "0"]).is_err());
    }

    #[test]
    fn a_rootless_suite_runs_as_the_user_and_no_other_does() {
        let options = parse(&["root", "user", "--filter", "memory"]).expect("parse");
        let script = script(&options, &["conformance".to_owned(), "rootless".to_owned()]);
        assert!(script.contains("\n/husk/deps/conformance 'memory' ||"), "{script}");
        assert!(script.contains("\n/husk/as-user /husk/deps/rootless 'memory' ||"), "{script}");
        assert!(!script.contains("as-user /husk/deps/conformance"), "{script}");
    }
}
