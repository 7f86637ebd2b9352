//! The fuzz target of this crate, bounded and repeatable.

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_netlink_answer_is_read_or_passed_over() {
    smoke::smoke("netlink", 3000, crate::fuzz::netlink);
}
