//! AppArmor and SELinux: an error where the kernel does not have what is asked
//! for. Where AppArmor is on (the virtual machine), the profile is in force.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use husk_tests::case::Case;

use crate::installed;

fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// A profile in the kernel, which goes with this.
struct Profile(String);

impl Profile {
    /// Lets everything be but one file.
    fn load(case: &Case) -> Profile {
        let name = format!("husk-test-{}", case.marker());
        let text = format!(
            "abi <abi/3.0>,\nprofile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
             file,\ncapability,\nsignal,\nptrace,\ndeny /forbidden r,\n}}\n"
        );
        parser("--replace", &text);
        Profile(name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser("--remove", &format!("profile {} {{ }}\n", self.0));
    }
}

fn parser(what: &str, text: &str) {
    let mut parser =
        Command::new("apparmor_parser").arg(what).stdin(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(parser.wait().unwrap().success());
}

#[test]
fn an_apparmor_profile() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/cat", "/proc/self/attr/current"]);
    if !apparmor() {
        bundle.set("/process/apparmorProfile", "some");
        case.run(&bundle).refused_in_one_line(&["process.apparmorProfile", "AppArmor"]);
        let (_bundle, container) = case.sleeper();
        let refused = container.exec(&["--apparmor", "some"], &["true"]).output().refused();
        assert!(refused.stderr.contains("AppArmor"), "{}", refused.stderr);
        return;
    }
    bundle.set("/process/apparmorProfile", "unconfined");
    assert_eq!(case.print(&bundle), "unconfined\n");
    let unknown = ["process.apparmorProfile (husk-no-such-profile)", "no such profile is loaded"];
    bundle.set("/process/apparmorProfile", "husk-no-such-profile");
    case.run(&bundle).refused_in_one_line(&unknown);
    if !installed(&[("apparmor_parser", "apparmor")]) {
        return;
    }
    let profile = Profile::load(&case);
    let enforced = format!("{} (enforce)\n", profile.0);
    bundle.set("/process/apparmorProfile", profile.0.as_str());
    assert_eq!(case.print(&bundle), enforced);
    bundle.shell("cat /forbidden 2>&1; echo >/forbidden && echo written");
    fs::write(bundle.rootfs("forbidden"), "secret").unwrap();
    let said = case.print(&bundle);
    assert_eq!(said, "cat: can't open '/forbidden': Permission denied\nwritten\n");

    // exec takes the container's over, and one of its own.
    let exec = |flags: &[&str], container: &husk_tests::case::Container<'_>| {
        container.exec(flags, &["cat", "/proc/self/attr/current"]).output()
    };
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    assert_eq!(container.proc("attr/current"), enforced);
    assert_eq!(exec(&[], &container).stdout, enforced);
    let (_bundle, plain) = case.sleeper();
    assert_eq!(exec(&[], &plain).stdout, "unconfined\n");
    assert_eq!(exec(&["--apparmor", &profile.0], &plain).stdout, enforced);
    let refused = exec(&["--apparmor", "husk-no-such-profile"], &plain).refused().stderr;
    assert!(refused.contains("apparmorProfile (husk-no-such-profile)"), "{refused}");
    assert!(refused.contains("is loaded"), "{refused}");
}

#[test]
fn selinux_labels() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let case = Case::new();
    for pointer in ["/process/selinuxLabel", "/linux/mountLabel"] {
        let mut bundle = case.bundle();
        bundle.set(pointer, "system_u:system_r:container_t:s0");
        let property = pointer.trim_start_matches('/').replace('/', ".");
        case.run(&bundle).refused_in_one_line(&[&property, "SELinux"]);
    }
}
