//! config.md, Process: arguments, environment, directory, limits and the like.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use husk_tests::case::Case;
use serde_json::{Value, json};

/// config.md, process.args: handed over as they are.
#[test]
fn args_are_passed_unchanged() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let args = ["/bin/probe", "", "two words", "$HOME", "ünïcödé", "--flag=\"x\""];
    bundle.args(args);
    assert_eq!(case.report(&bundle)["args"], json!(args));
}

/// config.md, process.args: the first entry is looked up like execvp's *file*.
#[test]
fn the_program_is_looked_up_in_path() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["probe"]);
    bundle.set("/process/env", json!(["PATH=/nowhere:/bin"]));
    assert_eq!(case.report(&bundle)["args"], json!(["probe"]));
}

/// config.md, process.args: a path with a slash is relative to cwd.
#[test]
fn a_relative_program_is_found_from_cwd() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["./probe"]).set("/process/cwd", "/bin");
    assert_eq!(case.report(&bundle)["cwd"], "/bin");
}

/// config.md, process.env: the environment is that and no more. (HOME may be
/// added, as runc does for programs that expect it.)
#[test]
fn env_is_the_whole_environment() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/env", json!(["PATH=/bin", "EMPTY=", "A=b=c", "SPACE=x y"]));
    let run = case.running(&bundle, &[]).env("FROM_THE_HOST", "1").ok().json();
    let mut env = run["env"].as_object().unwrap().clone();
    env.remove("HOME");
    assert_eq!(Value::from(env), json!({"PATH": "/bin", "EMPTY": "", "A": "b=c", "SPACE": "x y"}));
}

/// execvp(3) callers expect HOME; runc and crun take it from the container's
/// /etc/passwd when the configuration has none.
#[test]
fn home_comes_from_the_containers_passwd() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(bundle.rootfs("etc/passwd"), "user:x:1000:1000::/home/user:/bin/sh\n").unwrap();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(case.report(&bundle)["env"]["HOME"], "/home/user");
    bundle.set("/process/env/-", "HOME=/given");
    assert_eq!(case.report(&bundle)["env"]["HOME"], "/given");
}

/// config.md, process.cwd.
#[test]
fn cwd_is_the_working_directory() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir_all(bundle.rootfs("a/b")).unwrap();
    bundle.set("/process/cwd", "/a/b");
    assert_eq!(case.report(&bundle)["cwd"], "/a/b");
}

/// config.md, process.cwd: symlinks in it are followed inside the rootfs.
#[test]
fn cwd_through_a_symlink_stays_inside() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("real")).unwrap();
    symlink("/real", bundle.rootfs("link")).unwrap();
    bundle.set("/process/cwd", "/link");
    assert_eq!(case.report(&bundle)["cwd"], "/real");
}

/// runc and crun make a missing working directory; containerd relies on it.
#[test]
fn a_missing_cwd_is_made() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/cwd", "/made/by/runtime");
    assert_eq!(case.report(&bundle)["cwd"], "/made/by/runtime");
}

/// config.md, user: uid and gid.
#[test]
fn user_sets_uid_and_gid() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001 }));
    let report = case.report(&bundle);
    assert_eq!(report["status"]["Uid"], "1000\t1000\t1000\t1000");
    assert_eq!(report["status"]["Gid"], "1001\t1001\t1001\t1001");
}

/// config.md, user.additionalGids: these and no others.
#[test]
fn additional_gids_are_the_supplementary_groups() {
    let case = Case::without_user_namespace("4000000 is not among the ids that are mapped");
    let mut bundle = case.bundle();
    bundle.set("/process/user", json!({ "uid": 5, "gid": 6, "additionalGids": [20, 10, 4000000] }));
    let report = case.report(&bundle);
    let mut groups: Vec<u64> =
        report["groups"].as_array().unwrap().iter().map(|g| g.as_u64().unwrap()).collect();
    groups.sort_unstable();
    assert_eq!(groups, [10, 20, 4_000_000]);

    bundle.set("/process/user", json!({ "uid": 5, "gid": 6 }));
    let report = case.report(&bundle);
    let others = report["groups"].as_array().unwrap().iter().any(|g| *g != 6);
    assert!(!others, "groups of the host: {}", report["groups"]);
}

/// config.md, user.umask.
#[test]
fn umask_is_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user/umask", 0o027);
    assert_eq!(case.report(&bundle)["status"]["Umask"], "0027");
    bundle.args(["/bin/touch", "/tmp/file"]);
    case.run(&bundle).ok();
    let mode = fs::metadata(bundle.rootfs("tmp/file")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// config.md, user.umask: without it the process has the usual 022, whatever
/// the caller's is. The document says that it "should not be changed from the
/// calling process' umask"; but dockerd and containerd run with an umask of 0,
/// and no runtime hands that on.
#[test]
fn umask_does_not_come_from_the_caller() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let script = format!(
        "umask 0; exec {} --root {} run --bundle {} {}",
        husk_tests::runtime::path().display(),
        case.state_root().display(),
        bundle.dir().display(),
        bundle.id()
    );
    let report = case.program("/bin/sh").args(["-c", &script]).ok().json();
    assert_eq!(report["status"]["Umask"], "0022");
}

/// config.md, rlimits: soft and hard as configured.
#[test]
fn rlimits_are_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    // Only downwards: raising a hard limit needs CAP_SYS_RESOURCE.
    let limits = [
        ("RLIMIT_AS", "Max address space", 1 << 40, 1 << 41),
        ("RLIMIT_CORE", "Max core file size", 0, 0),
        ("RLIMIT_CPU", "Max cpu time", 1000, 2000),
        ("RLIMIT_DATA", "Max data size", 1 << 32, 1 << 33),
        ("RLIMIT_FSIZE", "Max file size", 1 << 30, 1 << 31),
        ("RLIMIT_LOCKS", "Max file locks", 10, 20),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1000, 2000),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_NOFILE", "Max open files", 512, 1024),
        ("RLIMIT_NPROC", "Max processes", 5000, 6000),
        ("RLIMIT_RSS", "Max resident set", 1 << 30, 1 << 31),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 100, 200),
        ("RLIMIT_STACK", "Max stack size", 1 << 20, 1 << 22),
    ];
    let config: Vec<Value> = limits
        .iter()
        .map(|(name, _, soft, hard): &(_, _, u64, u64)| {
            json!({ "type": name, "soft": soft, "hard": hard })
        })
        .collect();
    bundle.set("/process/rlimits", config);
    let report = case.report(&bundle);
    for (name, shown, soft, hard) in limits {
        let seen = &report["limits"][shown];
        assert_eq!(*seen, json!([soft.to_string(), hard.to_string()]), "{name}");
    }
}

/// config.md, rlimits: the largest number is RLIM_INFINITY.
#[test]
fn rlimits_can_be_unlimited() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/process/rlimits",
        json!([{ "type": "RLIMIT_FSIZE", "soft": 1 << 30, "hard": u64::MAX }]),
    );
    assert_eq!(
        case.report(&bundle)["limits"]["Max file size"],
        json!([(1 << 30).to_string(), "unlimited"])
    );
}

/// config.md, rlimits: two entries of a type are an error.
#[test]
fn duplicate_rlimits_are_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let entry = json!({ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 });
    bundle.set("/process/rlimits", json!([entry, entry]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, rlimits: a type the kernel does not have is an error.
#[test]
fn an_unknown_rlimit_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_BANANA", "soft": 1, "hard": 1 }]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, oomScoreAdj: set when given.
#[test]
fn oom_score_adj_is_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/oomScoreAdj", 700);
    assert_eq!(case.report(&bundle)["oomScoreAdj"], "700");
}

/// config.md, oomScoreAdj: not changed when not given.
#[test]
fn oom_score_adj_is_left_alone() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let script = format!(
        "echo 321 >/proc/self/oom_score_adj; exec {} --root {} run --bundle {} {}",
        husk_tests::runtime::path().display(),
        case.state_root().display(),
        bundle.dir().display(),
        bundle.id()
    );
    let report = case.program("/bin/sh").args(["-c", &script]).ok().json();
    assert_eq!(report["oomScoreAdj"], "321");
}

/// config.md, noNewPrivileges.
#[test]
fn no_new_privileges_is_set_as_asked() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for (value, seen) in [(true, "1"), (false, "0")] {
        bundle.set("/process/noNewPrivileges", value);
        assert_eq!(case.report(&bundle)["status"]["NoNewPrivs"], seen);
    }
}

/// config.md, noNewPrivileges: a set-user-id program gains nothing.
#[test]
fn no_new_privileges_defeats_set_user_id() {
    let case = Case::new();
    let mut bundle = case.bundle();
    // A copy: the file of the rootfs is a hard link.
    fs::copy(bundle.rootfs("bin/probe"), bundle.rootfs("bin/suid")).unwrap();
    fs::set_permissions(bundle.rootfs("bin/suid"), PermissionsExt::from_mode(0o4755)).unwrap();
    bundle.args(["/bin/suid"]).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(case.report(&bundle)["status"]["Uid"], "1000\t1000\t1000\t1000");
    bundle.set("/process/noNewPrivileges", false);
    assert_eq!(case.report(&bundle)["status"]["Uid"], "1000\t0\t0\t0");
}

/// config.md, process: nothing of the caller's descriptors leaks in.
#[test]
fn only_the_standard_streams_are_open() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let script = format!(
        "exec 3</etc/passwd 9</; exec {} --root {} run --bundle {} {}",
        husk_tests::runtime::path().display(),
        case.state_root().display(),
        bundle.dir().display(),
        bundle.id()
    );
    let report = case.program("/bin/sh").args(["-c", &script]).ok().json();
    let mut open: Vec<&String> = report["descriptors"].as_object().unwrap().keys().collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"], "{}", report["descriptors"]);
}

/// signal(7): the program starts with no signal blocked and none ignored.
#[test]
fn signals_are_at_their_defaults() {
    let case = Case::new();
    let status = case.report(&case.bundle())["status"].clone();
    assert_eq!(status["SigBlk"], "0000000000000000");
    // SIGPIPE (13) is ignored by the probe itself: Rust programs do so. 32 and
    // 33 are the C library's own and whatever the caller made of them.
    let ignored = u64::from_str_radix(status["SigIgn"].as_str().unwrap(), 16).unwrap();
    assert_eq!(ignored & !(0b11 << 31), 1 << 12, "{ignored:#x}");
}

/// setsid(2): the program leads its own session.
#[test]
fn the_program_leads_a_session() {
    let case = Case::new();
    let report = case.report(&case.bundle());
    assert_eq!(report["pid"], 1);
    assert_eq!(report["sid"], 1);
}

/// config.md, Extensibility: a property nobody knows is no error.
#[test]
fn unknown_properties_are_ignored() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/unknown", json!({ "a": [1, { "b": null }] }));
    bundle.set("/process/unknown", "x").set("/linux/unknown/deep", 5);
    case.run(&bundle).ok();
}
