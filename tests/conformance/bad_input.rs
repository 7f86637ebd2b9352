//! Input that cannot be honoured: husk-oci promises one line that names the
//! property and its value, exit code 1, and nothing left on the host. Other
//! runtimes promise no form of a message: these are husk-oci's own, and a
//! peer's count is to be read so.

use std::fs;
use std::os::unix::fs::symlink;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use husk_tests::user_namespace;
use serde_json::{Value, json};

/// `create` and `run` of the bundle are refused in one line with `words`.
fn refused(case: &Case, bundle: &Bundle, words: &[&str]) {
    for command in [case.creating(bundle, &[]), case.running(bundle, &[])] {
        command.output().refused_in_one_line(words);
        case.assert_nothing_left();
    }
}

/// A configuration where the value at `pointer` is `value`.
fn with(pointer: &str, value: Value, words: &[&str]) {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(pointer, value);
    refused(&case, &bundle, words);
}

/// A configuration of this text.
fn text(text: &str, words: &[&str]) {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write_text(text);
    let run = case.runtime().args(["run", "--bundle"]).arg(bundle.dir()).arg(bundle.id());
    run.output().refused_in_one_line(words);
    case.assert_nothing_left();
}

#[test]
fn no_bundle() {
    let case = Case::new();
    let missing = case.path("missing");
    let run = case.runtime().args(["run", "--bundle"]).arg(&missing).arg("id");
    run.output().refused_in_one_line(&[path_text(&missing)]);
    case.assert_nothing_left();
}

#[test]
fn a_bundle_that_is_a_file() {
    let case = Case::new();
    let file = case.path("file");
    fs::write(&file, "").unwrap();
    let run = case.runtime().args(["run", "--bundle"]).arg(&file).arg("id");
    run.output().refused_in_one_line(&[path_text(&file)]);
    case.assert_nothing_left();
}

#[test]
fn no_config_json() {
    let case = Case::new();
    let bundle = case.bundle();
    let run = case.runtime().args(["run", "--bundle"]).arg(bundle.dir()).arg(bundle.id());
    run.output().refused_in_one_line(&["config.json", "No such file"]);
    case.assert_nothing_left();
}

#[test]
fn json_that_does_not_parse() {
    text("{\n  \"ociVersion\": \"1.0.2\",\n  banana\n}\n", &["config.json", "line 3", "column"]);
    text("", &["config.json", "line 1"]);
    text("{\"ociVersion\": \"1.0.2\"} trailing", &["config.json", "trailing"]);
}

#[test]
fn a_root_that_is_no_object() {
    text("[]", &["config.json"]);
    text("null", &["config.json"]);
}

#[test]
fn wrong_types_are_named_by_their_path() {
    with("/process/args", json!("sh"), &["process.args"]);
    with("/process/args/0", json!(5), &["process.args[0]"]);
    with("/process/user/uid", json!("root"), &["process.user.uid"]);
    with("/process/user/uid", json!(-1), &["process.user.uid", "-1"]);
    with("/process/user/gid", json!(1u64 << 32), &["process.user.gid", "4294967296"]);
    with("/mounts/1/options/1", json!({}), &["mounts[1].options[1]"]);
    with("/linux/namespaces/2/type", json!(7), &["linux.namespaces[2].type"]);
    with("/root/readonly", json!("yes"), &["root.readonly"]);
}

#[test]
fn missing_properties_are_named() {
    for (pointer, name) in [
        ("/ociVersion", "ociVersion"),
        ("/root/path", "path"),
        ("/process/cwd", "cwd"),
        ("/process/args", "process.args"),
        ("/root", "root"),
    ] {
        let case = Case::new();
        let mut bundle = case.bundle();
        bundle.remove(pointer);
        refused(&case, &bundle, &[name]);
    }
}

#[test]
fn an_unknown_major_version() {
    with("/ociVersion", json!("2.0.0"), &["ociVersion", "2.0.0"]);
    with("/ociVersion", json!("0.9.0"), &["ociVersion", "0.9.0"]);
    with("/ociVersion", json!("banana"), &["ociVersion", "banana"]);
}

#[test]
fn empty_args() {
    with("/process/args", json!([]), &["process.args"]);
    with("/process/args", json!([""]), &["process.args[0]"]);
}

#[test]
fn a_relative_cwd() {
    with("/process/cwd", json!("relative"), &["process.cwd", "relative"]);
    with("/process/cwd", json!(""), &["process.cwd"]);
}

#[test]
fn a_nul_byte_in_a_string() {
    with("/process/args/0", json!("/bin/pro\0be"), &["process.args[0]"]);
    with("/process/env/0", json!("A=\0"), &["process.env[0]"]);
    with("/hostname", json!("a\0b"), &["hostname"]);
}

#[test]
fn a_variable_of_a_hook_without_a_value() {
    let hook = json!([{ "path": "/bin/true", "env": ["A=1", "NOVALUE"] }]);
    with("/hooks/poststop", hook, &["hooks.poststop[0].env[1]", "NOVALUE"]);
}

#[test]
fn options_that_the_type_of_mount_does_not_have() {
    let case = Case::new();
    let bound = json!({
        "destination": "/x", "type": "bind", "source": "/tmp", "options": ["bind", "tmpcopyup"],
    });
    let cgroup = json!({
        "destination": "/x", "type": "cgroup", "source": "cgroup", "options": ["ro", "banana"],
    });
    for (mount, word) in [(bound, "tmpcopyup"), (cgroup, "banana")] {
        let mut bundle = case.bundle();
        let index = bundle.mount(mount);
        refused(&case, &bundle, &[&format!("mounts[{index}]"), word]);
    }
}

#[test]
fn the_root_as_a_place_for_mounts() {
    with("/linux/readonlyPaths", json!(["/proc/sys", "/."]), &["linux.readonlyPaths[1]", "/."]);
    with("/linux/maskedPaths", json!(["/"]), &["linux.maskedPaths[0]"]);
    let case = Case::new();
    let mut bundle = case.bundle();
    let tmpfs = json!({ "destination": "/x/..", "type": "tmpfs", "source": "tmpfs" });
    let index = bundle.mount(tmpfs);
    refused(&case, &bundle, &[&format!("mounts[{index}].destination (/)")]);
}

#[test]
fn the_number_that_is_no_id() {
    let none = u32::MAX;
    let groups = json!([1, none]);
    with("/process/user/additionalGids", groups, &["process.user.additionalGids[1]", "4294967295"]);
    let device = json!([{ "path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": none }]);
    with("/linux/devices", device, &["linux.devices[0].uid", "4294967295"]);
    let many: Vec<u32> = (1..70_000).collect();
    with("/process/user/additionalGids", json!(many), &["process.user.additionalGids", "65536"]);
}

#[test]
fn ids_that_are_paths() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    for id in ["", ".", "..", "a/b", "../a", "a/../b", "/a", "a b", "a\nb"] {
        let run = case.runtime().args(["run", "--bundle"]).arg(bundle.dir()).arg(id);
        run.output().refused_in_one_line(&[]);
    }
    let long = "a".repeat(5000);
    case.runtime().args(["run", "--bundle"]).arg(bundle.dir()).arg(&long).output().refused();
    for command in ["state", "kill", "delete", "start", "ps"] {
        case.on(command, "../../etc").output().refused_in_one_line(&["../../etc"]);
    }
    case.assert_nothing_left();
}

#[test]
fn an_id_in_use() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    case.creating(&bundle, &[]).output().refused_in_one_line(&[bundle.id()]);
    assert_eq!(container.status(), "running");
}

#[test]
fn a_rootfs_that_is_missing() {
    with("/root/path", json!("missing"), &["root.path", "missing", "No such file"]);
    with("/root/path", json!(""), &["root.path"]);
}

#[test]
fn a_rootfs_that_is_a_symlink_loop() {
    let case = Case::new();
    let mut bundle = case.bundle();
    symlink("loop", bundle.dir().join("loop")).unwrap();
    bundle.set("/root/path", "loop");
    refused(&case, &bundle, &["root.path", "loop"]);
}

#[test]
fn a_namespace_path_of_the_wrong_type() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let index = bundle.namespace("network", Some("/proc/self/ns/uts"));
    let name = format!("linux.namespaces[{index}]");
    refused(&case, &bundle, &[&name, "/proc/self/ns/uts"]);
}

/// A namespace that is named as one to join, but is the host's, would be changed by what is
/// meant for the container's. The calls are made from namespaces of their own, should it happen.
#[test]
fn a_joined_namespace_that_is_the_hosts() {
    for (kind, file, pointer, value, property) in [
        ("network", "net", "/linux/sysctl", json!({ "net.ipv4.conf.lo.tag": "7" }), "linux.sysctl"),
        ("ipc", "ipc", "/linux/sysctl", json!({ "kernel.msgmax": "4096" }), "linux.sysctl"),
        ("uts", "uts", "/linux/sysctl", json!({ "kernel.domainname": "x" }), "linux.sysctl"),
        ("uts", "uts", "/hostname", json!("changed"), "hostname"),
        ("uts", "uts", "/domainname", json!("changed"), "domainname"),
        (
            "network",
            "net",
            "/linux/netDevices",
            json!({ "lo": { "name": "lo9" } }),
            "linux.netDevices",
        ),
        ("mount", "mnt", "/hostname", json!("changed"), "root.path"),
    ] {
        let case = Case::without_user_namespace("it is about the host's namespaces");
        let mut bundle = case.bundle();
        let index = bundle.namespace(kind, Some(&format!("/proc/self/ns/{file}")));
        bundle.set(pointer, value).write();
        let run = case
            .program("unshare")
            .args(["-n", "-i", "-u", "-m", "--propagation", "slave"])
            .arg(husk_tests::runtime::path())
            .arg("--root")
            .arg(case.state_root())
            .args(["run", "--bundle"])
            .arg(bundle.dir())
            .arg(bundle.id());
        let path = format!("linux.namespaces[{index}].path");
        run.output().refused_in_one_line(&[property, &path, "would change the host"]);
        case.assert_nothing_left();
    }
}

#[test]
fn a_namespace_path_that_is_missing() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let index = bundle.namespace("ipc", Some("/no/such/namespace"));
    let name = format!("linux.namespaces[{index}]");
    refused(&case, &bundle, &[&name, "/no/such/namespace"]);
}

#[test]
fn unknown_and_duplicate_namespaces() {
    with("/linux/namespaces/-", json!({ "type": "banana" }), &["linux.namespaces[5]", "banana"]);
    with("/linux/namespaces/-", json!({ "type": "uts" }), &["linux.namespaces[5]", "uts"]);
}

#[test]
fn an_unknown_mount_option() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let index = bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "banana"],
    }));
    refused(&case, &bundle, &[&format!("mounts[{index}]"), "banana"]);
    let mut bundle = case.bundle();
    let index = bundle.bind(&case.directory("source"), "/mnt", &["rbind", "banana"]);
    refused(&case, &bundle, &[&format!("mounts[{index}]"), "banana"]);
}

#[test]
fn a_mount_that_fails() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let missing = case.path("missing");
    let index = bundle.bind(&missing, "/mnt", &["rbind"]);
    refused(&case, &bundle, &[&format!("mounts[{index}]"), path_text(&missing), "No such file"]);
    let mut bundle = case.bundle();
    let index = bundle.mount(json!({ "destination": "/mnt", "type": "bananafs", "source": "x" }));
    refused(&case, &bundle, &[&format!("mounts[{index}]"), "bananafs"]);
    let mut bundle = case.bundle();
    let index = bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=banana"],
    }));
    refused(&case, &bundle, &[&format!("mounts[{index}]"), "size"]);
}

#[test]
fn a_mount_without_a_destination() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let index = bundle.mount(json!({ "type": "tmpfs", "source": "tmpfs" }));
    refused(&case, &bundle, &[&format!("mounts[{index}]"), "destination"]);
}

#[test]
fn a_dead_console_socket() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    let socket = case.path("console");
    let flags = ["--console-socket", path_text(&socket)];
    case.creating(&bundle, &flags).output().refused_in_one_line(&[path_text(&socket)]);
    case.assert_nothing_left();
    drop(DescriptorSocket::listen(&socket));
    case.creating(&bundle, &flags).output().refused_in_one_line(&[path_text(&socket)]);
    case.assert_nothing_left();
}

#[test]
fn a_terminal_without_a_console_socket() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    case.creating(&bundle, &[]).output().refused_in_one_line(&["console-socket"]);
    case.assert_nothing_left();
}

#[test]
fn rlimits() {
    let entry = json!({ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 9 });
    with("/process/rlimits", json!([entry, entry]), &["process.rlimits[1]", "RLIMIT_NOFILE"]);
    let unknown = json!([{ "type": "RLIMIT_BANANA", "soft": 9, "hard": 9 }]);
    with("/process/rlimits", unknown, &["process.rlimits[0]", "RLIMIT_BANANA"]);
    let reversed = json!([{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 9 }]);
    with("/process/rlimits", reversed, &["process.rlimits[0]", "10"]);
}

#[test]
fn schedulers_and_priorities() {
    let policy = json!({ "policy": "SCHED_BANANA" });
    with("/process/scheduler", policy, &["process.scheduler.policy", "SCHED_BANANA"]);
    let nice = json!({ "policy": "SCHED_OTHER", "nice": 99 });
    with("/process/scheduler", nice, &["process.scheduler.nice", "99"]);
    let class = json!({ "class": "IOPRIO_CLASS_BANANA", "priority": 1 });
    with("/process/ioPriority", class, &["process.ioPriority.class", "IOPRIO_CLASS_BANANA"]);
    let priority = json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 });
    with("/process/ioPriority", priority, &["process.ioPriority.priority", "8"]);
    let cpus = json!({ "final": "0-banana" });
    with("/process/execCPUAffinity", cpus, &["process.execCPUAffinity.final", "0-banana"]);
}

#[test]
fn oom_score_adj_out_of_range() {
    with("/process/oomScoreAdj", json!(1001), &["process.oomScoreAdj", "1001"]);
    with("/process/oomScoreAdj", json!(-1001), &["process.oomScoreAdj", "-1001"]);
}

#[test]
fn memory_policies_and_personalities() {
    let mode = json!({ "mode": "MPOL_BANANA", "nodes": "0" });
    with("/linux/memoryPolicy", mode, &["linux.memoryPolicy.mode", "MPOL_BANANA"]);
    let nodes = json!({ "mode": "MPOL_BIND", "nodes": "banana" });
    with("/linux/memoryPolicy", nodes, &["linux.memoryPolicy.nodes", "banana"]);
    let flags = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_BANANA"] });
    with("/linux/memoryPolicy", flags, &["linux.memoryPolicy.flags[0]", "MPOL_F_BANANA"]);
    let domain = json!({ "domain": "BANANA" });
    with("/linux/personality", domain, &["linux.personality.domain", "BANANA"]);
}

#[test]
fn sysctls() {
    with("/linux/sysctl", json!({ "kernel.pid_max": "99" }), &["linux.sysctl", "kernel.pid_max"]);
    with("/linux/sysctl", json!({ "net.banana": "1" }), &["linux.sysctl", "net.banana"]);
    let value = json!({ "net.ipv4.ip_forward": "banana" });
    with("/linux/sysctl", value, &["linux.sysctl", "net.ipv4.ip_forward", "banana"]);
    let path = json!({ "net/../kernel/pid_max": "99" });
    with("/linux/sysctl", path, &["linux.sysctl", "pid_max"]);
}

#[test]
fn a_rootfs_propagation_nobody_knows() {
    with("/linux/rootfsPropagation", json!("banana"), &["linux.rootfsPropagation", "banana"]);
}

#[test]
fn a_device_type_nobody_knows() {
    let device = json!([{ "path": "/dev/x", "type": "z", "major": 1, "minor": 3 }]);
    with("/linux/devices", device, &["linux.devices[0].type", "z"]);
}

#[test]
fn hooks_that_cannot_run() {
    let hook = |value: Value| json!([value]);
    with(
        "/hooks/createRuntime",
        hook(json!({ "path": "true" })),
        &["hooks.createRuntime[0]", "true"],
    );
    let zero = hook(json!({ "path": "/bin/true", "timeout": 0 }));
    with("/hooks/createRuntime", zero, &["hooks.createRuntime[0]", "timeout"]);
    let missing = hook(json!({ "path": "/no/such/hook" }));
    with("/hooks/prestart", missing, &["hooks.prestart[0]", "/no/such/hook"]);
}

/// The cause of a program that cannot be started, not only its errno.
#[test]
fn programs_that_cannot_be_executed() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::new();
    let file = |name: &str, content: &[u8], mode: u32| {
        let bundle = case.bundle();
        let path = bundle.rootfs(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let mut bundle = bundle;
        bundle.args([format!("/{name}")]);
        bundle
    };
    for (bundle, words) in [
        (file("other", b"", 0o755), &["/missing", "No such file"][..]),
        (file("script", b"#!/no/such/sh\n", 0o755), &["/script", "/no/such/sh"]),
        (file("dos", b"#!/bin/sh\r\necho x\r\n", 0o755), &["/dos", "carriage return"]),
        (file("plain", b"#!/bin/sh\n", 0o644), &["/plain", "not executable"]),
        (file("text", b"echo no interpreter\n", 0o755), &["/text"]),
    ] {
        let mut bundle = bundle;
        if words[0] == "/missing" {
            bundle.args(["/missing"]);
        }
        case.run(&bundle).refused_in_one_line(words);
        case.assert_nothing_left();
    }
    let mut bundle = case.bundle();
    bundle.args(["no-such-command"]);
    case.run(&bundle).refused_in_one_line(&["no-such-command", "PATH"]);
}

/// 100 MB of configuration: refused, in little memory.
#[test]
fn an_enormous_config_json() {
    let case = Case::new();
    let bundle = case.bundle();
    let mut text = String::from("{\"ociVersion\": \"1.0.2\", \"annotations\": {\"key\": \"");
    text.push_str(&"x".repeat(100 << 20));
    text.push_str("\"}}");
    bundle.write_text(&text);
    limited(&case, &bundle).refused_in_one_line(&["config.json"]);
    case.assert_nothing_left();
}

/// 10,000 levels of nesting: refused, not a stack overflow.
#[test]
fn a_deeply_nested_config_json() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let case = Case::new();
        let bundle = case.bundle();
        let depth = 10_000;
        let inner = if open == "[" { "" } else { "1" };
        let nested = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
        // An unknown property is ignored, whatever is in it; the document is
        // then refused for what it lacks.
        bundle.write_text(&format!("{{\"ociVersion\": \"1.0.2\", \"x\": {nested}}}"));
        limited(&case, &bundle).refused_in_one_line(&[]);
        bundle.write_text(&format!("{{\"ociVersion\": \"1.0.2\", \"root\": {nested}}}"));
        limited(&case, &bundle).refused_in_one_line(&["config.json"]);
        case.assert_nothing_left();
    }
}

/// `run` with an address space that a 100 MB document does not fit in.
fn limited(case: &Case, bundle: &Bundle) -> husk_tests::invocation::Output {
    case.program("/bin/sh")
        .args(["-c", "ulimit -v 65536; exec \"$@\"", "sh"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .output()
}

/// A value of the document in a warning forges no second line, and reaches no
/// terminal.
#[test]
fn a_warning_is_one_line() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let mount = json!({ "destination": "x\nhusk-oci: forged\u{1b}[2J", "type": "tmpfs" });
    bundle.mount(mount);
    bundle.args(["/bin/true"]);
    let run = case.run(&bundle).ok();
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("husk-oci: warning: mounts["), "{lines:?}");
    assert!(!run.stderr.contains('\u{1b}'), "{lines:?}");
}

/// A limit's name, not its number or place alone.
#[test]
fn a_limit_is_named() {
    let limit =
        |soft: u64, hard: u64| json!([{ "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard }]);
    with("/process/rlimits", limit(9, 5), &["rlimits[0].soft (RLIMIT_NOFILE: 9)", "hard limit, 5"]);
    let beyond = limit(1 << 40, 1 << 40);
    with("/process/rlimits", beyond, &["RLIMIT_NOFILE, soft 1099511627776, hard 1099511627776"]);
}

#[test]
fn a_sysctl_that_contradicts_a_name() {
    let case = Case::new();
    for (name, other) in [("hostname", "b"), ("domainname", "b")] {
        let mut bundle = case.bundle();
        let key = format!("kernel.{name}");
        bundle.set(&format!("/{name}"), "a").set("/linux/sysctl", json!({ key.clone(): other }));
        refused(&case, &bundle, &[&format!("{key}=b"), &format!("conflicts with {name} (a)")]);
        // The root of a user namespace may not write these.
        if !user_namespace::is_added() {
            bundle.set("/linux/sysctl", json!({ key: "a" })).args(["/bin/true"]);
            case.run(&bundle).ok();
        }
    }
}
