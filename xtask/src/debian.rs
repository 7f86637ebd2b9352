//! The Debian packages that tests and benchmarks need, and their installation.

use std::fs;
use std::process::{Command, Stdio};

use crate::process;

/// A package and what it is for.
pub(crate) struct Need {
    /// Its name in Debian 12.
    pub(crate) package: &'static str,
    /// What is not tested or measured without it.
    pub(crate) purpose: &'static str,
}

const fn need(package: &'static str, purpose: &'static str) -> Need {
    Need { package, purpose }
}

/// For `cargo xtask test`.
pub(crate) const TESTS: &[Need] = &[
    need("gcc", "linking, and the test programs in C"),
    need("libc6-dev", "the static C library that husk-oci is linked with"),
    need("musl-dev", "the C library that a released husk-oci is linked with"),
    need("libseccomp-dev", "the comparison of seccomp programs with libseccomp's"),
    need("golang-github-containers-common", "podman's default seccomp profile"),
    need("busybox-static", "the root filesystem of the black-box suites"),
    need("runc", "a peer of the conformance suite"),
    need("crun", "a peer of the conformance suite"),
    need("criu", "checkpoint and restore, where it is new enough for the kernel"),
    need("strace", "the ceiling of system calls"),
    need("valgrind", "the ceiling of instructions"),
    need("podman", "podman driving husk-oci"),
    need("containerd", "containerd driving husk-oci"),
    need("skopeo", "images to and from other engines"),
    need("umoci", "the comparison of unpacked images"),
    need("docker-registry", "a registry to push to and pull from"),
    need("debootstrap", "a Debian image to unpack and run"),
    need("uidmap", "rootless containers"),
    need("iproute2", "network namespaces of the tests"),
    need("nftables", "what a flushed ruleset leaves open"),
    need("iptables", "an administrator's rules beside those of husk"),
    need("passt", "the network of rootless containers"),
    need("git", "build contexts and ADD from git"),
    need("procps", "the ps command"),
];

/// For `cargo xtask bench`.
pub(crate) const BENCH: &[Need] = &[
    need("gcc", "the floor"),
    need("libc6-dev", "the floor"),
    need("musl-dev", "the C library that a released husk-oci is linked with"),
    need("busybox-static", "the root filesystem that is run"),
    need("runc", "a peer"),
    need("crun", "a peer"),
    need("strace", "counting system calls"),
    need("valgrind", "counting instructions"),
];

/// For `cargo xtask bench --only pull`.
pub(crate) const PULL: &[Need] = &[
    need("gcc", "peak memory"),
    need("libc6-dev", "peak memory"),
    need("docker-registry", "a registry to pull from"),
    need("podman", "a peer"),
];

/// For `cargo xtask vm`.
pub(crate) const VM: &[Need] = &[
    need("qemu-system-x86", "the virtual machine"),
    need("debootstrap", "its root filesystem"),
    need("e2fsprogs", "its disk"),
    need("kmod", "the dependencies of its kernel modules"),
];

/// The Debian release that images and virtual machines are made of.
pub(crate) const RELEASE: &str = "bookworm";

/// Installs what is missing of `needs` when we are root; else names it, with the command
/// that installs it. What stays missing is told and not fatal: the tests that need it say
/// that they are skipped.
pub(crate) fn provide(needs: &[Need]) {
    let missing = missing(needs);
    if missing.is_empty() {
        return;
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if process::find("apt-get").is_none() {
        eprintln!("xtask: no apt-get here; the Debian packages wanted are {}", names.join(" "));
        return;
    }
    if process::is_root() {
        eprintln!("==> apt-get install {}", names.join(" "));
        if install(&names) || (update() && install(&names)) {
            return;
        }
        // One package that cannot be had must not keep the others away.
        for name in &names {
            install(&[name]);
        }
    } else {
        eprintln!("xtask: missing; install with: sudo apt-get install {}", names.join(" "));
    }
    for need in self::missing(needs) {
        eprintln!("xtask: without {} there is no {}", need.package, need.purpose);
    }
}

/// The mirror that this machine's apt uses; debootstrap has a default of its own.
pub(crate) fn mirror() -> Option<String> {
    let lists = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"];
    lists
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
}

/// Those of `needs` that dpkg does not know as installed.
pub(crate) fn missing(needs: &[Need]) -> Vec<&Need> {
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .output();
    let Ok(listed) = listed else { return needs.iter().collect() };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    needs
        .iter()
        .filter(|need| {
            !listed.lines().any(|line| {
                line.strip_prefix(need.package).is_some_and(|rest| rest == " installed")
            })
        })
        .collect()
}

fn install(names: &[&str]) -> bool {
    apt(&["install", "--yes", "--no-install-recommends"], names)
}

fn update() -> bool {
    apt(&["update"], &[])
}

fn apt(command: &[&str], names: &[&str]) -> bool {
    Command::new("apt-get")
        // Another apt may hold the lock: wait for it, but not for ever.
        .args(["--quiet", "-o", "DPkg::Lock::Timeout=300"])
        .args(command)
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
