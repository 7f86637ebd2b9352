//! A static program for the inside of a test container: it prints, as one JSON
//! object, what a process sees of itself. All of it comes from /proc and a few
//! calls on itself, so it runs in an otherwise empty root filesystem; what
//! cannot be read (no /proc, say) is null.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

fn main() -> ExitCode {
    // `notify TEXT`: one datagram to $NOTIFY_SOCKET, as sd_notify(3) sends it.
    let mut args = std::env::args().skip(1);
    if let (Some("notify"), Some(text)) = (args.next().as_deref(), args.next()) {
        return match notify(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("husk-probe: NOTIFY_SOCKET: {error}");
                ExitCode::FAILURE
            }
        };
    }
    println!("{}", report());
    ExitCode::SUCCESS
}

fn notify(text: &str) -> std::io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET")
        .ok_or_else(|| std::io::Error::other("not in the environment"))?;
    UnixDatagram::unbound()?.send_to(text.as_bytes(), path).map(|_| ())
}

fn report() -> Value {
    json!({
        "args": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect::<BTreeMap<_, _>>(),
        "cwd": std::env::current_dir().ok(),
        "pid": std::process::id(),
        "ppid": stat_field(4),
        "sid": stat_field(6),
        "uid": rustix::process::getuid().as_raw(),
        "gid": rustix::process::getgid().as_raw(),
        "groups": rustix::process::getgroups()
            .ok()
            .map(|g| g.iter().map(|g| g.as_raw()).collect::<Vec<_>>()),
        "status": keyed("/proc/self/status"),
        "limits": limits(),
        "mounts": mounts(),
        "namespaces": namespaces(),
        "scheduling": scheduling(),
        "sched": sched(),
        "personality": trimmed("/proc/self/personality"),
        "oomScoreAdj": trimmed("/proc/self/oom_score_adj"),
        "memoryPolicy": memory_policy(),
        "timeOffsets": trimmed("/proc/self/timens_offsets"),
        "cgroup": trimmed("/proc/self/cgroup"),
        "hostname": trimmed("/proc/sys/kernel/hostname"),
        "domainname": trimmed("/proc/sys/kernel/domainname"),
        "descriptors": descriptors(),
        "terminal": terminal(),
        "interfaces": interfaces(),
        "devFd": fs::read_link("/dev/fd").ok(),
    })
}

fn trimmed(path: &str) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |t| t.trim_end().into())
}

/// `Name:\tvalue` lines, as proc_pid_status(5) has them.
fn keyed(path: &str) -> Value {
    let Ok(text) = fs::read_to_string(path) else { return Value::Null };
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().into()))
        .collect::<Map<_, _>>()
        .into()
}

/// proc_pid_limits(5): a name of 26 columns, then soft, hard and the unit.
fn limits() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/limits") else { return Value::Null };
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_at_checked(26))
        .map(|(name, rest)| {
            let values: Vec<&str> = rest.split_whitespace().take(2).collect();
            (name.trim().to_owned(), json!(values))
        })
        .collect::<Map<_, _>>()
        .into()
}

/// proc_pid_mountinfo(5), in the order of the file.
fn mounts() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/mountinfo") else { return Value::Null };
    text.lines()
        .filter_map(|line| {
            let (mount, superblock) = line.split_once(" - ")?;
            let mount: Vec<&str> = mount.split(' ').collect();
            let superblock: Vec<&str> = superblock.split(' ').collect();
            Some(json!({
                "device": mount.get(2)?,
                "root": mount.get(3)?,
                "target": mount.get(4)?,
                "options": mount.get(5)?.split(',').collect::<Vec<_>>(),
                "propagation": mount.get(6..)?,
                "type": superblock.first()?,
                "source": superblock.get(1)?,
                "superOptions": superblock.get(2)?.split(',').collect::<Vec<_>>(),
            }))
        })
        .collect()
}

fn namespaces() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/ns") else { return Value::Null };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some((
                entry.file_name().to_string_lossy().into_owned(),
                link.to_string_lossy().into_owned().into(),
            ))
        })
        .collect::<Map<_, _>>()
        .into()
}

/// A field of proc_pid_stat(5), counted from 1 as there.
fn stat_field(number: usize) -> Option<i64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field may hold blanks and parentheses: count after the last.
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn scheduling() -> Value {
    json!({
        "nice": stat_field(19),
        "priority": stat_field(40),
        "policy": stat_field(41),
    })
}

/// `name : value` lines of /proc/self/sched, where the deadline scheduler's
/// parameters stand.
fn sched() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/sched") else { return Value::Null };
    text.lines()
        .filter_map(|line| line.split_once(" : ").or_else(|| line.split_once(':')))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().into()))
        .collect::<Map<_, _>>()
        .into()
}

/// The policy of the first mapping: the task's own, unless mbind(2) was used.
fn memory_policy() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/numa_maps") else { return Value::Null };
    text.split_whitespace().nth(1).map_or(Value::Null, Value::from)
}

fn descriptors() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Value::Null };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            // The descriptor this very listing reads from.
            let own = link.starts_with("/proc/") && link.ends_with("/fd");
            (!own).then(|| (entry.file_name().to_string_lossy().into_owned(), link.into()))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn terminal() -> Value {
    let stdin = std::io::stdin();
    match rustix::termios::tcgetwinsize(&stdin) {
        Ok(size) => json!({
            "rows": size.ws_row,
            "columns": size.ws_col,
            "name": rustix::termios::ttyname(&stdin, Vec::new())
                .ok()
                .map(|n| n.to_string_lossy().into_owned()),
        }),
        Err(_) => Value::Null,
    }
}

/// Interface names with their flags, as /sys shows them where it is mounted,
/// else names alone from /proc/net/dev.
fn interfaces() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/net/dev") else { return Value::Null };
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| {
            let name = name.trim().to_owned();
            let flags = trimmed(&format!("/sys/class/net/{name}/flags"));
            (name, flags)
        })
        .collect::<Map<_, _>>()
        .into()
}
