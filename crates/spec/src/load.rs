//! Reading a document: bounded in size and depth, with an error that says where.

use std::io::Read;

use serde::de::DeserializeOwned;

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

/// Parses a document. The parser's own limit of 128 levels bounds the stack.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| locate::<T>(bytes, &error))
}

/// Reads the document a second time to learn where it failed: to carry the
/// path along costs too much for the documents that are right.
fn locate<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> LoadError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason = match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    };
    if !error.is_data() {
        return LoadError::Syntax { line, column, reason };
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let property = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(located) if located.path().iter().next().is_some() => located.path().to_string(),
        _ => "document".to_owned(),
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
        assert!(error_of(&deep).contains("recursion limit exceeded"));
    }

    #[test]
    fn size_is_bounded() {
        let endless = std::io::repeat(b' ');
        assert!(matches!(read_bounded(endless), Err(LoadError::TooLarge)));
    }
}
