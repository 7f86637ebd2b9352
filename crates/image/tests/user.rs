//! Users of a rootfs: a table of texts and of hostile files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod layer;

use std::os::fd::AsFd;

use husk_image::user::{Identity, lookup};
use layer::Scratch;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
www:x:33:34:www:/var/www:/bin/sh
1000:x:0:0:trap:/root:/bin/sh
user:x:1000:1001::/home/user:/bin/sh
big:x:4294967296:0::/:/bin/sh
max:x:4294967295:0::/:/bin/sh
neg:x:-1:0::/:/bin/sh
plus:x:+5:0::/:/bin/sh
odd:x:7:7::relative:/bin/sh
short:x:8
www:x:0:0:second:/root:/bin/sh
";
const GROUP: &str = "root:x:0:
www:x:34:www
audio:x:29:user,www
video:x:44:user
7:x:0:user
bad:x:99999999999:user
nolist:x:50
";

fn rootfs(passwd: &str, group: &str) -> Scratch {
    let scratch = Scratch::new("user");
    std::fs::create_dir(scratch.path().join("etc")).unwrap();
    std::fs::write(scratch.path().join("etc/passwd"), passwd).unwrap();
    std::fs::write(scratch.path().join("etc/group"), group).unwrap();
    scratch
}

fn find(scratch: &Scratch, spec: &str, extra: &[&str]) -> Result<Identity, String> {
    let root = std::fs::File::open(scratch.path()).unwrap();
    let extra: Vec<String> = extra.iter().map(|group| (*group).to_owned()).collect();
    lookup(root.as_fd(), spec, &extra).map_err(|error| error.to_string())
}

#[test]
fn the_table_of_users() {
    let scratch = rootfs(PASSWD, GROUP);
    type Case = (&'static str, &'static [&'static str], u32, u32, &'static [u32], &'static str);
    let cases: &[Case] = &[
        ("", &[], 0, 0, &[0], "/root"),
        ("root", &[], 0, 0, &[0], "/root"),
        ("0", &[], 0, 0, &[0], "/root"),
        ("www", &[], 33, 34, &[34, 29], "/var/www"),
        ("33", &[], 33, 34, &[34, 29], "/var/www"),
        ("user", &[], 1000, 1001, &[1001, 29, 44, 0], "/home/user"),
        ("1000", &[], 1000, 1001, &[1001, 29, 44, 0], "/home/user"),
        ("user:www", &[], 1000, 34, &[34], "/home/user"),
        ("user:5", &[], 1000, 5, &[5], "/home/user"),
        ("1000:", &[], 1000, 1001, &[1001, 29, 44, 0], "/home/user"),
        (":2", &[], 0, 2, &[2], "/root"),
        (":audio", &[], 0, 29, &[29], "/root"),
        ("1:2", &[], 1, 2, &[2], "/"),
        ("4242", &[], 4242, 0, &[0], "/"),
        ("4294967294", &[], u32::MAX - 1, 0, &[0], "/"),
        ("odd", &[], 7, 7, &[7], "/"),
        ("www", &["video", "29", "77"], 33, 34, &[34, 29, 44, 77], "/var/www"),
        ("root", &["7"], 0, 0, &[0, 7], "/root"),
    ];
    for (spec, extra, uid, gid, groups, home) in cases {
        let found = find(&scratch, spec, extra).unwrap();
        assert_eq!((found.uid, found.gid), (*uid, *gid), "{spec}");
        assert_eq!(found.groups, *groups, "{spec}");
        assert_eq!(found.home, *home, "{spec}");
    }
}

#[test]
fn what_is_no_user_is_an_error() {
    let scratch = rootfs(PASSWD, GROUP);
    for (spec, expected) in [
        ("-1", "not user[:group]"),
        ("+1", "not user[:group]"),
        ("1:-1", "not user[:group]"),
        ("1:2:3", "not user[:group]"),
        ("a/b", "not user[:group]"),
        ("a\nb", "not user[:group]"),
        (" 1", "not user[:group]"),
        ("4294967295", "not an id"),
        ("4294967296", "not an id"),
        ("18446744073709551616", "not an id"),
        ("0:4294967296", "not an id"),
        ("nobody", "no \"nobody\" in the image's etc/passwd"),
        ("root:nobody", "no \"nobody\" in the image's etc/group"),
        ("big", "no \"big\""),
        ("max", "no \"max\""),
        ("neg", "no \"neg\""),
        ("plus", "no \"plus\""),
        ("short", "no \"short\""),
        ("root:bad", "no \"bad\""),
    ] {
        let error = find(&scratch, spec, &[]).expect_err(spec);
        assert!(error.contains(expected), "{spec}: {error}");
    }
    assert!(find(&scratch, "", &["nogroup"]).is_err());
    assert!(find(&scratch, "", &[""]).is_err());
}

#[test]
fn files_that_are_missing_or_hostile() {
    let scratch = Scratch::new("user");
    assert_eq!(find(&scratch, "5", &[]).unwrap().uid, 5);
    assert_eq!(find(&scratch, "", &[]).unwrap().home, "/root");
    // Without the files there is root, and nobody else.
    let root = find(&scratch, "root:root", &["root"]).unwrap();
    assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
    assert!(find(&scratch, "daemon", &[]).unwrap_err().contains("no \"daemon\""));

    let passwd = |scratch: &Scratch| scratch.path().join("etc/passwd");
    // A link to the host's file is one within the rootfs, where there is nothing.
    let scratch = rootfs("", "");
    std::fs::remove_file(passwd(&scratch)).unwrap();
    std::os::unix::fs::symlink("/../../../../etc/passwd", passwd(&scratch)).unwrap();
    assert!(find(&scratch, "daemon", &[]).is_err());

    let scratch = rootfs("", "");
    std::fs::remove_file(passwd(&scratch)).unwrap();
    std::fs::create_dir_all(scratch.path().join("lib")).unwrap();
    std::fs::write(scratch.path().join("lib/users"), PASSWD).unwrap();
    std::os::unix::fs::symlink("/lib/users", passwd(&scratch)).unwrap();
    assert_eq!(find(&scratch, "www", &[]).unwrap().uid, 33);

    // Were it opened, this would wait for a writer.
    let scratch = rootfs("", "");
    std::fs::remove_file(passwd(&scratch)).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, passwd(&scratch), fifo, 0o644.into(), 0).unwrap();
    assert!(find(&scratch, "5", &[]).unwrap_err().contains("not a regular file"));

    let scratch = rootfs("", "");
    std::fs::File::create(passwd(&scratch)).unwrap().set_len(1 << 40).unwrap();
    assert!(find(&scratch, "5", &[]).unwrap_err().contains("larger than 4 MiB"));

    let scratch = rootfs("a\0b:x:3:3::/h\0:/\n\u{fffd}:::\n:x:9:9::/:\n", &"x".repeat(1 << 20));
    assert_eq!(find(&scratch, "3", &[]).unwrap().home, "/");
    assert_eq!(find(&scratch, "9", &[]).unwrap().name, None);
}
