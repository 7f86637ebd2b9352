//! `load` and `save` beside skopeo, umoci and podman.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod corpus;
mod fake;
mod layer;
mod peers;

use std::io::BufReader;

use corpus::{awkward, layout};
use fake::FakeImage;
use husk_image::archive::{Format, load_directory, load_stream, save_stream};
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
    let from = format!("oci-archive:{}:1", path("oci.tar"));
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
