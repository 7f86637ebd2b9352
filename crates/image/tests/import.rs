//! `import`, and archives and layouts that `load` refuses.
//!
//! No other program is run here: a child between fork(2) and execve(2) has the locks of the
//! tests beside it, and what is collected after a failure would stay.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod corpus;
mod fake;
mod layer;

use corpus::{awkward, layout};
use fake::FakeImage;
use husk_image::archive::{
    Format, ImportOptions, import, load_directory, load_stream, save_stream,
};
use husk_image::config::RunConfig;
use husk_image::digest::Digest;
use husk_image::progress::Silent;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::Store;
use layer::{Entry, LayerBuilder, Scratch};

const BZIP2: &str = "425a68393141592653597952c89100002d5b80c990400067000000e5001e00080820005457a46800\
    03d412428da8647a805496f9190823abc98db3b12c93872f88dd910c229d0f1574cabc759c2ea942\
    540f8bb9229c28483ca9644880";
const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a3e007ff003c5d00330033501868898301\
    dce26e2105573538564d56ed4a9b57bcb5b524639190cc8f7afa87afdcde2372ad1e2d465060546f\
    427fd5e7e0241f26d0d60000c42a299028bc50a100015880100000004ab977c2b1c467fb02000000\
    0004595a";

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
    // `f` with "data", as python3's bz2 and lzma compress it: what is kept is gzip, which other
    // engines can read.
    for hex in [BZIP2, XZ] {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let image =
            import(&store, &bytes[..], ImportOptions::default(), &options, &Silent).unwrap();
        let layer = store.layers(&image.chain_ids()).unwrap().remove(0);
        assert_eq!(std::fs::read(layer.path.join("f")).unwrap(), b"data\n");
        let (manifest, _) = store.documents(&image).unwrap();
        assert!(manifest.layers[0].media_type.ends_with("+gzip"), "{manifest:?}");
        let cut = import(&store, &bytes[..60], ImportOptions::default(), &options, &Silent);
        assert!(cut.is_err());
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
            "c.json is not in it",
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

/// An OCI layout of the image as entries of a tar, its index naming `digest`.
fn entries(image: &FakeImage, digest: &Digest) -> Vec<Entry> {
    let blob = |bytes: &Vec<u8>| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let blobs = image.layers.iter().chain([&image.config, &image.manifest]);
    let mut entries: Vec<Entry> = blobs.map(|bytes| Entry::file(&blob(bytes), bytes)).collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest, "size": image.manifest.len(),
    }]});
    entries.push(Entry::file("index.json", index.to_string().as_bytes()));
    entries
}

#[test]
fn an_archive_cannot_give_another_images_digest_to_its_own() {
    let scratch = Scratch::new("poison");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let of = |text: &[u8]| FakeImage::of(&[LayerBuilder::of(&[Entry::file("sh", text)])]);
    let (good, evil) = (of(b"good"), of(b"evil"));
    let victim = Digest::of(&good.manifest);
    let tar = LayerBuilder::of(&entries(&good, &victim));
    let image = load_stream(&store, &tar[..], &options, &Silent).unwrap()[0].image.clone();
    for kind in [b'1', b'2'] {
        let mut hostile = entries(&evil, &victim);
        let directory = if kind == b'1' { "blobs/sha256/" } else { "" };
        let target = format!("{directory}{}", Digest::of(&evil.manifest).hex());
        let name = format!("blobs/sha256/{}", victim.hex());
        hostile.push(Entry::link(kind, &name, &target));
        let tar = LayerBuilder::of(&hostile);
        let error = load_stream(&store, &tar[..], &options, &Silent).unwrap_err().to_string();
        assert!(error.contains("has the content of"), "{error}");
        assert_eq!(store.find(&victim.to_string()).unwrap(), image);
    }
}

#[test]
fn what_is_no_image_in_a_layout_is_left_alone() {
    let scratch = Scratch::new("artifact");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let image = FakeImage::of(&[LayerBuilder::of(&[Entry::file("hello", b"x")])]);
    let signature = String::from_utf8(image.manifest.clone()).unwrap();
    let signature = signature.replace("image.layer.v1.tar+gzip", "cosign.simplesigning.v1+json");
    let blob = |text: &str| {
        Entry::file(&format!("blobs/sha256/{}", Digest::of(text.as_bytes()).hex()), text.as_bytes())
    };
    let entry = |kind: &str, bytes: &[u8]| {
        let size = bytes.len();
        serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": size})
    };
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let load = |listed: &[serde_json::Value]| {
        let mut files = entries(&image, &Digest::of(&image.manifest));
        files.push(blob(&signature));
        let index = serde_json::json!({"schemaVersion": 2, "manifests": listed});
        files.push(Entry::file("index.json", index.to_string().as_bytes()));
        let tar = LayerBuilder::of(&files);
        load_stream(&store, &tar[..], &options, &Silent).map_err(|error| error.to_string())
    };
    let others = [entry("application/xml", b"<x>"), entry(manifest, signature.as_bytes())];
    let mut all = others.to_vec();
    all.push(entry(manifest, &image.manifest));
    let loaded = load(&all).unwrap();
    assert!(loaded.len() == 1 && loaded[0].image.id == Digest::of(&image.config));
    // Alone, it is said what it is not.
    let error = load(&others).unwrap_err();
    assert!(error.contains("is not a layer's"), "{error}");
}

#[test]
fn an_image_that_is_saved_by_its_digest_has_no_name() {
    let scratch = Scratch::new("by-digest");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let image = FakeImage::of(&[LayerBuilder::of(&[Entry::file("hello", b"x")])]);
    let digest = Digest::of(&image.manifest);
    let tar = LayerBuilder::of(&entries(&image, &digest));
    let image = load_stream(&store, &tar[..], &options, &Silent).unwrap().remove(0).image;
    let name: Reference = format!("a@{digest}").parse().unwrap();
    let mut saved = Vec::new();
    save_stream(&store, &[(image.clone(), vec![name])], Format::Docker, &mut saved).unwrap();
    let text = String::from_utf8_lossy(&saved);
    assert!(text.contains(r#""RepoTags":[]"#) && !text.contains("image.ref.name"));
    let loaded = load_stream(&store, &saved[..], &options, &Silent).unwrap();
    assert!(loaded[0].image == image && loaded[0].names.is_empty());
}

#[test]
fn links_of_an_archive_may_be_long_but_not_without_end() {
    let scratch = Scratch::new("long-link");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let options = PullOptions::default();
    let image = FakeImage::of(&[LayerBuilder::of(&[Entry::file("hello", b"x")])]);
    let load = |length: usize| {
        let long = format!("{}/config", "d".repeat(length));
        let manifest = r#"[{"Config":"c.json","Layers":["layer.tar"]}]"#;
        let tar = LayerBuilder::of(&[
            Entry::file("x", &image.config).pax("path", long.as_bytes()),
            Entry::link(b'1', "c.json", "").pax("linkpath", long.as_bytes()),
            Entry::file("layer.tar", &image.layers[0]),
            Entry::file("manifest.json", manifest.as_bytes()),
        ]);
        load_stream(&store, &tar[..], &options, &Silent).map_err(|error| error.to_string())
    };
    assert_eq!(load(200).unwrap()[0].image.id, Digest::of(&image.config));
    assert!(load(5000).unwrap_err().contains("longer than 4096 bytes"));
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
