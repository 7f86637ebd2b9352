//! A depth-first walk of a tree, in the order of names.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat, fstat};
use rustix::io::Errno;

use super::descent::Descent;
use super::{TreeError, at, kind, open_directory, open_entry};
use crate::pack::names;

/// Most directories inside each other in a layer: what unpacking one takes.
pub const MAX_DEPTH: usize = 255;

/// Which entries a walk visits, by path: whether the entry is a directory is the second
/// argument. What is below a directory that is left out is left out.
pub type Keep<'k> = dyn Fn(&str, bool) -> bool + 'k;

/// An entry of a walk.
#[derive(Debug)]
pub struct Entry<'e> {
    /// Its name in its directory.
    pub name: &'e [u8],
    /// Its path: the walk's, a slash, and the names below.
    pub path: &'e str,
    /// An O_PATH descriptor of it.
    pub inode: BorrowedFd<'e>,
    /// What it is.
    pub stat: &'e Stat,
}

/// What is done at each entry; it fails with an `E`.
pub trait Visitor<E = TreeError> {
    /// Called for each entry; for a directory, before what it holds.
    ///
    /// # Errors
    /// Ends the walk.
    fn visit(&mut self, entry: &Entry<'_>) -> Result<(), E>;

    /// Called for each directory after what it holds.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, directory: &Entry<'_>) -> Result<(), E>;
}

/// One directory that the walk is in.
struct Level {
    names: std::vec::IntoIter<Vec<u8>>,
    name: Vec<u8>,
    /// The length of the path of the directory above.
    above: usize,
    stat: Stat,
}

/// How a tree is walked.
#[derive(Clone, Copy)]
pub struct Walk<'k> {
    /// The filter; without one every entry is visited.
    pub keep: Option<&'k Keep<'k>>,
    /// Programs may change the tree: an entry that has vanished since its directory was listed
    /// is passed over. Otherwise that is an error.
    pub live: bool,
    /// Most directories inside each other; more are an error.
    pub max_depth: usize,
}

impl Walk<'static> {
    /// Everything of a tree that nobody changes, as deep as a layer may be.
    pub const LAYER: Walk<'static> = Walk { keep: None, live: false, max_depth: MAX_DEPTH };
    /// Everything of a tree that programs may change, however deep they have made it.
    pub const LIVE: Walk<'static> = Walk { keep: None, live: true, max_depth: usize::MAX };
}

impl Walk<'_> {
    /// Visits everything below `root`, a directory, but not `root` itself. `path` is the
    /// root's, for messages and the filter.
    ///
    /// # Errors
    /// [`TreeError`]: of the file system, or of the visitor.
    pub fn walk<E: From<TreeError>>(
        &self,
        root: BorrowedFd<'_>,
        path: &str,
        visitor: &mut dyn Visitor<E>,
    ) -> Result<(), E> {
        let mut path = path.to_owned();
        let opened = open_directory(root).map_err(at("open", &path))?;
        let mut levels = vec![Level {
            names: names(&opened).map_err(at("list", &path))?.into_iter(),
            name: Vec::new(),
            above: 0,
            stat: fstat(&opened).map_err(at("stat", &path))?,
        }];
        let mut descent = Descent::new(opened).map_err(at("stat", &path))?;
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                let Some(done) = levels.pop().filter(|_| !levels.is_empty()) else { break };
                {
                    let inode = descent.current().map_err(at("open", &path))?;
                    let Level { name, stat, .. } = &done;
                    visitor.leave(&Entry { name, path: &path, inode, stat })?;
                }
                descent.pop().map_err(at("go up from", &path))?;
                path.truncate(done.above);
                continue;
            };
            let above = path.len();
            if !path.is_empty() && !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(&name));
            let down = self.entry(&descent, &name, &path, visitor)?;
            let Some((directory, stat)) = down else {
                path.truncate(above);
                continue;
            };
            if levels.len() > self.max_depth {
                let path = crate::digest::clip(&path);
                return Err(TreeError::Deep { path, limit: self.max_depth }.into());
            }
            let names = names(&directory).map_err(at("list", &path))?.into_iter();
            descent.push(directory).map_err(at("stat", &path))?;
            levels.push(Level { names, name, above, stat });
        }
        Ok(())
    }

    /// Visits one entry; gives a directory to go down to.
    fn entry<E: From<TreeError>>(
        &self,
        descent: &Descent,
        name: &[u8],
        path: &str,
        visitor: &mut dyn Visitor<E>,
    ) -> Result<Option<(OwnedFd, Stat)>, E> {
        let parent = descent.current().map_err(at("open", path))?;
        let inode = match open_entry(parent, name) {
            Ok(inode) => inode,
            Err(Errno::NOENT) if self.live => return Ok(None),
            Err(errno) => return Err(at("open", path)(errno).into()),
        };
        let stat = fstat(&inode).map_err(at("stat", path))?;
        let is_directory = kind(&stat) == FileType::Directory;
        if self.keep.is_some_and(|keep| !keep(path, is_directory)) {
            return Ok(None);
        }
        visitor.visit(&Entry { name, path, inode: inode.as_fd(), stat: &stat })?;
        if !is_directory {
            return Ok(None);
        }
        let directory = open_directory(inode.as_fd()).map_err(at("open", path))?;
        Ok(Some((directory, stat)))
    }
}
