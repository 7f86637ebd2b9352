//! `load`, `save` and `import`: archives and layouts of others', and malformed ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod corpus;
mod fake;
mod layer;
mod peers;

use std::io::BufReader;

use corpus::{awkward, layout};
use fake::FakeImage;
use husk_image::archive::{
    Format, ImportOptions, import, load_directory, load_stream, save_directory, save_stream,
};
use husk_image::config::RunConfig;
use husk_image::digest::Digest;
use husk_image::progress::Silent;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::Store;
use layer::{Entry, LayerBuilder, Scratch};
use peers::{run, without};

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
