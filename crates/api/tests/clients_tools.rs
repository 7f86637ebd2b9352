//! Programs that people have, on a server of a test's own: the dev containers CLI, act, lazydocker
//! and buildx, from the path or named by HUSK_TEST_DEVCONTAINER, HUSK_TEST_ACT,
//! HUSK_TEST_LAZYDOCKER and HUSK_TEST_BUILDX.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Server, networked, server, skip};

fn named(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

fn works(program: &str, flag: &str) -> bool {
    let mut check = Command::new(program);
    check.arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let works = check.status().is_ok_and(|status| status.success());
    if !works {
        skip(&format!("no {program}"));
    }
    works
}

fn command(server: &Server, program: &str, directory: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "120", program]).current_dir(directory).stdin(Stdio::null());
    command.env("DOCKER_HOST", format!("unix://{}", server.socket().display()));
    command.env("HOME", directory).env("XDG_CONFIG_HOME", directory.join("config"));
    command.env("XDG_CACHE_HOME", directory.join("cache"));
    command
}

fn succeeded(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}{}", text[0], text[1]);
    text.concat()
}

#[test]
fn a_dev_container() {
    let devcontainer = named("HUSK_TEST_DEVCONTAINER", "devcontainer");
    let docker = named("HUSK_TEST_DOCKER", "docker");
    if !works(&devcontainer, "--version") || !works(&docker, "--version") {
        return;
    }
    let server = networked!();
    let directory = tempfile::tempdir().unwrap();
    let workspace = directory.path().join("work");
    std::fs::create_dir_all(workspace.join(".devcontainer")).unwrap();
    let config = r#"{"image":"bb","overrideCommand":true,"remoteUser":"root",
        "postCreateCommand":"echo made > /tmp/made"}"#;
    std::fs::write(workspace.join(".devcontainer/devcontainer.json"), config).unwrap();
    std::fs::write(workspace.join("file"), "of the workspace").unwrap();
    let run = |words: &[&str]| {
        let mut run = command(&server, &devcontainer, directory.path());
        run.args(words).args(["--docker-path", &docker, "--workspace-folder"]).arg(&workspace);
        if let [name, rest @ ..] = words
            && *name == "exec"
        {
            run = command(&server, &devcontainer, directory.path());
            run.args(["exec", "--docker-path", &docker, "--workspace-folder"]).arg(&workspace);
            run.args(rest);
        }
        succeeded(&run.output().unwrap())
    };
    assert!(run(&["up"]).contains("\"outcome\":\"success\""));
    let text = run(&["exec", "sh", "-c", "cat file /tmp/made"]);
    assert!(text.contains("of the workspace") && text.contains("made"), "{text}");
    // The second time it is found.
    assert!(run(&["up"]).contains("\"outcome\":\"success\""));
    assert_eq!(server.get("/containers/json").json().as_array().unwrap().len(), 1);
}

#[test]
fn a_job_of_act() {
    let act = named("HUSK_TEST_ACT", "act");
    if !works(&act, "--version") || !works("git", "--version") {
        return;
    }
    let server = networked!();
    // A service runs what its image says.
    server.husk(&["create", "--name", "of", "--network", "none", "bb"]);
    server.husk(&["commit", "-c", "CMD [\"sleep\", \"1000\"]", "of", "service"]);
    server.husk(&["rm", "of"]);
    let directory = tempfile::tempdir().unwrap();
    let workflows = directory.path().join(".github/workflows");
    std::fs::create_dir_all(&workflows).unwrap();
    let job = "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    services:\n      db:\n        \
               image: service\n    steps:\n    - run: echo first step; echo x=y >> $GITHUB_OUTPUT\n      \
               id: first\n      shell: sh\n    - run: echo second ${{ steps.first.outputs.x }}\n      \
               shell: sh\n";
    std::fs::write(workflows.join("job.yaml"), job).unwrap();
    let script = "git init -q . && git add -A && \
                  git -c user.name=a -c user.email=a@example.org commit -qm x";
    let made = Command::new("sh").args(["-c", script]).current_dir(directory.path()).status();
    assert!(made.unwrap().success());
    let mut run = command(&server, &act, directory.path());
    run.args(["push", "-P", "ubuntu-latest=bb", "--pull=false", "--container-daemon-socket", "-"]);
    let text = succeeded(&run.output().unwrap());
    assert!(text.contains("first step") && text.contains("second y"), "{text}");
    assert!(text.contains("Job succeeded"), "{text}");
    assert_eq!(server.get("/containers/json?all=1").json(), serde_json::json!([]));
}

#[test]
fn lazydocker_in_a_terminal() {
    let lazydocker = named("HUSK_TEST_LAZYDOCKER", "lazydocker");
    if !works(&lazydocker, "--version") || !works("tmux", "-V") {
        return;
    }
    let server = server!();
    server.run("seen-in-it", &["sh", "-c", "echo its log; sleep 1000"]);
    let directory = tempfile::tempdir().unwrap();
    let tmux = directory.path().join("tmux");
    let tmux = |words: &[&str]| {
        let mut run = command(&server, "tmux", directory.path());
        run.args(["-S", tmux.to_str().unwrap(), "-f", "/dev/null"]).args(words);
        run.env_remove("TMUX").env("TERM", "xterm").output().unwrap()
    };
    succeeded(&tmux(&["new-session", "-d", "-x", "120", "-y", "40", &lazydocker]));
    let until = Instant::now() + Duration::from_secs(60);
    let seen = loop {
        let screen = String::from_utf8_lossy(&tmux(&["capture-pane", "-p"]).stdout).into_owned();
        if (screen.contains("seen-in-it") && screen.contains("its log")) || Instant::now() > until {
            break screen;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    tmux(&["kill-server"]);
    assert!(seen.contains("running") && seen.contains("its log"), "{seen}");
}

#[test]
fn buildx_is_told_what_to_do() {
    let buildx = named("HUSK_TEST_BUILDX", "/usr/libexec/docker/cli-plugins/docker-buildx");
    if !works(&buildx, "version") {
        return;
    }
    let server = server!();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("Dockerfile"), "FROM bb\n").unwrap();
    let mut build = command(&server, &buildx, directory.path());
    let output = build.args(["build", "."]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("set DOCKER_BUILDKIT=0 to build"), "{text}");
    // It has not made a builder of its own.
    assert_eq!(server.get("/containers/json?all=1").json(), serde_json::json!([]));
}
