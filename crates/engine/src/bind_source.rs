//! The source of a bind mount: a path of the host that is resolved once.
//!
//! A container may write to a directory on the way to another bind's source, its own or some
//! other container's, and put a symbolic link there. So a path is resolved when the container
//! is created, and whoever opens it again (start, restart, `cp` of a stopped container) opens
//! the resolved path and refuses links (GO-2026-5617, GO-2026-5668).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::container::config::Mount;
use crate::error::{Error, Result, file};

/// Resolves the sources of the binds that have not been yet. One that does not exist is left
/// to the start: it is a file that the engine makes for that.
pub fn resolve_all(mounts: &mut [Mount]) {
    for mount in mounts {
        if let Mount::Bind { source, resolved, .. } = mount
            && resolved.is_empty()
        {
            let found = std::fs::canonicalize(&*source).ok();
            let found = found.and_then(|path| path.into_os_string().into_string().ok());
            *resolved = found.unwrap_or_default();
        }
    }
}

/// The path of a source that is the engine's own, in a directory that others cannot write to:
/// its last part may be a stranger's link, and is not followed.
pub fn resolve_own(path: &Path) -> String {
    let parent = path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    let resolved: Option<PathBuf> = parent.zip(path.file_name()).map(|(at, name)| at.join(name));
    resolved.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_default()
}

/// The path to mount: `source`, as it was resolved.
///
/// # Errors
/// A source that has gone, or a link that was put in its place.
pub fn path(source: &str, resolved: &str) -> Result<String> {
    let path = match resolved {
        // Made after the container's record was, by the engine.
        "" => resolve_own(Path::new(source)),
        resolved => resolved.to_owned(),
    };
    open_resolved(source, &path).map(|_| path)
}

/// Opens a source as O_PATH.
///
/// # Errors
/// As [`path`].
pub fn open(source: &str, resolved: &str) -> Result<OwnedFd> {
    match resolved {
        "" => open_resolved(source, &resolve_own(Path::new(source))),
        resolved => open_resolved(source, resolved),
    }
}

fn open_resolved(source: &str, resolved: &str) -> Result<OwnedFd> {
    match husk_rootfs::resolve::open_unlinked(Path::new(resolved), OFlags::PATH) {
        Err(Errno::LOOP) => Err(Error::other(format_args!(
            "bind source {source}: {} has become a symbolic link since the container was \
             created; remove the link, or create the container again to follow it",
            first_link(Path::new(resolved)).display()
        ))),
        opened => opened.map_err(file("open the bind source", source)),
    }
}

/// The first part of a path that is a link.
fn first_link(path: &Path) -> &Path {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    let is_link = |part: &&&Path| part.is_symlink();
    parts.iter().find(is_link).copied().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_before_are_followed_and_later_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("releases/5")).unwrap();
        std::os::unix::fs::symlink("releases/5", base.join("current")).unwrap();
        let source = base.join("current").display().to_string();
        let mut mounts = [Mount::Bind {
            source: source.clone(),
            target: "/t".to_owned(),
            read_only: false,
            propagation: String::new(),
            recursive: Default::default(),
            resolved: String::new(),
        }];
        resolve_all(&mut mounts);
        let [Mount::Bind { resolved, .. }] = &mounts else { panic!("{mounts:?}") };
        assert_eq!(*resolved, base.join("releases/5").display().to_string());
        assert_eq!(path(&source, resolved).unwrap(), *resolved);
        std::fs::rename(base.join("releases"), base.join("old")).unwrap();
        std::os::unix::fs::symlink("/etc", base.join("releases")).unwrap();
        let error = path(&source, resolved).unwrap_err().to_string();
        assert!(error.contains("/releases has become a symbolic link"), "{error}");
        assert!(open(&source, resolved).is_err());
    }
}
