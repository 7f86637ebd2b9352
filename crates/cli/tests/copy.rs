//! `cp` and `export` by the command line, as root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{Done, Engine, engine, wait_for};

fn here(engine: &Engine) -> PathBuf {
    let path = engine.path("here");
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn cp(engine: &Engine, arguments: &[&str]) -> Done {
    let mut command = engine.command(&[&["cp"], arguments].concat());
    command.current_dir(here(engine)).output().unwrap().into()
}

fn create(engine: &Engine, script: &str) {
    engine.ok(&[
        "create",
        "--network",
        "none",
        "--name",
        "box",
        "-v",
        "vol:/v",
        "bb",
        "sh",
        "-c",
        script,
    ]);
}

/// Runs the container to its end and gives its output.
fn result(engine: &Engine) -> String {
    engine.ok(&["start", "-a", "box"])
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn both_ways_as_docker_names_things() {
    let engine = engine!(new);
    let here = here(&engine);
    std::fs::create_dir_all(here.join("dir/sub")).unwrap();
    std::fs::write(here.join("dir/sub/f"), "deep").unwrap();
    std::fs::write(here.join("file"), "text").unwrap();
    std::os::unix::fs::chown(here.join("file"), Some(1234), Some(1234)).unwrap();
    std::fs::set_permissions(here.join("file"), PermissionsExt::from_mode(0o4755)).unwrap();
    symlink("file", here.join("link")).unwrap();
    create(
        &engine,
        "ls -ln /named /data/file /kept; cat /named /data/link /dir/sub/f /flat/sub/f /new/sub/f /v/f",
    );
    for arguments in [
        ["file", "box:/named"],
        ["file", "box:/data/"],
        ["dir", "box:/"],
        ["link", "box:data"],
        ["dir/sub/f", "box:/v"],
        ["dir", "box:/new"],
        ["-a", "file"],
    ] {
        let third = if arguments[0] == "-a" { &["box:/kept"][..] } else { &[] };
        let done = cp(&engine, &[&arguments[..], third].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""), "{arguments:?}");
    }
    assert_eq!(cp(&engine, &["dir", "box:/flat"]).code, 0);
    assert_eq!(cp(&engine, &["dir/.", "box:/flat"]).code, 0, "its content, over what is there");
    let listed = result(&engine);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("-rwxr-xr-x    1 0        0"), "named: {listed}");
    assert!(
        lines[1].starts_with("-rwsr-xr-x    1 1234     1234")
            || lines[2].starts_with("-rwsr-xr-x    1 1234     1234"),
        "-a keeps: {listed}"
    );
    assert!(listed.ends_with("texttextdeepdeepdeepdeep"), "{listed}");

    let out = |arguments: &[&str]| {
        let done = cp(&engine, arguments);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{arguments:?}: {done:?}");
    };
    out(&["box:/named", "back"]);
    assert_eq!(read(here.join("back")), "text");
    out(&["box:/flat", "."]);
    assert_eq!(read(here.join("flat/sub/f")), "deep");
    out(&["box:/flat/.", "other"]);
    assert_eq!(read(here.join("other/sub/f")), "deep");
    out(&["box:/data/link", "kept-link"]);
    assert_eq!(std::fs::read_link(here.join("kept-link")).unwrap(), Path::new("file"));
    out(&["-L", "box:/data/link", "followed"]);
    assert_eq!(read(here.join("followed")), "text");
    out(&["box:/v/f", "back"]);
    assert_eq!(read(here.join("back")), "deep", "a volume's file, over one that was there");
    out(&["box:/kept", "plain"]);
    let meta = std::fs::metadata(here.join("plain")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o755), "set-user-id is not brought along");
    out(&["-a", "box:/kept", "whole"]);
    let meta = std::fs::metadata(here.join("whole")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (1234, 0o4755));
    engine.ok(&["rm", "-v", "box"]);
    engine.ok(&["volume", "rm", "vol"]);
    engine.assert_nothing_left();
}

#[test]
fn what_cannot_be_copied_says_so() {
    let engine = engine!(new);
    let here = here(&engine);
    std::fs::create_dir_all(here.join("dir")).unwrap();
    std::fs::write(here.join("file"), "text").unwrap();
    create(&engine, "true");
    engine.ok(&[
        "create",
        "--network",
        "none",
        "--name",
        "ro",
        "--read-only",
        "-v",
        &format!("{}:/in:ro", here.display()),
        "-v",
        &format!("{}:/rw", here.display()),
        "bb",
    ]);
    let cases: [(&[&str], &str); 12] = [
        (&["file", "dir"], "one of the two must be CONTAINER:PATH"),
        (&["box:/data", "box:/x"], "copying between containers"),
        (&["none:/x", "."], "no such container: none"),
        (&["box:/absent", "."], "open box:/absent: No such file"),
        (&["absent", "box:/"], "open absent: No such file"),
        (&["file", "box:/no/where"], "open the directory box:/no: No such file"),
        (&["file", "box:/nodir/"], "box:/nodir/: no such directory"),
        (&["dir", "box:/data/file"], "box:/data/file: a file, where a directory is copied"),
        (&["file/", "box:/"], "open file/: Not a directory"),
        (&["file", "ro:/x"], "Read-only file system"),
        (&["file", "ro:/in/x"], "Read-only file system"),
        (&["file", "ro:/rw/file"], "source and destination are one file"),
    ];
    for (arguments, expected) in cases {
        let done = cp(&engine, arguments);
        assert!(done.code == 1 && done.err.contains(expected), "{arguments:?}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
    }
    assert_eq!(read(here.join("file")), "text");
    assert_eq!(engine.run(&["cp", "--archve", "a", "b"]).code, 125);
    assert_eq!(engine.run(&["cp", "a"]).code, 1);
    let writable = cp(&engine, &["file", "ro:/rw/new"]);
    assert_eq!((writable.code, read(here.join("new"))), (0, "text".to_owned()), "{writable:?}");
    engine.ok(&["rm", "-v", "box", "ro"]);
    engine.assert_nothing_left();
}

fn pipe(engine: &Engine, arguments: &[&str], input: &[u8]) -> (Done, Vec<u8>) {
    let mut command = engine.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let bytes = output.stdout.clone();
    (output.into(), bytes)
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let name = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        entry.unwrap().path().unwrap().display().to_string()
    };
    archive.entries().unwrap().map(name).collect()
}

#[test]
fn tars_on_standard_streams() {
    let engine = engine!(new);
    create(&engine, "cat /data/t/x /data/t/y");
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [("t/x", "one"), ("t/y", "two")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o640);
        header.set_uid(77);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let (done, _) = pipe(&engine, &["cp", "-", "box:/data"], &tar);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(result(&engine), "onetwo");
    let (done, bytes) = pipe(&engine, &["cp", "box:/data/t", "-"], b"");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&bytes), ["t/", "t/x", "t/y"]);
    let mut archive = tar::Archive::new(&bytes[..]);
    let uids: Vec<u64> =
        archive.entries().unwrap().map(|e| e.unwrap().header().uid().unwrap()).collect();
    assert_eq!(uids[1..], [77, 77]);
    let (file, _) = pipe(&engine, &["cp", "-", "box:/data/file"], &tar);
    assert!(file.code == 1 && file.err.contains("Not a directory"), "{file:?}");
    let (broken, _) = pipe(&engine, &["cp", "-", "box:/data"], &tar[..600]);
    assert!(broken.code == 1 && broken.err.contains("standard input"), "{broken:?}");
    // A tar's own tricks end in its scratch directory.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.as_old_mut().name[..9].copy_from_slice(b"../escape");
    header.set_cksum();
    tar.append(&header, &b"x"[..]).unwrap();
    let (refused, _) = pipe(&engine, &["cp", "-", "box:/data"], &tar.into_inner().unwrap());
    assert!(refused.code == 1 && refused.err.contains("refused"), "{refused:?}");
    let left = std::fs::read_dir(engine.path("root/tmp")).unwrap().count();
    assert_eq!(left, 0);
    engine.ok(&["rm", "-v", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn an_export_is_the_root_without_its_mounts() {
    let engine = engine!(new);
    create(&engine, "echo changed > /data/file; echo in-volume > /v/x; echo .; sleep 600");
    engine.ok(&["start", "box"]);
    wait_for("the script", || engine.run(&["logs", "box"]).out == ".\n");
    let path = engine.path("out.tar");
    engine.ok(&["export", "-o", path.to_str().unwrap(), "box"]);
    let tar = std::fs::read(&path).unwrap();
    let listed = names(&tar);
    assert!(
        listed.contains(&"bin/busybox".to_owned()) && listed.contains(&"v/".to_owned()),
        "{listed:?}"
    );
    for name in ["v/x", "proc/self/", "dev/null", ".wh.x"] {
        assert!(!listed.contains(&name.to_owned()), "{name}");
    }
    let mut archive = tar::Archive::new(&tar[..]);
    let mut text = String::new();
    let found = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|e| e.path().unwrap() == Path::new("data/file"));
    found.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "changed\n");
    engine.ok(&["import", path.to_str().unwrap(), "again"]);
    assert_eq!(
        engine.ok(&["run", "--rm", "--network", "none", "again", "/bin/cat", "/data/file"]),
        "changed"
    );
    let absent = engine.run(&["export", "-o", "/no/where/x.tar", "box"]);
    assert_eq!(absent.code, 1, "{absent:?}");
    engine.ok(&["rm", "-f", "-v", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn what_import_and_load_leave_out_is_said() {
    let engine = engine!(new);
    let tar = engine.path("odd.tar").display().to_string();
    let mut archive = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Char);
    header.set_size(0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    archive.append_data(&mut header, "odd", std::io::empty()).unwrap();
    archive.finish().unwrap();
    let told = "husk: warning: \"odd\": left out";
    let done = engine.run(&["import", &tar, "odd"]);
    assert!(done.code == 0 && done.err.contains(told), "{done:?}");
    let saved = engine.path("saved.tar").display().to_string();
    engine.ok(&["save", "-o", &saved, "odd"]);
    engine.ok(&["rmi", "odd"]);
    let done = engine.run(&["load", "-i", &saved]);
    assert!(done.code == 0 && done.err.contains(told), "{done:?}");
    engine.assert_nothing_left();
}

#[test]
fn an_imported_image_takes_the_instructions_of_a_dockerfile() {
    let engine = engine!(new);
    let tar = engine.path("bb.tar").display().to_string();
    let changes = ["-c", "WORKDIR /data", "-c", "LABEL a=b", "-c", "ENTRYPOINT [\"/bin/pwd\"]"];
    let all = [&["import"], &changes[..], &["-c", "EXPOSE 80", &tar, "changed"]].concat();
    engine.ok(&all);
    assert_eq!(engine.ok(&["run", "--rm", "--network", "none", "changed"]), "/data");
    let shown = engine.ok(&["image", "inspect", "changed"]);
    assert!(shown.contains("80/tcp") && shown.contains(r#""a": "b""#), "{shown}");
    let refused = engine.run(&["import", "-c", "RUN x", &tar, "no"]);
    assert!(refused.code != 0 && refused.err.contains("--change"), "{refused:?}");
    assert!(refused.err.contains("change the config and no file"), "{refused:?}");
    engine.assert_nothing_left();
}

/// CVE-2018-15664 and its kin: a container that swaps what is copied for links out.
#[test]
fn a_hostile_container_gets_and_gives_nothing() {
    let engine = engine!(new);
    let here = here(&engine);
    let canary = engine.path("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("secret"), "the host's").unwrap();
    let outside = canary.to_str().unwrap();
    let script = format!(
        "mkdir -p /a/in /b{outside}; echo mine > /a/in/secret; echo mine > /b{outside}/secret; \
         ln -s {outside} /out; ln -s ../../../../../..{outside} /up; ln -s /proc/1/root{outside} /magic; \
         mknod /node b 1 0; mknod /tube p; ln -s {outside}/new /dangling; echo ready; \
         while :; do mv /a/in /a/kept; ln -s {outside} /a/in; rm /a/in; mv /a/kept /a/in; done"
    );
    let script = script
        .replace("mkdir", "busybox mkdir")
        .replace("ln -s", "busybox ln -s")
        .replace("mknod", "busybox mknod")
        .replace(" mv", " busybox mv")
        .replace(" rm", " busybox rm");
    create(&engine, &script);
    engine.ok(&["start", "box"]);
    wait_for("the set-up", || engine.run(&["logs", "box"]).out == "ready\n");
    for link in ["/out", "/up", "/magic"] {
        let done = cp(&engine, &[&format!("box:{link}/secret"), "got"]);
        assert_eq!(done.code, 1, "{link}: {done:?}");
        let done = cp(&engine, &["-L", &format!("box:{link}/."), "got"]);
        assert_eq!(done.code, 1, "{link}: {done:?}");
    }
    std::fs::write(here.join("evil"), "evil").unwrap();
    for target in ["/out/secret", "/up/secret", "/magic/secret"] {
        let done = cp(&engine, &["evil", &format!("box:{target}")]);
        assert_eq!(done.code, 1, "{target}: {done:?}");
    }
    // The link itself is replaced: what it names is outside.
    assert_eq!(cp(&engine, &["evil", "box:/dangling"]).code, 0);
    for round in 0..60 {
        let _ = cp(&engine, &["box:/a/in/secret", "raced"]);
        let _ = cp(&engine, &["-L", "box:/a", "tree"]);
        let _ = cp(&engine, &["evil", "box:/a/in/secret"]);
        let (_, bytes) = pipe(&engine, &["cp", "box:/a", "-"], b"");
        assert!(!bytes.windows(10).any(|window| window == b"the host's"), "round {round}");
        for place in ["raced", "tree/in/secret"] {
            // A link that was copied as a link is none of a file's content.
            let inside = std::fs::canonicalize(here.join(place));
            if !inside.is_ok_and(|path| path.starts_with(&here)) {
                continue;
            }
            let text = std::fs::read_to_string(here.join(place)).unwrap_or_default();
            assert!(!text.contains("host"), "round {round}: {place} has {text:?}");
        }
        let _ = std::fs::remove_dir_all(here.join("tree"));
    }
    assert_eq!(read(canary.join("secret")), "the host's");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    let done = cp(&engine, &["box:/node", "node"]);
    assert!(done.code == 0 && done.err.contains("left out"), "{done:?}");
    assert!(!here.join("node").exists());
    assert_eq!(cp(&engine, &["box:/tube", "tube"]).code, 0, "a FIFO is not read");
    assert!(std::fs::metadata(here.join("tube")).unwrap().file_type().is_fifo());
    engine.ok(&["rm", "-f", "-v", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn what_was_changed() {
    let engine = engine!(new);
    let script = "echo x > /data/file; echo new > /made; busybox rm /etc/passwd; \
                  busybox ln -s /etc /data/link; busybox rm -r /bin/touch; \
                  busybox mkdir -p /deep/er; echo done; sleep 600";
    create(&engine, script);
    assert_eq!(engine.ok(&["diff", "box"]), "", "never started");
    engine.ok(&["start", "box"]);
    wait_for("the script", || engine.run(&["logs", "box"]).out == "done\n");
    let changes = engine.ok(&["diff", "box"]);
    for line in [
        "C /data",
        "C /data/file",
        "A /data/link",
        "A /made",
        "D /etc/passwd",
        "C /etc",
        "D /bin/touch",
        "A /deep",
        "A /deep/er",
    ] {
        assert!(changes.lines().any(|known| known == line), "{line} in\n{changes}");
    }
    for place in ["/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        assert!(!changes.lines().any(|known| &known[2..] == place), "{place} in\n{changes}");
    }
    assert!(!changes.contains("/data/link/") && !changes.contains("busybox"), "{changes}");
    engine.ok(&["kill", "box"]);
    engine.ok(&["wait", "box"]);
    assert_eq!(engine.ok(&["container", "diff", "box"]), changes, "also when it has ended");
    // A directory that is made anew hides what the image had in it.
    engine.ok(&[
        "create",
        "--network",
        "none",
        "--name",
        "anew",
        "bb",
        "sh",
        "-c",
        "busybox rm -r /data; busybox mkdir /data; echo x > /data/other",
    ]);
    engine.ok(&["start", "-a", "anew"]);
    let changes = engine.ok(&["diff", "anew"]);
    assert_eq!(changes, "C /data\nD /data/file\nA /data/other");
    let absent = engine.run(&["diff", "nobody"]);
    assert!(absent.code == 1 && absent.err.contains("no such container: nobody"), "{absent:?}");
    assert_eq!(engine.run(&["diff"]).code, 1);
    engine.ok(&["rm", "-v", "box", "anew"]);
    engine.ok(&["volume", "rm", "vol"]);
    engine.assert_nothing_left();
}

/// What the engine has written for the container is among its files while it runs.
#[test]
fn the_engines_own_files_are_copied() {
    let engine = engine!(new);
    engine.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "box",
        "--hostname",
        "web",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(cp(&engine, &["box:/etc/hostname", "."]).code, 0);
    assert_eq!(read(here(&engine).join("hostname")), "web\n");
    assert_eq!(cp(&engine, &["box:/etc/hosts", "."]).code, 0);
    assert!(read(here(&engine).join("hosts")).contains("localhost"));
    engine.ok(&["rm", "-f", "box"]);
}

/// HUSK-2026-0006 (GO-2026-5617, GO-2026-5668): a bind's source that the container itself, by
/// another bind, replaces by a link.
#[test]
fn a_bind_whose_source_becomes_a_link() {
    let engine = engine!(new);
    let here = here(&engine);
    let outside = engine.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "of the host").unwrap();
    std::fs::create_dir_all(here.join("srv/app")).unwrap();
    std::fs::write(here.join("job"), "job").unwrap();
    let bind = |from: &str, to: &str| format!("{}/{from}:{to}", here.display());
    let (srv, app) = (bind("srv", "/srv"), bind("srv/app", "/app"));
    let run = ["run", "-d", "--network", "none", "--name", "box", "-v", &srv, "-v", &app];
    engine.ok(&[&run[..], &["bb", "sleep", "600"]].concat());
    std::fs::rename(here.join("srv/app"), here.join("srv/old")).unwrap();
    symlink(&outside, here.join("srv/app")).unwrap();
    // While it runs: what it has mounted, wherever that is by now.
    assert_eq!(cp(&engine, &["job", "box:/app/"]).code, 0);
    assert_eq!(read(here.join("srv/old/job")), "job");
    assert_ne!(cp(&engine, &["box:/app/secret", "taken"]).code, 0);
    // Another of the same mounts, and one that is stopped: no link is followed.
    let other = ["create", "--network", "none", "--name", "other", "--volumes-from", "box"];
    engine.ok(&[&other[..], &["bb", "true"]].concat());
    engine.ok(&["stop", "-t", "0", "box"]);
    for done in [
        cp(&engine, &["job", "box:/app/"]),
        cp(&engine, &["box:/app/secret", "taken"]),
        engine.run(&["start", "box"]),
        engine.run(&["start", "-a", "other"]),
    ] {
        assert_ne!(done.code, 0, "{done:?}");
        assert!(done.err.contains("srv/app has become a symbolic link"), "{done:?}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert!(!here.join("taken").exists());
    std::fs::remove_file(here.join("srv/app")).unwrap();
    std::fs::rename(here.join("srv/old"), here.join("srv/app")).unwrap();
    engine.ok(&["start", "box"]);
    engine.ok(&["rm", "-f", "box", "other"]);
}

/// What was a link at `create` is bound to where it led then.
#[test]
fn a_source_that_is_a_link_is_resolved_once() {
    let engine = engine!(new);
    let here = here(&engine);
    for (release, text) in [("1", "first"), ("2", "second")] {
        std::fs::create_dir_all(here.join(release)).unwrap();
        std::fs::write(here.join(release).join("f"), text).unwrap();
    }
    let current = here.join("current");
    symlink("1", &current).unwrap();
    let bind = format!("{}:/v", current.display());
    let create = ["create", "--network", "none", "--name", "box", "-v", &bind];
    engine.ok(&[&create[..], &["bb", "cat", "/v/f"]].concat());
    std::fs::remove_file(&current).unwrap();
    symlink("2", &current).unwrap();
    assert_eq!(engine.ok(&["start", "-a", "box"]), "first");
    let created_anew = ["run", "--rm", "--network", "none", "-v", &bind, "bb", "cat", "/v/f"];
    assert_eq!(engine.ok(&created_anew), "second");
}

#[test]
fn a_read_only_bind_is_read_only_below() {
    let engine = engine!(new);
    let here = here(&engine);
    let below = here.join("m/sub");
    std::fs::create_dir_all(&below).unwrap();
    let mount = engine.beside(&format!("mount -t tmpfs husk-test {}", below.display()));
    assert_eq!(mount.code, 0, "{mount:?}");
    let source = here.join("m").display().to_string();
    let touch = |options: &[&str]| {
        let run = [&["run", "--rm", "--network", "none"][..], options].concat();
        engine.run(&[&run[..], &["bb", "touch", "/w/sub/x"]].concat())
    };
    let dashed = format!("{source}:/w:ro");
    let mounted = |how: &str| format!("type=bind,source={source},target=/w,{how}");
    let done = touch(&["-v", &dashed]);
    let enabled = touch(&["--mount", &mounted("readonly")]);
    let forced = touch(&["--mount", &mounted("bind-recursive=readonly")]);
    let writable = touch(&["--mount", &mounted("readonly,bind-recursive=writable")]);
    let disabled = touch(&["--mount", &mounted("readonly,bind-recursive=disabled")]);
    let wrong = touch(&["--mount", &mounted("bind-recursive=maybe")]);
    engine.ok(&["create", "--network", "none", "--name", "box", "-v", &dashed, "bb"]);
    std::fs::write(here.join("f"), "").unwrap();
    let copied = cp(&engine, &["f", "box:/w/sub/y"]);
    let taken = ["create", "--network", "none", "--volumes-from", "box:ro", "--name", "two", "bb"];
    engine.ok(&[&taken[..], &["touch", "/w/sub/x"]].concat());
    let from = engine.run(&["start", "-a", "two"]);
    engine.beside(&format!("umount -l {}", below.display()));
    for done in [&done, &enabled, &forced, &from] {
        assert!(done.code == 1 && done.err.contains("Read-only"), "{done:?}");
    }
    assert!(copied.code != 0 && copied.err.contains("Read-only"), "{copied:?}");
    assert_eq!(writable.code, 0, "{writable:?}");
    assert!(disabled.code == 1 && disabled.err.contains("Read-only"), "{disabled:?}");
    assert!(wrong.code == 125 && wrong.err.contains("must be one of enabled"), "{wrong:?}");
}

#[test]
fn the_engines_files_are_read_only_where_the_container_is() {
    let engine = engine!(new);
    let script = "for f in hosts hostname resolv.conf; do (echo x >> /etc/$f) && echo $f; done";
    let run = ["run", "--rm", "--network", "none"];
    let closed = engine.run(&[&run[..], &["--read-only", "bb", "sh", "-c", script]].concat());
    assert_eq!(closed.out, "", "{closed:?}");
    assert!(closed.err.contains("Read-only file system"), "{closed:?}");
    let open = engine.ok(&[&run[..], &["bb", "sh", "-c", script]].concat());
    assert_eq!(open, "hosts\nhostname\nresolv.conf");
    // What it writes is on the disk, is counted, and goes with it.
    let fill = "dd if=/dev/zero of=/etc/resolv.conf bs=1M count=3 2>/dev/null; sleep 600";
    engine.ok(&["run", "-d", "--network", "none", "--name", "box", "bb", "sh", "-c", fill]);
    wait_for("three megabytes", || {
        let size = engine.ok(&["ps", "-s", "--format", "{{.Size}}"]);
        size.starts_with("3.")
    });
    let id = engine.inspect("box", "{{.Id}}");
    let run = engine.path("run/containers").join(&id);
    assert!(!run.join("resolv.conf").exists(), "not in memory");
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// A container that makes directories deeper than there are descriptors.
#[test]
fn a_deep_tree_is_copied_counted_and_removed() {
    let engine = engine!(new);
    let here = here(&engine);
    let script = "i=0; while [ $i -lt 400 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; \
                  dd if=/dev/zero of=f bs=1M count=5 2>/dev/null";
    engine.ok(&["run", "--network", "none", "--name", "box", "bb", "sh", "-c", script]);
    let few = |arguments: &[&str]| engine.shell(arguments, "ulimit -n 96; exec \"$@\"");
    let size = few(&["ps", "-as", "--format", "{{.Size}}"]);
    let own = size.out.split_whitespace().next().unwrap_or_default();
    let megabytes: f64 = own.trim_end_matches("MB").parse().unwrap();
    assert!(megabytes >= 6.0, "400 directories and 5 MB: {size:?}");
    let copy = here.join("copy").display().to_string();
    let copied = few(&["cp", "box:/d", &copy]);
    assert_eq!(copied.code, 0, "{copied:?}");
    let removed = few(&["rm", "box"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    engine.assert_nothing_left();
    // The same tree as a volume's content, and pruned.
    engine.ok(&["create", "--network", "none", "--name", "two", "-v", "deep:/v", "bb"]);
    assert_eq!(cp(&engine, &["copy", "two:/v"]).code, 0);
    engine.ok(&["rm", "two"]);
    let pruned = few(&["volume", "prune", "-af"]);
    assert!(pruned.code == 0 && pruned.out.contains("deep"), "{pruned:?}");
    assert!(!engine.path("root/volumes/deep").exists());
    husk_rootfs::remove::tree(&here.join("copy")).unwrap();
}

#[test]
fn hard_links_are_copied_as_such() {
    let engine = engine!(new);
    let here = here(&engine);
    std::fs::create_dir(here.join("d")).unwrap();
    std::fs::write(here.join("d/a"), "data").unwrap();
    std::fs::hard_link(here.join("d/a"), here.join("d/b")).unwrap();
    create(&engine, "busybox stat -c %h /d/a /d/b");
    assert_eq!(cp(&engine, &["d", "box:/"]).code, 0);
    assert_eq!(result(&engine), "2\n2");
    assert_eq!(cp(&engine, &["box:/d", "back"]).code, 0);
    let links = MetadataExt::nlink(&std::fs::metadata(here.join("back/b")).unwrap());
    assert_eq!(links, 2);
}
