//! The default profiles of Docker and podman, rendered as the engines do.

use std::io::Write as _;

use husk_spec::{Seccomp, SeccompArch};
use serde_json::Value;

/// What `docker run` and `podman run` leave a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// An engine's file: where it is, or which variable says where, and who has it.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    variable: &'static str,
    path: &'static str,
    package: &'static str,
}

pub(crate) const DOCKER: Engine = Engine {
    name: "docker",
    variable: "HUSK_DOCKER_PROFILE",
    path: "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
    package: "golang-github-docker-docker-dev",
};

pub(crate) const PODMAN: Engine = Engine {
    name: "podman",
    variable: "HUSK_PODMAN_PROFILE",
    path: "/usr/share/containers/seccomp.json",
    package: "golang-github-containers-common",
};

impl Engine {
    /// The file, or `None`, which is said.
    pub(crate) fn source(&self) -> Option<Value> {
        let Self { name, variable, package, .. } = self;
        let path = std::env::var(variable).unwrap_or(self.path.to_owned());
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(serde_json::from_str(&text).expect("the engine's profile")),
            Err(error) => {
                // Past the test harness, which keeps what it captures of tests that pass.
                let _ = writeln!(
                    std::io::stderr(),
                    "skipped: {name}'s profile: {path}: {error} ({package}; or {variable})"
                );
                None
            }
        }
    }
}

/// The profile for the default capabilities, for none and for a few more.
pub(crate) fn profiles(source: &Value, native: SeccompArch) -> [(&'static str, Seccomp); 3] {
    let more = [&CAPABILITIES[..], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]].concat();
    [
        ("", render(source, native, &CAPABILITIES)),
        ("-bare", render(source, native, &[])),
        ("-admin", render(source, native, &more)),
    ]
}

/// Names of architectures in the engines' `includes` and `excludes`.
fn go_name(arch: SeccompArch) -> &'static str {
    match arch {
        SeccompArch::X86_64 => "amd64",
        SeccompArch::Aarch64 => "arm64",
        SeccompArch::S390x => "s390x",
        SeccompArch::Ppc64le => "ppc64le",
        SeccompArch::Riscv64 => "riscv64",
        _ => "other",
    }
}

fn render(source: &Value, native: SeccompArch, capabilities: &[&str]) -> Seccomp {
    let list = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let mut profile: Seccomp = Seccomp {
        default_action: serde_json::from_value(source["defaultAction"].clone()).expect("action"),
        default_errno_ret: serde_json::from_value(source["defaultErrnoRet"].clone())
            .expect("errno"),
        architectures: vec![native],
        ..Seccomp::default()
    };
    for map in source["archMap"].as_array().into_iter().flatten() {
        if map["architecture"] == native.name() {
            let sub = map["subArchitectures"].clone();
            let sub: Option<Vec<SeccompArch>> = serde_json::from_value(sub).expect("names");
            profile.architectures.extend(sub.unwrap_or_default());
        }
    }
    for rule in source["syscalls"].as_array().into_iter().flatten() {
        let has = |set: &Value, key: &str, test: &dyn Fn(&String) -> bool, all: bool| {
            let wanted = list(&set[key]);
            (!wanted.is_empty())
                .then(|| if all { wanted.iter().all(test) } else { wanted.iter().any(test) })
        };
        let arch = |name: &String| name == go_name(native);
        let capability = |name: &String| capabilities.contains(&name.as_str());
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let wanted = has(includes, "arches", &arch, false).unwrap_or(true)
            && has(includes, "caps", &capability, true).unwrap_or(true)
            && !has(excludes, "arches", &arch, false).unwrap_or(false)
            && !has(excludes, "caps", &capability, false).unwrap_or(false);
        if wanted {
            profile.syscalls.push(serde_json::from_value(rule.clone()).expect("a rule"));
        }
    }
    profile
}
