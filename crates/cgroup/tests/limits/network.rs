//! network and rdma: controllers that only some kernels have.

use crate::host::{Shell, file, host, skip};
use crate::{gone, limited, resources};
use husk_cgroup::{Request, plan};

/// A class of traffic control that counts what leaves by the loopback device of a network
/// namespace, by the class of the sender's cgroup alone (tc-cgroup(8)).
const COUNT: &str = "exec unshare --net sh -ec '
    ip link set lo up
    tc qdisc add dev lo root handle 10: htb default 0
    tc class add dev lo parent 10: classid 10:1 htb rate 1gbit
    tc filter add dev lo parent 10: protocol ip prio 1 handle 1: cgroup
    busybox ping -c 3 127.0.0.1 >/dev/null
    tc -s class show dev lo | grep Sent'";

#[test]
fn traffic_carries_the_class_of_its_cgroup() {
    let Some(host) = host("net-cls") else { return };
    let Some(cgroup) = limited(&host, r#"{"network":{"classID":1048577}}"#) else {
        // v2 has no such controller: asking for it must not pass in silence.
        let asked = resources(r#"{"network":{"classID":1048577}}"#);
        let request = Request { resources: Some(&asked), ..host.request() };
        let error = plan(&request, &host.layout).unwrap_err().to_string();
        assert!(error.starts_with("linux.resources.network.classID: 1048577: "), "{error}");
        return;
    };
    assert_eq!(file(&cgroup, ("net_cls", "net_cls.classid"), "-"), "1048577");
    let count = Shell::inside(&cgroup, COUNT).end();
    let (text, trouble) =
        (String::from_utf8_lossy(&count.stdout), String::from_utf8_lossy(&count.stderr));
    if !count.status.success() {
        gone(cgroup);
        return skip(&format!("no traffic control: {}", trouble.trim()));
    }
    let packets: u32 = text.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(packets >= 3, "{text}");
    // 10:2 has no class of its own: nothing is counted for 10:1.
    cgroup.update(&resources(r#"{"network":{"classID":1048578}}"#)).unwrap();
    let text = String::from_utf8(Shell::inside(&cgroup, COUNT).end().stdout).unwrap();
    assert_eq!(text.split_whitespace().nth(3), Some("0"), "{text}");
    gone(cgroup);
}

#[test]
fn a_priority_is_told_for_each_interface() {
    let Some(host) = host("net-prio") else { return };
    let json = r#"{"network":{"priorities":[{"name":"lo","priority":5}]}}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    let map = file(&cgroup, ("net_prio", "net_prio.ifpriomap"), "-");
    assert!(map.lines().any(|line| line == "lo 5"), "{map}");
    gone(cgroup);
}

/// No machine here has such a device: what can be seen is that the kernel is asked.
#[test]
fn an_rdma_device_that_is_not_there_is_refused() {
    let Some(host) = host("rdma") else { return };
    let json = r#"{"rdma":{"husk0":{"hcaHandles":3,"hcaObjects":100}}}"#;
    let Some(asked) = host.resources(json) else { return skip("no controller for it here") };
    let request = Request { resources: Some(&asked), ..host.request() };
    let error = plan(&request, &host.layout).unwrap().create().unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.rdma.husk0: "), "{error}");
    assert!(error.contains("rdma.max"), "{error}");
}
