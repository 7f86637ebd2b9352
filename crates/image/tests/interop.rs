//! Round trips with Debian's docker-registry, skopeo, umoci and podman.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod fake;
mod layer;

use std::io::BufReader;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fake::FakeImage;
use husk_image::archive::{
    Format, ImportOptions, import, load_directory, load_stream, save_directory, save_stream,
};
use husk_image::config::RunConfig;
use husk_image::digest::Digest;
use husk_image::overlay::OverlayPlan;
use husk_image::progress::Silent;
use husk_image::reference::Reference;
use husk_image::registry::{Client, ClientOptions, PullOptions, PushOptions, pull, push};
use husk_image::store::{ImageRecord, Store};
use layer::{Entry, LayerBuilder, Scratch, without_root};

/// Whether to leave a test out because a program is not installed, said aloud.
fn without(test: &str, programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = |program: &&&str| path.split(':').any(|dir| Path::new(dir).join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !found(program)).collect();
    if !missing.is_empty() {
        eprintln!("{test}: skipped, {missing:?} not installed");
    }
    !missing.is_empty() || without_root(test)
}

struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(scratch: &Scratch) -> Registry {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = scratch.path().join("registry.yml");
        let root = scratch.path().join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Registry { child, address }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    output.stdout
}

/// Layers that engines have got wrong.
fn awkward() -> Vec<Vec<u8>> {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = "l".repeat(180);
    let gnu_name = [&b"g".repeat(170)[..], &[0]].concat();
    let hole = [&b"2\n0\n512\n1048064\n512\n"[..], &[0; 492], &[b'x'; 1024]].concat();
    vec![
        LayerBuilder::of(&[
            Entry::dir("./").mode(0o755),
            Entry::dir("etc").pax("mtime", b"1600000000.123456789"),
            Entry::file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
            Entry::dir("usr"),
            Entry::dir("usr/lib").mode(0o711).owner(3, 4),
            Entry::link(b'2', "lib", "usr/lib"),
            Entry::file("usr/lib/one", b"one"),
            Entry::link(b'1', "usr/lib/two", "usr/lib/one"),
            Entry::file("usr/lib/three", b"three"),
            Entry::file("lib/through", b"through a link"),
            Entry::dir("gone"),
            Entry::file("gone/x", b"x"),
            Entry::dir("opaque").owner(9, 9),
            Entry::file("opaque/old", b"x"),
            Entry::dir("deep").mode(0o750).owner(5, 6),
            Entry::dir("deep/er").mode(0o1777),
            Entry::file("deep/er/kept", b"k"),
            Entry::file("becomes-dir", b"x"),
            Entry::dir("becomes-file"),
            Entry::file("becomes-file/x", b"x"),
            Entry::file("set-id", b"x").mode(0o6755).owner(1000, 1001),
            Entry::file("cap", b"x").pax("SCHILY.xattr.security.capability", &capability),
            Entry::file("note", b"x").pax("SCHILY.xattr.user.note", b"value"),
            Entry::new(b'6', "fifo").mode(0o600),
            Entry { device: (1, 3), ..Entry::new(b'3', "null").mode(0o666) },
            Entry { device: (7, 200), ..Entry::new(b'4', "block").mode(0o640) },
            Entry::file("x", b"long").pax("path", long.as_bytes()),
            Entry { data: gnu_name.clone(), ..Entry::new(b'L', "././@LongLink") },
            Entry::file("cut", b"by GNU's header"),
            Entry::link(b'2', "pax-link", "x").pax("linkpath", long.as_bytes()),
            Entry { name: b"caf\xe9".to_vec(), ..Entry::file("", b"latin-1") },
            Entry { name: "caf\u{e9}".into(), ..Entry::file("", b"utf-8") },
            Entry::file("linked", b"under three names").mode(0o640),
            Entry::link(b'1', "linked-too", "linked"),
            Entry::link(b'1', "deep/er/linked-last", "linked"),
            Entry::file("big-id", b"").pax("uid", b"3000000").pax("gid", b"3000001"),
            Entry::file("h", &hole)
                .pax("GNU.sparse.major", b"1")
                .pax("GNU.sparse.minor", b"0")
                .pax("GNU.sparse.name", b"sparse")
                .pax("GNU.sparse.realsize", b"1048576"),
        ]),
        LayerBuilder::of(&[
            Entry::file(".wh.gone", b""),
            Entry::file("opaque/.wh..wh..opq", b""),
            Entry::file("opaque/new", b"n"),
            // Neither `deep` nor `deep/er` is named: both keep what they were.
            Entry::file("deep/er/added", b"a"),
            Entry::dir("becomes-dir").mode(0o700),
            Entry::file("becomes-dir/in", b"i"),
            Entry::file("becomes-file", b"f"),
            Entry::file("missing/.wh.nothing", b""),
        ]),
        LayerBuilder::of(&[
            Entry::dir("gone").mode(0o705),
            Entry::file("gone/again", b"a"),
            Entry::file("usr/lib/.wh.three", b""),
        ]),
    ]
}

fn layout(scratch: &Scratch, image: &FakeImage) -> PathBuf {
    let path = scratch.path().join("layout");
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for blob in image.layers.iter().chain([&image.config, &image.manifest]) {
        std::fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": Digest::of(&image.manifest), "size": image.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "awkward"},
    }]});
    std::fs::write(path.join("index.json"), index.to_string()).unwrap();
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    path
}

/// One line a file: everything that must be equal.
fn tree(root: &Path, implied: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let name = relative.to_string_lossy().into_owned();
        let content = if kind.is_file() {
            Digest::of(&std::fs::read(&path).unwrap()).short()
        } else if kind.is_symlink() {
            std::fs::read_link(&path).unwrap().to_string_lossy().into_owned()
        } else if kind.is_block_device() || kind.is_char_device() {
            meta.rdev().to_string()
        } else {
            String::new()
        };
        let links = if kind.is_dir() { 0 } else { meta.nlink() };
        let mtime = match implied.contains(&name.as_str()) {
            true => (0, 0),
            false => (meta.mtime(), meta.mtime_nsec()),
        };
        let mut attributes = Vec::new();
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, names.as_mut_slice()).unwrap();
        for key in names[..length].split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(&path, key, value.as_mut_slice()).unwrap();
            let key = String::from_utf8_lossy(key);
            attributes.push(format!("{key}={}", Digest::of(&value[..length]).short()));
        }
        attributes.sort();
        let (uid, gid) = (meta.uid(), meta.gid());
        lines.push(format!(
            "{name} {:o} {uid}:{gid} {links} {mtime:?} {content} {attributes:?}",
            meta.mode()
        ));
        if kind.is_dir() {
            for entry in std::fs::read_dir(&path).unwrap() {
                pending.push(relative.join(entry.unwrap().file_name()));
            }
        }
    }
    lines.sort();
    lines
}

fn mounted(store: &Store, image: &ImageRecord, scratch: &Scratch) -> OwnedFd {
    let layers = store.layers(&image.chain_ids()).unwrap();
    let directory = scratch.path().join(format!("view-{}", image.id.short()));
    std::fs::create_dir_all(&directory).unwrap();
    OverlayPlan::read_only(&layers, &directory).unwrap().mount().unwrap()
}

fn assert_same_tree(left: &Path, right: &Path, implied: &[&str]) {
    let (left, right) = (tree(left, implied), tree(right, implied));
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>()
    };
    let (more, less) = (only(&left, &right), only(&right, &left));
    assert!(more.is_empty() && less.is_empty(), "umoci:\n{more:#?}\nhusk:\n{less:#?}");
}

#[test]
fn what_is_unpacked_equals_umocis() {
    if without("what_is_unpacked_equals_umocis", &["umoci"]) {
        return;
    }
    let scratch = Scratch::new("umoci");
    let image = FakeImage::of(&awkward());
    let layout = layout(&scratch, &image);
    let bundle = scratch.path().join("bundle");
    let from = format!("{}:awkward", layout.display());
    run("umoci", &["unpack", "--image", &from, bundle.to_str().unwrap()]);
    let store = Store::open(scratch.path().join("store")).unwrap();
    let loaded = load_directory(&store, &layout, &PullOptions::default(), &Silent).unwrap();
    let mount = mounted(&store, &loaded[0].image, &scratch);
    let ours = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
    // umoci removes `missing`'s whiteout target, but not the directory it made for it,
    // and leaves the time of its own work on directories that a later layer changes
    // without naming them; those keep the lower layer's time here.
    std::fs::remove_dir(bundle.join("rootfs/missing")).ok();
    let implied = ["", "deep/er", "opaque", "usr/lib", "deep", "usr"];
    assert_same_tree(&bundle.join("rootfs"), &ours, &implied);
}

#[test]
fn round_trips_through_a_registry_keep_every_byte() {
    let test = "round_trips_through_a_registry_keep_every_byte";
    if without(test, &["docker-registry", "skopeo"]) {
        return;
    }
    let scratch = Scratch::new("registry");
    let registry = Registry::start(&scratch);
    let image = FakeImage::of(&awkward());
    let from = format!("oci:{}:awkward", layout(&scratch, &image).display());
    let to = |name: &str| format!("docker://{}/{name}", registry.address);
    let copy = |from: &str, to: &str, more: &[&str]| {
        let mut arguments = vec!["copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        arguments.extend(more);
        arguments.extend([from, to]);
        run("skopeo", &arguments);
    };
    copy(&from, &to("oci:1"), &[]);
    copy(&from, &to("docker:1"), &["--format", "v2s2"]);
    copy(&from, &to("zstd:1"), &["--dest-compress-format", "zstd"]);
    let store = Store::open(scratch.path().join("store")).unwrap();
    for name in ["oci:1", "docker:1", "zstd:1"] {
        let reference = registry.reference(name);
        let client = Client::new(&reference, ClientOptions::default());
        let pulled = pull(&store, &client, &reference, &PullOptions::default(), &Silent).unwrap();
        let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &to(name)]);
        assert_eq!(Digest::of(&raw), pulled.target, "{name}");
        let again = registry.reference(&format!("again/{name}"));
        let pushed =
            push(&store, &client, &pulled.image, &again, &PushOptions::default(), &Silent).unwrap();
        assert_eq!(pushed, pulled.target);
        let name = format!("again/{name}");
        let back = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &to(&name)]);
        assert_eq!(back, raw, "{name}");
        // By digest, and with the layers read and verified by skopeo.
        let target = format!("oci:{}:x", scratch.path().join("back").display());
        copy(&to(&name), &target, &[]);
        let by_digest = again.at(pulled.target);
        let found = pull(&store, &client, &by_digest, &PullOptions::default(), &Silent).unwrap();
        assert_eq!(found.image, pulled.image);
    }
    // The three differ in compression only, so their layers are unpacked once.
    assert_eq!(std::fs::read_dir(store.root().join("layers")).unwrap().count(), 3);
}

#[test]
fn podman_and_umoci_meet_husk_at_a_registry() {
    let test = "podman_and_umoci_meet_husk_at_a_registry";
    if without(test, &["docker-registry", "skopeo", "podman", "umoci"]) {
        return;
    }
    let scratch = Scratch::new("meet");
    let registry = Registry::start(&scratch);
    let path = |name: &str| scratch.path().join(name).display().to_string();
    // An image that umoci has made: one layer of a few files.
    let layout = path("umoci");
    let image = format!("{layout}:made");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &path("bundle")]);
    std::fs::write(path("bundle/rootfs/hello"), "by umoci").unwrap();
    std::os::unix::fs::symlink("hello", path("bundle/rootfs/link")).unwrap();
    run("umoci", &["repack", "--image", &image, &path("bundle")]);
    let (root, state) = (path("podman"), path("podman-run"));
    let podman = |arguments: &[&str]| {
        let mut all = vec!["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
        all.extend(arguments);
        String::from_utf8(run("podman", &all)).unwrap()
    };
    let raw = |name: &str| {
        let from = format!("docker://{}/{name}", registry.address);
        run("skopeo", &["inspect", "--raw", "--tls-verify=false", &from])
    };
    let to = format!("docker://{}/umoci:1", registry.address);
    run("skopeo", &["copy", "--dest-tls-verify=false", &format!("oci:{image}"), &to]);

    // From umoci to husk, and from husk to podman.
    let store = Store::open(scratch.path().join("store")).unwrap();
    let client = Client::new(&registry.reference("umoci:1"), ClientOptions::default());
    let ours = |name: &str| {
        let reference = registry.reference(name);
        pull(&store, &client, &reference, &PullOptions::default(), &Silent).unwrap()
    };
    let theirs = ours("umoci:1");
    let pushed = registry.reference("husk:1");
    push(&store, &client, &theirs.image, &pushed, &PushOptions::default(), &Silent).unwrap();
    assert_eq!(raw("husk:1"), raw("umoci:1"));
    let name = format!("{}/husk:1", registry.address);
    podman(&["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(podman(&["images", "-q", "--no-trunc"]).trim(), theirs.image.id.to_string());

    // From podman to husk, and from husk back to umoci.
    let name = format!("{}/podman:1", registry.address);
    podman(&["tag", &format!("{}/husk:1", registry.address), &name]);
    podman(&["push", "-q", "--tls-verify=false", &name]);
    let pulled = ours("podman:1");
    assert_eq!(Digest::of(&raw("podman:1")), pulled.target);
    assert_eq!(pulled.image.chain_ids(), theirs.image.chain_ids());
    let back = registry.reference("back:1");
    push(&store, &client, &pulled.image, &back, &PushOptions::default(), &Silent).unwrap();
    assert_eq!(raw("back:1"), raw("podman:1"));
    let from = format!("docker://{}/back:1", registry.address);
    let image = format!("{}:x", path("back"));
    run("skopeo", &["copy", "--src-tls-verify=false", &from, &format!("oci:{image}")]);
    run("umoci", &["unpack", "--image", &image, &path("back-bundle")]);
    let mount = mounted(&store, &pulled.image, &scratch);
    let ours = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
    assert_same_tree(&scratch.path().join("back-bundle/rootfs"), &ours, &[""]);
    podman(&["rmi", "-a", "-f"]);
}

fn names(names: &[&str]) -> Vec<Reference> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn archives_go_to_skopeo_and_back() {
    if without("archives_go_to_skopeo_and_back", &["skopeo", "umoci"]) {
        return;
    }
    let scratch = Scratch::new("archive");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let image = FakeImage::of(&awkward());
    let layout = layout(&scratch, &image);
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let loaded = load_directory(&store, &layout, &options, &Silent).unwrap();
    let image = loaded[0].image.clone();
    assert!(loaded[0].names.is_empty());
    let both = [(image.clone(), names(&["r.io/a/b:1", "c:2"]))];
    for (format, file, transport) in [
        (Format::Docker, "docker.tar", "docker-archive"),
        (Format::Docker, "docker.tar", "oci-archive"),
        (Format::Oci, "oci.tar", "oci-archive"),
    ] {
        let out = std::fs::File::create(path(file)).unwrap();
        save_stream(&store, &both, format, out).unwrap();
        let tag = if transport == "docker-archive" { "r.io/a/b:1" } else { "1" };
        let from = format!("{transport}:{}:{tag}", path(file));
        let back = path(&format!("back-{transport}-{file}"));
        run("skopeo", &["copy", &from, &format!("oci:{back}:x")]);
        run("umoci", &["unpack", "--image", &format!("{back}:x"), &format!("{back}-bundle")]);

        let other = Store::open(format!("{back}-store")).unwrap();
        let stream = BufReader::new(std::fs::File::open(path(file)).unwrap());
        let loaded = load_stream(&other, stream, &options, &Silent).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].image, image);
        assert_eq!(loaded[0].names, names(&["r.io/a/b:1", "c:2"]));
        assert_eq!(other.find("c:2").unwrap(), image);
    }
    let directory = scratch.path().join("saved");
    save_directory(&store, &both, &directory).unwrap();
    let from = format!("oci:{}:1", directory.display());
    for (transport, compress) in
        [("docker-archive", ""), ("oci-archive", ""), ("oci-archive", "gz")]
    {
        let file = path(&format!("skopeo-{transport}{compress}.tar"));
        run("skopeo", &["copy", &from, &format!("{transport}:{file}:d.io/e:3")]);
        let mut file = file;
        if compress == "gz" {
            run("gzip", &["-1", &file]);
            file.push_str(".gz");
        }
        let other = Store::open(format!("{file}-store")).unwrap();
        let stream = BufReader::new(std::fs::File::open(&file).unwrap());
        let loaded = load_stream(&other, stream, &options, &Silent).unwrap();
        assert_eq!(loaded[0].names, names(&["d.io/e:3"]), "{transport}");
        // A docker-archive holds the layers uncompressed, so only their content is equal.
        assert_eq!(loaded[0].image.chain_ids(), image.chain_ids(), "{transport}");
    }
}

#[test]
fn podman_takes_what_is_saved_and_gives_what_is_loaded() {
    let test = "podman_takes_what_is_saved_and_gives_what_is_loaded";
    if without(test, &["podman"]) {
        return;
    }
    let scratch = Scratch::new("podman");
    let image = FakeImage::of(&[LayerBuilder::of(&[
        Entry::dir("./"),
        Entry::file("hello", b"#!/bin/sh\n").mode(0o755),
    ])]);
    let layout = layout(&scratch, &image);
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let image = load_directory(&store, &layout, &options, &Silent).unwrap()[0].image.clone();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (root, state) = (path("podman"), path("podman-run"));
    let podman = |arguments: &[&str]| {
        let mut all = vec!["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
        all.extend(arguments);
        run("podman", &all)
    };
    for (format, name) in [(Format::Docker, "docker"), (Format::Oci, "oci")] {
        let file = path(&format!("{name}.tar"));
        let out = std::fs::File::create(&file).unwrap();
        let tag = format!("localhost/{name}:1");
        save_stream(&store, &[(image.clone(), names(&[&tag]))], format, out).unwrap();
        podman(&["load", "-q", "-i", &file]);
        let id = podman(&["images", "-q", "--no-trunc"]);
        let id = String::from_utf8(id).unwrap();
        assert!(id.contains(&image.id.hex()), "{name}: {id}");
    }
    let tag = "localhost/docker:1";
    for format in ["docker-archive", "oci-archive"] {
        let file = path(&format!("podman-{format}.tar"));
        podman(&["save", "-q", "--format", format, "-o", &file, tag]);
        let other = Store::open(format!("{file}-store")).unwrap();
        let stream = BufReader::new(std::fs::File::open(&file).unwrap());
        let loaded = load_stream(&other, stream, &options, &Silent).unwrap();
        assert_eq!(loaded[0].names, names(&[tag]), "{format}");
        assert_eq!(loaded[0].image.chain_ids(), image.chain_ids());
    }
    podman(&["rmi", "-a", "-f"]);
}

#[test]
fn a_rootfs_is_imported() {
    let scratch = Scratch::new("import");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let tar = LayerBuilder::of(&[Entry::dir("./"), Entry::file("./hello", b"hi")]);
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    let options = PullOptions::default();
    for bytes in [tar, zstd] {
        let wanted = ImportOptions {
            config: RunConfig { cmd: Some(vec!["/hello".into()]), ..RunConfig::default() },
            reference: Some("imported:1".parse().unwrap()),
            message: None,
        };
        let image = import(&store, &bytes[..], wanted, &options, &Silent).unwrap();
        assert_eq!(store.find("imported:1").unwrap(), image);
        let layer = store.layers(&image.chain_ids()).unwrap().remove(0);
        assert_eq!(std::fs::read(layer.path.join("hello")).unwrap(), b"hi");
        let config = store.config(&image).unwrap();
        assert_eq!(config.config.unwrap().cmd.unwrap(), ["/hello"]);
    }
    let hostile = LayerBuilder::of(&[Entry::file("../x", b"")]);
    let before = store.images().unwrap();
    let refused = import(&store, &hostile[..], ImportOptions::default(), &options, &Silent);
    assert!(refused.unwrap_err().to_string().contains("refused"));
    assert_eq!(store.images().unwrap(), before);
}

#[test]
fn malformed_archives_are_refused_and_leave_nothing() {
    let scratch = Scratch::new("bad-archive");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let file = |name: &str, text: &str| Entry::file(name, text.as_bytes());
    let zeros = "0".repeat(64);
    let cases: Vec<(Vec<Entry>, &str)> = vec![
        (vec![file("hello", "x")], "neither index.json"),
        (vec![file("index.json", "{")], "index.json"),
        (vec![file("index.json", r#"{"schemaVersion":2,"manifests":[]}"#)], "neither index.json"),
        (vec![file(&format!("blobs/sha256/{zeros}"), "x")], "has the content of"),
        (vec![file("manifest.json", "[]")], "neither index.json"),
        (
            vec![file("manifest.json", r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)],
            "../../etc/passwd is not in it",
        ),
        (
            vec![
                Entry::link(b'2', "c.json", "/etc/passwd"),
                file("manifest.json", r#"[{"Config":"c.json","Layers":[]}]"#),
            ],
            "etc/passwd is not in it",
        ),
        (
            vec![
                Entry::link(b'2', "a", "b"),
                Entry::link(b'2', "b", "a"),
                file("manifest.json", r#"[{"Config":"a","Layers":[]}]"#),
            ],
            "is not in it",
        ),
    ];
    for (entries, expected) in cases {
        let tar = LayerBuilder::of(&entries);
        let error = load_stream(&store, &tar[..], &options, &Silent).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        for section in ["blobs/sha256", "images", "names", "layers", "tmp"] {
            let left = std::fs::read_dir(store.root().join(section)).unwrap().count();
            assert_eq!(left, 0, "{expected}: {section}");
        }
    }
}

#[test]
fn a_layouts_files_are_regular_ones() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let image = FakeImage::of(&awkward());
    for name in ["index.json", "layer"] {
        for kind in ["fifo", "device"] {
            let scratch = Scratch::new("irregular");
            let layout = layout(&scratch, &image);
            let blob = format!("blobs/sha256/{}", Digest::of(&image.layers[0]).hex());
            let path = layout.join(if name == "layer" { &blob } else { name });
            std::fs::remove_file(&path).unwrap();
            match kind {
                "fifo" => {
                    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
                }
                _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            }
            let store = Store::open(scratch.path().join("store")).unwrap();
            let error = load_directory(&store, &layout, &PullOptions::default(), &Silent);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{name}, {kind}: {error}");
        }
    }
}
