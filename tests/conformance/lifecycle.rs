//! runtime.md: the operations and the life of a container.

use std::fs;

use husk_tests::case::Case;
use serde_json::json;

/// runtime.md, Create: the user-specified program must not be run at this time.
#[test]
fn create_does_not_run_the_program() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo ran >/tmp/ran");
    let container = case.create(&bundle);
    assert!(!bundle.rootfs("tmp/ran").exists());
    container.start();
    container.process().wait();
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/ran")).unwrap(), "ran\n");
}

/// runtime.md, Create: afterwards the status is `created`.
#[test]
fn create_leaves_the_status_created() {
    let case = Case::new();
    let container = case.create(&case.bundle());
    assert_eq!(container.status(), "created");
}

/// runtime.md, Create: an id and a bundle are needed.
#[test]
fn create_without_an_id_is_an_error() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    case.runtime().arg("create").arg("--bundle").arg(bundle.dir()).output().refused();
    case.assert_nothing_left();
}

/// runtime.md, Create: an id that is in use is an error; the container that
/// has it is not touched.
#[test]
fn create_with_an_id_in_use_is_an_error() {
    let case = Case::new();
    let bundle = case.bundle();
    let container = case.create(&bundle);
    case.creating(&bundle, &[]).output().refused();
    assert_eq!(container.status(), "created");
    assert!(!container.process().exited());
}

/// runtime.md, Create: changes of config.json afterwards have no effect.
#[test]
fn later_changes_of_config_json_have_no_effect() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo first >/tmp/ran");
    let container = case.create(&bundle);
    bundle.shell("echo second >/tmp/ran").write();
    container.start();
    container.process().wait();
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/ran")).unwrap(), "first\n");
}

/// command line, `create --bundle`: the default bundle is the working directory.
#[test]
fn the_default_bundle_is_the_working_directory() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/echo", "hello"]).write();
    let run = case.runtime().current_dir(bundle.dir()).args(["run", bundle.id()]).ok();
    assert_eq!(run.text(), "hello");
}

/// runtime.md, Start: the program runs and the status is `running`.
#[test]
fn start_leaves_the_status_running() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    assert_eq!(container.status(), "running");
}

/// runtime.md, Start: an id is needed.
#[test]
fn start_without_an_id_is_an_error() {
    Case::new().runtime().arg("start").output().refused();
}

/// runtime.md, Start: a container that does not exist is an error.
#[test]
fn start_of_a_missing_container_is_an_error() {
    Case::new().on("start", "missing").output().refused();
}

/// runtime.md, Start: on a container that is not `created` it is an error and
/// has no effect.
#[test]
fn start_of_a_running_container_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    case.on("start", container.id()).output().refused();
    assert_eq!(container.status(), "running");
    assert!(!container.process().exited());
}

/// runtime.md, Start: a stopped container cannot be started again.
#[test]
fn start_of_a_stopped_container_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.stop();
    case.on("start", container.id()).output().refused();
    assert_eq!(container.status(), "stopped");
}

/// runtime.md, State: the properties every state has.
#[test]
fn state_has_the_required_properties() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.create(&bundle);
    for status in ["created", "running"] {
        let state = container.state();
        assert_eq!(state["id"], bundle.id());
        assert_eq!(state["status"], status);
        assert_eq!(state["pid"], container.pid());
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
        assert_eq!(state["annotations"]["org.example.key"], "value");
        if status == "created" {
            container.start();
        }
    }
}

/// runtime.md, State: a bundle given as a relative path is absolute there.
#[test]
fn state_has_the_absolute_path_of_the_bundle() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let name = bundle.dir().file_name().unwrap();
    case.runtime()
        .current_dir(case.dir())
        .args(["create", "--bundle"])
        .arg(name)
        .arg(bundle.id())
        .ok();
    let state = case.on("state", bundle.id()).ok().json();
    assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
}

/// runtime.md, Query State: an id is needed.
#[test]
fn state_without_an_id_is_an_error() {
    Case::new().runtime().arg("state").output().refused();
}

/// runtime.md, Query State: a container that does not exist is an error.
#[test]
fn state_of_a_missing_container_is_an_error() {
    Case::new().on("state", "missing").output().refused();
}

/// runtime.md, State: `stopped` once the program has ended, and a main process
/// is no longer claimed.
#[test]
fn status_is_stopped_when_the_program_has_ended() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    let container = case.start(&bundle);
    container.process().wait();
    let state = container.state();
    assert_eq!(state["status"], "stopped");
    assert!(state["pid"].is_null() || state["pid"] == 0, "{state}");
}

/// runtime.md, Kill: an id is needed.
#[test]
fn kill_without_an_id_is_an_error() {
    Case::new().runtime().arg("kill").output().refused();
}

/// runtime.md, Kill: a container that does not exist is an error.
#[test]
fn kill_of_a_missing_container_is_an_error() {
    Case::new().on("kill", "missing").arg("KILL").output().refused();
}

/// runtime.md, Kill: the signal reaches the main process, however it is spelled.
#[test]
fn kill_sends_the_signal_to_the_main_process() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.shell(
        "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit 0' TERM
         exec >/said; echo ready; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done",
    );
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    for (signal, line) in
        [("USR1", "usr1"), ("SIGUSR1", "usr1"), ("10", "usr1"), ("SIGHUP", "hup"), ("1", "hup")]
    {
        container.kill(signal);
        assert_eq!(said.line(), line, "{signal}");
    }
    case.on("kill", container.id()).ok();
    assert_eq!(said.line(), "term", "the default is TERM");
    container.process().wait();
    assert_eq!(container.status(), "stopped");
}

/// kill(1): a signal nobody knows is an error and sends nothing.
#[test]
fn kill_with_an_unknown_signal_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    case.on("kill", container.id()).arg("NOSUCH").output().refused();
    case.on("kill", container.id()).arg("12345").output().refused();
    assert_eq!(container.status(), "running");
}

/// signal(7): the real-time signals can be sent by number.
#[test]
fn kill_sends_real_time_signals() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.shell(
        "trap 'echo realtime' 37; exec >/said; echo ready; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done",
    );
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    container.kill("37");
    assert_eq!(said.line(), "realtime");
    case.runtime().args(["kill", "--all", container.id(), "37"]).ok();
    assert_eq!(said.line(), "realtime", "with --all");
}

/// runtime.md, Kill: a container in the state created can be killed.
#[test]
fn kill_of_a_created_container() {
    let case = Case::new();
    let container = case.create(&case.bundle());
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.delete();
    case.assert_nothing_left();
}

/// runtime.md, Kill: on a stopped container it is an error.
#[test]
fn kill_of_a_stopped_container_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    container.stop();
    case.on("kill", container.id()).arg("KILL").output().refused();
    assert_eq!(container.status(), "stopped");
}

/// runtime.md, Delete: an id is needed.
#[test]
fn delete_without_an_id_is_an_error() {
    Case::new().runtime().arg("delete").output().refused();
}

/// runtime.md, Delete: a container that does not exist is an error.
#[test]
fn delete_of_a_missing_container_is_an_error() {
    Case::new().on("delete", "missing").output().refused();
}

/// runtime.md, Delete: on a running container it is an error without effect.
#[test]
fn delete_of_a_running_container_is_an_error() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    case.on("delete", container.id()).output().refused();
    assert_eq!(container.status(), "running");
    assert!(!container.process().exited());
}

/// runtime.md, Delete: all that create made is gone, and the id is free.
#[test]
fn delete_removes_what_create_made() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    container.stop();
    container.delete();
    case.on("state", bundle.id()).output().refused();
    case.assert_nothing_left();

    let again = case.start(&bundle);
    assert_eq!(again.status(), "running");
}

/// runtime.md, Delete: what the container did not create is not deleted.
#[test]
fn delete_leaves_the_bundle_alone() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/touch", "/tmp/file"]);
    let source = case.directory("source");
    fs::write(source.join("kept"), "").unwrap();
    bundle.bind(&source, "/mnt", &["rbind"]);
    let container = case.start(&bundle);
    container.process().wait();
    container.delete();
    assert!(bundle.rootfs("tmp/file").exists());
    assert!(source.join("kept").exists());
}

/// `delete --force` stops a running container and removes it.
#[test]
fn delete_force_kills_a_running_container() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    case.runtime().args(["delete", "--force", bundle.id()]).ok();
    assert!(container.process().exited());
    case.assert_nothing_left();
}

/// `delete --force` removes a created container.
#[test]
fn delete_force_removes_a_created_container() {
    let case = Case::new();
    let bundle = case.bundle();
    let container = case.create(&bundle);
    case.runtime().args(["delete", "-f", bundle.id()]).ok();
    assert!(container.process().exited());
    case.assert_nothing_left();
}

/// `delete --force` of a container that does not exist succeeds, as callers
/// that clean up expect of runc.
#[test]
fn delete_force_of_a_missing_container_succeeds() {
    Case::new().runtime().args(["delete", "--force", "missing"]).ok();
}

/// runtime.md, Delete: processes besides the main one go too, where no pid
/// namespace does that.
#[test]
fn delete_kills_every_process_of_the_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.without_namespace("pid");
    bundle.shell("setsid sleep 1000 & setsid sleep 1000 & echo ready >/said; exec sleep 1000");
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    case.runtime().args(["delete", "--force", container.id()]).ok();
    case.assert_nothing_left();
}

/// `run` gives the exit code of the program and leaves nothing.
#[test]
fn run_gives_the_exit_code_of_the_program() {
    let case = Case::new();
    for code in [0, 1, 7, 126, 127, 255] {
        let mut bundle = case.bundle();
        bundle.shell(&format!("exit {code}"));
        assert_eq!(case.run(&bundle).code(), code);
    }
    case.assert_nothing_left();
}

/// `run` gives 128 + N when signal N ended the program.
#[test]
fn run_gives_128_and_the_signal() {
    let case = Case::new();
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let mut bundle = case.bundle();
        // Without a pid namespace: the first process of one ignores itself.
        bundle.without_namespace("pid");
        bundle.shell(&format!("kill -{signal} $$; sleep 1000"));
        assert_eq!(case.run(&bundle).code(), 128 + number, "{signal}");
    }
    case.assert_nothing_left();
}

/// `run` in the foreground passes signals on to the program.
#[test]
fn run_forwards_signals() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.shell(
        "trap 'echo hup >/said' HUP; trap 'exit 42' TERM
         echo ready >/said; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done",
    );
    let run = case.running(&bundle, &[]).spawn();
    assert_eq!(said.line(), "ready");
    run.signal(rustix::process::Signal::HUP);
    assert_eq!(said.line(), "hup");
    run.signal(rustix::process::Signal::TERM);
    assert_eq!(run.wait().code(), 42);
}

/// `run` passes standard input to the program.
#[test]
fn run_passes_standard_input() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/cat"]);
    fs::write(case.path("input"), "from the caller\n").unwrap();
    let input = fs::File::open(case.path("input")).unwrap();
    let run = case.running(&bundle, &[]).stdin(input).ok();
    assert_eq!(run.stdout, "from the caller\n");
}

/// `run --detach` returns while the program runs.
#[test]
fn run_detach_returns_at_once() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    let pid_file = case.path("pid");
    case.running(&bundle, &["--detach", "--pid-file", pid_file.to_str().unwrap()]).ok();
    let container = case.container(bundle.id(), &pid_file);
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.pid());
}

/// `run --keep` keeps the stopped container. (runc 1.1 has it.)
#[test]
fn run_keep_keeps_the_stopped_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    case.running(&bundle, &["--keep"]).ok();
    assert_eq!(case.on("state", bundle.id()).ok().json()["status"], "stopped");
    case.on("delete", bundle.id()).ok();
}

/// runtime.md, Errors: a failed create leaves the environment as it was.
#[test]
fn a_failed_create_leaves_nothing() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.bind(&case.path("missing"), "/mnt", &["rbind"]);
    case.creating(&bundle, &[]).output().refused();
    case.on("state", bundle.id()).output().refused();
    case.assert_nothing_left();
}
