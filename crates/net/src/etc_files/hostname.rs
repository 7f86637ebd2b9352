//! `/etc/hostname` (hostname(5)).

use crate::error::{Error, Result};

/// `HOST_NAME_MAX` (limits.h), what sethostname(2) takes.
const MAX: usize = 64;

/// Whether the kernel and DNS (RFC 1123 section 2.1) take it for a host's name;
/// `_`, which is common, is let pass.
///
/// # Errors
///
/// [`Error::Invalid`] with what is wrong.
pub fn validate_hostname(name: &str) -> Result<()> {
    let invalid = |reason: &str| {
        let (value, reason) = (name.to_owned(), reason.to_owned());
        Err(Error::Invalid { property: "hostname", value, reason })
    };
    if name.is_empty() || name.len() > MAX {
        return invalid("must be 1 to 64 bytes long");
    }
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(inner)
    };
    if !name.split('.').all(label) {
        return invalid("must be letters, digits, '-' and '_', in parts joined by dots");
    }
    Ok(())
}

/// The file's text.
///
/// # Errors
///
/// Those of [`validate_hostname`].
pub fn hostname_file(name: &str) -> Result<String> {
    validate_hostname(name)?;
    Ok(format!("{name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(hostname_file("web-1.example").unwrap(), "web-1.example\n");
        for wrong in ["", "-a", "a-", "a..b", ".a", "a b", "a\nb", "ä", &"x".repeat(65)] {
            assert!(hostname_file(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            hostname_file("a b").unwrap_err().to_string(),
            "hostname a b: must be letters, digits, '-' and '_', in parts joined by dots"
        );
    }
}
