//! `cargo xtask vm`: the tests that need another kernel, systemd and AppArmor.

mod image;
mod machine;
mod options;
mod payload;
mod recipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cargo::{self, Metadata};
use crate::scratch::Scratch;
use crate::test::Tally;
use crate::{debian, interrupt};
use image::Image;
use machine::Ending;
use options::Options;
use payload::Payload;

/// The package whose own tests are about this machine: every controller, systemd, delegation.
const CGROUP: &str = "husk-cgroup";

/// Its tests, by part: the way to run them, and their names.
const CGROUP_TESTS: [(&str, &str, &[&str]); 6] = [
    ("smoke", "", &["limits"]),
    ("smoke", "HUSK_CGROUP_MANAGER=systemd ", &["limits", "systemd"]),
    ("root", "", &["lifecycle", "limits"]),
    ("systemd", "HUSK_CGROUP_MANAGER=systemd ", &["limits", "systemd"]),
    ("user", "/husk/as-user ", &["limits", "systemd"]),
    ("user", "/husk/as-user env HUSK_CGROUP_MANAGER=systemd ", &["limits"]),
];

/// Suites that make users of their own, for whose calls they become them.
const ROOTLESS_SUITES: [&str; 1] = ["rootless"];

/// Runs the command.
///
/// # Errors
/// The image or a program cannot be built, or the machine does not come up.
pub(crate) fn command(arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::HELP);
        return Ok(ExitCode::SUCCESS);
    };
    interrupt::note()?;
    debian::provide(debian::VM);
    let ending = run(&options, &image::provide()?)?;
    let code = ending.code.unwrap_or(1);
    if options.command.is_some() {
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    let tally = Tally::from_output(&ending.output, code == 0);
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The smoke part as a part of `cargo xtask test`. Where no image can be made it is skipped
/// with the reason; what fails inside has failed.
///
/// # Errors
/// Interrupted.
pub(crate) fn smoke(tally: &mut Tally) -> anyhow::Result<()> {
    const NAME: &str = "vm smoke";
    debian::provide(debian::VM);
    let image = image::provide();
    interrupt::check()?;
    match image {
        Err(error) => tally.skip(NAME, &format!("{error:#}")),
        Ok(image) => match run(&Options::smoke(), &image) {
            Ok(ending) => {
                tally.add(NAME, Tally::from_output(&ending.output, ending.code == Some(0)));
            }
            Err(error) => tally.fail(NAME, &format!("{error:#}")),
        },
    }
    interrupt::check()
}

/// Builds the programs, boots, and waits for the end of the script.
fn run(options: &Options, image: &Image) -> anyhow::Result<Ending> {
    let payload = payload(options)?;
    let scratch = Scratch::new("vm")?;
    let disk = payload.write(scratch.path())?;
    let console = match &options.console {
        Some(path) => path.clone(),
        None => scratch.path().join("console"),
    };
    interrupt::check()?;
    eprintln!("==> booting; at most {} s", options.size.limit.as_secs());
    let ending = machine::boot(image, &disk, &console, &options.size, options.hierarchy)?;
    eprintln!("==> the machine lived for {:.0} s", ending.time.as_secs_f64());
    if ending.code.is_none() {
        bail!(
            "the script did not come to its end; the console's last lines:\n{}",
            machine::last_words(&console)
        );
    }
    Ok(ending)
}

/// Builds what goes into the machine, and the script.
fn payload(options: &Options) -> anyhow::Result<Payload> {
    let metadata = Metadata::read()?;
    eprintln!("==> building what goes into the machine");
    let programs = cargo::build(&metadata.programs(), options.profile)?;
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
        command.args(["test", "--no-run", "--workspace"]);
        suites.iter().for_each(|suite| {
            command.args(["--test", suite]);
        });
        tests = cargo::executables(&mut command, "test", Some(cargo::SUITES_DIRECTORY))?;
    }
    let mut packages = options.packages.clone();
    if options.command.is_none() && options.suites.is_empty() {
        packages.push(CGROUP.to_owned());
    }
    for package in &packages {
        let mut command = cargo::command();
        command.args(["test", "--no-run", "--package", package]);
        for (name, path) in cargo::test_executables(&mut command)? {
            // A crate's test may have a suite's name.
            tests.insert(format!("{package}-{name}"), path);
        }
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
            "systemd" => "HUSK_CGROUP_MANAGER=systemd RUNTIME=/husk/systemd/husk-oci ",
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
    for (part, prefix, tests) in CGROUP_TESTS {
        if !options.suites.is_empty() || !options.parts.iter().any(|asked| asked == part) {
            continue;
        }
        for test in tests {
            script += &format!(
                "echo '---- {part}: {CGROUP} {test}'\n\
                 {prefix}/husk/deps/{CGROUP}-{test} --nocapture{filters} || failed=1\n"
            );
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

    #[test]
    fn a_rootless_suite_belongs_to_the_user_and_no_other_does() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        let words = ["root", "user", "--filter", "memory"];
        let options =
            Options::parse(lexopt::Parser::from_args(words)).expect("parse").expect("help");
        let script = script(&options, &["conformance".to_owned(), "rootless".to_owned()]);
        assert!(script.contains("\n/husk/deps/conformance 'memory' ||"), "{script}");
        assert!(script.contains("user: rootless'\n/husk/deps/rootless 'memory' ||"), "{script}");
        assert!(!script.contains("user: conformance"), "{script}");
        assert!(script.contains("as-user /husk/deps/husk-cgroup-limits"), "{script}");
    }
}
