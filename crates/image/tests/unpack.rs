//! Awkward and hostile layers onto a directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod layer;

use std::io::{BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use husk_image::digest::Digest;
use husk_image::unpack::{Owners, UnpackOptions, UnpackReport, Whiteouts, unpack};
use layer::{Entry, LayerBuilder, Scratch, without_root};

fn options() -> UnpackOptions {
    UnpackOptions::of_this_process()
}

fn run(scratch: &Scratch, tar: &[u8], options: &UnpackOptions) -> Result<UnpackReport, String> {
    let directory = scratch.open("layer");
    unpack(BufReader::new(tar), directory, None, options, &|_| {}).map_err(|e| e.to_string())
}

fn entries(scratch: &Scratch, entries: &[Entry]) -> Result<UnpackReport, String> {
    run(scratch, &LayerBuilder::of(entries), &options())
}

/// Everything below the scratch directory but the layer itself, to see nothing leaks.
fn outside(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "layer")
        .collect();
    names.sort();
    names
}

fn is_whiteout(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    let name = options().whiteouts.opaque_attribute();
    rustix::fs::getxattr(path, name, &mut value[..]) == Ok(1) && value[0] == b'y'
}

/// As GNU tar, Docker, containerd and umoci read them.
#[test]
fn absolute_names_and_dots_within_count_from_the_root_of_the_layer() {
    let made = [
        Entry::dir("/"),
        Entry::dir("/opt/"),
        Entry::file("/opt/app", b"hi"),
        Entry::file("x/../y", b"why"),
        Entry::file("/../../etc/z", b"zed"),
        Entry::file("p", b"").pax("path", b"/opt/./pax"),
        Entry::link(b'1', "/opt/hard", "/opt/app"),
        Entry::link(b'1', "same", "opt/../y"),
        Entry::file("/opt/.wh.gone", b""),
    ];
    let scratch = Scratch::new("absolute");
    entries(&scratch, &made).unwrap();
    let root = scratch.path().join("layer");
    for (path, content) in [
        ("opt/app", "hi"),
        ("y", "why"),
        ("etc/z", "zed"),
        ("opt/pax", ""),
        ("opt/hard", "hi"),
        ("same", "why"),
    ] {
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), content, "{path}");
    }
    assert!(!root.join("x").exists(), "what a name only passes through is not made");
}

#[test]
fn hostile_names_are_refused_and_touch_nothing() {
    let file = |name: &str| Entry::file(name, b"x");
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("parent", vec![file("../x")], "leads out"),
        ("nested parent", vec![Entry::dir("a"), file("a/../../x")], "leads out"),
        ("pax path", vec![file("x").pax("path", b"../x")], "leads out"),
        ("whiteout of parent", vec![file(".wh...")], "whiteout of no name"),
        ("whiteout of self", vec![file(".wh..")], "whiteout of no name"),
        ("whiteout of nothing", vec![file(".wh.")], "whiteout of no name"),
        ("below a whiteout", vec![file(".wh.a/b")], "below a whiteout"),
        ("hardlink out", vec![Entry::link(b'1', "x", "../outside")], "leads out"),
        ("hardlink to host", vec![Entry::link(b'1', "x", "/etc/hostname")], "does not hold"),
        ("hardlink to nothing", vec![Entry::link(b'1', "x", "y")], "does not hold"),
        ("hardlink to dir", vec![Entry::dir("d"), Entry::link(b'1', "x", "d")], "a directory"),
        ("hardlink to itself", vec![file("x"), Entry::link(b'1', "x", "x")], "itself"),
        (
            "hardlink to whiteout",
            vec![file(".wh.a"), Entry::link(b'1', "x", "a")],
            "link to a whiteout",
        ),
        ("file as root", vec![file("./")], "root must be a directory"),
        ("below a file", vec![file("a"), file("a/b")], "Not a directory"),
        ("empty link", vec![Entry::link(b'2', "x", "")], "without a target"),
        ("unknown type", vec![Entry::new(b'Z', "x")], "type 'Z'"),
        ("uid of 2^32-1", vec![file("x").pax("uid", b"4294967295")], "PAX uid"),
        ("uid over 32 bits", vec![file("x").pax("uid", b"4294967296")], "PAX uid"),
        (
            "global size",
            vec![Entry { data: b"9 size=1\n".to_vec(), ..Entry::new(b'g', "g") }],
            "global",
        ),
        ("link loop", vec![Entry::link(b'2', "a", "a"), file("a/b")], "symbolic links"),
        ("deep", vec![file("x").pax("path", &b"a/".repeat(300))], "255 components"),
    ];
    for (name, list, expected) in cases {
        let scratch = Scratch::new("hostile");
        std::fs::write(scratch.path().join("outside"), b"canary").unwrap();
        let error = entries(&scratch, &list).expect_err(name);
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(outside(&scratch), ["outside"], "{name}");
        assert_eq!(std::fs::read(scratch.path().join("outside")).unwrap(), b"canary");
    }
}

#[test]
fn data_behind_links_and_two_sizes_are_refused() {
    let inner = LayerBuilder::of(&[Entry::file("hidden", b"x")]);
    let smuggled = |size: &[u8]| Entry::file("a", &inner).pax("size", size);
    for (name, entry) in [
        ("pax size less than ustar size", smuggled(b"0")),
        ("pax size more than ustar size", smuggled(b"4096")),
        ("directory with data", Entry { data: inner.clone(), ..Entry::dir("d") }),
        ("symlink with data", Entry { data: inner.clone(), ..Entry::link(b'2', "l", "t") }),
    ] {
        let scratch = Scratch::new("sizes");
        let error = entries(&scratch, &[entry]).expect_err(name);
        assert!(error.contains("bytes"), "{name}: {error}");
        assert!(!scratch.path().join("layer/hidden").exists(), "{name}");
    }
    let zero = Entry { size: Some(0), ..Entry::file("a", b"abc").pax("size", b"3") };
    let scratch = Scratch::new("sizes");
    entries(&scratch, &[zero]).unwrap();
    assert_eq!(std::fs::read(scratch.path().join("layer/a")).unwrap(), b"abc");
}

#[test]
fn links_lead_nowhere_outside() {
    let scratch = Scratch::new("links");
    let target = scratch.path().join("outside");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("canary"), b"canary").unwrap();
    let target = target.to_str().unwrap();
    entries(
        &scratch,
        &[
            Entry::link(b'2', "abs", target),
            Entry::file("abs/x", b"1"),
            Entry::link(b'2', "up", "../outside"),
            Entry::file("up/y", b"2"),
            // A file in place of a link replaces the link, never its target.
            Entry::link(b'2', "file", &format!("{target}/canary")),
            Entry::file("file", b"3"),
            Entry::link(b'2', "hop", &format!("{target}/canary")),
            Entry::link(b'1', "hard", "hop"),
            Entry::file("hard", b"4"),
            Entry::dir("dir"),
            Entry::link(b'2', "tolink", &format!("{target}/canary")),
            Entry::dir("tolink").mode(0o700),
        ],
    )
    .unwrap();
    let layer = scratch.path().join("layer");
    assert_eq!(std::fs::read_dir(target).unwrap().count(), 1);
    assert_eq!(std::fs::read(format!("{target}/canary")).unwrap(), b"canary");
    assert_eq!(std::fs::read(layer.join("outside/y")).unwrap(), b"2");
    assert_eq!(std::fs::read(layer.join("file")).unwrap(), b"3");
    assert_eq!(std::fs::read(layer.join("hard")).unwrap(), b"4");
    assert!(layer.join("hop").symlink_metadata().unwrap().is_symlink());
    assert!(layer.join("tolink").symlink_metadata().unwrap().is_dir());
    let inside = layer.join(target.trim_start_matches('/')).join("x");
    assert_eq!(std::fs::read(inside).unwrap(), b"1");
}

#[test]
fn a_link_of_the_layer_is_walked_inside_it() {
    let scratch = Scratch::new("usrmerge");
    let report = entries(
        &scratch,
        &[
            Entry::dir("usr"),
            Entry::dir("usr/lib"),
            Entry::link(b'2', "lib", "usr/lib"),
            Entry::file("lib/x", b"1"),
            Entry::link(b'2', "lib64", "/usr/lib/../lib"),
            Entry::file("lib64/y", b"2"),
            Entry::link(b'1', "z", "lib/x"),
        ],
    )
    .unwrap();
    let layer = scratch.path().join("layer");
    assert_eq!(std::fs::read(layer.join("usr/lib/x")).unwrap(), b"1");
    assert_eq!(std::fs::read(layer.join("usr/lib/y")).unwrap(), b"2");
    let same = |a: &str| std::fs::metadata(layer.join(a)).unwrap().ino();
    assert_eq!(same("z"), same("usr/lib/x"));
    assert_eq!(report.implied, Vec::<Vec<u8>>::new());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let scratch = Scratch::new("replace");
    entries(
        &scratch,
        &[
            Entry::file("twice", b"old"),
            Entry::file("twice", b"new"),
            Entry::file("becomes-dir", b"x"),
            Entry::dir("becomes-dir").mode(0o711),
            Entry::file("becomes-dir/in", b"y"),
            Entry::dir("becomes-file"),
            Entry::dir("becomes-file/a"),
            Entry::file("becomes-file/a/b", b"z"),
            Entry::file("becomes-file", b"f"),
            Entry::dir("again").mode(0o700),
            Entry::file("again/kept", b"k"),
            Entry::dir("again").mode(0o1777),
            Entry::dir("becomes-link"),
            Entry::file("becomes-link/x", b"x"),
            Entry::link(b'2', "becomes-link", "again"),
            Entry::file("becomes-link/through", b"t"),
            // The link keeps the old inode alive under its own name.
            Entry::file("inode", b"first"),
            Entry::link(b'1', "kept-inode", "inode"),
            Entry::file("inode", b"second"),
        ],
    )
    .unwrap();
    let layer = scratch.path().join("layer");
    let read = |name: &str| std::fs::read_to_string(layer.join(name)).unwrap();
    assert_eq!(read("twice"), "new");
    assert_eq!(read("becomes-dir/in"), "y");
    assert_eq!(read("becomes-file"), "f");
    assert_eq!(read("again/kept"), "k");
    assert_eq!(read("again/through"), "t");
    assert_eq!(read("kept-inode"), "first");
    assert_eq!(read("inode"), "second");
    let mode = |name: &str| std::fs::metadata(layer.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("becomes-dir") & 0o7777, 0o711);
    assert_eq!(mode("again") & 0o7777, 0o1777);
}

#[test]
fn whiteouts_take_overlayfs_form_in_any_order() {
    let scratch = Scratch::new("whiteouts");
    let report = entries(
        &scratch,
        &[
            Entry::dir("d"),
            Entry::file("d/.wh.gone", b""),
            Entry::file("d/.wh..wh..opq", b""),
            Entry::file(".wh.replaced", b""),
            Entry::dir("replaced"),
            Entry::file("replaced/x", b"1"),
            Entry::dir("kept"),
            Entry::file("kept/x", b"1"),
            Entry::file(".wh.kept", b""),
            Entry::file("stays", b"1"),
            Entry::file(".wh.stays", b""),
            Entry::file(".wh.file", b""),
            Entry::file("file", b"2"),
            Entry::file(".wh.implied", b""),
            Entry::file("implied/x", b"3"),
            Entry::file("e/.wh..wh.plnk", b""),
            Entry::file(".wh.twice", b""),
            Entry::file(".wh.twice", b""),
        ],
    )
    .unwrap();
    let layer = scratch.path().join("layer");
    assert!(is_whiteout(&layer.join("d/gone")) && is_whiteout(&layer.join("twice")));
    for opaque in ["d", "replaced", "kept", "implied"] {
        assert!(is_opaque(&layer.join(opaque)), "{opaque}");
        assert!(!layer.join(opaque).join(".wh..wh..opq").exists());
    }
    assert_eq!(std::fs::read(layer.join("stays")).unwrap(), b"1");
    assert_eq!(std::fs::read(layer.join("file")).unwrap(), b"2");
    assert_eq!(report.implied, [b"e".to_vec(), b"implied".to_vec()]);
    assert!(!report.opaque_root);
    let scratch = Scratch::new("whiteouts");
    assert!(entries(&scratch, &[Entry::file(".wh..wh..opq", b"")]).unwrap().opaque_root);
}

#[test]
fn owners_modes_times_and_attributes_are_restored() {
    if without_root("owners_modes_times_and_attributes_are_restored") {
        return;
    }
    let scratch = Scratch::new("attributes");
    // In a user namespace only some ids are mapped.
    let big_uid = if options().devices { u32::MAX - 1 } else { 65_000 }.to_string();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let report = entries(
        &scratch,
        &[
            Entry::dir("./").mode(0o751).owner(7, 8),
            Entry::dir("d").mode(0o500).owner(1, 2).pax("mtime", b"1234567890.123456789"),
            Entry::file("d/set-id", b"x").mode(0o6755).owner(1000, 1001),
            Entry::file("d/cap", b"x")
                .owner(5, 5)
                .pax("SCHILY.xattr.security.capability", &capability)
                .pax("SCHILY.xattr.user.note", b"a=b\nc"),
            Entry::file("d/evil", b"x")
                .pax("SCHILY.xattr.trusted.overlay.redirect", b"/../..")
                .pax("SCHILY.xattr.security.selinux", b"x"),
            Entry::link(b'2', "d/link", "x").owner(9, 9).pax("mtime", b"-5.5"),
            Entry { device: (1, 3), ..Entry::new(b'3', "d/null") }.mode(0o666).owner(3, 4),
            Entry::new(b'6', "d/fifo").mode(0o620),
            Entry { device: (0, 0), ..Entry::new(b'3', "d/whiteout") },
            Entry::file("big-uid", b"").pax("uid", big_uid.as_bytes()).pax("gid", b"70000"),
        ],
    )
    .unwrap();
    let layer = scratch.path().join("layer");
    let meta = |name: &str| std::fs::symlink_metadata(layer.join(name)).unwrap();
    let root = meta("");
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (7, 8, 0o751));
    let directory = meta("d");
    assert_eq!((directory.mtime(), directory.mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!((directory.uid(), directory.gid(), directory.mode() & 0o7777), (1, 2, 0o500));
    let set_id = meta("d/set-id");
    assert_eq!((set_id.uid(), set_id.gid(), set_id.mode() & 0o7777), (1000, 1001, 0o6755));
    let link = meta("d/link");
    assert_eq!((link.uid(), link.mtime(), link.mtime_nsec()), (9, -6, 500_000_000));
    assert_eq!(meta("big-uid").uid().to_string(), big_uid);
    assert_eq!(meta("big-uid").gid(), 70000);
    assert_eq!(meta("d/fifo").mode() & 0o7777, 0o620);
    let mut value = [0; 64];
    let read = |name: &str, key: &str, value: &mut [u8]| {
        rustix::fs::lgetxattr(layer.join(name), key, value)
    };
    assert_eq!(read("d/cap", "security.capability", &mut value), Ok(20));
    assert_eq!(read("d/cap", "user.note", &mut value), Ok(5));
    assert!(read("d/evil", "trusted.overlay.redirect", &mut value).is_err());
    assert!(!layer.join("d/whiteout").exists());
    let initial = options().devices;
    assert_eq!(layer.join("d/null").exists(), initial);
    assert_eq!(report.warning_count, if initial { 3 } else { 4 }, "{:?}", report.warnings);
}

#[test]
fn an_ordinary_user_gets_the_files_and_warnings() {
    let scratch = Scratch::new("squash");
    let options = UnpackOptions {
        whiteouts: Whiteouts::User,
        devices: false,
        owners: Owners::Squash,
        ..options()
    };
    let tar = LayerBuilder::of(&[
        Entry::dir("d").mode(0o555).owner(1234, 1234),
        Entry::file("d/x", b"1").owner(1234, 1234),
        Entry { device: (1, 3), ..Entry::new(b'3', "null") },
        Entry::file("d/.wh.gone", b""),
        Entry::file("d/.wh..wh..opq", b""),
    ]);
    let report = run(&scratch, &tar, &options).unwrap();
    let layer = scratch.path().join("layer");
    let meta = std::fs::metadata(layer.join("d")).unwrap();
    assert_eq!(meta.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(meta.mode() & 0o7777, 0o555);
    assert!(is_whiteout(&layer.join("d/gone")));
    assert_eq!(report.warnings, ["\"null\": device left out: making it needs root on the host"]);
    let mut value = [0; 4];
    let attribute = rustix::fs::getxattr(layer.join("d"), "user.overlay.opaque", &mut value[..]);
    assert_eq!(attribute, Ok(1));
    std::fs::set_permissions(layer.join("d"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn sparse_files_of_all_formats_are_restored() {
    let scratch = Scratch::new("sparse");
    let data = [&[b'a'; 512][..], &[b'b'; 512]].concat();
    let zero_one = Entry::file("zero-one", &data)
        .pax("GNU.sparse.size", b"1048576")
        .pax("GNU.sparse.numblocks", b"2")
        .pax("GNU.sparse.map", b"4096,512,1040384,512");
    let mut with_map = b"2\n4096\n512\n1040384\n512\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend_from_slice(&data);
    let one_zero = Entry::file("x", &with_map)
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .pax("GNU.sparse.name", b"one-zero")
        .pax("GNU.sparse.realsize", b"1048576");
    entries(&scratch, &[zero_one, one_zero]).unwrap();
    for name in ["zero-one", "one-zero"] {
        let path = scratch.path().join("layer").join(name);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 1 << 20, "{name}");
        assert_eq!(&bytes[4096..4608], &[b'a'; 512], "{name}");
        assert_eq!(&bytes[1_040_384..1_040_896], &[b'b'; 512], "{name}");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 1024, "{name}");
        assert!(std::fs::metadata(&path).unwrap().blocks() < 256, "{name} has no holes");
    }
    let overlapping = Entry::file("bad", &data)
        .pax("GNU.sparse.size", b"1024")
        .pax("GNU.sparse.map", b"0,512,256,512");
    assert!(entries(&Scratch::new("sparse"), &[overlapping]).unwrap_err().contains("sparse map"));
}

#[test]
fn gnu_tar_writes_what_this_reads() {
    let scratch = Scratch::new("gnu");
    let source = scratch.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let long = "n".repeat(200);
    std::fs::write(source.join(&long), b"long").unwrap();
    std::os::unix::fs::symlink(&long, source.join("link")).unwrap();
    let file = std::fs::File::create(source.join("sparse")).unwrap();
    file.set_len(8 << 20).unwrap();
    for block in 0..40_u64 {
        std::os::unix::fs::FileExt::write_at(&file, b"data", block * 131_072).unwrap();
    }
    for format in ["gnu", "pax", "posix"] {
        let tar = std::process::Command::new("tar")
            .args(["--sparse", "-C", source.to_str().unwrap(), "--format", format, "-cf", "-", "."])
            .output()
            .unwrap();
        assert!(tar.status.success());
        let scratch = Scratch::new("gnu");
        run(&scratch, &tar.stdout, &options()).unwrap();
        let layer = scratch.path().join("layer");
        for name in [long.as_str(), "sparse", "link"] {
            let (left, right) = (source.join(name), layer.join(name));
            assert_eq!(std::fs::read(left).unwrap(), std::fs::read(right).unwrap(), "{name}");
        }
    }
}

#[test]
fn all_compressions_and_the_diff_id() {
    let tar = LayerBuilder::of(&[Entry::file("a", &[7; 300_000]), Entry::dir("d")]);
    let expected = Digest::of(&tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar[..1000]).unwrap();
    let mut members = gzip.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar[1000..]).unwrap();
    members.extend(gzip.finish().unwrap());
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    for blob in [&tar, &members, &zstd] {
        let scratch = Scratch::new("compressed");
        let layer = scratch.open("layer");
        let report =
            unpack(BufReader::new(&blob[..]), layer, Some(&expected), &options(), &|_| {}).unwrap();
        assert_eq!(report.diff_id, Some(expected));
        assert_eq!(report.stream_size, tar.len() as u64);
        assert_eq!(std::fs::metadata(scratch.path().join("layer/a")).unwrap().len(), 300_000);
        let wrong = Digest::of(b"");
        let layer = scratch.open("other");
        let error = unpack(BufReader::new(&blob[..]), layer, Some(&wrong), &options(), &|_| {})
            .unwrap_err();
        assert!(error.to_string().contains("diff_id"), "{error}");
        let cut = &blob[..blob.len() / 2];
        let layer = scratch.open("cut");
        assert!(unpack(BufReader::new(cut), layer, None, &options(), &|_| {}).is_err());
    }
    let xz = run(&Scratch::new("xz"), b"\xfd7zXZ\0rest", &options()).unwrap_err();
    assert!(xz.contains("damaged xz"), "{xz}");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let tar = LayerBuilder::of(&[Entry::file("zeros", &vec![0; 32 << 20])]);
    let bomb = zstd::encode_all(&tar[..], 1).unwrap();
    assert!(bomb.len() < 100_000);
    let limited = UnpackOptions { limit: 1 << 20, ..options() };
    let error = run(&Scratch::new("bomb"), &bomb, &limited).unwrap_err();
    assert!(error.contains("over the limit of 1048576 bytes"), "{error}");
}

#[test]
fn random_damage_never_panics() {
    let good = LayerBuilder::of(&[
        Entry::dir("a"),
        Entry::file("a/b", &[1; 700]).pax("SCHILY.xattr.user.x", b"y").pax("mtime", b"1.5"),
        Entry::link(b'2', "l", "a"),
        Entry::link(b'1', "h", "a/b"),
        Entry::file("a/.wh.c", b""),
    ]);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..8 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % bytes.len() as u64).unwrap();
            bytes[at] = seed.to_le_bytes()[5];
        }
        let scratch = Scratch::new("fuzz");
        let _ = run(&scratch, &bytes, &options());
        assert!(outside(&scratch).is_empty());
    }
}
