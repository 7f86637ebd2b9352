//! Whether the kernel killed in a container's cgroup for want of memory.

use std::path::{Path, PathBuf};

/// The file that counts such kills in the cgroup of process `pid`: `memory.oom_control`
/// of a v1 hierarchy (Linux 4.13), `memory.events` of the v2 one. `None` where the cgroup
/// is not the container's own, whose id is in its name.
pub(super) fn events_of(pid: i32, id: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let file = file_of(&text, Path::new("/sys/fs/cgroup"))?;
    file.to_str().is_some_and(|path| path.contains(id)).then_some(file)
}

fn file_of(membership: &str, root: &Path) -> Option<PathBuf> {
    let mut unified = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some(root.join("memory").join(path).join("memory.oom_control"));
        }
        if controllers.is_empty() {
            unified = Some(root.join(path).join("memory.events"));
        }
    }
    unified
}

/// Whether the file counts any kill.
pub(super) fn saw_kill(file: Option<&Path>) -> bool {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    counts_kill(&text)
}

fn counts_kill(text: &str) -> bool {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies() {
        let root = Path::new("/cg");
        let hybrid = "5:memory:/husk-1\n4:cpu,cpuacct:/husk-1\n0::/\n";
        assert_eq!(file_of(hybrid, root), Some("/cg/memory/husk-1/memory.oom_control".into()));
        assert_eq!(file_of("0::/husk-1\n", root), Some("/cg/husk-1/memory.events".into()));
        assert!(counts_kill("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"));
        assert!(!counts_kill("low 0\noom 3\noom_kill 0\n"));
    }
}
