//! Device nodes of an image.

use husk_tests::case::Case;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

/// GHSA-g54h-m393-cpwq (runc): an empty list of devices, and a rule that denies
/// all: a node that the image brings cannot be opened.
#[test]
fn a_node_of_the_image_cannot_be_opened() {
    let case = Case::new();
    let mut bundle = case.bundle();
    // A loop device's number with nothing behind it: were it allowed, the open
    // would end in ENXIO or ENODEV, not in EPERM.
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, bundle.rootfs("block"), FileType::BlockDevice, mode, makedev(7, 250)).unwrap();
    mknodat(CWD, bundle.rootfs("char"), FileType::CharacterDevice, mode, makedev(10, 250)).unwrap();
    bundle.set("/linux/devices", json!([]));
    bundle.set("/linux/resources/devices", json!([{ "allow": false, "access": "rwm" }]));
    bundle.shell(
        "for node in /block /char; do
           dd if=$node of=/dev/null count=1 2>&1 | grep -o 'Operation not permitted'
         done; echo x >/dev/null && echo null",
    );
    let run = case.run(&bundle);
    assert_eq!(run.stdout, "Operation not permitted\nOperation not permitted\nnull\n");
}

/// The same for nodes that the container makes itself, where it may.
#[test]
fn a_node_that_the_container_makes_cannot_be_opened() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for kind in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{kind}/-"), "CAP_MKNOD");
    }
    bundle.set("/linux/resources/devices", json!([{ "allow": false, "access": "rwm" }]));
    bundle.shell(
        "mknod /tmp/block b 7 250; dd if=/tmp/block of=/dev/null count=1 2>&1
         exec </tmp/block || true",
    );
    let run = case.run(&bundle);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("No such device"), "the open reached the device: {said}");
}

/// config-linux.md, "Devices": a file of the image is where a device is to be.
/// It is not taken for the device, and it is not followed.
#[test]
fn a_file_in_place_of_a_device_is_an_error() {
    let case = Case::new();
    let canaries = crate::canary::Canaries::new(&case);
    for target in ["file", "new", "dir"] {
        let mut bundle = case.bundle();
        crate::links::link(&bundle, "/image/node", &canaries.upwards(target));
        bundle.set(
            "/linux/devices",
            json!([{ "path": "/image/node", "type": "c", "major": 1, "minor": 3, "uid": 7 }]),
        );
        bundle.args(["/bin/true"]);
        case.run(&bundle).refused();
        canaries.assert_untouched(&case, target);
    }
}
