//! `commit`: an image of a container and what it has changed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::engine;

#[test]
fn changes_and_config_become_an_image() {
    let engine = engine!(new);
    let script = "echo kept > /kept; rm /data/file; echo lost > /volume/lost";
    engine.ok(&[
        "run",
        "--name",
        "job",
        "--network",
        "none",
        "-v",
        "/volume",
        "-e",
        "COLOR=blue",
        "-w",
        "/data",
        "--label",
        "a=b",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    let id = engine.ok(&[
        "commit",
        "-a",
        "Jane Doe",
        "-m",
        "by hand",
        "-c",
        "CMD cat /kept",
        "-c",
        "ENV SIZE=$COLOR",
        "job",
        "job:done",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    let run = |rest: &[&str]| {
        engine.ok(&[&["run", "--rm", "--network", "none", "job:done"], rest].concat())
    };
    assert_eq!(run(&[]), "kept");
    let script = "echo $COLOR $SIZE; pwd; ls /data/file /volume 2>&1; true";
    let shown = run(&["sh", "-c", script]);
    assert_eq!(shown, "blue blue\n/data\nls: /data/file: No such file or directory\n/volume:");
    let format = "{{.Author}} {{.Comment}} {{.Config.Labels.a}} {{.Id}}";
    let shown = engine.ok(&["image", "inspect", "-f", format, "job:done"]);
    assert_eq!(shown, format!("Jane Doe by hand b {id}"));
    let history = engine.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "job:done"]);
    assert!(history.starts_with("sh -c echo kept"), "{history}");
    engine.ok(&["rm", "-v", "job"]);
    engine.ok(&["rmi", "job:done"]);
}

#[test]
fn a_running_container_is_paused_for_it_and_goes_on() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--name", "web", "--network", "none", "bb", "sleep", "60"]);
    let id = engine.ok(&["commit", "web"]);
    assert_eq!(engine.ok(&["ps", "--format", "{{.Names}} {{.State}}"]), "web running");
    engine.ok(&["commit", "--pause=false", "web"]);
    let dangling = engine.ok(&["images", "-q", "--no-trunc", "--filter", "dangling=true"]);
    assert!(dangling.contains(&id), "{dangling}");
    engine.ok(&["rm", "-f", "web"]);
}

#[test]
fn what_cannot_be_committed_leaves_nothing() {
    let engine = engine!(new);
    engine.ok(&["create", "--name", "job", "--network", "none", "bb", "true"]);
    let before = engine.ok(&["images", "-q"]);
    for (call, problem) in [
        (vec!["commit", "absent"], "no such container: absent"),
        (vec!["commit", "-c", "RUN ls", "job"], "--change"),
        (vec!["commit", "job", "Upper"], "Upper"),
    ] {
        let done = engine.run(&call);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains(problem) && done.err.lines().count() == 1, "{done:?}");
    }
    assert_eq!(engine.ok(&["images", "-q"]), before);
    // Never started, so without a change of its own.
    engine.ok(&["commit", "job", "same"]);
    assert_eq!(
        engine.ok(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "same"]),
        engine.ok(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "bb"]),
    );
    engine.ok(&["rm", "job"]);
}
