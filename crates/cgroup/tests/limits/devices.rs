//! devices: a node that cannot be opened, and can after an update.

use crate::host::{Shell, host, skip};
use crate::{gone, limited, resources};

#[test]
fn a_device_is_refused_until_an_update_allows_it() {
    let Some(host) = host("devices") else { return };
    // No deny-all in front: GHSA-g54h-m393-cpwq.
    let json = r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":1,"access":"r"}]}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    if let Some(warning) = cgroup.warnings.first() {
        assert!(warning.starts_with("linux.resources.devices: not enforced: "), "{warning}");
        gone(cgroup);
        return skip("devices are not guarded for an ordinary user");
    }
    let opens = |device: &str| {
        let script = format!(": < /dev/{device} && echo opened");
        let end = Shell::inside(&cgroup, &script).end();
        let text = String::from_utf8_lossy(&end.stderr).into_owned();
        let opened = end.stdout == b"opened\n";
        assert!(opened || text.contains("Operation not permitted"), "{text}");
        opened
    };
    assert!(opens("null") && opens("urandom") && opens("zero"));
    assert!(!opens("kmsg"));
    // systemd writes whatever it knows of at any change.
    if let Some(other) = host.resources(r#"{"pids":{"limit":60}}"#) {
        cgroup.update(&other).unwrap();
    }
    assert!(!opens("kmsg"), "another limit's update has let the devices go");
    let allow = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
    cgroup.update(&resources(allow)).unwrap();
    assert!(opens("kmsg") && opens("null"));
    cgroup.update(&resources(r#"{"devices":[{"allow":true}]}"#)).unwrap();
    assert!(opens("kmsg"));
    let but = r#"{"devices":[{"allow":true},
        {"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}]}"#;
    if cgroup.unit.is_some() && !cgroup.v1.is_empty() {
        let error = cgroup.update(&resources(but)).unwrap_err().to_string();
        assert!(error.contains("systemd cannot allow all devices but some"), "{error}");
    } else {
        cgroup.update(&resources(but)).unwrap();
        assert!(!opens("kmsg") && opens("null"));
    }
    cgroup.update(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)).unwrap();
    assert!(!opens("kmsg") && opens("null"));
    let node = std::env::temp_dir().join(format!("husk-test-node-{}", std::process::id()));
    let script = format!("mknod {} b 7 0 && echo made; : < {0}", node.display());
    let end = Shell::inside(&cgroup, &script).end();
    let _ = std::fs::remove_file(&node);
    assert_eq!(end.stdout, b"made\n", "nodes can be made, not opened: {end:?}");
    assert!(String::from_utf8_lossy(&end.stderr).contains("Operation not permitted"), "{end:?}");
    gone(cgroup);
}
