//! `pull` beside registries in trouble: what is said, the exit code, and what is left.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]
#![allow(dead_code, reason = "of the registry and the layers, of which this is a part")]

#[path = "../../image/tests/fake/mod.rs"]
mod fake;
#[path = "../../image/tests/layer/mod.rs"]
mod layer;
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake::{Answer, FakeImage, FakeRegistry, Request};
use husk_image::digest::Digest;
use layer::{Entry, LayerBuilder};
use support::{Done, Engine, engine, wait_for};

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn image(bytes: usize) -> FakeImage {
    FakeImage::of(&[
        LayerBuilder::of(&[Entry::dir("./"), Entry::file("low", &noise(bytes))]),
        LayerBuilder::of(&[Entry::file("high", b"high")]),
    ])
}

/// Every file of the store but the locks that stay, which are empty.
fn store(engine: &Engine) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![engine.path("root")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
            if !entry.path().starts_with(engine.path("root/locks")) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn pull(engine: &Engine, address: &str) -> Done {
    engine.run(&["pull", "-q", &format!("{address}/x/y:1")])
}

fn assert_refused(engine: &Engine, done: &Done, before: &[PathBuf], name: &str, words: &[&str]) {
    // As Docker's; `run` and `create` end with 125.
    assert_eq!(done.code, 1, "{name}: {done:?}");
    assert_eq!((done.out.as_str(), done.err.lines().count()), ("", 1), "{name}: {done:?}");
    for word in words {
        assert!(done.err.contains(word), "{name}, {word:?}: {done:?}");
    }
    let after = store(engine);
    let more: Vec<_> = after.iter().filter(|path| !before.contains(path)).collect();
    assert!(more.is_empty() && after.len() == before.len(), "{name}: {done:?}: {more:?}");
}

fn is_layer(image: &FakeImage, request: &Request) -> bool {
    request.path.ends_with(&Digest::of(&image.layers[0]).to_string())
}

#[test]
fn what_a_registry_does_wrong_is_said_and_leaves_nothing() {
    let engine = engine!(new);
    let before = store(&engine);
    let down = pull(&engine, "127.0.0.1:9");
    assert_refused(&engine, &down, &before, "down", &["127.0.0.1:9", "connection refused"]);
    let name = engine.run(&["pull", "-q", "Example/Image"]);
    assert_refused(&engine, &name, &before, "name", &["Example/Image", "lower"]);
    for (command, code) in [("run", 125), ("create", 1)] {
        let done = engine.run(&[command, "127.0.0.1:9/x:1"]);
        assert_eq!(done.code, code, "{command}: {done:?}");
        assert!(done.err.contains("connection refused"), "{command}: {done:?}");
        assert_eq!(store(&engine), before, "{command}");
    }

    type Spoil = fn(&mut Answer);
    let blobs: [(&str, Spoil, &str); 4] = [
        ("corrupted", |answer| answer.body[3000] ^= 1, "the content is"),
        ("oversized", |answer| answer.body.extend([0; 512]), "where the descriptor says"),
        ("short", |answer| answer.body.truncate(10), "where the descriptor says"),
        ("missing", |answer| *answer = Answer::new(404, b"{}"), "not known to its registry"),
    ];
    for (name, spoil, words) in blobs {
        let image = image(200_000);
        let registry = FakeRegistry::new(move |request| {
            let mut answer = image.answer(request);
            if is_layer(&image, request) {
                spoil(&mut answer);
            }
            answer
        });
        assert_refused(&engine, &pull(&engine, &registry.address), &before, name, &[words]);
    }

    let html = || Answer::new(200, b"<html>Sign in</html>").with("content-type", "text/html");
    let elsewhere = Digest::of(b"other").to_string();
    let gone = "http://127.0.0.1:9/v2/x/y/manifests/1";
    let manifests: [(&str, Answer, &[&str]); 6] = [
        (
            "gone",
            Answer::new(307, b"").with("location", gone),
            &["127.0.0.1:9: connection refused"],
        ),
        ("html", html(), &["with HTML"]),
        ("unknown", Answer::new(404, b"{}"), &["not known to its registry"]),
        ("refused", Answer::new(403, b""), &["denied", "login"]),
        ("loop", Answer::new(307, b"").with("location", "/v2/x/y/manifests/1"), &["redirects"]),
        (
            "digest",
            Answer::new(200, &image(10).manifest).with("docker-content-digest", elsewhere.clone()),
            &["the manifest is sha256:", &elsewhere],
        ),
    ];
    for (name, answer, words) in manifests {
        let registry = FakeRegistry::new(move |request| {
            let mut now = Answer::new(answer.status, &answer.body);
            now.headers.clone_from(&answer.headers);
            if request.path == "/v2/" { Answer::new(200, b"{}") } else { now }
        });
        assert_refused(&engine, &pull(&engine, &registry.address), &before, name, words);
    }
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let engine = engine!(new);
    let image = image(3_000_000);
    let slow = Arc::new(AtomicBool::new(true));
    let (answers, half) = (image.clone(), slow.clone());
    let registry = FakeRegistry::new(move |request| {
        let mut answer = answers.answer(request);
        if is_layer(&answers, request) && half.load(Ordering::Relaxed) {
            answer.pause = Some((1_500_000, Duration::from_secs(20)));
        }
        answer
    });
    let name = format!("{}/x/y:1", registry.address);
    let spawn = engine.command(&["pull", "-q", &name]).stdout(Stdio::null()).spawn();
    let mut child = spawn.unwrap();
    let digest = Digest::of(&image.layers[0]).hex();
    let partial = engine.path("root/partial").join(&digest);
    let kept = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    wait_for("half of the layer", || kept(&partial) >= 1_000_000);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(engine.run(&["image", "inspect", &name]).code, 1);
    let kept = kept(&partial);

    slow.store(false, Ordering::Relaxed);
    engine.ok(&["pull", "-q", &name]);
    let requests = registry.requests();
    let ranges: Vec<_> =
        requests.iter().filter_map(|request| request.headers.get("range")).collect();
    assert_eq!(ranges, [&format!("bytes={kept}-")]);
    // What the killed one was unpacking goes with the next collection.
    engine.ok(&["rmi", &name]);
    let left = store(&engine);
    for section in ["tmp", "partial"] {
        let path = engine.path("root").join(section);
        assert!(!left.iter().any(|file| file.starts_with(&path) && *file != path), "{left:?}");
    }
}

/// Unmounts at the end, whatever happens.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn a_full_disk_is_said_and_not_kept_full() {
    let engine = engine!(new);
    let root = engine.path("root").display().to_string();
    engine.beside(&format!("rm -rf {root} && mkdir -m 700 {root}"));
    let mounted = engine.beside(&format!("mount -t tmpfs -o size=8m,mode=700 husk-test {root}"));
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let _mounted = Mounted(root);
    engine.import();
    let before = store(&engine);
    // Full while the blob comes, and full while it is unpacked: files and holes.
    let packed = Entry::file("zeros", &vec![b'0'; 20 << 20]);
    let images = [image(20 << 20), FakeImage::of(&[LayerBuilder::of(&[Entry::dir("./"), packed])])];
    for image in images {
        let registry = FakeRegistry::new(move |request| image.answer(request));
        let done = pull(&engine, &registry.address);
        let words = ["No space left on device", "free some space for", "system prune"];
        assert_refused(&engine, &done, &before, "full", &words);
    }
}

#[test]
fn a_wrong_password_is_called_one() {
    let engine = support::engine!(new);
    let registry = FakeRegistry::new(|_| {
        Answer::new(401, b"{}").with("www-authenticate", "Basic realm=\"here\"")
    });
    let login = ["login", "-u", "ann", "-p", "wrong", "--tls-verify=false", &registry.address];
    let done = engine.run(&login);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("incorrect user name or password"), "{done:?}");
    assert!(!done.err.contains("needs `login`"), "{done:?}");
}

/// A power failure after a pull leaves the image with all of its files: one syncfs(2) before the
/// name appears, and none where nothing is new.
#[test]
fn a_pull_is_on_disk_before_the_image_has_its_name() {
    let engine = engine!(new);
    if std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: no strace (Debian package: strace)");
        return;
    }
    let image = image(200_000);
    let registry = FakeRegistry::new(move |request| image.answer(request));
    let name = format!("{}/x/y:1", registry.address);
    let trace = engine.path("trace");
    let calls = || {
        let strace = "exec strace -f -qq -e trace=syncfs,rename,renameat,renameat2 -o";
        let script = format!("{strace} {} \"$@\"", trace.display());
        let done = engine.shell(&["pull", "-q", &name], &script);
        assert_eq!(done.code, 0, "{done:?}");
        std::fs::read_to_string(&trace).unwrap()
    };
    let first = calls();
    assert_eq!(first.matches("syncfs(").count(), 1, "{first}");
    let (before, after) = first.split_once("syncfs(").unwrap();
    assert!(before.contains("/layers/") && !after.contains("/layers/"), "{first}");
    assert!(after.contains("/names/") && !before.contains("/names/"), "{first}");
    assert_eq!(calls().matches("syncfs(").count(), 0);
}
