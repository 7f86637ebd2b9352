//! The fuzz target `dbus`, bounded and repeatable.

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_dbus_message_is_read_or_refused() {
    smoke::smoke("dbus", 3000, crate::fuzz::dbus);
}
