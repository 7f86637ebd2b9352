//! What must hold of any bytes in the kernel's cgroup files.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use husk_cgroup::Cgroup;

/// Files of both versions that are read.
const FILES: [&str; 36] = [
    "blkio.bfq.io_service_bytes_recursive",
    "blkio.throttle.io_serviced_recursive",
    "cgroup.events",
    "cgroup.freeze",
    "cgroup.procs",
    "cpu.pressure",
    "cpu.stat",
    "cpuacct.stat",
    "cpuacct.usage",
    "cpuacct.usage_percpu",
    "cpuset.cpus.effective",
    "cpuset.effective_cpus",
    "cpuset.effective_mems",
    "cpuset.mems.effective",
    "freezer.self_freezing",
    "hugetlb.2MB.current",
    "hugetlb.2MB.events",
    "hugetlb.2MB.usage_in_bytes",
    "io.pressure",
    "io.stat",
    "memory.current",
    "memory.events",
    "memory.failcnt",
    "memory.kmem.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.max",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
    "memory.peak",
    "memory.pressure",
    "memory.stat",
    "memory.swap.current",
    "memory.swap.max",
    "memory.usage_in_bytes",
    "pids.current",
    "pids.max",
];

/// Whether the bytes, files that each begin with a line of `@` and the file's
/// name, can all be read.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let directory = directory();
    let mut written = Vec::new();
    for part in bytes.split(|byte| *byte == b'@').skip(1) {
        let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let (name, content) = part.split_at(end);
        let name = FILES.iter().find(|file| file.as_bytes() == name);
        if let (Some(name), Some(content)) = (name, content.get(1..)) {
            let path = directory.join(name);
            if let Err(error) = fs::write(&path, content) {
                panic!("{}: {error}", path.display());
            }
            written.push(path);
        }
    }
    let all = cgroups(directory).iter().filter(|cgroup| read(cgroup)).count() == 2;
    for path in written {
        let _ = fs::remove_file(path);
    }
    all
}

/// Reads all that is read of a cgroup; kills nothing and writes nothing.
fn read(cgroup: &Cgroup) -> bool {
    let stats = cgroup.stats();
    if let Ok(stats) = &stats {
        assert!(stats.cpuset.cpus.len() <= 1 << 16 && stats.cpuset.mems.len() <= 1 << 16);
    }
    let read = [
        stats.map(drop),
        cgroup.processes().map(drop),
        cgroup.oom_kills().map(drop),
        cgroup.memory_limit().map(drop),
        cgroup.frozen().map(drop),
    ];
    read.iter().all(Result::is_ok)
}

fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("husk-fuzz-cgroup.{}", std::process::id()));
        if let Err(error) = fs::create_dir_all(&path) {
            panic!("{}: {error}", path.display());
        }
        path
    })
}

/// Removes the directory of the files.
pub(crate) fn clean_up() {
    let _ = fs::remove_dir_all(directory());
}

/// One of each version, both in that directory.
fn cgroups(directory: &Path) -> [Cgroup; 2] {
    let controllers = ["blkio", "cpu", "cpuacct", "cpuset", "freezer", "hugetlb", "memory", "pids"];
    let json = [
        serde_json::json!({ "manager": "cgroupfs", "v2": directory }),
        serde_json::json!({ "manager": "cgroupfs",
            "v1": [{ "mount": "/", "path": directory, "controllers": controllers }] }),
    ];
    json.map(|json| match serde_json::from_value(json) {
        Ok(cgroup) => cgroup,
        Err(error) => panic!("{error}"),
    })
}
