//! `cargo xtask`: what people run while developing Husk.

mod bench;
mod bundle;
mod cargo;
mod clients;
mod conformance;
mod debian;
mod demo;
mod fuzz;
mod interrupt;
mod process;
mod release;
mod scratch;
mod test;
mod vm;

use std::process::ExitCode;

use lexopt::Arg;

const HELP: &str = "\
cargo xtask COMMAND [OPTIONS]

  demo          build everything and run a container that tells what it sees
  test          set up, build and run all tests
  vm            run tests, or any command, in a virtual machine with systemd and cgroup v2
  clients       install clients of Docker's API for the tests of crates/api
  conformance   run the conformance suite on husk-oci, runc and crun; write the counts
  fuzz          feed documents, kernel files and messages to the parsers, led by coverage
  release       build husk and husk-oci as they are released, with musl
  bench         husk-oci beside runc, crun and the floor

cargo xtask COMMAND --help says more of each.
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<ExitCode> {
    let mut arguments = lexopt::Parser::from_env();
    match arguments.next()? {
        Some(Arg::Value(command)) => match command.to_str() {
            Some("demo") => demo::command(arguments),
            Some("test") => test::command(arguments),
            Some("vm") => vm::command(arguments),
            Some("clients") => clients::command(arguments),
            Some("conformance") => conformance::command(arguments),
            Some("fuzz") => fuzz::command(arguments),
            Some("release") => release::command(arguments),
            Some("bench") => bench::command(arguments),
            _ => anyhow::bail!("no command {command:?}: cargo xtask --help lists them"),
        },
        None | Some(Arg::Long("help") | Arg::Short('h')) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(other.unexpected().into()),
    }
}
