//! The fuzz target `cgroup`, bounded and repeatable.

#[path = "../../../fuzz/src/cgroup.rs"]
mod cgroup;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_cgroup_file_is_read_or_refused() {
    smoke::smoke("cgroup", 2000, cgroup::check);
    cgroup::clean_up();
}
