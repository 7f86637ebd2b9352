//! The rule that keeps most of the list away, seen by strace(1): between clone
//! and execve no system call takes a path of the root filesystem, but openat2
//! with `RESOLVE_IN_ROOT`, and single names that are not followed.

use std::collections::BTreeMap;
use std::fs;

use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use husk_tests::runtime;
use serde_json::json;

use crate::sweep::bundle_with_all;

/// System calls that take a path.
const TAKE_PATHS: [&str; 47] = [
    "access",
    "acct",
    "chdir",
    "chmod",
    "chown",
    "chroot",
    "creat",
    "execve",
    "execveat",
    "faccessat",
    "faccessat2",
    "fchmodat",
    "fchmodat2",
    "fchownat",
    "fspick",
    "lchown",
    "link",
    "linkat",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "newfstatat",
    "open",
    "open_tree",
    "open_tree_attr",
    "openat",
    "openat2",
    "pivot_root",
    "readlink",
    "readlinkat",
    "rename",
    "renameat",
    "renameat2",
    "stat",
    "statfs",
    "statx",
    "symlinkat",
    "truncate",
    "umount2",
    "unlinkat",
    "utimensat",
];

/// Filesystems that are of no device.
const WITHOUT_DEVICE: [&str; 4] = ["proc", "tmpfs", "devpts", "mqueue"];

/// The strings in a call's arguments.
fn strings(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

/// Why a call breaks the rule, if it does. `host` are the paths that the
/// configuration names on the host; `inside` says that the root is the
/// container's by now, and `program` what may be looked for there.
fn breaks(line: &str, host: &[&str], inside: bool, program: &str) -> Option<&'static str> {
    let (call, arguments) = line.split_once('(')?;
    if !TAKE_PATHS.contains(&call) {
        return None;
    }
    let paths = strings(line);
    let paths: Vec<&str> = match call {
        // What a link says is text; its name comes last.
        "symlinkat" => paths.last().copied().into_iter().collect(),
        "execve" => paths.first().copied().into_iter().collect(),
        // Of a filesystem without a device, source, type and options are text.
        "mount" if paths.get(2).is_some_and(|kind| WITHOUT_DEVICE.contains(kind)) => {
            paths.get(1).copied().into_iter().collect()
        }
        _ => paths,
    };
    let by_descriptor = arguments.starts_with(|first: char| first.is_ascii_digit())
        || (call == "symlinkat" && !arguments.contains("AT_FDCWD"));
    for path in paths {
        let single = !path.contains('/') && path != "..";
        let bare = matches!(path, "" | ".");
        let not_followed = matches!(call, "mkdirat" | "mknodat" | "symlinkat" | "unlinkat")
            || ["O_NOFOLLOW", "O_EXCL", "AT_SYMLINK_NOFOLLOW"].iter().any(|f| line.contains(f));
        let by_openat2 = call == "openat2"
            && (line.contains("RESOLVE_IN_ROOT") || line.contains("RESOLVE_BENEATH"));
        let of_host = !inside
            && host.contains(&path)
            && matches!(call, "open_tree" | "move_mount" | "mount_setattr");
        // The container's own cgroup, bound where there is no cgroup namespace.
        let of_host =
            of_host || (!inside && call == "open_tree" && path.starts_with("/sys/fs/cgroup/"));
        let of_program = inside && path == program && !line.contains("O_WRONLY");
        if bare || by_openat2 || of_host || of_program || path == "/" {
            continue;
        }
        if by_descriptor && single && not_followed {
            continue;
        }
        return Some("takes a path");
    }
    None
}

/// The calls of the process that `mark` tells, up to its execve; where it clones another one for
/// that and ends, the calls of both.
fn calls(case: &Case, mark: &str) -> Vec<String> {
    let mut traces = BTreeMap::new();
    for entry in fs::read_dir(case.dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("trace.") {
            traces.insert(pid.to_owned(), fs::read_to_string(entry.path()).unwrap());
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let mut next = traces.values().find(|text| text.contains(mark));
    assert!(next.is_some(), "no process called {mark}");
    let mut found = Vec::new();
    while let Some(text) = next.take() {
        for call in text.lines() {
            found.push(call.to_owned());
            // The runtime's own first execve, by which it is sealed, has no trace here.
            if call.starts_with("execve(") && call.ends_with(" = 0") {
                return found;
            }
            if call.starts_with("clone(") && call.contains("CLONE_PARENT") {
                next = call.rsplit(' ').next().and_then(|pid| traces.get(pid));
            }
        }
    }
    panic!("no execve in the trace of the process with {mark}: {found:#?}");
}

fn assert_keeps(calls: &[String], host: &[&str], enters_by: &str, program: &str) {
    let mut inside = false;
    let mut checked = 0;
    for call in calls {
        if let Some(why) = breaks(call, host, inside, program) {
            panic!("{why}: {call}");
        }
        checked += usize::from(TAKE_PATHS.contains(&call.split('(').next().unwrap()));
        inside |= call.starts_with(enters_by);
    }
    assert!(inside, "{enters_by} is not in the trace");
    assert!(checked > 3, "{calls:#?}");
}

/// Issue 5, "Must show": for `run` with every kind of path there is, and for
/// `exec`.
#[test]
fn no_path_of_the_rootfs_reaches_a_system_call() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let trace = case.path("trace");
    let strace = || case.program("strace").args(["-ff", "-s", "4096", "-o", path_text(&trace)]);
    let runtime = || strace().arg(runtime::path()).arg("--root").arg(case.state_root());
    for image_dev in [false, true] {
        let mut bundle = bundle_with_all(&case, image_dev);
        bundle.set("/process/terminal", true).args(["/bin/true"]);
        bundle.set("/linux/sysctl", json!({ "kernel.domainname": "x" }));
        // Made where the root is not read-only.
        bundle.set("/process/cwd", if image_dev { "/made/here" } else { "/" });
        bundle.set("/root/readonly", !image_dev);
        bundle.write();
        let console = DescriptorSocket::listen(&case.path("console"));
        // strace(1) goes on until the container has ended.
        let run = runtime()
            .args(["run", "--detach", "--console-socket", path_text(console.path()), "--bundle"])
            .arg(bundle.dir())
            .arg(bundle.id())
            .spawn();
        let master = console.receive();
        run.wait().ok();
        drop(master);
        fs::remove_file(console.path()).unwrap();
        let rootfs = bundle.rootfs("");
        let host: Vec<String> = bundle.config["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|mount| mount["source"].as_str().map(str::to_owned))
            .chain([path_text(&rootfs).trim_end_matches('/').to_owned(), "/dev/null".to_owned()])
            .collect();
        let host: Vec<&str> = host.iter().map(String::as_str).collect();
        assert_keeps(&calls(&case, "pivot_root("), &host, "umount2(", "/bin/true");
    }
    let (_bundle, container) = case.sleeper();
    runtime().args(["exec", "--cwd", "/tmp", container.id(), "/bin/true"]).ok();
    assert_keeps(&calls(&case, "close_range("), &[], "setns(", "/bin/true");
}

/// The rule itself: what it must find.
#[test]
fn the_rule_finds_what_breaks_it() {
    let broken = |line, inside| breaks(line, &["/host"], inside, "/bin/true").is_some();
    for line in [
        r#"openat(AT_FDCWD, "/tmp/rootfs/dev", O_RDONLY|O_NOFOLLOW) = 3"#,
        r#"openat(5, "dev/null", O_RDONLY|O_NOFOLLOW) = 3"#,
        r#"openat(5, "dev", O_RDONLY) = 3"#,
        r#"openat(5, "..", O_PATH|O_NOFOLLOW) = 3"#,
        r#"openat2(5, "/dev", {flags=O_PATH, resolve=0}, 24) = 3"#,
        r#"mkdirat(5, "a/b", 0755) = 0"#,
        r#"fchownat(5, "null", 0, 0, 0) = 0"#,
        r#"symlinkat("/proc/self/fd", AT_FDCWD, "/dev/fd") = 0"#,
        r#"mount("none", "/rootfs/proc", "proc", 0, NULL) = 0"#,
        r#"mount("/rootfs/disk", ".", "ext4", 0, NULL) = 0"#,
        r#"mount("/rootfs/a", ".", NULL, MS_BIND, NULL) = 0"#,
        r#"openat(AT_FDCWD, "/host", O_RDONLY) = 3"#,
    ] {
        assert!(broken(line, false), "{line}");
    }
    for line in [
        r#"openat2(5, "/dev", {flags=O_PATH, resolve=RESOLVE_IN_ROOT}, 24) = 3"#,
        r#"symlinkat("/proc/self/fd", 5, "fd") = 0"#,
        r#"mount("/any/text", ".", "tmpfs", 0, "mode=0755") = 0"#,
        r#"open_tree(AT_FDCWD, "/host", OPEN_TREE_CLONE) = 3"#,
    ] {
        assert!(!broken(line, false), "{line}");
    }
    assert!(!broken(r#"execve("/bin/true", ["/host/x"], 0x1) = 0"#, true));
    assert!(broken(r#"execve("/bin/other", ["/bin/true"], 0x1) = 0"#, true));
}
