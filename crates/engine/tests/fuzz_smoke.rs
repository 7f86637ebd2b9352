//! The fuzz target `monitor`, bounded and repeatable.

#[path = "../../../fuzz/src/monitor.rs"]
mod monitor;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_packet_is_a_message_or_passed_over() {
    smoke::smoke("monitor", 3000, monitor::check);
}
