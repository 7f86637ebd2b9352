//! The fuzz target of this crate, bounded and repeatable.

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_compose_file_is_read_or_refused() {
    smoke::smoke("compose", 3000, crate::fuzz::compose);
}
