//! `build` by the command line, as root: RUN in real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use support::{Done, Engine, engine, wait_for};

/// A context with a Dockerfile.
fn context(engine: &Engine, dockerfile: &str) -> PathBuf {
    let path = engine.path("context");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("Dockerfile"), dockerfile).unwrap();
    path
}

fn build(engine: &Engine, dockerfile: &str, flags: &[&str]) -> Done {
    let path = context(engine, dockerfile);
    let path = path.to_str().unwrap();
    engine.run(&[&["build", "--network", "none"], flags, &[path]].concat())
}

fn feed(engine: &Engine, arguments: &[&str], input: &[u8]) -> Done {
    let mut command = engine.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that fails early does not read it all.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

/// Neither containers nor scratch directories.
fn assert_clean(engine: &Engine) {
    engine.assert_nothing_left();
    let left: Vec<_> = std::fs::read_dir(engine.path("root/tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "left in tmp: {left:?}");
    let cgroups = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!cgroups.contains(engine.path("root").to_str().unwrap()));
}

#[test]
fn a_program_from_scratch_is_an_image_of_its_size() {
    let engine = engine!(new);
    let program = std::path::Path::new("/bin/busybox");
    let size = std::fs::metadata(program).unwrap().len();
    let path = context(&engine, "FROM scratch\nCOPY hello /\nENTRYPOINT [\"/hello\"]\n");
    std::fs::copy(program, path.join("hello")).unwrap();
    let id = engine.ok(&["build", "-q", "-t", "tiny", path.to_str().unwrap()]);
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let said: u64 =
        engine.ok(&["inspect", "--type", "image", "-f", "{{.Size}}", "tiny"]).parse().unwrap();
    assert!((size..size + 4096).contains(&said), "an image of {said} bytes of {size}");
    engine.ok(&["save", "-o", engine.path("tiny.tar").to_str().unwrap(), "tiny"]);
    let saved = std::fs::metadata(engine.path("tiny.tar")).unwrap().len();
    assert!(saved < size + 20_000, "a tar of {saved} bytes for {size}");
    let run = engine.run(&["run", "--rm", "--network", "none", "tiny"]);
    assert!(run.err.contains("applet not found") && run.code == 127, "it ran: {run:?}");
    assert_clean(&engine);
}

#[test]
fn run_is_a_container() {
    let engine = engine!(new);
    let dockerfile = "FROM bb AS base\nARG WHO=nobody\nENV GREETING=hi\nWORKDIR /w\nUSER app\n\
        RUN echo \"$GREETING $WHO\" > /tmp/said; id -u >> /tmp/said; pwd >> /tmp/said; hostname >> /tmp/said\n\
        USER root\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $$ > /pid; grep CapEff /proc/self/status > /caps; grep Seccomp: /proc/self/status >> /caps\n\
        RUN [\"/bin/busybox\", \"mkdir\", \"-p\", \"/made/by/exec\"]\n\
        FROM scratch\nCOPY --from=base /tmp/said /pid /caps /made /\n";
    let prepared = build(
        &engine,
        "FROM bb\nUSER root\nRUN [\"/bin/busybox\", \"mkdir\", \"-m\", \"1777\", \"/tmp\"]\n",
        &["-t", "bb"],
    );
    assert_eq!(prepared.code, 0, "{prepared:?}");
    let done = build(
        &engine,
        dockerfile,
        &[
            "-t",
            "out:1",
            "-t",
            "out:2",
            "--build-arg",
            "WHO=me",
            "--target",
            "base",
            "--label",
            "a=b",
        ],
    );
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{done:?}");
    let show = |file: &str| engine.ok(&["run", "--rm", "--network", "none", "out:2", "cat", file]);
    let said = show("/tmp/said");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[..3], ["hi me", "1000", "/w"]);
    assert_eq!(said[3].len(), 12, "a hostname of its own: {said:?}");
    assert_eq!(show("/pid"), "1", "a pid namespace of its own");
    assert!(show("/caps").contains("00000000a80425fb\n"), "{}", show("/caps"));
    assert!(show("/caps").ends_with("Seccomp:\t2"));
    assert_eq!(engine.ok(&["run", "--rm", "--network", "none", "out:1", "ls", "/made/by"]), "exec");
    let label =
        engine.ok(&["inspect", "--type", "image", "-f", "{{index .Config.Labels \"a\"}}", "out:1"]);
    assert_eq!(label, "b");
    let again = build(&engine, dockerfile, &["--build-arg", "WHO=me", "--target", "base"]);
    assert_eq!(again.err.matches("cached").count(), 4, "{again:?}");
    let anew =
        build(&engine, dockerfile, &["--build-arg", "WHO=me", "--target", "base", "--no-cache"]);
    assert_eq!(anew.err.matches("cached").count(), 0, "{anew:?}");
    assert_clean(&engine);
}

#[test]
fn what_the_runtime_mounts_over_is_no_change() {
    let engine = engine!(new);
    // The image has neither /proc nor /etc/hosts; what a step writes there goes to the
    // container's own.
    let done = build(
        &engine,
        "FROM bb\nRUN echo x >/etc/hosts; echo x >/dev/shm/x; echo kept >/etc/kept\n",
        &["-t", "stepped"],
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(build(&engine, "FROM bb\nCOPY --from=stepped / /tree/\n", &["-t", "tree"]).code, 0);
    let listed =
        engine.ok(&["run", "--rm", "--network", "none", "tree", "ls", "/tree", "/tree/etc"]);
    assert_eq!(listed, "/tree:\nbin\ndata\netc\n\n/tree/etc:\nkept\npasswd");
    assert_clean(&engine);
}

#[test]
fn errors_have_a_place_and_leave_nothing() {
    let engine = engine!(new);
    let images = engine.ok(&["images", "-q"]);
    let cases = [
        (
            "FROM bb\nRUN echo out; echo err >&2; exit 3\n",
            "Dockerfile:2:1: the command ended with exit status 3\n    2 | RUN echo out",
        ),
        ("FROM bb\nRUN [\"/bin/nothing\"]\n", "Dockerfile:2:1: process.args[0] (/bin/nothing)"),
        (
            "FROM bb\n\nRUNN true\n",
            "Dockerfile:3:1: unknown instruction \"RUNN\"; did you mean RUN?\n    3 | RUNN true\n      | ^",
        ),
        ("FROM bb\nUSER stranger\nRUN true\n", "Dockerfile:3:1: user \"stranger\""),
        ("FROM bb\nCOPY absent /\n", "Dockerfile:2:6: \"absent\": no such file"),
        (
            "FROM bb\nRUN kill -9 $$; sleep 5 & kill -9 -1; exit 9\n",
            "Dockerfile:2:1: the command ended with exit status 9",
        ),
        ("", "there is no FROM"),
        ("FROM 127.0.0.1:1/none\n", "Dockerfile:1:6: "),
        ("FROM Bad_Name:!\n", "Dockerfile:1:6: "),
    ];
    for (dockerfile, expected) in cases {
        let done = build(&engine, dockerfile, &["-t", "failed"]);
        assert_eq!(done.code, 1, "{dockerfile}: {done:?}");
        assert!(done.err.contains(expected), "{dockerfile}: {done:?}");
        assert_eq!(engine.ok(&["images", "-q"]), images, "{dockerfile}");
        assert_clean(&engine);
    }
    let quiet = build(&engine, cases[0].0, &["-q"]);
    assert!(quiet.out.is_empty() && quiet.err.contains("out\nerr\n"), "{quiet:?}");
}

#[test]
fn bad_flags_and_contexts() {
    let engine = engine!(new);
    let path = context(&engine, "FROM bb\n");
    let path = path.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 14] = [
        (&["build"], 1, "requires 1 argument: CONTEXT"),
        (&["build", "--no-cahce", path], 125, "--no-cache"),
        (&["build", "--ssh", "x=/dev/null", path], 1, "is not an agent's socket"),
        (&["build", "--progress", "rawjson", path], 1, "not built yet"),
        (&["build", "--progress", "loud", path], 1, "must be one of"),
        (&["build", "--platform", "a/b/c/d", path], 1, "--platform"),
        (&["build", "--build-arg", "=x", path], 1, "--build-arg"),
        (&["build", "--target", "nowhere", path], 1, "there is no stage \"nowhere\""),
        (&["build", "-t", "Upper", path], 1, "Upper"),
        (&["build", "/no/where"], 1, "/no/where: No such file"),
        (&["build", "git://127.0.0.1:1/x.git"], 1, "the context: git fetch"),
        (&["build", "-f", "/no/Dockerfile", path], 1, "no such file; name another"),
        (&["build", "-f", path, path], 1, "a directory, not a file"),
        (&["build", "-f", "-", "-"], 1, "cannot be both"),
    ];
    for (arguments, code, expected) in cases {
        let done = engine.run(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        assert!(done.err.contains(expected), "{arguments:?}: {done:?}");
    }
    assert_clean(&engine);
}

fn tar(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn standard_input_is_a_tar_or_a_dockerfile() {
    let engine = engine!(new);
    let none = ["build", "-q", "--network", "none"];
    let plain = feed(&engine, &[&none[..], &["-"]].concat(), b"FROM bb\nRUN true\n");
    assert_eq!(plain.code, 0, "{plain:?}");
    let copies = feed(&engine, &[&none[..], &["-"]].concat(), b"FROM bb\nCOPY x /\n");
    assert!(copies.err.contains("<stdin>:2:6: this build has no context"), "{copies:?}");
    let files: [(&str, &[u8]); 4] = [
        ("Dockerfile", b"FROM bb\nCOPY . /in/\n"),
        ("other", b"FROM scratch\n"),
        (".dockerignore", b"skipped\n"),
        ("skipped", b"x"),
    ];
    let archive = tar(&files, &[("link", "/etc/hostname")]);
    let done = feed(&engine, &[&none[..], &["-t", "tarred", "-"]].concat(), &archive);
    assert_eq!(done.code, 0, "{done:?}");
    let listed = engine.ok(&["run", "--rm", "--network", "none", "tarred", "ls", "/in"]);
    assert_eq!(listed, "Dockerfile\nlink\nother");
    let other = feed(&engine, &[&none[..], &["-f", "other", "-"]].concat(), &archive);
    assert_eq!(other.code, 0, "{other:?}");
    // A tar whose Dockerfile is a link of its own: it does not lead out of the tar.
    let hostile = tar(&[], &[("Dockerfile", "/etc/passwd")]);
    let refused = feed(&engine, &[&none[..], &["-"]].concat(), &hostile);
    assert!(refused.code == 1 && refused.err.contains("no such file"), "{refused:?}");
    let path = context(&engine, "FROM nowhere\n");
    std::fs::write(path.join("x"), "from the context").unwrap();
    let mixed = [&none[..], &["-t", "mixed", "-f", "-", path.to_str().unwrap()]].concat();
    let mixed = feed(&engine, &mixed, b"FROM bb\nCOPY x /x\n");
    assert_eq!(mixed.code, 0, "{mixed:?}");
    assert_eq!(
        engine.ok(&["run", "--rm", "--network", "none", "mixed", "cat", "/x"]),
        "from the context"
    );
    let broken = feed(&engine, &[&none[..], &["-"]].concat(), &archive[..700]);
    assert!(broken.code == 1 && broken.err.contains("the context (standard input)"), "{broken:?}");
    assert_clean(&engine);
}

#[test]
fn a_step_has_a_network() {
    let engine = engine!(with_network);
    let path = context(&engine, "FROM bb\nRUN ip -o -4 addr show dev eth0\n");
    let done = engine.run(&["build", path.to_str().unwrap()]);
    assert!(done.code == 0 && done.err.contains("inet "), "{done:?}");
    engine.assert_no_network_left();
    assert_clean(&engine);
}

#[test]
fn who_goes_takes_the_step_along() {
    let engine = engine!(new);
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let path = context(&engine, "FROM bb\nRUN echo begun; sleep 600\n");
        let arguments = ["build", "--network", "none", path.to_str().unwrap()];
        let mut child = engine.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the step", || {
            engine.run(&["ps", "--format", "{{.Names}} {{.State}}"]).out.ends_with("running\n")
        });
        engine.beside(&format!("kill -{signal} {}", child.id()));
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        wait_for("the container's end", || engine.ok(&["ps", "-aq"]).is_empty());
        wait_for("its mounts' end", || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            !mounts.contains(engine.path("run").to_str().unwrap())
        });
        // The record goes first, the directories after it.
        let count =
            |below: &str| std::fs::read_dir(engine.path(below)).map(Iterator::count).unwrap_or(0);
        wait_for("its directories' end", || {
            count("root/containers") + count("run/containers") == 0
        });
        engine.assert_nothing_left();
        if code.is_some() {
            assert_clean(&engine);
        }
    }
}
