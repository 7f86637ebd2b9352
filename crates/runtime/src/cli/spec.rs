//! `spec`: a configuration to start from.

use std::io::Write;

use super::arguments::{Argument, Arguments};
use super::{Command, Exit, Global};
use crate::report::{Code, Error};

pub(super) const COMMAND: Command = Command {
    name: "spec",
    usage: "spec [FLAGS]",
    about: "Write a config.json to start from",
    flags: &[
        ("-b, --bundle DIR", "the bundle's directory (the current one)"),
        ("--rootless", "for a user without root's privilege"),
    ],
    run,
    enters: false,
};

/// What `runc spec` writes, so that it means the same everywhere.
const ROOT: &str = include_str!("spec/root.json");
const ROOTLESS: &str = include_str!("spec/rootless.json");

fn run(_: &Global, mut arguments: Arguments) -> Exit {
    let (mut bundle, mut rootless) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "b" | "bundle") => {
                bundle = Some(arguments.value()?);
            }
            Argument::Flag(flag) if flag == "rootless" => rootless = arguments.switch(&flag)?,
            other => return Err(other.unexpected()),
        }
    }
    let path = match bundle {
        Some(bundle) => format!("{bundle}/config.json"),
        None => "config.json".to_owned(),
    };
    let text = if rootless { rootless_text() } else { ROOT.to_owned() };
    let failed = |error| Error::io(Code::InvalidConfig, &path, &error);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(0)
}

/// A user namespace with the caller as its root; no limits, which would take a
/// delegated cgroup; devpts without a group that is not mapped; the host's sysfs
/// bound, since a new one takes a network namespace of the container's own.
fn rootless_text() -> String {
    ROOTLESS
        .replace("UID", &rustix::process::geteuid().as_raw().to_string())
        .replace("GID", &rustix::process::getegid().as_raw().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_documents_of_the_specification() {
        for text in [ROOT, &rootless_text()] {
            let spec: husk_spec::Spec = husk_spec::parse(text.as_bytes()).unwrap();
            assert_eq!(spec.oci_version, husk_spec::VERSION);
        }
    }
}
