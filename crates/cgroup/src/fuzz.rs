//! What must hold of any bytes that a bus or systemd's own socket gives: the fuzz target
//! (fuzz/), and its bounded form as a test.

use crate::systemd::wire::{PREFIX, length, parse};

/// Whether the bytes are one D-Bus message with arguments that are understood.
#[must_use]
pub fn dbus(bytes: &[u8]) -> bool {
    let Some(prefix) = bytes.get(..PREFIX) else { return false };
    let Ok(length) = length(prefix) else { return false };
    // As the connection does: no more is read than the prefix says.
    assert!((PREFIX..3 << 20).contains(&length), "{length} bytes");
    let Some(message) = bytes.get(..length) else { return false };
    let Ok(message) = parse(message) else { return false };
    assert!(message.body.len() <= length);
    message.arguments().is_ok_and(|arguments| arguments.len() <= message.signature.len())
}
