//! The command `exec`, which the spec leaves to runtimes: runc's flags.

use std::fs;

use husk_tests::case::Case;
use serde_json::{Value, json};

fn process_file(case: &Case, process: Value) -> std::path::PathBuf {
    let path = case.path("process.json");
    fs::write(&path, process.to_string()).unwrap();
    path
}

/// `exec` joins every namespace and the cgroup of the container.
#[test]
fn exec_joins_the_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("cgroup", None);
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    for kind in ["pid", "net", "mnt", "ipc", "uts", "cgroup"] {
        let path = format!("/proc/{}/ns/{kind}", container.pid());
        let wanted = fs::read_link(path).unwrap();
        assert_eq!(report["namespaces"][kind], wanted.to_str().unwrap(), "{kind}");
    }
    let cgroup = container.exec(&[], &["/bin/cat", "/proc/1/cgroup", "/proc/self/cgroup"]).ok();
    let lines = cgroup.lines();
    let (first, own) = lines.split_at(lines.len() / 2);
    assert_eq!(first, own);
}

/// `exec` takes what the container's process has: user, capabilities,
/// environment, directory, limits.
#[test]
fn exec_takes_over_the_containers_process() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001 }));
    bundle.set("/process/cwd", "/tmp").set("/process/env/-", "KEY=value");
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 99, "hard": 99 }]));
    bundle.set("/process/oomScoreAdj", 345);
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["uid"], 1000);
    assert_eq!(report["gid"], 1001);
    assert_eq!(report["cwd"], "/tmp");
    assert_eq!(report["env"]["KEY"], "value");
    assert_eq!(report["limits"]["Max open files"], json!(["99", "99"]));
    assert_eq!(report["oomScoreAdj"], "345");
    assert_eq!(report["status"]["NoNewPrivs"], "1");
    let first = container.proc("status");
    let bounding = first.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(report["status"]["CapBnd"], bounding);
}

/// `exec` takes the container's umask.
#[test]
fn exec_takes_over_the_umask() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user/umask", 0o027).args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["status"]["Umask"], "0027");
}

/// `exec` gives the exit code, and 128 + N for a signal.
#[test]
fn exec_gives_the_exit_code() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    for (script, code) in
        [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        assert_eq!(container.exec(&[], &["/bin/sh", "-c", script]).output().code(), code);
    }
    assert_eq!(container.status(), "running");
}

/// `exec` forwards signals to its process.
#[test]
fn exec_forwards_signals() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let said = case.fifo(&bundle, "said");
    let script = "trap 'exit 17' TERM; echo ready >/said; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done";
    let exec = container.exec(&[], &["/bin/sh", "-c", script]).spawn();
    assert_eq!(said.line(), "ready");
    exec.signal(rustix::process::Signal::TERM);
    assert_eq!(exec.wait().code(), 17);
}

/// `exec` of a program that is not there: an error, the container lives on.
#[test]
fn exec_of_a_missing_program_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.exec(&[], &["/no/such/program"]).output().refused();
    assert_eq!(container.status(), "running");
}

/// `exec` needs a running container.
#[test]
fn exec_in_a_stopped_container_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.stop();
    container.exec(&[], &["/bin/true"]).output().refused();
}

/// `exec` of a container that does not exist.
#[test]
fn exec_in_a_missing_container_is_an_error() {
    Case::new().runtime().args(["exec", "missing", "/bin/true"]).output().refused();
}

/// `exec` needs a command.
#[test]
fn exec_without_a_command_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.exec(&[], &[]).output().refused();
}

/// `exec --detach` returns while the process runs.
#[test]
fn exec_detach_returns_at_once() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let said = case.fifo(&bundle, "said");
    let script = "echo ready >/said; exec sleep 1000";
    container.exec(&["--detach"], &["/bin/sh", "-c", script]).ok();
    assert_eq!(said.line(), "ready");
}

/// `exec --env`, several times, over what the container has.
#[test]
fn exec_env() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/env/-", "A=old").set("/process/env/-", "B=kept");
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    for flag in ["--env", "-e"] {
        let flags = [flag, "A=new", flag, "C=c=d"];
        let report = container.exec(&flags, &["/bin/probe"]).ok().json();
        assert_eq!(report["env"]["A"], "new");
        assert_eq!(report["env"]["B"], "kept");
        assert_eq!(report["env"]["C"], "c=d");
    }
}

/// `exec --cwd`.
#[test]
fn exec_cwd() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    assert_eq!(container.exec(&["--cwd", "/tmp"], &["/bin/pwd"]).ok().text(), "/tmp");
    container.exec(&["--cwd", "/no/such"], &["/bin/pwd"]).output().refused();
}

/// `exec --user UID[:GID]`.
#[test]
fn exec_user_by_number() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let report = container.exec(&["--user", "1234:4321"], &["/bin/probe"]).ok().json();
    assert_eq!(report["uid"], 1234);
    assert_eq!(report["gid"], 4321);
    let report = container.exec(&["-u", "1234"], &["/bin/probe"]).ok().json();
    assert_eq!(report["uid"], 1234);
}

/// `exec --user NAME[:GROUP]`, looked up in the container's files.
#[test]
fn exec_user_by_name() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    fs::write(
        bundle.rootfs("etc/passwd"),
        "root:x:0:0::/:/bin/sh\nann:x:1500:1600::/home:/bin/sh\n",
    )
    .unwrap();
    fs::write(bundle.rootfs("etc/group"), "staff:x:1700:ann\n").unwrap();
    let report = container.exec(&["--user", "ann"], &["/bin/probe"]).ok().json();
    assert_eq!((&report["uid"], &report["gid"]), (&json!(1500), &json!(1600)));
    let report = container.exec(&["--user", "ann:staff"], &["/bin/probe"]).ok().json();
    assert_eq!((&report["uid"], &report["gid"]), (&json!(1500), &json!(1700)));
    container.exec(&["--user", "nobody-of-that-name"], &["/bin/probe"]).output().refused();
}

/// `exec --user`: another user has not the groups of the container's own.
#[test]
fn exec_user_has_its_own_groups() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]).set("/process/user/additionalGids", json!([0, 77]));
    let container = case.start(&bundle);
    fs::write(bundle.rootfs("etc/passwd"), "ann:x:1500:1600::/:/bin/sh\nbob:x:1501:1601::/:\n")
        .unwrap();
    fs::write(bundle.rootfs("etc/group"), "staff:x:1700:ann\n").unwrap();
    for (user, groups) in [("ann", json!([1700])), ("bob", json!([])), ("1502:1602", json!([]))] {
        let report = container.exec(&["--user", user], &["/bin/probe"]).ok().json();
        assert_eq!(report["groups"], groups, "{user}");
    }
}

/// `exec --user NAME`: files that are symlinks out of the container are not
/// followed to the host.
#[test]
fn exec_user_is_looked_up_in_the_container_only() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let outside = case.path("passwd");
    fs::write(&outside, "eve:x:1999:1999::/:/bin/sh\n").unwrap();
    std::os::unix::fs::symlink(&outside, bundle.rootfs("etc/passwd")).unwrap();
    container.exec(&["--user", "eve"], &["/bin/probe"]).output().refused();
}

/// `exec --additional-gids`.
#[test]
fn exec_additional_gids() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    for flag in ["--additional-gids", "-g"] {
        let flags = [flag, "100", flag, "65534"];
        let report = container.exec(&flags, &["/bin/probe"]).ok().json();
        let groups = report["groups"].as_array().unwrap();
        for gid in [100, 65534] {
            assert!(groups.contains(&json!(gid)), "{gid} is not in {groups:?}");
        }
    }
}

/// `exec --cap`: one more than the container has.
#[test]
fn exec_cap() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let before = container.exec(&[], &["/bin/probe"]).ok().json();
    let after = container.exec(&["--cap", "CAP_NET_RAW"], &["/bin/probe"]).ok().json();
    let set = |report: &Value, name: &str| {
        u64::from_str_radix(report["status"][name].as_str().unwrap(), 16).unwrap()
    };
    for name in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(set(&after, name), set(&before, name) | 1 << 13, "{name}");
    }
}

/// `exec --no-new-privs`.
#[test]
fn exec_no_new_privs() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/noNewPrivileges", false).args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["status"]["NoNewPrivs"], "0");
    let report = container.exec(&["--no-new-privs"], &["/bin/probe"]).ok().json();
    assert_eq!(report["status"]["NoNewPrivs"], "1");
}

/// `exec --process FILE`: a process object of its own.
#[test]
fn exec_process() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let file = process_file(
        &case,
        json!({
            "args": ["/bin/probe", "x"], "cwd": "/tmp", "env": ["ONLY=this"],
            "user": { "uid": 77, "gid": 88, "additionalGids": [99] },
            "noNewPrivileges": true,
            "capabilities": { "bounding": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 64 }],
        }),
    );
    let report =
        case.runtime().args(["exec", "--process"]).arg(&file).arg(container.id()).ok().json();
    assert_eq!(report["args"], json!(["/bin/probe", "x"]));
    assert_eq!(report["cwd"], "/tmp");
    assert_eq!(report["env"]["ONLY"], "this");
    assert!(report["env"]["PATH"].is_null());
    assert_eq!(report["uid"], 77);
    assert_eq!(report["gid"], 88);
    assert!(report["groups"].as_array().unwrap().contains(&json!(99)));
    assert_eq!(report["status"]["CapBnd"], format!("{:016x}", 1 << 5));
    assert_eq!(report["limits"]["Max open files"], json!(["64", "64"]));
}

/// `exec --process FILE`: settings that are written to /proc, or set last.
#[test]
fn exec_process_sets_oom_score_adj_and_umask() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let file = process_file(
        &case,
        json!({
            "args": ["/bin/probe"], "cwd": "/", "oomScoreAdj": 456,
            "user": { "uid": 0, "gid": 0, "umask": 0o077 },
        }),
    );
    let report =
        case.runtime().args(["exec", "--process"]).arg(&file).arg(container.id()).ok().json();
    assert_eq!(report["oomScoreAdj"], "456");
    assert_eq!(report["status"]["Umask"], "0077");
}

/// `exec --process FILE`: a descriptor of the caller's, so that what is secret need neither be
/// an argument nor a file.
#[test]
fn exec_process_from_a_descriptor() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let file = process_file(
        &case,
        json!({ "args": ["/bin/env"], "cwd": "/", "env": ["SECRET=x"], "user": { "uid": 0, "gid": 0 } }),
    );
    for (path, redirection) in [
        ("/proc/self/fd/0", "<\"$0\""),
        ("/dev/stdin", "<\"$0\""),
        ("/proc/self/fd/7", "7<\"$0\""),
        // A pipe, which cannot be sought in.
        ("/proc/self/fd/0", "< <(cat \"$0\")"),
    ] {
        let script = format!("exec \"$@\" {redirection}");
        let exec = case
            .program("bash")
            .args(["-c", &script])
            .arg(&file)
            .arg(husk_tests::runtime::path())
            .arg("--root")
            .arg(case.state_root())
            .args(["exec", "--process", path, container.id()])
            .ok();
        assert!(exec.lines().contains(&"SECRET=x"), "{path} {redirection}: {}", exec.stdout);
    }
}

/// `exec --process` with what is no JSON, or no such file.
#[test]
fn exec_process_of_garbage_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    fs::write(case.path("garbage"), "{").unwrap();
    for file in ["garbage", "missing"] {
        case.runtime()
            .args(["exec", "--process"])
            .arg(case.path(file))
            .arg(container.id())
            .output()
            .refused();
    }
    // Without an end: a bounded part of it is read.
    let endless = case.runtime().args(["exec", "--process", "/dev/zero", container.id()]);
    endless.output().refused();
}

/// `exec --preserve-fds N`.
#[test]
fn exec_preserve_fds() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    fs::write(case.path("a"), "from the caller\n").unwrap();
    let script = format!("exec \"$@\" 3<{}/a", case.dir().display());
    let exec = case
        .program("/bin/sh")
        .args(["-c", &script, "sh"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["exec", "--preserve-fds", "1", container.id(), "/bin/sh", "-c", "cat <&3"])
        .ok();
    assert_eq!(exec.text(), "from the caller");
}

/// `exec --preserve-fds N` of more than there are: the rest would be the runtime's own.
#[test]
fn exec_preserves_only_what_is_open() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    for number in ["90", "4294967295"] {
        let exec = case.runtime().args(["exec", "--preserve-fds", number, container.id()]);
        let output = exec.arg("/bin/true").output().refused();
        assert!(output.stderr.contains("--preserve-fds"), "{}", output.stderr);
        let create = case.runtime().args(["create", "--preserve-fds", number, "--bundle"]);
        let output = create.arg(bundle.dir()).arg("another").output().refused();
        assert!(output.stderr.contains("--preserve-fds"), "{}", output.stderr);
    }
}

/// `exec`: nothing else of the caller's or the runtime's is open.
#[test]
fn exec_leaks_no_descriptors() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    let mut open: Vec<&String> = report["descriptors"].as_object().unwrap().keys().collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"], "{}", report["descriptors"]);
}

/// `exec` passes standard input.
#[test]
fn exec_passes_standard_input() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    fs::write(case.path("input"), "typed\n").unwrap();
    let input = fs::File::open(case.path("input")).unwrap();
    assert_eq!(container.exec(&[], &["/bin/cat"]).stdin(input).ok().stdout, "typed\n");
}

/// `exec --ignore-paused` is a flag even where nothing is paused.
#[test]
fn exec_ignore_paused() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.exec(&["--ignore-paused"], &["/bin/true"]).ok();
}

/// `exec --cgroup CONTROLLER:PATH`: an existing cgroup below the container's.
#[test]
fn exec_cgroup() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    // One hierarchy of v1 if there is one, else the unified one.
    let line = container
        .proc("cgroup")
        .lines()
        .find(|l| l.contains(":pids:") && l.contains(bundle.id()))
        .map(str::to_owned);
    let (base, flag) = match &line {
        Some(_) => ("/sys/fs/cgroup/pids", "pids:below"),
        None if std::path::Path::new("/sys/fs/cgroup/unified").exists() => {
            ("/sys/fs/cgroup/unified", "/below")
        }
        None => ("/sys/fs/cgroup", "/below"),
    };
    let below = std::path::Path::new(base).join(bundle.id()).join("below");
    fs::create_dir(&below).unwrap();
    let flags = ["--cgroup", flag];
    let printed = container.exec(&flags, &["/bin/cat", "/proc/self/cgroup"]).output();
    fs::remove_dir(&below).unwrap();
    let printed = printed.ok().stdout;
    assert!(printed.contains(&format!("/{}/below", bundle.id())), "{printed}");
    let missing = ["--cgroup", "/no/such"];
    container.exec(&missing, &["/bin/true"]).output().refused();
}

/// `exec`: processes it started go with the container.
#[test]
fn exec_processes_end_with_the_container() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let said = case.fifo(&bundle, "said");
    let exec =
        container.exec(&[], &["/bin/sh", "-c", "echo ready >/said; exec sleep 1000"]).spawn();
    assert_eq!(said.line(), "ready");
    case.runtime().args(["delete", "--force", container.id()]).ok();
    assert_eq!(exec.wait().code(), 137);
    case.assert_nothing_left();
}
