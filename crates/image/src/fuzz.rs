//! What must hold of any bytes that a registry, an archive, a build context or a user's
//! configuration gives: the fuzz targets (fuzz/), and their bounded form as tests.
//!
//! Each function returns whether the bytes were accepted.
#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a panic is what the fuzzer finds")]

use std::path::Path;

use crate::build::dockerfile::Dockerfile;
use crate::build::ignore::Ignore;
use crate::document::{Document, MAX_LAYERS};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{DockerConfig, challenge};
use crate::unpack::entry::TarReader;

/// A layer's tar, with GNU and PAX headers.
#[must_use]
pub fn tar(bytes: &[u8]) -> bool {
    let mut reader = TarReader::new(bytes);
    let (mut entries, mut total) = (0, 0);
    loop {
        match reader.next_entry() {
            Ok(None) => return entries > 0,
            Err(error) => return refused(&error),
            Ok(Some(entry)) => {
                entries += 1;
                if let Some(map) = &entry.sparse {
                    let stored: u64 = map.segments.iter().map(|(_, length)| length).sum();
                    assert!(stored <= entry.size, "more segments than data");
                    for (offset, length) in &map.segments {
                        let end = offset.checked_add(*length);
                        assert!(end.is_some_and(|end| end <= map.real_size), "beyond the file");
                    }
                }
            }
        }
        loop {
            match reader.with_data::<std::io::Error>(u64::MAX, |_| Ok(())) {
                Ok(0) => break,
                Ok(length) => total += length,
                Err(_) => return false,
            }
        }
        assert!(total <= bytes.len() as u64, "more data than there is");
    }
}

/// A manifest or an index.
#[must_use]
pub fn document(bytes: &[u8]) -> bool {
    let written = match Document::parse(bytes, None) {
        Err(error) => return refused(&error),
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= MAX_LAYERS);
            serde_json::to_vec(&manifest)
        }
        Ok(Document::Index(index)) => {
            let platform: Result<Platform, _> = "linux/arm64/v8".parse();
            if let Ok(Err(error)) = platform.map(|platform| index.choose(&platform).map(drop)) {
                refused(&error);
            }
            serde_json::to_vec(&index)
        }
    };
    let Ok(written) = written else { panic!("parsed, but is not written") };
    assert!(Document::parse(&written, None).is_ok(), "does not parse again");
    true
}

/// What a person or a Dockerfile names an image by.
#[must_use]
pub fn reference(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match text.parse::<Reference>() {
        Err(error) => refused(&error),
        Ok(reference) => {
            for name in [reference.to_string(), reference.familiar()] {
                assert_eq!(name.parse().ok().as_ref(), Some(&reference), "{name}");
            }
            let safe = |name: &str| !name.split('/').any(|part| part == ".." || part.is_empty());
            assert!(safe(reference.repository()), "{text:?}");
            true
        }
    }
}

/// A Dockerfile.
#[must_use]
pub fn dockerfile(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match Dockerfile::parse("Dockerfile", text) {
        // Its message shows the line.
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Ok(dockerfile) => {
            assert!(!dockerfile.stages.is_empty());
            true
        }
    }
}

/// A `.dockerignore`, the first line of it a path that is asked about.
#[must_use]
pub fn dockerignore(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (path, patterns) = text.split_once('\n').unwrap_or((text, ""));
    match Ignore::parse(".dockerignore", patterns) {
        Err(error) => refused(&error),
        Ok(ignore) => {
            if ignore.is_ignored(path) {
                assert!(!patterns.trim().is_empty());
            }
            true
        }
    }
}

/// `WWW-Authenticate`.
#[must_use]
pub fn challenge(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let challenges = challenge::parse(text);
    assert!(challenges.len() <= text.len());
    !challenges.is_empty()
}

/// Docker's `config.json`. Helpers are programs, and not executed here.
#[must_use]
pub fn docker_config(bytes: &[u8]) -> bool {
    let Ok(config) = DockerConfig::parse(Path::new("config.json"), bytes) else { return false };
    let mut found = false;
    for registry in ["docker.io", "localhost:5000", "registry.example"] {
        if matches!(config.helper(registry), Ok(None)) {
            found |= config.credentials(registry).is_ok_and(|found| found.is_some());
        }
    }
    found
}

/// Always false; the message must be one line that a terminal can show.
fn refused(error: &dyn std::fmt::Display) -> bool {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    false
}
