//! Two directory trees compared in everything that a layer can say of a file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use husk_image::digest::HashingWriter;

/// What there is to say of one file; equal files have equal ones.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    /// Bytes, of files and links.
    size: u64,
    /// The digest of a file's content, the target of a link.
    content: String,
    /// Major and minor, of devices.
    device: (u32, u32),
    /// All names of the inode, sorted; empty where there is one only.
    links: Vec<PathBuf>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything below `root`, and the root itself under the empty path.
///
/// # Panics
/// Of what cannot be read.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut inodes: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).unwrap() {
                pending.push(relative.join(entry.unwrap().file_name()));
            }
        } else {
            inodes.entry((meta.dev(), meta.ino())).or_default().push(relative.clone());
        }
        nodes.insert(relative, node(&path, &meta));
    }
    for names in inodes.values_mut().filter(|names| names.len() > 1) {
        names.sort();
        for name in names.iter() {
            nodes.get_mut(name).unwrap().links.clone_from(names);
        }
    }
    nodes
}

fn node(path: &Path, meta: &std::fs::Metadata) -> Node {
    let kind = meta.file_type();
    let device = kind.is_block_device() || kind.is_char_device();
    let number = meta.rdev();
    let (kind, content) = if kind.is_file() {
        ("file", content(path))
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap();
        ("link", String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned())
    } else {
        let name = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_fifo() => "fifo",
            () if kind.is_block_device() => "block device",
            () if kind.is_char_device() => "character device",
            () => "socket",
        };
        (name, String::new())
    };
    Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        // A directory's is the file system's business.
        size: if meta.is_dir() { 0 } else { meta.size() },
        content,
        device: match device {
            true => (rustix::fs::major(number), rustix::fs::minor(number)),
            false => (0, 0),
        },
        links: Vec::new(),
        attributes: attributes(path),
    }
}

fn content(path: &Path) -> String {
    let mut hasher = HashingWriter::new(std::io::sink());
    std::io::copy(&mut std::fs::File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finish().1.to_string()
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Err(errno) if errno.kind() == ErrorKind::Unsupported => 0,
        length => length.unwrap(),
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let key = OsString::from_vec(name.to_vec());
            let length = rustix::fs::lgetxattr(path, &key, value.as_mut_slice()).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// Fails with what differs; of `untimed` the time does not count.
///
/// # Panics
/// The trees differ.
pub(crate) fn assert_same_tree(theirs: &Path, ours: &Path, untimed: &[&str]) {
    let [theirs, ours] = [theirs, ours].map(|root| {
        let mut nodes = tree(root);
        for name in untimed {
            if let Some(node) = nodes.get_mut(Path::new(name)) {
                node.mtime = (0, 0);
            }
        }
        nodes
    });
    assert!(theirs.len() > 1, "nothing to compare");
    let names: std::collections::BTreeSet<&PathBuf> = theirs.keys().chain(ours.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let (left, right) = (theirs.get(name), ours.get(name));
        if left != right {
            differences.push(format!("{name:?}\n  theirs {left:?}\n  ours   {right:?}"));
        }
    }
    let shown: Vec<String> = differences.iter().take(20).cloned().collect();
    assert!(shown.is_empty(), "{} differ:\n{}", differences.len(), shown.join("\n"));
}
