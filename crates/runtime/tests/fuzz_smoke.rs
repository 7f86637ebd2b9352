//! The fuzz targets of the runtime's documents and messages, bounded and repeatable.

#[path = "../../../fuzz/src/config.rs"]
mod config;
#[path = "../../../fuzz/src/host.rs"]
mod host;
#[path = "../../../fuzz/src/mount_options.rs"]
mod mount_options;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/process.rs"]
mod process;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;
#[path = "../../../fuzz/src/state.rs"]
mod state;
#[path = "../../../fuzz/src/wire.rs"]
mod wire;

#[test]
fn any_config_is_planned_or_refused() {
    smoke::smoke("config", 6000, config::check);
}

#[test]
fn any_process_is_planned_or_refused() {
    smoke::smoke("process", 6000, process::check);
}

#[test]
fn any_state_is_read_or_refused() {
    smoke::smoke("state", 6000, state::check);
}

#[test]
fn any_mount_is_planned_or_refused() {
    smoke::smoke("mount_options", 6000, mount_options::check);
}

#[test]
fn any_packet_is_a_message_or_refused() {
    smoke::smoke("wire", 6000, wire::check);
}
