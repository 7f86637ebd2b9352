//! A whole Debian as an ordinary user's root filesystem.

use husk_tests::case::Case;
use husk_tests::debian::debian;
use husk_tests::user::User;
use serde_json::json;

use crate::user::many_ranges;
use crate::{HELPERS, installed};

#[test]
fn bash_as_root_and_as_another_user() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let Some(rootfs) = debian() else { return };
    let user = User::new(&case);
    for many in [false, true] {
        let mut bundle = user.bundle();
        bundle.set("/root", json!({ "path": rootfs, "readonly": true }));
        if many {
            bundle.set("/linux/uidMappings", many_ranges());
            bundle.set("/linux/gidMappings", many_ranges());
        }
        bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
        bundle.args(["/bin/sleep", "1000"]);
        user.running(&bundle, &["--detach"]).ok();
        let exec = |flags: &[&str], script: &str| {
            let call = user.runtime().arg("exec").args(flags).arg(bundle.id());
            call.args(["bash", "-c", script]).ok().text().to_owned()
        };
        assert_eq!(exec(&[], ". /etc/os-release; echo $ID; id -un"), "debian\nroot");
        assert_eq!(exec(&[], "touch /tmp/x; stat -c %U /tmp/x; mount | head -c 0"), "root");
        if many {
            assert_eq!(exec(&["--user", "33:33"], "id -un; id -gn"), "www-data\nwww-data");
        }
        user.on("kill", bundle.id()).arg("KILL").ok();
        user.on("delete", bundle.id()).arg("--force").ok();
    }
}
