//! A directory into a layer and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod layer;

use std::io::BufReader;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use husk_image::pack::pack;
use husk_image::unpack::{UnpackOptions, unpack};
use layer::{Entry, LayerBuilder, Scratch, without_root};

#[test]
fn a_tree_comes_back_as_it_was() {
    if without_root("a_tree_comes_back_as_it_was") {
        return;
    }
    let scratch = Scratch::new("pack");
    let long = format!("{}/{}", "d".repeat(90), "n".repeat(150));
    let tar = LayerBuilder::of(
        &[
            Entry::dir("a").mode(0o1751).owner(3, 4).pax("mtime", b"1234567890.5"),
            Entry::file("a/.wh.gone", b""),
            Entry::dir("hidden"),
            Entry::file("hidden/.wh..wh..opq", b""),
            Entry::file("x", b"data").pax("path", long.as_bytes()).pax("mtime", b"-7.25"),
            Entry::link(b'1', "hard", "a/file"),
            Entry::link(b'2', "soft", "x").pax("linkpath", "t".repeat(200).as_bytes()),
            Entry::file("big", &[7; 70_000]).pax("uid", b"4000000").mode(0o4755),
            Entry::file("attr", b"").pax("SCHILY.xattr.user.a=b", b"value\n"),
            Entry { device: (5, 300), ..Entry::new(b'3', "device") },
            Entry::new(b'6', "fifo"),
        ]
        .map(|entry| if entry.name == b"hard" { Entry::file("a/file", b"hard") } else { entry }),
    );
    let mut tar = tar;
    tar.truncate(tar.len() - 1024);
    let more = LayerBuilder::of(&[Entry::link(b'1', "hard", "a/file")]);
    tar.extend(more);
    let options = UnpackOptions::of_this_process();
    let first = scratch.open("first");
    unpack(BufReader::new(&tar[..]), first, None, &options, &|_| {}).unwrap();
    let mut layer = Vec::new();
    let packed = pack(scratch.open("first").as_fd(), &mut layer).unwrap();
    let mut again = Vec::new();
    assert_eq!(pack(scratch.open("first").as_fd(), &mut again).unwrap(), packed);
    assert_eq!(layer, again, "the same tree gives the same bytes");
    let second = scratch.open("second");
    let blob = BufReader::new(&layer[..]);
    unpack(blob, second, Some(&packed.diff_id), &options, &|_| {}).unwrap();
    let mut third = Vec::new();
    let repacked = pack(scratch.open("second").as_fd(), &mut third).unwrap();
    assert_eq!(repacked, packed);
    let meta =
        |name: &str| std::fs::symlink_metadata(scratch.path().join("second").join(name)).unwrap();
    assert_eq!((meta("a").mtime(), meta("a").mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!((meta(&long).mtime(), meta(&long).mtime_nsec()), (-8, 750_000_000));
    assert_eq!(meta("hard").ino(), meta("a/file").ino());
    assert_eq!((meta("big").uid(), meta("big").mode() & 0o7777), (4_000_000, 0o4755));
    assert_eq!(meta("a/gone").rdev(), 0);
}
