//! The directories between a root and the place a walk has come to.
//!
//! Only the deepest few stay open: going up, a directory that was closed is opened as `..`
//! of the one below it, and must be the inode that it was.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::identity;

/// How many directories stay open. Going up in a tree deeper than this costs one openat(2)
/// a level.
const OPEN: usize = 16;

/// A path of directories, of which the last is the current one.
#[derive(Debug)]
pub struct Descent {
    /// The deepest ones; never empty.
    open: VecDeque<OwnedFd>,
    /// Device and inode of each, from the root.
    identities: Vec<(u64, u64)>,
}

impl Descent {
    /// Starts at `root`, a directory.
    ///
    /// # Errors
    /// The errno of fstat(2).
    pub fn new(root: OwnedFd) -> Result<Self, Errno> {
        let identity = identity(&fs::fstat(&root)?);
        Ok(Self { open: VecDeque::from([root]), identities: vec![identity] })
    }

    /// The current directory.
    ///
    /// # Errors
    /// None in fact: a descent has a directory at every time.
    pub fn current(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.open.back().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// How many directories the current one is below the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.identities.len().saturating_sub(1)
    }

    /// Goes down to `directory`, which is in the current one.
    ///
    /// # Errors
    /// The errno of fstat(2).
    pub fn push(&mut self, directory: OwnedFd) -> Result<(), Errno> {
        self.identities.push(identity(&fs::fstat(&directory)?));
        self.open.push_back(directory);
        if self.open.len() > OPEN {
            self.open.pop_front();
        }
        Ok(())
    }

    /// Goes up.
    ///
    /// # Errors
    /// ESTALE where the directory above is no longer the one that it was: somebody has moved
    /// the current one.
    pub fn pop(&mut self) -> Result<(), Errno> {
        self.identities.pop();
        if self.open.len() > 1 {
            self.open.pop_back();
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let above = fs::openat(self.current()?, "..", flags, Mode::empty())?;
        if self.identities.last() != Some(&identity(&fs::fstat(&above)?)) {
            return Err(Errno::STALE);
        }
        self.open = VecDeque::from([above]);
        Ok(())
    }
}
