//! Idmapped mounts: owners as the container and as the host see them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::user::User;
use serde_json::json;

/// Id 0 of the containers.
const ROOT: u32 = 1_000_000;

/// A directory with a file of 5:6: on the filesystem of the tests, or a tmpfs
/// that is mounted while the case lives.
fn volume(case: &Case, tmpfs: bool) -> PathBuf {
    let dir = case.directory(if tmpfs { "memory" } else { "disk" });
    if tmpfs {
        case.program("mount").args(["-t", "tmpfs", "none"]).arg(&dir).ok();
    }
    fs::write(dir.join("there"), "").unwrap();
    chown(dir.join("there"), Some(5), Some(6)).unwrap();
    dir
}

/// Whether this kernel maps ids on a filesystem; else it must refuse, which is checked here.
/// tmpfs can since Linux 6.3.
fn refused(case: &Case, bundle: &Bundle, tmpfs: bool) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let refused = tmpfs && version < (6, 3);
    if refused {
        let words = ["mounts[6]", "does not support idmapped mounts"];
        case.run(bundle).refused_in_one_line(&words);
    }
    refused
}

fn mapped(case: &Case, source: &Path, option: &str) -> Bundle {
    let mut bundle = case.bundle();
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let maps = json!([{ "containerID": 0, "hostID": ROOT, "size": 65536 }]);
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    bundle.bind(source, "/mnt", &["rbind", option]);
    bundle.shell("stat -c %u:%g /mnt/there; touch /mnt/made");
    husk_tests::user_namespace::give(&bundle.rootfs(""));
    bundle
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// `idmap` and `ridmap` alone: the maps are those of the container, so that the
/// source looks as it does on the host.
#[test]
fn the_containers_own_maps() {
    let case = Case::new();
    for tmpfs in [false, true] {
        let volume = volume(&case, tmpfs);
        for option in ["idmap", "ridmap"] {
            let bundle = mapped(&case, &volume, option);
            if refused(&case, &bundle, tmpfs) {
                continue;
            }
            assert_eq!(case.print(&bundle), "5:6\n", "{option} {tmpfs}");
            assert_eq!(owner(&volume.join("made")), (0, 0), "{option} {tmpfs}");
            fs::remove_file(volume.join("made")).unwrap();
        }
        if tmpfs {
            case.program("umount").arg(&volume).ok();
        }
    }
}

/// Without an idmapped mount the same file is nobody's.
#[test]
fn without_it_the_owner_is_unknown() {
    let case = Case::new();
    let volume = volume(&case, false);
    let mut bundle = mapped(&case, &volume, "rw");
    bundle.args(["/bin/stat", "-c", "%u:%g", "/mnt/there"]);
    assert_eq!(case.print(&bundle), "65534:65534\n");
}

/// Maps of the mount's own, without a user namespace: config.md, mounts.uidMappings.
#[test]
fn maps_of_the_mounts_own() {
    let case = Case::new();
    for tmpfs in [false, true] {
        let volume = volume(&case, tmpfs);
        let mut bundle = case.bundle();
        bundle.mount(json!({
            "destination": "/mnt", "type": "bind", "source": volume, "options": ["bind"],
            "uidMappings": [{ "containerID": 0, "hostID": 7000, "size": 10 }],
            "gidMappings": [{ "containerID": 0, "hostID": 8000, "size": 10 }],
        }));
        for kind in ["bounding", "effective", "permitted"] {
            bundle
                .set(&format!("/process/capabilities/{kind}"), json!(["CAP_SETUID", "CAP_CHOWN"]));
        }
        bundle.set("/process/user", json!({ "uid": 7003, "gid": 8004 }));
        fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        bundle.shell("stat -c %u:%g /mnt/there; touch /mnt/made");
        if !refused(&case, &bundle, tmpfs) {
            assert_eq!(case.print(&bundle), "7005:8006\n");
            assert_eq!(owner(&volume.join("made")), (3, 4));
        }
        if tmpfs {
            case.program("umount").arg(&volume).ok();
        }
    }
}

#[test]
fn a_filesystem_that_cannot_is_an_error() {
    let case = Case::new();
    let bundle = mapped(&case, Path::new("/proc/sys"), "idmap");
    let words = ["mounts[6]", "idmap", "does not support idmapped mounts"];
    case.run(&bundle).refused_in_one_line(&words);
}

#[test]
fn without_maps_and_namespace_it_is_an_error() {
    let case = Case::without_user_namespace("that is what is tested");
    let volume = volume(&case, false);
    let mut bundle = case.bundle();
    bundle.bind(&volume, "/mnt", &["bind", "idmap"]);
    case.run(&bundle).refused_in_one_line(&["mounts[6]", "needs a user namespace"]);
}

#[test]
fn bad_maps_are_named() {
    let case = Case::new();
    let volume = volume(&case, false);
    let mut bundle = mapped(&case, &volume, "idmap");
    let one = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let twice = json!([one[0], one[0]]);
    bundle.set("/mounts/6/uidMappings", one.clone()).set("/mounts/6/gidMappings", twice);
    case.run(&bundle).refused_in_one_line(&["mounts[6].gidMappings[1]", "overlaps with [0]"]);
    bundle.set("/mounts/6/gidMappings", json!([]));
    case.run(&bundle).refused_in_one_line(&["mounts[6]", "go together"]);
}

/// mount_setattr(2): it takes privilege over the filesystem.
#[test]
fn an_ordinary_user_may_not() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    let source = case.directory("mine");
    user.give(&source);
    let index = bundle.bind(&source, "/tmp", &["bind", "idmap"]);
    let output = user.running(&bundle, &["--detach"]).output().refused();
    for words in [&format!("mounts[{index}]"), "idmap", "CAP_SYS_ADMIN over the filesystem"] {
        assert!(output.stderr.contains(words), "{words:?} is not in {}", output.stderr);
    }
}
