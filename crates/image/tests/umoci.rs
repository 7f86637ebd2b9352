//! Unpacked images are those that umoci unpacks, to the nanosecond and the last attribute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod corpus;
mod fake;
mod layer;
mod peers;
mod tree;

use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use corpus::{awkward, layout, mounted};
use fake::FakeImage;
use husk_image::archive::load_directory;
use husk_image::progress::Silent;
use husk_image::registry::PullOptions;
use husk_image::store::Store;
use husk_image::unpack::{UnpackOptions, unpack};
use layer::{Entry, LayerBuilder, Scratch, without_root};
use peers::{run, without};
use tree::{assert_same_tree, tree};

/// Unpacks `image` by umoci and by ourselves, and gives both trees to `compare`.
fn unpacked_twice(name: &str, image: &FakeImage, compare: impl FnOnce(&Path, &Path)) {
    let scratch = Scratch::new(name);
    let layout = layout(&scratch, image);
    let bundle = scratch.path().join("bundle");
    let from = format!("{}:awkward", layout.display());
    run("umoci", &["unpack", "--image", &from, bundle.to_str().unwrap()]);
    let store = Store::open(scratch.path().join("store")).unwrap();
    let loaded = load_directory(&store, &layout, &PullOptions::default(), &Silent).unwrap();
    let mount = mounted(&store, &loaded[0].image, &scratch);
    let ours = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
    compare(&bundle.join("rootfs"), &ours);
}

#[test]
fn awkward_layers() {
    if without("awkward_layers", &["umoci"]) {
        return;
    }
    unpacked_twice("umoci", &FakeImage::of(&awkward()), |theirs, ours| {
        // umoci leaves the time of its own work on directories that a later layer changes
        // without naming them; those keep the lower layer's time here.
        let implied = ["", "deep/er", "opaque", "usr/lib", "deep", "usr"];
        assert_same_tree(theirs, ours, &implied);
    });
}

/// What a person changes in a Debian container: files removed and replaced, a directory
/// emptied, owners, set-id bits and capabilities. The directories are all named, so that
/// every time counts.
fn changes() -> Vec<u8> {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let dir = |name: &str| Entry::dir(name).pax("mtime", b"1600000000.123456789");
    LayerBuilder::of(&[
        dir("./"),
        dir("etc"),
        dir("etc/apt"),
        Entry::file("etc/apt/.wh..wh..opq", b""),
        Entry::file("etc/apt/sources.list", b"deb http://deb.debian.org/debian bookworm main\n"),
        Entry::file("etc/.wh.shadow", b""),
        Entry::file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        dir("usr"),
        dir("usr/bin"),
        Entry::file("usr/bin/ping", b"#!").pax("SCHILY.xattr.security.capability", &capability),
        Entry::link(b'1', "usr/bin/ping6", "usr/bin/ping"),
        Entry::file("usr/bin/su", b"#!").mode(0o6755).owner(3, 43),
        dir("usr/share"),
        Entry::file("usr/share/.wh.doc", b""),
        Entry::file("usr/share/man", b"in place of a directory"),
        dir("var"),
        dir("var/mail").mode(0o2775).owner(65_534, 8),
        dir("dev"),
        Entry { device: (8, 17), ..Entry::new(b'4', "dev/sdb1").mode(0o660).owner(0, 6) },
    ])
}

#[test]
fn a_debian_image() {
    if without("a_debian_image", &["umoci"]) {
        return;
    }
    let Some(tar) = std::env::var_os("HUSK_DEBIAN_TAR") else {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: a_debian_image: no HUSK_DEBIAN_TAR (cargo xtask test makes one)"
        );
        return;
    };
    let base = std::fs::read(tar).unwrap();
    unpacked_twice("debian", &FakeImage::of(&[base, changes()]), |theirs, ours| {
        assert_same_tree(theirs, ours, &[]);
        // It was the real thing.
        let nodes = tree(ours);
        assert!(nodes.len() > 3000, "{} files", nodes.len());
        let su = std::fs::metadata(ours.join("usr/bin/mount")).unwrap();
        assert_eq!(su.permissions().mode() & 0o7777, 0o4755);
        assert!(!ours.join("usr/share/doc").exists() && !ours.join("etc/apt/apt.conf.d").exists());
    });
}

#[test]
fn the_comparison_sees_every_difference() {
    if without_root("the_comparison_sees_every_difference") {
        return;
    }
    let same = || vec![Entry::dir("./"), Entry::file("a", b"x"), Entry::link(b'1', "b", "a")];
    let other = |entry: Entry| {
        let mut entries = same();
        entries[1] = entry;
        entries
    };
    let a = || Entry::file("a", b"x");
    let cases = [
        vec![Entry::dir("./"), a(), Entry::file("b", b"x")],
        [same(), vec![Entry::file("c", b"")]].concat(),
        other(Entry::file("a", b"y")),
        other(a().mode(0o600)),
        other(a().owner(1, 0)),
        other(a().owner(0, 1)),
        other(a().pax("mtime", b"1700000000.000000001")),
        other(a().pax("SCHILY.xattr.user.note", b"z")),
        other(Entry::new(b'6', "a")),
        other(Entry { device: (1, 3), ..Entry::new(b'3', "a") }),
    ];
    let unpacked = |scratch: &Scratch, name: &str, entries: &[Entry]| {
        let options = UnpackOptions { devices: true, ..UnpackOptions::of_this_process() };
        let tar = LayerBuilder::of(entries);
        unpack(&tar[..], scratch.open(name), None, &options, &|_| {}).unwrap();
        tree(&scratch.path().join(name))
    };
    let scratch = Scratch::new("tree");
    let wanted = unpacked(&scratch, "wanted", &same());
    assert_eq!(unpacked(&scratch, "same", &same()), wanted);
    for (number, entries) in cases.iter().enumerate() {
        let found = unpacked(&scratch, &number.to_string(), entries);
        assert_ne!(found, wanted, "case {number}");
    }
}
