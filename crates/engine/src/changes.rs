//! What a container has changed of its image: its overlay's upper directory, read.
//!
//! Its programs may change that directory meanwhile: it is walked by descriptors, and no
//! link is followed in it nor in the image.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_image::overlay::OverlayPlan;
use husk_image::tree::{open_directory, open_entry};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use crate::container::{Container, Source};
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::rootfs;
use crate::spec::MOUNT_POINTS;

/// More directories in each other are no tree of a person's.
const MAX_DEPTH: usize = 255;

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The image has it not.
    Added,
    /// The image has another, or it holds a change.
    Changed,
    /// The image has it.
    Deleted,
}

/// The changes, each with its path, sorted by that.
///
/// # Errors
/// A missing layer, the errno of what could not be read.
pub fn of(home: &Home, container: &Container) -> Result<Vec<(Kind, String)>> {
    let upper = rootfs::upper_of(container);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(&upper, flags, Mode::empty()) {
        Ok(opened) => opened,
        // Never started.
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(file("open", &upper)(errno)),
    };
    let lower = match &container.record.source {
        Source::Image { manifest, .. } => {
            let store = home.images()?;
            let layers = store.layers(&store.image(manifest)?.chain_ids())?;
            OverlayPlan::read_only(&layers, &container.directory)?.mount()?
        }
        Source::Host | Source::Tree => {
            rustix::fs::openat(CWD, "/", flags, Mode::empty()).map_err(file("open", "/"))?
        }
    };
    let mut walk = Walk { lower, found: Vec::new(), filled: BTreeSet::new() };
    walk.directory(opened.as_fd(), "", 0)?;
    walk.without_mount_points();
    walk.found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(walk.found)
}

struct Walk {
    lower: OwnedFd,
    found: Vec<(Kind, String)>,
    /// Of the mount points those with content, or with another mode or owner than the image's:
    /// no mere mount points.
    filled: BTreeSet<String>,
}

impl Walk {
    fn directory(&mut self, upper: BorrowedFd<'_>, path: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::other(format_args!(
                "{path}: more than {MAX_DEPTH} directories deep"
            )));
        }
        let listed = open_directory(upper).map_err(file("open", path))?;
        let names = names(&listed).map_err(file("list", path))?;
        if is_opaque(&listed) {
            self.hidden(path, &names)?;
        }
        for name in names {
            let below = format!("{path}/{}", String::from_utf8_lossy(&name));
            match open_entry(listed.as_fd(), &name) {
                Ok(inode) => self.entry(inode.as_fd(), below, depth)?,
                // Removed since the list was made.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(file("open", below)(errno)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, inode: BorrowedFd<'_>, path: String, depth: usize) -> Result<()> {
        let stat = fstat(inode).map_err(file("look at", &path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        // overlayfs's whiteout (Documentation/filesystems/overlayfs.rst).
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            if self.has(&path) {
                self.found.push((Kind::Deleted, path));
            }
            return Ok(());
        }
        let change = if self.has(&path) { Kind::Changed } else { Kind::Added };
        self.found.push((change, path.clone()));
        if MOUNT_POINTS.contains(&path.as_str()) {
            let access = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
            let plain = match self.open(&path).and_then(fstat) {
                Ok(before) => kind == FileType::Directory && access(&before) == access(&stat),
                Err(_) => kind == FileType::Directory || stat.st_size == 0,
            };
            if !plain {
                self.filled.insert(path.clone());
            }
        }
        match kind {
            FileType::Directory => self.directory(inode, &path, depth + 1),
            _ => Ok(()),
        }
    }

    /// Leaves out the places that were made to be mounted over, as Docker's init layer does,
    /// and their directory where it holds no other change.
    fn without_mount_points(&mut self) {
        let mut made = false;
        for place in MOUNT_POINTS {
            let below = format!("{place}/");
            let alone = !self.found.iter().any(|(_, path)| path.starts_with(&below));
            let found = self.found.iter().position(|(_, path)| path == place);
            let Some(at) = found.filter(|_| alone && !self.filled.contains(place)) else {
                continue;
            };
            // An image's directory changes by a place that is made in it; it comes after that.
            let is_place = match self.found[at].0 {
                Kind::Added => true,
                Kind::Changed => made && place == "/etc",
                Kind::Deleted => false,
            };
            if is_place {
                made = true;
                self.found.remove(at);
            }
        }
    }

    fn open(&self, path: &str) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.lower, path, flags, Mode::empty(), resolve) {
            // The last part is a link itself: it is there.
            Err(Errno::LOOP) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                let parent = if parent.is_empty() { "/" } else { parent };
                let parent = openat2(&self.lower, parent, flags, Mode::empty(), resolve)?;
                open_entry(parent.as_fd(), name.as_bytes())
            }
            other => other,
        }
    }

    fn has(&self, path: &str) -> bool {
        self.open(path).is_ok()
    }

    /// What an opaque directory hides of the image's.
    fn hidden(&mut self, path: &str, kept: &[Vec<u8>]) -> Result<()> {
        let Ok(lower) = self.open(if path.is_empty() { "/" } else { path }) else { return Ok(()) };
        let Ok(listed) = open_directory(lower.as_fd()) else { return Ok(()) };
        for name in names(&listed).map_err(file("list the image's", path))? {
            if !kept.contains(&name) {
                let below = format!("{path}/{}", String::from_utf8_lossy(&name));
                self.found.push((Kind::Deleted, below));
            }
        }
        Ok(())
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 4];
        let length = rustix::fs::fgetxattr(directory, *name, &mut value[..]);
        length == Ok(1) && value.first() == Some(&b'y')
    })
}
