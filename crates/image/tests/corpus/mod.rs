//! Layers that engines have got wrong, and images of them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use husk_image::digest::Digest;
use husk_image::overlay::OverlayPlan;
use husk_image::store::{ImageRecord, Store};

use crate::fake::FakeImage;
use crate::layer::{Entry, LayerBuilder, Scratch};

/// Layers that engines have got wrong.
pub(crate) fn awkward() -> Vec<Vec<u8>> {
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

/// An OCI layout of the image, named `awkward`.
pub(crate) fn layout(scratch: &Scratch, image: &FakeImage) -> PathBuf {
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

/// An image of the store as containers see it, read-only and attached nowhere.
pub(crate) fn mounted(store: &Store, image: &ImageRecord, scratch: &Scratch) -> OwnedFd {
    let layers = store.layers(&image.chain_ids()).unwrap();
    let directory = scratch.path().join(format!("view-{}", image.id.short()));
    std::fs::create_dir_all(&directory).unwrap();
    OverlayPlan::read_only(&layers, &directory).unwrap().mount().unwrap()
}
