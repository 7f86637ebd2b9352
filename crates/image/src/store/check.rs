//! Verifying a store: records, blobs and unpacked layers against their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use husk_rootfs::resolve::{IN_ROOT, open_at};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::record::NameRecord;
use super::{CachedStep, ImageRecord, Layer, Store, StoreError, io_error, remove_tree};
use crate::digest::{Digest, Hasher};
use crate::progress::Silent;
use crate::reference::Reference;
use crate::registry::{PullOptions, unpack_image};
use crate::unpack::decompress::Decoder;
use crate::unpack::entry::{Kind, TarReader, shown};
use crate::unpack::tree::components;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is affected, as a person names it.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// What a person can do, beside having it repaired.
    pub remedy: String,
    /// What repairing does.
    pub repair: Repair,
}

/// How a fault is repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Writes the record of an image, derived from its blobs.
    WriteImage(ImageRecord),
    /// Removes an image that lacks what it is made of, with its names.
    RemoveImage(PathBuf),
    /// Removes a record that says nothing.
    RemoveRecord(PathBuf),
    /// Removes a blob that is not what its digest says.
    RemoveBlob(Digest),
    /// Unpacks the layers of an image again that are missing or not as they were.
    UnpackAgain(ImageRecord, Digest),
    /// Nothing but what the remedy says helps.
    None,
}

impl Store {
    /// Looks at every record, and hashes every blob that an image or a build step needs. With
    /// `layers` unpacked layers are compared with their blobs, file by file.
    ///
    /// # Errors
    /// A directory that cannot be read. What is wrong with one object is a [`Fault`].
    pub fn check(&self, layers: bool) -> Result<Vec<Fault>, StoreError> {
        // Nothing is collected meanwhile.
        let _activity = self.activity()?;
        let mut faults = Vec::new();
        let bad_blobs = self.check_blobs(&mut faults)?;
        let intact = |blob: &Digest| self.has_blob(blob) && !bad_blobs.contains(blob);
        let mut images = BTreeMap::new();
        for manifest in self.manifests()? {
            let path = self.image_path(&manifest);
            let known = husk_record::read::<ImageRecord>(&path);
            match (known, self.derive_image(&manifest)) {
                (Ok(None), _) => {}
                (Ok(Some(known)), Ok(derived)) if known == derived => {
                    images.insert(manifest, known);
                }
                (known, Ok(derived)) => {
                    let problem = match known {
                        Err(error) => error.to_string(),
                        Ok(_) => format!("{} is not what its manifest says", path.display()),
                    };
                    faults.push(Fault {
                        object: format!("image {}", derived.id.short()),
                        problem,
                        remedy: format!("\"husk rmi {}\" removes it", derived.id.short()),
                        repair: Repair::WriteImage(derived.clone()),
                    });
                    images.insert(manifest, derived);
                }
                (_, Err(error)) => faults.push(Fault {
                    object: format!("image {}", manifest.short()),
                    problem: format!("its manifest or config cannot be had: {error}"),
                    remedy: "pull or load it again".to_owned(),
                    repair: Repair::RemoveImage(path),
                }),
            }
        }
        self.check_names(&images, &mut faults)?;
        let mut seen = BTreeSet::new();
        for image in images.values() {
            for layer in &image.layers {
                if !seen.insert(layer.chain_id) {
                    continue;
                }
                let unpacked = self.layer(&layer.chain_id)?;
                let problem = match &unpacked {
                    None => Some("is missing, or its record is damaged".to_owned()),
                    Some(unpacked) if layers && intact(&layer.blob) => {
                        self.compare(unpacked, &layer.blob)?
                    }
                    Some(_) => None,
                };
                let object =
                    format!("layer {} of image {}", layer.chain_id.short(), image.id.short());
                if !intact(&layer.blob) {
                    let then = match problem {
                        None => {
                            "containers run on what is unpacked, but it cannot be pushed or saved"
                        }
                        Some(_) => "containers of the image cannot start",
                    };
                    faults.push(Fault {
                        object,
                        problem: format!("its blob {} is missing or damaged: {then}", layer.blob),
                        remedy: "pull or load the image again".to_owned(),
                        repair: Repair::None,
                    });
                } else if let Some(problem) = problem {
                    faults.push(Fault {
                        object,
                        problem,
                        remedy: "it is unpacked again when a container needs it".to_owned(),
                        repair: Repair::UnpackAgain(image.clone(), layer.chain_id),
                    });
                }
            }
        }
        for (section, what) in [("cache", "build step"), ("pins", "pin of container")] {
            for name in self.names_in(section)? {
                let path = self.root.join(section).join(&name);
                let read = match section {
                    "cache" => husk_record::read::<CachedStep>(&path).map(drop),
                    _ => husk_record::read::<super::record::Pin>(&path).map(drop),
                };
                if let Err(error) = read {
                    faults.push(Fault {
                        object: format!("{what} {}", name.get(..12).unwrap_or(&name)),
                        problem: error.to_string(),
                        remedy: "it is made anew when it is needed".to_owned(),
                        repair: Repair::RemoveRecord(path),
                    });
                }
            }
        }
        Ok(faults)
    }

    fn check_blobs(&self, faults: &mut Vec<Fault>) -> Result<BTreeSet<Digest>, StoreError> {
        let mut bad = BTreeSet::new();
        for name in self.names_in("blobs/sha256")? {
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            let problem = match self.hash(&digest) {
                Ok(found) if found == digest => continue,
                Ok(found) => format!("its content is {found}"),
                // Collected since the list was made.
                Err(StoreError::NoBlob(_)) => continue,
                Err(error) => error.to_string(),
            };
            bad.insert(digest);
            faults.push(Fault {
                object: format!("blob {digest}"),
                problem,
                remedy: "pull or load the image again that needs it".to_owned(),
                repair: Repair::RemoveBlob(digest),
            });
        }
        Ok(bad)
    }

    fn hash(&self, digest: &Digest) -> Result<Digest, StoreError> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; 256 << 10];
        loop {
            let read = file.read(&mut chunk).map_err(io_error("read", &self.blob_path(digest)))?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(chunk.get(..read).unwrap_or_default());
        }
    }

    fn check_names(
        &self,
        images: &BTreeMap<Digest, ImageRecord>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), StoreError> {
        for file in self.names_in("names")? {
            let path = self.root.join("names").join(&file);
            let name = file.replace("%2F", "/").replace("%25", "%");
            let problem = match husk_record::read::<NameRecord>(&path) {
                Ok(None) => continue,
                Ok(Some(record)) => match record.reference.parse::<Reference>() {
                    Ok(reference) if self.name_path(&reference) != path => {
                        format!("{} is the record of {}", path.display(), record.reference)
                    }
                    Ok(_) if images.contains_key(&record.manifest) => continue,
                    Ok(_) => format!("it names {}, which is no image here", record.manifest),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            faults.push(Fault {
                object: format!("image name {name}"),
                problem,
                remedy: "pull it again, or give the image its name with \"husk tag\"".to_owned(),
                repair: Repair::RemoveRecord(path),
            });
        }
        Ok(())
    }

    /// Compares an unpacked layer with its blob; what differs first.
    fn compare(&self, layer: &Layer, blob: &Digest) -> Result<Option<String>, StoreError> {
        let root = std::fs::File::open(&layer.path).map_err(io_error("open", &layer.path))?;
        let file = BufReader::with_capacity(128 << 10, self.open_blob(blob)?);
        let different = Decoder::new(file).and_then(|decoder| {
            differences(TarReader::new(BufReader::with_capacity(128 << 10, decoder)), root.as_fd())
        });
        Ok(match different {
            Ok(different) => different
                .into_iter()
                .next()
                .map(|(path, problem)| format!("{:?} {problem}, unlike in its blob", shown(&path))),
            Err(error) => Some(format!("its blob cannot be unpacked: {error}")),
        })
    }

    /// Repairs what a check has found.
    ///
    /// # Errors
    /// What could not be done: the fault is still there.
    pub fn repair(&self, fault: &Fault) -> Result<bool, StoreError> {
        match &fault.repair {
            Repair::WriteImage(record) => self.mend_image(record).map(|()| true),
            Repair::RemoveImage(path) => {
                let _names = self.lock_names()?;
                self.remove_damaged(path).map(|_| true)
            }
            Repair::RemoveRecord(path) => {
                let _names = self.lock_names()?;
                remove_tree(path).map(|()| true)
            }
            Repair::RemoveBlob(digest) => remove_tree(&self.blob_path(digest)).map(|()| true),
            Repair::UnpackAgain(image, chain_id) => {
                let _activity = self.activity()?;
                self.refuse_mounted(chain_id)?;
                // Its record goes first: a layer without one is unpacked again.
                let path = self.layer_path(chain_id).join("layer.json");
                husk_record::remove(&path)?;
                let unpacked = unpack_image(self, image, &PullOptions::default(), &Silent);
                unpacked.map(|()| true).map_err(|error| {
                    io_error("unpack again", &self.layer_path(chain_id))(io::Error::other(error))
                })
            }
            Repair::None => Ok(false),
        }
    }
}

/// The files of a tar that are not in a directory as the tar has them, by their paths.
fn differences<R: io::BufRead>(
    mut reader: TarReader<R>,
    root: BorrowedFd<'_>,
) -> io::Result<BTreeMap<Vec<u8>, String>> {
    let mut different = BTreeMap::new();
    while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
        let Ok(parts) = components(&entry.path) else { continue };
        let Some(name) = parts.last() else { continue };
        if name.starts_with(b".wh.") {
            continue;
        }
        let path = parts.join(&b'/');
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = open_at(root, &path, flags, IN_ROOT);
        let problem = match (&entry.kind, found.and_then(kind_and_size)) {
            // What this process may not make is left out when a layer is unpacked.
            (Kind::Character | Kind::Block, _) => continue,
            (_, Err(errno)) => Some(errno.to_string()),
            (Kind::Regular, Ok((_, (FileType::RegularFile, size)))) if entry.sparse.is_none() => {
                match u64::try_from(size) == Ok(entry.size) {
                    false => Some(format!("has {size} bytes and not {}", entry.size)),
                    true => same(&mut reader, root, &path, entry.size)?,
                }
            }
            (Kind::Regular, Ok((_, (FileType::RegularFile, _)))) => None,
            (Kind::Hardlink, Ok(_)) => None,
            (Kind::Directory, Ok((_, (FileType::Directory, _)))) => None,
            (Kind::Symlink, Ok((fd, (FileType::Symlink, _)))) => {
                let target = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
                (target.to_bytes() != entry.link).then(|| "leads elsewhere".to_owned())
            }
            (Kind::Fifo, Ok((_, (FileType::Fifo, _)))) => None,
            (_, Ok(_)) => Some("is of another kind".to_owned()),
        };
        // A later entry of a name replaces an earlier one.
        match problem {
            Some(problem) => drop(different.insert(path, problem)),
            None => drop(different.remove(&path)),
        }
    }
    Ok(different)
}

fn kind_and_size(fd: OwnedFd) -> Result<(OwnedFd, (FileType, i64)), Errno> {
    let stat = fstat(&fd)?;
    Ok((fd, (FileType::from_raw_mode(stat.st_mode), stat.st_size)))
}

/// Whether the next `size` bytes of the tar are what a file holds.
fn same<R: io::BufRead>(
    reader: &mut TarReader<R>,
    root: BorrowedFd<'_>,
    path: &[u8],
    size: u64,
) -> io::Result<Option<String>> {
    let opened =
        open_at(root, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, IN_ROOT)?;
    let mut file = std::fs::File::from(opened);
    let (mut left, mut equal) = (size, true);
    while left > 0 {
        let taken = reader.with_data(left, |bytes| {
            if equal {
                let mut there = vec![0; bytes.len()];
                equal = file.read_exact(&mut there).is_ok() && there == bytes;
            }
            Ok::<(), io::Error>(())
        })?;
        if taken == 0 {
            break;
        }
        left -= taken;
    }
    Ok((!equal).then(|| "has other content".to_owned()))
}
