//! `ADD` of what the network has: files by HTTP, and git repositories.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, HashingWriter, clip};
use crate::registry::{self, TimeLimits};

/// Where a source of ADD comes from, when it is not a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A file.
    Url(String),
    /// A repository.
    Git(GitAddress),
}

/// A git repository with what is wanted of it: `URL#REF:DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitAddress {
    /// The repository.
    pub url: String,
    /// A branch, a tag or a commit; the repository's default without.
    pub reference: Option<String>,
    /// The directory in it; empty for all.
    pub directory: String,
}

impl Remote {
    /// Recognises the addresses that BuildKit does: `http://` and `https://`, and as git
    /// repositories those that end in `.git`, `git://`, `ssh://` and `user@host:path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Remote> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let web = url.starts_with("http://") || url.starts_with("https://");
        let git = url.starts_with("git://")
            || url.starts_with("ssh://")
            || (web && url.ends_with(".git"))
            || is_scp(url);
        match (git, web) {
            (true, _) => {
                let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
                Some(Remote::Git(GitAddress {
                    url: url.to_owned(),
                    reference: Some(reference.to_owned()).filter(|text| !text.is_empty()),
                    directory: directory.trim_matches('/').to_owned(),
                }))
            }
            (false, true) => Some(Remote::Url(text.to_owned())),
            (false, false) => None,
        }
    }
}

/// `user@host:path`, as scp(1) and git take it.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    rest.split_once(':').is_some_and(|(host, path)| word(host) && !path.is_empty()) && word(user)
}

/// A file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The file's own name, from the URL.
    pub(crate) name: Option<String>,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The digest of its content.
    pub(crate) digest: Digest,
    /// Last-Modified, in seconds since the epoch.
    pub(crate) modified: Option<i64>,
}

/// Fetches a URL into a file in `directory`.
///
/// # Errors
/// One line.
pub(crate) fn fetch(url: &str, directory: &Path) -> Result<Fetched, String> {
    let path = directory.join("fetched");
    let file = File::create_new(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut out = HashingWriter::new(file);
    let modified = registry::download(url, &mut out, TimeLimits::default())
        .map_err(|error| format!("{}: {error}", clip(url)))?;
    let (mut file, digest, _) = out.finish();
    file.flush().map_err(|error| format!("{}: {error}", path.display()))?;
    let name = url.split(['?', '#']).next().and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        let name = path.rsplit('/').next()?;
        Some(name.to_owned()).filter(|name| !matches!(name.as_str(), "" | "." | ".."))
    });
    Ok(Fetched { name, path, digest, modified })
}

/// Fetches a URL into a file in `directory`, whose path it gives.
///
/// # Errors
/// One line.
pub fn download(url: &str, directory: &Path) -> Result<PathBuf, String> {
    fetch(url, directory).map(|fetched| fetched.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let git = |url: &str, reference: Option<&str>, directory: &str| {
            Some(Remote::Git(GitAddress {
                url: url.to_owned(),
                reference: reference.map(str::to_owned),
                directory: directory.to_owned(),
            }))
        };
        for (text, expected) in [
            ("https://h/x.tar.gz", Some(Remote::Url("https://h/x.tar.gz".to_owned()))),
            ("https://h/x.git", git("https://h/x.git", None, "")),
            ("https://h/x.git#v1:sub/dir", git("https://h/x.git", Some("v1"), "sub/dir")),
            ("git@h.org:a/b.git#:d", git("git@h.org:a/b.git", None, "d")),
            ("git://h/x#main", git("git://h/x", Some("main"), "")),
            ("ssh://git@h/x", git("ssh://git@h/x", None, "")),
            ("file", None),
            ("a@b", None),
            ("dir/a@b:c", None),
            ("http:/x", None),
        ] {
            assert_eq!(Remote::parse(text), expected, "{text}");
        }
    }
}
