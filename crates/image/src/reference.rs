//! Image references: `[registry/]repository[:tag][@digest]`, with Docker's defaults.
//!
//! The grammar is that of the distribution project's reference package, which every
//! engine follows: a first component with a dot, a colon or an upper-case letter, or
//! `localhost`, is a registry; without one the registry is `docker.io`, and there a
//! repository of one component lies below `library/`.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, clip};

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a reference that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A parsed reference in its full form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference. Each names the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing before the tag or the digest.
    #[error("image reference {0:?}: no name")]
    Empty(String),
    /// An upper-case letter in the repository.
    #[error("image reference {0:?}: repository names are lower-case")]
    Uppercase(String),
    /// A character or a separator where the grammar has none.
    #[error(
        "image reference {0:?}: {1:?} is not a name (lower-case letters, digits, and single . _ - between them)"
    )]
    Component(String, String),
    /// A registry that is not a host name or address with an optional port.
    #[error("image reference {0:?}: {1:?} is not a registry (host or host:port)")]
    Registry(String, String),
    /// A tag that does not match `[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}`.
    #[error("image reference {0:?}: {1:?} is not a tag (up to 128 letters, digits, . _ -)")]
    Tag(String, String),
    /// A malformed digest.
    #[error("image reference {0:?}: {1}")]
    Digest(String, crate::digest::DigestError),
    /// A name longer than 255 bytes.
    #[error("image reference {0:?}: longer than 255 characters")]
    Long(String),
    /// 64 hexadecimal digits: an image id, never a name.
    #[error("image reference {0:?}: 64 hexadecimal digits are an image id, not a name")]
    Identifier(String),
}

impl Reference {
    /// Makes a reference of parts that come from elsewhere, with the same checks.
    ///
    /// # Errors
    /// As for parsing.
    pub fn new(
        registry: &str,
        repository: &str,
        tag: Option<&str>,
        digest: Option<Digest>,
    ) -> Result<Reference, ReferenceError> {
        let mut text = format!("{registry}/{repository}");
        if let Some(tag) = tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = digest {
            text.push_str(&format!("@{digest}"));
        }
        text.parse()
    }

    /// The registry as written, `docker.io` where none was: a host and perhaps a port.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host that serves the registry's API: `docker.io` is a name, not a server.
    #[must_use]
    pub fn registry_host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &self.registry }
    }

    /// The repository, with `library/` where Docker's default puts it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// With `latest` where there is neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository at a digest and without a tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), tag: None, ..self.clone() }
    }

    /// What the registry's API calls the manifest: the digest, else the tag.
    #[must_use]
    pub fn manifest_name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The repository as a person types it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = self.repository.strip_prefix("library/");
        short.filter(|name| !name.contains('/')).unwrap_or(&self.repository).to_owned()
    }

    /// The whole reference as a person types it.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// Registry and repository.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push_str(&format!("@{digest}"));
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let shown = || clip(text);
        if text.len() == 64
            && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        {
            return Err(ReferenceError::Identifier(shown()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|e| ReferenceError::Digest(shown(), e))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it is a port's.
        let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest.get(path_start..).and_then(|last| last.find(':')) {
            Some(colon) => {
                let (name, tag) = rest.split_at(path_start + colon);
                (
                    name,
                    Some(tag.trim_start_matches(':').to_owned()).filter(|_| !tag.starts_with("::")),
                )
            }
            None => (rest, None),
        };
        if name.len() < rest.len() && tag.is_none() {
            return Err(ReferenceError::Tag(shown(), clip(&rest[name.len() + 1..])));
        }
        if let Some(tag) = &tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag(shown(), clip(tag)));
        }
        if name.is_empty() {
            return Err(ReferenceError::Empty(shown()));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(&registry) {
            return Err(ReferenceError::Registry(shown(), clip(&registry)));
        }
        for component in repository.split('/') {
            if component.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(ReferenceError::Uppercase(shown()));
            }
            if !is_component(component) {
                return Err(ReferenceError::Component(shown(), clip(component)));
            }
        }
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::Long(shown()));
        }
        Ok(Reference { registry, repository, tag, digest })
    }
}

fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        return (registry.to_owned(), format!("library/{repository}"));
    }
    (registry.to_owned(), repository.to_owned())
}

/// `host[:port]` or `[ipv6][:port]`, as a registry, an authority or a login names it.
#[must_use]
pub fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => ("ok", Some(port)),
                None if port.is_empty() => ("ok", None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_ok = port.is_none_or(|port| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    port_ok && host.split('.').all(label)
}

/// `[a-z0-9]+` joined by one of `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn defaults_are_dockers() {
        for (text, full, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("library/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/debian", "docker.io/library/debian", "debian"),
            ("docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x/y:z", "localhost:5000/x/y:z", "localhost:5000/x/y:z"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("HOST/x", "HOST/x", "HOST/x"),
            ("quay.io/a/b-c__d.e", "quay.io/a/b-c__d.e", "quay.io/a/b-c__d.e"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn digests_and_tags_may_stand_together() {
        let reference: Reference = format!("r.io/a:1@sha256:{HEX}").parse().unwrap();
        assert_eq!(reference.tag(), Some("1"));
        assert_eq!(reference.digest(), Some(&Digest::of(b"")));
        assert_eq!(reference.manifest_name(), format!("sha256:{HEX}"));
        assert_eq!(reference.clone().or_latest(), reference);
        assert_eq!("a".parse::<Reference>().unwrap().or_latest().tag(), Some("latest"));
        assert_eq!("a".parse::<Reference>().unwrap().registry_host(), "registry-1.docker.io");
    }

    #[test]
    fn malformed_references_are_refused() {
        let long = "a/".repeat(130) + "b";
        let tag = format!("a:{}", "t".repeat(129));
        for text in [
            "",
            ":tag",
            "/a",
            "a/",
            "a//b",
            "A",
            "a/B",
            "a:",
            "a::b",
            "a:b:c",
            "a b",
            "a:-x",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a.-b",
            "../a",
            "a/../b",
            "a@sha256:00",
            "a@",
            "http://a/b",
            "-host.io/a",
            "host:port/a",
            "host:99999/a",
            "h.:5/a",
            "[::1/a",
            "[zz]:1/a",
            "a\n",
            "a:b\0",
            "ä",
            HEX,
            &long,
            &tag,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_text_and_the_part() {
        assert_eq!(
            "Debian".parse::<Reference>().unwrap_err().to_string(),
            "image reference \"Debian\": repository names are lower-case"
        );
        assert_eq!(
            "a:b:c".parse::<Reference>().unwrap_err().to_string(),
            "image reference \"a:b:c\": \"b:c\" is not a tag (up to 128 letters, digits, . _ -)"
        );
    }
}
