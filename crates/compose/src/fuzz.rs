//! What the fuzz target of compose files runs; for fuzzing and for the bounded test.

use std::path::Path;

use crate::canonical::Reading;
use crate::interpolate::Variables;
use crate::schema::FILE;
use crate::{dotenv, merge, output, yaml};

/// Reads bytes as a compose file, merged with itself, printed and read again. Whether it is one.
///
/// # Panics
/// Where what is printed is not what was read.
#[allow(clippy::panic, reason = "that is how a fuzz target says so")]
pub fn compose(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let lookup = |name: &str| (name.len() < 3).then(|| name.to_lowercase());
    let _ = dotenv::parse(text, &lookup, &|_| None);
    let _ = Variables::new(&lookup).replace(text);
    let Ok(documents) = yaml::parse(text, 0) else { return false };
    let mut accepted = false;
    for mut document in documents {
        let mut mistakes = Vec::new();
        Variables::new(&lookup).replace_all(&mut document, "", &mut mistakes);
        let mut reading = Reading {
            base: Some(Path::new("/project")),
            home: Some("/root"),
            mistakes,
            warnings: Vec::new(),
        };
        let Some(read) = reading.canonical(&document, &FILE, "") else { continue };
        if !reading.mistakes.is_empty() {
            continue;
        }
        let Some(mut merged) = merge::merge(read.clone(), read, &[]) else { continue };
        merge::settle(&mut merged, &[]);
        output::prune(&mut merged, &FILE);
        let printed = output::yaml(&merged, false);
        assert!(yaml::parse(&printed, 0).is_ok(), "printed, but not read again: {printed:?}");
        accepted = true;
    }
    accepted
}
