//! Instructions a call costs, ours beside libseccomp's: the table in
//! docs/seccomp.md, which `UPDATE_DOCS=1` rewrites.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use husk_seccomp::{audit_arch, compile, syscall_number};
use husk_spec::{Seccomp, SeccompArch};
use support::engine::{DOCKER, PODMAN};
use support::libseccomp::Libseccomp;
use support::{Data, Instruction, decode, run};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/seccomp.md");

/// The twenty commonest, then what is denied or has conditions.
const CALLS: [&str; 24] = [
    "read",
    "write",
    "close",
    "fstat",
    "newfstatat",
    "openat",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "futex",
    "epoll_wait",
    "poll",
    "recvfrom",
    "sendto",
    "ioctl",
    "fcntl",
    "rt_sigaction",
    "rt_sigprocmask",
    "clone",
    "socket",
    "personality",
    "mount",
];

fn count(program: &[Instruction], nr: u32) -> usize {
    let data = Data { arch: audit_arch(SeccompArch::X86_64), nr, args: [0; 6], big_endian: false };
    run(program, &data).1
}

fn table(lib: &mut Libseccomp, profile: &Seccomp) -> String {
    let native = SeccompArch::X86_64;
    let ours = decode(&compile(profile, native).expect("an engine's profile").instructions);
    let linear = lib.compile(profile, native, 1, false).program;
    let tree = lib.compile(profile, native, 2, false).program;
    let mut lines = vec![
        "| call | ours | libseccomp, tree (runc) | libseccomp, linear (crun, youki) |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let mut sums = [0; 3];
    for (index, name) in CALLS.iter().enumerate() {
        let nr = syscall_number(native, name).expect("a call of x86_64");
        let costs = [count(&ours, nr), count(&tree, nr), count(&linear, nr)];
        lines.push(format!("| {name} | {} | {} | {} |", costs[0], costs[1], costs[2]));
        if index < 20 {
            (0..3).for_each(|column| sums[column] += costs[column]);
            assert!(costs[0] <= costs[1], "{name}: {costs:?}");
        }
    }
    let mean = sums.map(|sum| sum as f64 / 20.0);
    lines.push(format!("| mean of the first 20 | {} | {} | {} |", mean[0], mean[1], mean[2]));
    let lengths = [ours.len(), tree.len(), linear.len()];
    lines.push(format!("| whole program | {} | {} | {} |", lengths[0], lengths[1], lengths[2]));
    lines.join("\n")
}

#[test]
fn cost_per_call_is_as_documented() {
    let Some(mut lib) = Libseccomp::start() else { return };
    let mut docs = std::fs::read_to_string(DOCS).expect("docs/seccomp.md");
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    for engine in [DOCKER, PODMAN] {
        let Some(source) = engine.source() else { continue };
        let [(_, profile), ..] = support::engine::profiles(&source, SeccompArch::X86_64);
        let (begin, end) = (format!("<!-- cost {} -->\n", engine.name), "\n<!-- end -->");
        let start = docs.find(&begin).map(|at| at + begin.len()).expect("the engine's table");
        let length = docs[start..].find(end).expect("the end of the table");
        let table = table(&mut lib, &profile);
        println!("{}\n{table}", engine.name);
        if update {
            docs.replace_range(start..start + length, &table);
        } else {
            let ours = |text: &str| -> Vec<String> {
                text.lines().map(|line| line.split('|').take(3).collect()).collect()
            };
            // Another libseccomp has other numbers, and another package's
            // profile other rules: then the table says so by failing.
            assert_eq!(ours(&docs[start..start + length]), ours(&table), "{DOCS} is out of date");
        }
    }
    if update {
        std::fs::write(DOCS, docs).expect("write docs/seccomp.md");
    }
}
