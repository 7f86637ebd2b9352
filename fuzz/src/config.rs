//! What must hold of any bytes taken for config.json.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

/// Whether the bytes parse. What is written again parses to the same.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(config) = husk_spec::parse::<husk_spec::Spec>(bytes) else { return false };
    let Ok(written) = serde_json::to_vec(&config) else { panic!("parsed, but is not written") };
    match husk_spec::parse::<husk_spec::Spec>(&written) {
        Ok(again) => assert_eq!(config, again),
        Err(error) => panic!("does not parse again: {error}"),
    }
    true
}
