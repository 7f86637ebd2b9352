//! The default profiles of Docker and podman, rendered as the engines do.

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

const PROFILES: [(&str, &str, &str, &str); 2] = [
    (
        "docker",
        "HUSK_DOCKER_PROFILE",
        "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
        "golang-github-docker-docker-dev",
    ),
    (
        "podman",
        "HUSK_PODMAN_PROFILE",
        "/usr/share/containers/seccomp.json",
        "golang-github-containers-common",
    ),
];

/// Name and profile, for the default capabilities, for none and for a few more;
/// absent ones are named.
pub(crate) fn profiles(native: SeccompArch) -> Vec<(String, Seccomp)> {
    let mut found = Vec::new();
    for (name, variable, path, package) in PROFILES {
        let path = std::env::var(variable).unwrap_or(path.to_owned());
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {name}'s profile: no {path} (Debian: {package}; or {variable})");
            continue;
        };
        let source: Value = serde_json::from_str(&text).expect("the engine's profile");
        let more = [&CAPABILITIES[..], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]].concat();
        for (which, capabilities) in [("", &CAPABILITIES[..]), ("-bare", &[]), ("-admin", &more)] {
            found.push((format!("{name}{which}"), render(&source, native, capabilities)));
        }
    }
    found
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
