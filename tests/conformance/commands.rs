//! The command line: list, ps, spec, features, logs and usage errors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use husk_tests::case::Case;
use husk_tests::runtime;
use serde_json::{Value, json};

/// `list --format json`: what each state has.
#[test]
fn list_shows_every_container() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let created = case.bundle();
    let other = case.create(&created);
    let list = case.runtime().args(["list", "--format", "json"]).ok().json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 2);
    let find = |id: &str| list.iter().find(|c| c["id"] == id).unwrap();
    assert_eq!(find(bundle.id())["status"], "running");
    assert_eq!(find(bundle.id())["pid"], container.pid());
    assert_eq!(find(bundle.id())["bundle"], bundle.dir().to_str().unwrap());
    assert_eq!(find(created.id())["status"], "created");
    assert_eq!(find(created.id())["pid"], other.pid());

    let table = case.runtime().arg("list").ok().stdout;
    assert!(table.starts_with("ID") || table.starts_with("NAME"), "{table}");
    for id in [bundle.id(), created.id()] {
        assert!(table.lines().any(|l| l.starts_with(id)), "{table}");
    }
    let quiet = case.runtime().args(["list", "--quiet"]).ok();
    let mut ids = quiet.lines();
    ids.sort_unstable();
    let mut wanted = [bundle.id(), created.id()];
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
}

/// `list` without containers, and before `--root` exists.
#[test]
fn list_of_nothing_is_empty() {
    let case = Case::new();
    assert_eq!(case.runtime().args(["list", "-q"]).ok().text(), "");
    let json = case.runtime().args(["list", "-f", "json"]).ok().json();
    assert!(json.is_null() || json == json!([]), "{json}");
}

/// `list` survives state it cannot read.
#[test]
fn list_survives_a_broken_state() {
    let case = Case::new();
    let (bundle, _container) = case.sleeper();
    fs::create_dir(case.state_root().join("broken")).unwrap();
    fs::write(case.state_root().join("broken/state.json"), "{").unwrap();
    let list = case.runtime().args(["list", "-q"]).output();
    assert!(list.stdout.contains(bundle.id()), "{list:?}");
    fs::remove_dir_all(case.state_root().join("broken")).unwrap();
}

/// `ps --format json`: the process ids on the host.
#[test]
fn ps_lists_the_processes() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.shell("sleep 2000 & echo ready >/said; exec sleep 1000");
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    let pids = case.runtime().args(["ps", "--format", "json", container.id()]).ok().json();
    let pids = pids.as_array().unwrap();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(pids.contains(&json!(container.pid())));

    let table = case.runtime().args(["ps", container.id()]).ok().stdout;
    assert!(table.contains("PID"), "{table}");
    let rows: Vec<&str> = table.lines().filter(|l| l.contains("sleep")).collect();
    let husk_or_runc = runtime::name() != "crun";
    if husk_or_runc {
        assert_eq!(rows.len(), 2, "{table}");
        let table = case.runtime().args(["ps", container.id(), "-o", "pid,comm"]).ok().stdout;
        assert!(table.contains("COMMAND") && !table.contains("TTY"), "{table}");
    }
}

/// `ps` of a container that does not exist.
#[test]
fn ps_of_a_missing_container_is_an_error() {
    Case::new().on("ps", "missing").output().refused();
}

/// `spec` writes a config.json that `run` takes.
#[test]
fn spec_writes_a_configuration_that_runs() {
    let case = Case::new();
    let bundle = case.bundle();
    case.runtime().args(["spec", "--bundle"]).arg(bundle.dir()).ok();
    let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    assert!(config["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"]["path"], "rootfs");
    let mut bundle = bundle;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["sh", "-c", "echo it runs"]);
    // Without the device rules, whose eBPF form not every host lets crun load.
    config["linux"].as_object_mut().unwrap().remove("resources");
    config["linux"]["cgroupsPath"] = runtime::cgroups_path(bundle.id()).into();
    bundle.config = config;
    assert_eq!(case.print(&bundle), "it runs\n");
}

/// `spec` does not overwrite.
#[test]
fn spec_does_not_overwrite() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write_text("{}");
    case.runtime().args(["spec", "--bundle"]).arg(bundle.dir()).output().refused();
    assert_eq!(fs::read_to_string(bundle.dir().join("config.json")).unwrap(), "{}");
}

/// `spec --rootless`: a user namespace with mappings for the caller.
#[test]
fn spec_rootless_has_a_user_namespace() {
    let case = Case::new();
    let bundle = case.bundle();
    case.runtime().args(["spec", "--rootless", "--bundle"]).arg(bundle.dir()).ok();
    let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({ "type": "user" })), "{namespaces:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["containerID"], 0);
}

/// `--version`: a first line with the name, and the spec's version, as
/// containerd and Docker read them.
#[test]
fn version_names_the_runtime_and_the_spec() {
    let case = Case::new();
    for flag in ["--version", "-v"] {
        let version = case.program(runtime::path().to_str().unwrap()).arg(flag).ok();
        let first = version.lines()[0];
        assert!(first.starts_with(&runtime::name()), "{first}");
        assert!(first.contains("version"), "{first}");
        let spec = version.lines().into_iter().find_map(|l| l.strip_prefix("spec: "));
        assert!(spec.is_some_and(|s| s.starts_with("1.")), "{}", version.stdout);
    }
}

/// `--help` succeeds and names the commands.
#[test]
fn help_names_the_commands() {
    let case = Case::new();
    let help = case.program(runtime::path().to_str().unwrap()).arg("--help").ok();
    for command in ["create", "start", "state", "kill", "delete", "run", "exec", "list", "ps"] {
        assert!(help.stdout.contains(command), "{command} is not in the help");
    }
}

/// Every flag that a command's `--help` lists is one that it takes.
#[test]
fn every_flag_of_the_help_is_taken() {
    let case = Case::new();
    let mut seen = 0;
    for command in ["create", "run", "exec", "update", "kill", "delete", "list", "ps", "events"] {
        let help = case.runtime().args([command, "--help"]).ok().stdout;
        let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        for flag in words.filter(|word| word.starts_with("--") && *word != "--help") {
            let output = case.runtime().args([command, &format!("{flag}=1"), "missing"]).output();
            for refusal in ["no such flag", "not defined", "unrecognized option"] {
                assert!(!output.stderr.contains(refusal), "{command} {flag}: {}", output.stderr);
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// An unknown command, flag or format is an error.
#[test]
fn what_is_unknown_is_an_error() {
    let case = Case::new();
    for args in [
        &["banana"][..],
        &["list", "--banana"],
        &["list", "--format", "banana"],
        &["create", "--banana", "id"],
    ] {
        let output = case.runtime().args(args).output();
        assert!(!output.status.success(), "{args:?}");
    }
}

/// `--log FILE --log-format json`: containerd reads level, msg and time.
#[test]
fn errors_are_logged_as_json() {
    let case = Case::new();
    let log = case.path("log");
    let runtime = case.runtime().arg("--log").arg(&log).args(["--log-format", "json"]);
    runtime.args(["state", "missing"]).output();
    let text = fs::read_to_string(&log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for key in ["level", "msg", "time"] {
        assert!(line[key].is_string(), "{key} is not in {line}");
    }
    assert_eq!(line["level"], "error");
}

/// `--debug`, `--systemd-cgroup=false`, `--rootless`: flags every caller may
/// pass.
#[test]
fn global_flags_of_callers_are_accepted() {
    let case = Case::new();
    for flags in [&["--debug"][..], &["--rootless", "false"], &["--rootless", "auto"]] {
        case.runtime().args(flags).args(["list", "-q"]).ok();
    }
}

/// `kill --all` is accepted, as containerd passes it.
#[test]
fn kill_all_is_accepted() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    case.runtime().args(["kill", "--all", container.id(), "KILL"]).ok();
    container.process().wait();
}

/// `kill` on a stopped container: containerd looks for these words.
#[test]
fn kill_of_a_stopped_container_says_so() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.stop();
    let kill = case.on("kill", container.id()).arg("KILL").output().refused();
    assert!(kill.stderr.contains("container not running"), "{}", kill.stderr);
}

/// State is kept below `--root`, for root's eyes only.
#[test]
fn state_is_private() {
    let case = Case::new();
    let (bundle, _container) = case.sleeper();
    let dir = case.state_root().join(bundle.id());
    let mode = fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

/// Without a file it would have nowhere to write.
#[test]
fn messages_for_the_log_alone_need_a_log() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let refused = case.runtime().args(["--log-only", "list"]).output();
    refused.refused_in_one_line(&["--log-only", "goes with --log FILE"]);
}

/// `--debug` tells each step with its time, on standard error or in the log alone.
#[test]
fn debug_tells_each_step() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    bundle.write();
    let run = |flags: &[&str]| {
        let run = case.runtime().args(flags).args(["--debug", "run", "--bundle"]);
        run.arg(bundle.dir()).arg(bundle.id()).ok().stderr
    };
    let steps = ["plan", "cgroup", "clone3", "mounts", "pivot_root", "execve", "remove"];
    let told = |text: &str| {
        for step in steps {
            let line = text.lines().find(|line| line.contains(step));
            let line = line.unwrap_or_else(|| panic!("{step} is missing: {text}"));
            assert!(line.contains("debug"), "{line}");
        }
        assert!(text.contains(" ms after the start"), "{text}");
    };
    told(&run(&[]));
    let log = case.path("log");
    assert_eq!(run(&["--log", log.to_str().unwrap(), "--log-format", "json"]), "");
    let text = fs::read_to_string(&log).unwrap();
    told(&text);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "debug");
        assert!(line["time"].is_string());
    }
}

/// `spec` names the user, which scripts edit, and no cgroup namespace on v1 (as runc).
#[test]
fn spec_can_be_edited_as_runcs() {
    let case = Case::new();
    let bundle = case.bundle();
    for flags in [&[][..], &["--rootless"]] {
        let _ = fs::remove_file(bundle.dir().join("config.json"));
        case.runtime().arg("spec").args(flags).arg("--bundle").arg(bundle.dir()).ok();
        let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["process"]["user"], json!({ "uid": 0, "gid": 0 }));
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(namespaces.contains(&json!({ "type": "cgroup" })), unified, "{namespaces:?}");
    }
}
