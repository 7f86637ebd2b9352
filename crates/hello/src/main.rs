//! `hello`: a static program that is a whole root filesystem by itself (`FROM scratch`)
//! and prints what its container looks like from inside.
//!
//! Everything is read from `/proc` and `/sys`, so what it prints is what the kernel says of
//! this process, not what the runtime meant. What cannot be read is said to be so.

mod capability;
mod report;

use std::fs;
use std::io::{self, Write};

use report::Report;

fn main() -> io::Result<()> {
    let mut report = Report::default();
    identity(&mut report);
    credentials(&mut report);
    isolation(&mut report);
    surroundings(&mut report);
    // The reader may have closed the pipe (`demo | head`): that is no failure of ours.
    match io::stdout().lock().write_all(report.render().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What `/proc/self/status` calls `key` (proc_pid_status(5)), without the leading blank.
fn status_field(status: &str, key: &str) -> Option<String> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn identity(report: &mut Report) {
    report.section("who I am");
    report.line("hostname", read("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    let command: Vec<String> = std::env::args().collect();
    report.line("process", Ok(format!("pid {}, {}", std::process::id(), command.join(" "))));
    report.line(
        "directory",
        std::env::current_dir()
            .map(|dir| dir.display().to_string())
            .map_err(|error| error.to_string()),
    );
    let names: Vec<String> =
        std::env::vars_os().map(|(name, _)| name.display().to_string()).collect();
    report.line("environment", Ok(or_none(names.join(" "))));
}

fn credentials(report: &mut Report) {
    report.section("what I may do");
    let status = match read("/proc/self/status") {
        Ok(status) => status,
        Err(error) => return report.line("credentials", Err(error)),
    };
    let field = |key: &str| status_field(&status, key).unwrap_or_default();
    let first = |key: &str| field(key).split_whitespace().next().unwrap_or("?").to_owned();
    report.line(
        "user",
        Ok(format!(
            "uid {}, gid {}, groups {}, umask {}",
            first("Uid"),
            first("Gid"),
            or_none(field("Groups")),
            field("Umask"),
        )),
    );
    for (label, key) in [("capabilities", "CapEff"), ("bounding set", "CapBnd")] {
        report.line(label, capability::in_words(&field(key)));
    }
    let seccomp = match field("Seccomp").as_str() {
        "0" => "no system call filter".to_owned(),
        "2" => format!("{} system call filter(s)", field("Seccomp_filters")),
        other => format!("seccomp mode {other}"),
    };
    let privileges = if field("NoNewPrivs") == "1" { "no new privileges" } else { "suid works" };
    report.line("confinement", Ok(format!("{privileges}, {seccomp}")));
    report.line("limits", read("/proc/self/limits").map(|limits| limits_in_words(&limits)));
}

/// The limits a container most often has set, as `name soft/hard`.
fn limits_in_words(limits: &str) -> String {
    const SHOWN: [(&str, &str); 4] = [
        ("Max open files", "open files"),
        ("Max processes", "processes"),
        ("Max locked memory", "locked memory"),
        ("Max core file size", "core file"),
    ];
    let mut words = Vec::new();
    for (row, name) in SHOWN {
        let Some(rest) = limits.lines().find_map(|line| line.strip_prefix(row)) else { continue };
        let mut columns = rest.split_whitespace();
        let (soft, hard) = (columns.next().unwrap_or("?"), columns.next().unwrap_or("?"));
        words.push(if soft == hard {
            format!("{name} {soft}")
        } else {
            format!("{name} {soft}/{hard}")
        });
    }
    words.join(", ")
}

fn isolation(report: &mut Report) {
    report.section("where I live");
    report.line("namespaces", namespaces());
    report.line(
        "user ids",
        read("/proc/self/uid_map").map(
            |map| match map.split_whitespace().collect::<Vec<_>>()[..] {
                ["0", "0", "4294967295"] => "those of the host (no user namespace)".to_owned(),
                _ => map
                    .lines()
                    .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                    .collect::<Vec<_>>()
                    .join("; "),
            },
        ),
    );
    report.line(
        "cgroup",
        read("/proc/self/cgroup").map(|cgroup| {
            // A v1 line for every controller would drown the reader: they are grouped by path.
            let mut paths: Vec<&str> =
                cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
            paths.sort_unstable();
            paths.dedup();
            paths.join(" and ")
        }),
    );
    report.line("root", root_mount());
}

/// Each namespace as `kind:inode` (namespaces(7)).
fn namespaces() -> Result<String, String> {
    let directory = fs::read_dir("/proc/self/ns").map_err(|e| format!("/proc/self/ns: {e}"))?;
    let mut links: Vec<String> = directory
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("_for_children"))
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| link.to_string_lossy().replace(['[', ']'], ""))
        .collect();
    links.sort();
    Ok(links.join(" "))
}

/// The root's flags and the number of mounts, from mountinfo (proc_pid_mountinfo(5)).
fn root_mount() -> Result<String, String> {
    let table = read("/proc/self/mountinfo")?;
    // The last mount on "/" is the one that is seen.
    let root = table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split(' ').collect();
            match columns[..] {
                [_, _, _, _, "/", flags, ..] => Some(flags.to_owned()),
                _ => None,
            }
        })
        .next_back()
        .unwrap_or_else(|| "not a mount".to_owned());
    let read_only = table
        .lines()
        .filter(|line| line.split(' ').nth(5).is_some_and(|f| f.split(',').any(|f| f == "ro")))
        .count();
    Ok(format!("mounted {root}; {} mounts, {read_only} of them read-only", table.lines().count()))
}

fn surroundings(report: &mut Report) {
    report.section("whom I see");
    report.line("processes", processes());
    report.line("network", links());
    report.line(
        "files in /",
        fs::read_dir("/").map_err(|error| error.to_string()).map(|directory| {
            let mut names: Vec<String> = directory
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names.join(" ")
        }),
    );
    report.line("kernel", read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()));
}

fn processes() -> Result<String, String> {
    const SHOWN: usize = 16;
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .map_err(|error| format!("/proc: {error}"))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(match pids.len() {
        0 => "none".to_owned(),
        1 => "only myself".to_owned(),
        count if count > SHOWN => format!("{count}: pids {} ...", join(&pids[..SHOWN])),
        count => format!("{count}: pids {}", join(&pids)),
    })
}

fn links() -> Result<String, String> {
    let table = read("/proc/net/dev")?;
    // Two lines of headings; then `name: counters`.
    let names: Vec<String> = table
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .map(|name| {
            let state = read(&format!("/sys/class/net/{name}/operstate"));
            match state.as_deref().map(str::trim) {
                // The loopback has no carrier to know of: it says "unknown" when it is up.
                Ok("unknown" | "up") => format!("{name} (up)"),
                Ok(state) => format!("{name} ({state})"),
                Err(_) => name,
            }
        })
        .collect();
    Ok(or_none(names.join(", ")))
}

fn join(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_field_is_found_by_its_whole_name() {
        let status = "Name:\thello\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(status_field(status, "Seccomp").as_deref(), Some("2"));
        assert_eq!(status_field(status, "Seccomp_filters").as_deref(), Some("1"));
        assert_eq!(status_field(status, "CapEff"), None);
    }

    #[test]
    fn equal_limits_are_told_once() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 4096                 files\n\
                      Max processes             unlimited            unlimited            processes\n";
        assert_eq!(limits_in_words(limits), "open files 1024/4096, processes unlimited");
    }
}
