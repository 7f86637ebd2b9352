//! `linux.cgroupsPath` (config-linux.md, "Cgroups Path") for the cgroupfs driver.

use std::path::{Path, PathBuf};

use crate::error::Error;

const PROPERTY: &str = "linux.cgroupsPath";
/// NAME_MAX; kernfs refuses longer names.
const LONGEST_NAME: usize = 255;
/// What is left of PATH_MAX for a hierarchy's mount before a path, a file's name after it,
/// and the byte at its end.
const LONGEST: usize = 4096 - 256;

/// Where the container's cgroup is, from the root of every hierarchy.
///
/// An absolute path counts from the mount, never from the caller's own cgroup.
/// The specification leaves the place of a relative path to the
/// runtime but asks for the same place every time: it is the root, or the
/// delegated cgroup `base`, for the caller's own cgroup differs between callers.
/// None is asked for: None; see [`default`].
pub(crate) fn resolve(
    cgroups_path: Option<&str>,
    base: Option<&str>,
) -> Result<Option<PathBuf>, Error> {
    let base = Path::new(base.unwrap_or("/"));
    let Some(given) = cgroups_path.filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let mut path = if given.starts_with('/') { PathBuf::from("/") } else { base.to_owned() };
    let start = path.clone();
    for name in given.split('/').filter(|name| !name.is_empty() && *name != ".") {
        check_name(name, given)?;
        path.push(name);
    }
    if path.as_os_str().len() > LONGEST {
        // Said before a thousand directories are made.
        return Err(Error::invalid(PROPERTY, shortened(given), "is longer than 3840 bytes"));
    }
    if path == start {
        return Err(Error::invalid(PROPERTY, given, "is a root, not a cgroup for a container"));
    }
    Ok(Some(path))
}

/// Where the cgroup of a container is for which no place is asked: named like the container,
/// below `base`, so that it stays within the limits of who called the runtime.
pub(crate) fn default(id: &str, base: Option<&Path>) -> Result<PathBuf, Error> {
    check_name(id, id)?;
    Ok(base.unwrap_or(Path::new("/")).join(id))
}

/// Enough of a long path to know it by.
fn shortened(path: &str) -> String {
    format!("{:?}...", path.chars().take(60).collect::<String>())
}

/// A path below a container's cgroup, for `exec --cgroup`.
pub(crate) fn resolve_sub(given: &str) -> Result<PathBuf, Error> {
    let mut path = PathBuf::new();
    for name in given.split('/').filter(|name| !name.is_empty() && *name != ".") {
        check_name(name, given).map_err(|error| match error {
            Error::Invalid { value, reason, .. } => Error::invalid("--cgroup", value, reason),
            other => other,
        })?;
        path.push(name);
    }
    Ok(path)
}

fn check_name(name: &str, given: &str) -> Result<(), Error> {
    let reason = match name {
        ".." => "leaves its place by \"..\"",
        // The kernel refuses a line feed, /proc/PID/cgroup being a file of lines.
        _ if name.contains(['\0', '\n', '/']) => "holds a character that no cgroup's name can",
        _ if name.len() > LONGEST_NAME => "has a name longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(Error::invalid(PROPERTY, format!("{given:?}"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: Option<&str>, base: Option<&str>) -> String {
        let path = resolve(path, base).and_then(|path| match path {
            Some(path) => Ok(path),
            None => default("c1", base.map(Path::new)),
        });
        path.map_or_else(|e| e.to_string(), |p| p.display().to_string())
    }

    #[test]
    fn absolute_relative_and_absent() {
        assert_eq!(at(None, None), "/c1");
        assert_eq!(at(Some(""), None), "/c1");
        assert_eq!(at(Some("a/b"), None), "/a/b");
        assert_eq!(at(Some("//a/./b/"), Some("/user.slice")), "/a/b");
        assert_eq!(at(None, Some("/user.slice")), "/user.slice/c1");
        assert_eq!(at(Some("a"), Some("/user.slice")), "/user.slice/a");
    }

    #[test]
    fn escapes_and_roots_are_refused() {
        for path in ["../a", "/a/../b", "/", ".", "/.", "a/.."] {
            let error = resolve(Some(path), Some("/user.slice")).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: "), "{path}: {error}");
        }
        assert!(resolve(Some("/a\nb"), None).is_err());
        assert!(resolve(Some(&"x".repeat(256)), None).is_err());
        assert!(default("a/../..", None).is_err());
        let error = resolve(Some(&"x/".repeat(2000)), None).unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("longer than 3840 bytes"), "{error}");
        assert!(resolve_sub("../x").is_err());
    }
}
