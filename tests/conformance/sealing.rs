//! The runtime's own executable, as seen from inside (CVE-2019-5736), and what
//! a process that is not yet confined gives away.

use husk_tests::case::Case;
use serde_json::json;

/// Everything root can have, so that only the sealing stands in the way.
const ALL: [&str; 8] = [
    "CAP_SYS_PTRACE",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_SYS_ADMIN",
    "CAP_FOWNER",
    "CAP_CHOWN",
    "CAP_KILL",
    "CAP_SYS_CHROOT",
];

/// CVE-2019-5736: a descriptor of /proc/PID/exe, kept until the runtime's
/// process is gone, cannot be opened for writing.
#[test]
fn the_runtimes_executable_cannot_be_written_from_inside() {
    let case = Case::without_user_namespace(
        "the procfs of a joined pid namespace, which the test reads, is for its owner",
    );
    // Both in a third one's pid namespace, so that neither is its process 1.
    let (_bundle, holder) = case.sleeper();
    let pid_namespace = format!("/proc/{}/ns/pid", holder.pid());
    let mut bundle = case.bundle();
    bundle.namespace("pid", Some(&pid_namespace));
    // Its first process is the runtime until it is started.
    let created = case.create(&bundle);
    let status = created.proc("status");
    let inside = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap();
    let inside = inside.split_whitespace().last().unwrap();

    let mut bundle = case.bundle();
    bundle.namespace("pid", Some(&pid_namespace));
    for kind in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        bundle.set(&format!("/process/capabilities/{kind}"), json!(ALL));
    }
    let said = case.fifo(&bundle, "said");
    // Opened for appending and nothing written: should it succeed, no harm is
    // done to the host.
    bundle.shell(&format!(
        "exec 4<>/said; exec 3</proc/{inside}/exe || {{ echo closed >&4; exit; }}
         trap '(: >>/proc/self/fd/3) 2>/dev/null && echo WRITABLE >&4 || echo refused >&4' USR1
         echo opened >&4; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done"
    ));
    let attacker = case.start(&bundle);
    if said.line() == "closed" {
        return;
    }
    created.stop();
    attacker.kill("USR1");
    assert_eq!(said.line(), "refused");
}

/// The first process of a created container is out of other containers' reach:
/// not dumpable, so that its descriptors and memory are its own.
#[test]
fn the_waiting_process_is_not_dumpable() {
    let case = Case::without_user_namespace(
        "the procfs of a joined pid namespace, which the test reads, is for its owner",
    );
    let created = case.create(&case.bundle());
    let mut bundle = case.bundle();
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", created.pid())));
    // Root without CAP_SYS_PTRACE may look into what is dumpable and its own. The
    // numbers of descriptors are root's to list all the same; where they lead is not.
    bundle.shell(
        "(readlink /proc/1/fd/0 || cat /proc/1/environ) >/dev/null 2>&1 \
         && echo READABLE || echo refused",
    );
    assert_eq!(case.print(&bundle), "refused\n");
}

/// `exec` of the interpreter trick: a script whose interpreter is
/// /proc/self/exe runs something, but not a writable runtime.
#[test]
fn exec_of_proc_self_exe_is_harmless() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let script = bundle.rootfs("bin/trick");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = std::fs::metadata(husk_tests::runtime::path()).unwrap().modified().unwrap();
    // It may start the sealed copy, whose arguments make no sense, or fail.
    container.exec(&[], &["/bin/trick"]).output();
    let after = std::fs::metadata(husk_tests::runtime::path()).unwrap().modified().unwrap();
    assert_eq!(before, after);
    assert_eq!(container.status(), "running");
}
