//! AppArmor and SELinux: an error where the kernel does not have what is asked
//! for. Where AppArmor is on (the virtual machine), the profile is in force.

use std::fs;

use husk_tests::case::Case;

fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

#[test]
fn an_apparmor_profile() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/cat", "/proc/self/attr/current"]);
    if apparmor() {
        bundle.set("/process/apparmorProfile", "unconfined");
        assert_eq!(case.print(&bundle), "unconfined\n");
        bundle.set("/process/apparmorProfile", "husk-no-such-profile");
        let refused = case.run(&bundle).refused();
        assert!(refused.stderr.contains("husk-no-such-profile"), "{}", refused.stderr);
        return;
    }
    bundle.set("/process/apparmorProfile", "some");
    case.run(&bundle).refused_in_one_line(&["process.apparmorProfile", "AppArmor"]);
    let (_bundle, container) = case.sleeper();
    let refused = container.exec(&["--apparmor", "some"], &["true"]).output().refused();
    assert!(refused.stderr.contains("AppArmor"), "{}", refused.stderr);
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
