//! runtime.md: operations and the life of a container.

use std::fs;

use husk_tests::case::Case;

/// runtime.md, Lifecycle 2: create must not run the user's program.
#[test]
fn create_does_not_run_the_program() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo ran >/tmp/ran");
    let container = case.create(&bundle);
    assert!(!bundle.rootfs("tmp/ran").exists());
    container.start();
    container.process().wait();
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/ran")).unwrap(), "ran\n");
}
