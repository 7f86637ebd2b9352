//! hugepageLimits: pages that are refused.

use std::fs;

use crate::host::{Shell, file, host, skip};
use crate::{gone, limited};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

#[test]
fn huge_pages_are_limited_with_their_reservations() {
    let Some(host) = host("hugetlb") else { return };
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    for reserved in ["", "rsvd."] {
        let v1 = format!("hugetlb.2MB.{reserved}limit_in_bytes");
        let v2 = format!("hugetlb.2MB.{reserved}max");
        assert_eq!(file(&cgroup, ("hugetlb", &v1), &v2), "4194304");
    }
    assert!(cgroup.stats().unwrap().hugetlb.contains_key("2MB"));
    let used = "set -e; d=$(mktemp -d); mount -t hugetlbfs none $d
        fallocate -l 4M $d/two && echo two
        fallocate -l 6M $d/three 2>/dev/null && echo three || :
        umount $d; rmdir $d";
    let pool = || fs::read_to_string(POOL).unwrap().trim().parse::<u32>().unwrap();
    let before = pool();
    // The pool is the whole host's: only the test's own machine gets a larger one.
    if before < 4 && std::env::var_os("HUSK_VM").is_some() {
        fs::write(POOL, "4").unwrap();
    }
    if pool() < 4 {
        gone(cgroup);
        return skip("no pool of huge pages");
    }
    let private = format!("exec unshare --mount sh -c '{used}'");
    let end = Shell::inside(&cgroup, &private).end();
    fs::write(POOL, before.to_string()).unwrap();
    assert!(end.status.success(), "{end:?}");
    assert_eq!(String::from_utf8_lossy(&end.stdout), "two\n", "{end:?}");
    gone(cgroup);
}
