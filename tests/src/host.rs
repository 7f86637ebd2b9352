//! What a test's containers have on the host: for "nothing is left behind".

use std::fs;
use std::path::{Path, PathBuf};

/// Everything on the host that belongs to a directory or a container id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Mount points below the directory.
    pub mounts: Vec<PathBuf>,
    /// Cgroups, of any hierarchy, whose name contains an id.
    pub cgroups: Vec<PathBuf>,
    /// Processes whose root, working directory, cgroup or arguments show
    /// the directory or an id.
    pub processes: Vec<(i32, String)>,
}

impl Footprint {
    /// What is there now for `dir` and names that contain `marker`.
    pub fn of(dir: &Path, marker: &str) -> Footprint {
        Footprint {
            mounts: mounts_below(dir),
            cgroups: cgroups_named(marker),
            processes: processes_of(dir, marker),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self == &Footprint::default()
    }
}

/// Mount points below `dir` in this mount namespace, innermost last.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|target| target.starts_with(dir))
        .collect()
}

/// The mount points of the host's cgroup hierarchies.
pub fn cgroup_hierarchies() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    text.lines()
        .filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect()
}

/// Cgroups whose last name contains `marker`, children before parents. Only
/// levels a runtime may choose are searched, not the whole tree of a host.
pub fn cgroups_named(marker: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in cgroup_hierarchies() {
        collect_cgroups(&hierarchy, marker, 4, &mut found);
    }
    found
}

fn collect_cgroups(dir: &Path, marker: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(marker) {
            collect_below(&path, found);
            found.push(path);
        } else if depth > 0 {
            collect_cgroups(&path, marker, depth - 1, found);
        }
    }
}

fn collect_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        collect_below(&entry.path(), found);
        found.push(entry.path());
    }
}

fn processes_of(dir: &Path, marker: &str) -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| belongs(pid, dir, marker).map(|why| (pid, why)))
        .collect()
}

fn belongs(pid: i32, dir: &Path, marker: &str) -> Option<String> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(base.join("stat")).ok()?;
    // A zombie holds nothing; whoever started it has yet to reap it.
    if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])) {
        return None;
    }
    let command = fs::read(base.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let cgroup = fs::read_to_string(base.join("cgroup")).unwrap_or_default();
    let below = |link: &str| fs::read_link(base.join(link)).is_ok_and(|l| l.starts_with(dir));
    let is = cgroup.contains(marker)
        || command.contains(marker)
        || command.contains(&*dir.to_string_lossy())
        || below("root")
        || below("cwd");
    is.then_some(command)
}
