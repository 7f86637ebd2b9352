//! Dockerfiles of many languages and styles, built by husk, against what BuildKit made of
//! them: the files that they add to the base, and the image's config.
//!
//! `dockerfiles/NAME.golden` was recorded from BuildKit by `dockerfiles/record`. Where husk
//! does otherwise on purpose, `NAME.husk` holds its own result, and docs/building.md the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use husk_image::digest::Digest;
use serde_json::Value;
use support::{Engine, engine};

/// How many tests share the work.
const PARTS: usize = 4;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(corpus()).unwrap();
    let names = entries.filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".Dockerfile").map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Something at a path of an image.
#[derive(Clone)]
struct File {
    /// Kind, mode, owner and content.
    line: String,
    /// The same number: the same inode.
    inode: usize,
}

type Tree = BTreeMap<Vec<u8>, File>;

/// Puts a layer on top of a tree (image-spec "layer.md").
fn apply(tree: &mut Tree, layer: &[u8]) {
    let plain: Box<dyn Read> = match layer.starts_with(b"\x1f\x8b") {
        true => Box::new(flate2::read::GzDecoder::new(layer)),
        false => Box::new(layer),
    };
    let mut archive = tar::Archive::new(plain);
    let mut next = tree.values().map(|file| file.inode).max().unwrap_or_default();
    let below = |path: &[u8], directory: &[u8]| {
        path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
    };
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().to_vec();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        if path.is_empty() || path == b"." {
            continue;
        }
        let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (directory, name) = path.split_at(cut);
        if name == b".wh..wh..opq" {
            let directory = directory.strip_suffix(b"/").unwrap_or(directory).to_vec();
            tree.retain(|known, _| !below(known, &directory));
            continue;
        }
        if let Some(name) = name.strip_prefix(b".wh.") {
            let gone = [directory, name].concat();
            tree.retain(|known, _| *known != gone && !below(known, &gone));
            continue;
        }
        let kind = entry.header().entry_type();
        if !kind.is_dir() {
            tree.retain(|known, _| !below(known, &path));
        }
        if kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap().to_vec();
            let target = target.strip_prefix(b"./").unwrap_or(&target);
            let target = target.strip_prefix(b"/").unwrap_or(target);
            let file = tree.get(target).unwrap().clone();
            tree.insert(path, file);
            continue;
        }
        next += 1;
        let file = File { line: line(&mut entry), inode: next };
        tree.insert(path, file);
    }
}

fn line(entry: &mut tar::Entry<'_, Box<dyn Read + '_>>) -> String {
    let header = entry.header();
    let (mode, kind) = (header.mode().unwrap() & 0o7777, header.entry_type());
    let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
    if kind.is_dir() {
        return format!("dir  {mode:4o} {owner}");
    }
    if kind.is_symlink() {
        let target = entry.link_name_bytes().unwrap();
        return format!("link      {owner} -> {}", String::from_utf8_lossy(&target));
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let digest = Digest::of(&content).hex();
    format!("file {mode:4o} {owner} {} bytes {}", content.len(), &digest[..12])
}

/// The files of an archive of `docker save` or `husk save`, and its config.
fn read(archive: &Path) -> (Tree, Value) {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let config: Value =
        serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    let mut tree = Tree::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        apply(&mut tree, &files[layer.as_str().unwrap()]);
    }
    (tree, config)
}

/// What an image adds to the base, and its config, as a golden has it. Neither times nor the
/// layers' number and digests are in it, nor is what an empty value stands for.
fn describe(archive: &Path, base: &Tree) -> String {
    let (tree, config) = read(archive);
    let mut text = String::new();
    let mut firsts: BTreeMap<usize, String> = BTreeMap::new();
    let from_base = tree.keys().filter(|path| base.contains_key(*path)).count() > 3;
    for (path, file) in &tree {
        let shown = String::from_utf8_lossy(path).into_owned();
        if from_base && base.get(path).is_some_and(|known| known.line == file.line) {
            continue;
        }
        if let Some(first) = firsts.get(&file.inode) {
            writeln!(text, "same as /{first}: /{shown}").unwrap();
            continue;
        }
        writeln!(text, "{} /{shown}", file.line).unwrap();
        firsts.insert(file.inode, shown);
    }
    for path in base.keys().filter(|path| from_base && !tree.contains_key(*path)) {
        writeln!(text, "removed /{}", String::from_utf8_lossy(path)).unwrap();
    }
    let mut run = config.get("config").cloned().unwrap_or_default();
    if let Value::Object(run) = &mut run {
        // Deprecated in the image-spec, and written by Docker alone.
        run.remove("ArgsEscaped");
        run.retain(|_, value| !matches!(value, Value::Null) && value.as_str() != Some(""));
    }
    let author = config.get("author").and_then(Value::as_str).filter(|text| !text.is_empty());
    writeln!(text, "author: {}", author.unwrap_or("none")).unwrap();
    writeln!(text, "{run:#}").unwrap();
    text
}

/// Prepares the contexts and the base; gives the directory and the base's files.
fn prepare(engine: &Engine) -> (PathBuf, Tree) {
    let directory = engine.path("corpus");
    let script = corpus().join("prepare");
    let done = Command::new(script).arg(&directory).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    engine.ok(&["import", directory.join("base.tar").to_str().unwrap(), "base:1"]);
    let base = base(&directory);
    (directory, base)
}

fn base(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    apply(&mut tree, &std::fs::read(directory.join("base.tar")).unwrap());
    tree
}

/// What husk makes of one.
fn build(engine: &Engine, directory: &Path, base: &Tree, name: &str) -> (String, String) {
    let context = directory.join(format!("context-{name}"));
    let source = corpus().join(format!("{name}.Dockerfile"));
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(directory.join("context")).arg(&context);
    assert!(copy.status().unwrap().success());
    if !std::fs::read_to_string(&source).unwrap().contains("packed") {
        for archive in ["packed.tar", "packed.tar.gz", "packed.tar.bz2"] {
            std::fs::remove_file(context.join(archive)).unwrap();
        }
    }
    std::fs::copy(source, context.join("Dockerfile")).unwrap();
    let ignore = corpus().join(format!("{name}.dockerignore"));
    if ignore.exists() {
        std::fs::copy(ignore, context.join(".dockerignore")).unwrap();
    }
    let tag = format!("corpus-{name}");
    let path = context.to_str().unwrap();
    let done = engine.run(&["build", "--network", "none", "-t", &tag, path]);
    if done.code != 0 {
        assert_eq!(done.code, 1, "{name}: {}", done.err);
        return ("fails\n".to_owned(), done.err);
    }
    let archive = directory.join(format!("{name}.tar"));
    engine.ok(&["save", "-o", archive.to_str().unwrap(), &tag]);
    (describe(&archive, base), done.err)
}

fn compare(part: usize) {
    let engine = engine!(new);
    let (directory, base) = prepare(&engine);
    let mut wrong = String::new();
    for name in names().into_iter().skip(part).step_by(PARTS) {
        let (found, said) = build(&engine, &directory, &base, &name);
        let golden =
            |kind: &str| std::fs::read_to_string(corpus().join(format!("{name}.{kind}"))).ok();
        let expected = golden("husk").or_else(|| golden("golden")).unwrap_or_default();
        if found != expected {
            write!(wrong, "=== {name}\n--- expected\n{expected}--- found\n{found}").unwrap();
            writeln!(wrong, "--- said\n{said}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn as_buildkit_builds_them_1() {
    compare(0);
}

#[test]
fn as_buildkit_builds_them_2() {
    compare(1);
}

#[test]
fn as_buildkit_builds_them_3() {
    compare(2);
}

#[test]
fn as_buildkit_builds_them_4() {
    compare(3);
}

#[test]
#[ignore = "is run by dockerfiles/record, which has built them with BuildKit"]
fn record() {
    let directory = PathBuf::from(std::env::var_os("HUSK_RECORDED").unwrap());
    let base = base(&directory);
    for name in names() {
        let archive = directory.join(format!("archives/{name}.tar"));
        let text = match archive.exists() {
            true => describe(&archive, &base),
            false => "fails\n".to_owned(),
        };
        std::fs::write(corpus().join(format!("{name}.golden")), text).unwrap();
    }
}
