//! What runtimes write below /proc for a container, and what images put there.

use std::fs;

use husk_tests::case::Case;
use serde_json::json;

use crate::links::without_mounts;

/// A directory with the files of /proc/self/attr and /proc/sys that runtimes
/// write to.
fn fake_proc(case: &Case) -> std::path::PathBuf {
    let dir = case.directory("fake-proc");
    for name in ["self/attr/apparmor", "thread-self/attr", "sys/kernel", "sys/net/ipv4"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for name in ["self/attr/exec", "self/attr/apparmor/exec", "thread-self/attr/exec"] {
        fs::write(dir.join(name), "fake").unwrap();
    }
    for name in ["sys/kernel/domainname", "sys/net/ipv4/ip_forward"] {
        fs::write(dir.join(name), "fake").unwrap();
    }
    dir
}

/// CVE-2019-16884 (runc, crun): a volume over /proc, to which the label of the
/// process would be written.
#[test]
fn a_directory_over_proc_is_refused() {
    let case = Case::new();
    let fake = fake_proc(&case);
    for destination in ["/proc", "/proc/", "//proc", "/./proc", "/tmp/../proc"] {
        let mut bundle = case.bundle();
        without_mounts(&mut bundle, &["/proc"]);
        bundle.bind(&fake, destination, &["bind", "rw"]);
        bundle.args(["/bin/true"]);
        case.run(&bundle).refused();
    }
    let mut bundle = case.bundle();
    bundle.bind(&fake, "/proc", &["bind", "rw"]);
    bundle.args(["/bin/true"]);
    case.run(&bundle).refused();
}

/// CVE-2025-52881 (runc), CVE-2025-62596 (youki): mounts over what is written
/// to below /proc, so that a write of labels or sysctls goes elsewhere.
#[test]
fn mounts_over_what_is_written_below_proc_are_refused_or_avoided() {
    let case = Case::new();
    let fake = fake_proc(&case);
    for name in ["self/attr", "thread-self/attr", "sys", "sys/kernel", "self"] {
        let mut bundle = case.bundle();
        bundle.bind(&fake.join(name), &format!("/proc/{name}"), &["bind", "rw"]);
        bundle.set("/linux/sysctl", json!({ "kernel.domainname": "written" }));
        bundle.args(["/bin/true"]);
        case.run(&bundle);
        let text = fs::read_to_string(fake.join("sys/kernel/domainname")).unwrap();
        assert_eq!(text, "fake", "{name}: a sysctl was written to a file");
    }
}

/// The same for `exec`: the container has covered its own /proc by then.
#[test]
fn exec_does_not_use_the_containers_proc() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for kind in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{kind}/-"), "CAP_SYS_ADMIN");
    }
    let said = case.fifo(&bundle, "said");
    // A tmpfs over all of /proc, with files in the place of those that are written.
    bundle.shell(
        "mount -t tmpfs none /proc && mkdir -p /proc/self/attr /proc/self/fd &&
         echo fake >/proc/self/attr/exec && echo done >/said; exec sleep 1000",
    );
    let container = case.start(&bundle);
    assert_eq!(said.line(), "done");
    let run = container.exec(&["--cwd", "/tmp"], &["/bin/pwd"]).output();
    if run.code() == 0 {
        assert_eq!(run.text(), "/tmp");
    }
    let attr = container.exec(&[], &["/bin/cat", "/proc/self/attr/exec"]).output();
    if attr.code() == 0 {
        assert_eq!(attr.text(), "fake");
    }
}
