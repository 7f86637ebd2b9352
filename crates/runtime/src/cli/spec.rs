//! `spec`: a configuration to start from.

use std::io::Write;

use super::arguments::{Argument, Arguments};
use super::{Command, Exit, Global};
use crate::host::cgroup_error;
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

/// What `runc spec` writes, so that it means the same everywhere; on cgroup v2 with a cgroup
/// namespace besides.
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
    let layout = husk_cgroup::Layout::detect().map_err(cgroup_error)?;
    let unified = layout.v1.is_empty() && layout.v2.is_some();
    let text = if unified { with_cgroup_namespace(&text) } else { text };
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

/// Adds the namespace before that of mounts, which every document here has.
fn with_cgroup_namespace(text: &str) -> String {
    const MOUNT: &str = "      {\n        \"type\": \"mount\"\n      }";
    text.replacen(MOUNT, &format!("{},\n{MOUNT}", MOUNT.replace("mount", "cgroup")), 1)
}

#[cfg(test)]
mod tests {
    use husk_spec::NamespaceType;

    use super::*;

    #[test]
    fn both_are_documents_of_the_specification() {
        let has_cgroup = |spec: &husk_spec::Spec| {
            let namespaces = &spec.linux.as_ref().unwrap().namespaces;
            namespaces.iter().filter(|one| one.typ == NamespaceType::Cgroup).count()
        };
        for text in [ROOT, &rootless_text()] {
            let spec: husk_spec::Spec = husk_spec::parse(text.as_bytes()).unwrap();
            assert_eq!(spec.oci_version, husk_spec::VERSION);
            assert_eq!(has_cgroup(&spec), 0);
            let spec = husk_spec::parse(with_cgroup_namespace(text).as_bytes()).unwrap();
            assert_eq!(has_cgroup(&spec), 1);
        }
    }
}
