//! Reading a document: bounded in size and depth, with an error that says where.

use std::io::Read;

use serde::de::DeserializeOwned;

use crate::locate::property_at;

/// Largest document that is read, in bytes. A configuration of a real
/// container is some 20 kB, and the kernel takes at most 2 MiB of arguments;
/// what is far beyond both is a mistake or an attack.
pub const MAX_DOCUMENT: u64 = 16 << 20;

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Larger than [`MAX_DOCUMENT`].
    #[error("larger than {} MiB", MAX_DOCUMENT >> 20)]
    TooLarge,
    /// Nested more than [`MAX_DEPTH`] levels deep.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Not JSON.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser found.
        reason: String,
    },
    /// JSON, but a property is missing or of another type.
    #[error("{property}: {reason} (line {line}, column {column})")]
    Property {
        /// Path of the property, such as `mounts[3].options`.
        property: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was found and what is expected.
        reason: String,
    },
}

/// Reads a whole document of at most [`MAX_DOCUMENT`] bytes.
pub fn read_bounded(reader: impl Read) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::with_capacity(16 << 10);
    reader.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT { Err(LoadError::TooLarge) } else { Ok(bytes) }
}

/// Deepest nesting of a document; the specification's own objects have 7 levels.
pub const MAX_DEPTH: usize = 128;

/// Parses a document. The parser bounds the depth of what it reads; of unknown
/// properties, which it skips, the depth is bounded here.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LoadError> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| locate(bytes, &error))
}

fn check_depth(bytes: &[u8]) -> Result<(), LoadError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(LoadError::TooDeep);
        }
    }
    Ok(())
}

/// What is wrong, and where. The parser tells line and column alone.
fn locate(bytes: &[u8], error: &serde_json::Error) -> LoadError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason = match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    };
    // What is no string where an enumeration's name should be counts as a syntax
    // error to the parser.
    if !error.is_data() && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err() {
        return LoadError::Syntax { line, column, reason };
    }
    let property = match property_at(bytes, line, column) {
        path if path.is_empty() => "document".to_owned(),
        path => path,
    };
    LoadError::Property { property, line, column, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    fn error_of(json: &str) -> String {
        parse::<Spec>(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn syntax_errors_have_line_and_column() {
        let message = error_of("{\n  \"ociVersion\": }");
        assert_eq!(message, "not valid JSON at line 2, column 17: expected value");
    }

    #[test]
    fn type_errors_name_the_property() {
        let message =
            error_of(r#"{"ociVersion":"1.3.0","mounts":[{"destination":"/a"},{"destination":7}]}"#);
        assert!(
            message.starts_with("mounts[1].destination: invalid type: integer `7`"),
            "{message}"
        );
    }

    #[test]
    fn an_enumeration_that_is_no_string_is_named() {
        let message = error_of(r#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":7}]}}"#);
        assert!(message.starts_with("linux.namespaces[0].type"), "{message}");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let message = error_of(
            r#"{"ociVersion":"1.3.0","process":{"cwd":"/","user":{"uid":4294967296,"gid":0}}}"#,
        );
        assert!(message.starts_with("process.user.uid: "), "{message}");
    }

    #[test]
    fn null_is_absent() {
        let spec: Spec =
            parse(br#"{"ociVersion":"1.3.0","mounts":null,"linux":{"namespaces":null}}"#).unwrap();
        assert!(spec.mounts.is_empty());
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{{\"ociVersion\":\"1.3.0\",\"vm\":{}", "[".repeat(10_000));
        assert_eq!(error_of(&deep), "nested more than 128 levels deep");
        let skipped =
            format!("{{\"ociVersion\":\"1.3.0\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(error_of(&skipped), "nested more than 128 levels deep");
    }

    #[test]
    fn size_is_bounded() {
        let endless = std::io::repeat(b' ');
        assert!(matches!(read_bounded(endless), Err(LoadError::TooLarge)));
    }
}
