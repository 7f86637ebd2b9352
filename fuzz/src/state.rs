//! What must hold of any bytes taken for the runtime's state.json.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use husk_runtime::state::record::Record;
use husk_spec::Status;

/// Whether the bytes are a record. What is read is the same after it is
/// written, and names no process that did not start when it says.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(record) = husk_spec::parse::<Record>(bytes) else { return false };
    let Ok(written) = serde_json::to_value(&record) else { panic!("parsed, but is not written") };
    let text = written.to_string();
    match husk_spec::parse::<Record>(text.as_bytes()).map(|again| serde_json::to_value(&again)) {
        Ok(Ok(again)) => assert_eq!(written, again),
        other => panic!("does not read again: {other:?}"),
    }
    for status in [Status::Creating, Status::Running, Status::Stopped] {
        let state = record.state(status);
        assert!(state.pid.is_none_or(|pid| pid > 0), "{state:?}");
    }
    if let Ok(Some(_)) = record.process() {
        panic!("took pid {} for the container's", record.pid);
    }
    true
}
