//! Numbers and lengths that do not fit where they have to go.

use std::os::unix::fs::symlink;

use husk_tests::case::Case;
use husk_tests::runtime;
use serde_json::{Value, json};

/// CVE-2021-43784 (runc): a length beyond 16 bits, taken modulo, lets a part of
/// a value be read as something else. Id maps of more than 64 KiB of text.
#[test]
fn an_id_map_beyond_64_kib_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("user", None);
    let map: Vec<Value> = (0..6000u32)
        .map(|line| json!({ "containerID": line, "hostID": 100_000 + line * 2, "size": 1 }))
        .collect();
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.args(["/bin/true"]);
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// CVE-2021-43784: the same for paths.
#[test]
fn a_path_beyond_64_kib_is_an_error() {
    let case = Case::new();
    let long = format!("/{}", "x/".repeat(40_000));
    let named = format!("{}{long}", case.dir().display());
    for (pointer, value) in [
        ("/linux/cgroupsPath", json!(long)),
        ("/root/path", json!(named)),
        ("/mounts/-", json!({ "destination": long, "type": "tmpfs", "source": "tmpfs" })),
        ("/mounts/-", json!({ "destination": "/mnt", "type": "bind", "source": named })),
        ("/linux/namespaces/-", json!({ "type": "user", "path": named })),
        ("/process/cwd", json!(long)),
        ("/hostname", json!("h".repeat(70_000))),
    ] {
        let mut bundle = case.bundle();
        bundle.set(pointer, value).args(["/bin/true"]);
        case.run(&bundle).refused();
        case.assert_nothing_left();
    }
}

/// The class of CVE-2021-43784 in Husk's own messages: an entry beyond 65535
/// is named by its number and not by another's.
#[test]
fn an_entry_beyond_16_bits_is_named_by_its_number() {
    let case = Case::new();
    let mut bundle = case.bundle();
    symlink("loop", bundle.rootfs("loop")).unwrap();
    let mut paths = vec![json!("/missing"); 65_540];
    paths.push(json!("/loop"));
    bundle.set("/linux/maskedPaths", paths).args(["/bin/true"]);
    let run = case.run(&bundle);
    // runc leaves such a path out.
    if runtime::name() == "husk-oci" {
        run.refused_in_one_line(&["linux.maskedPaths[65540]", "/loop"]);
    }
}
