//! Where the result of a build goes besides the image store.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use husk_image::archive::save_stream;
use husk_image::build::{export_directory, export_tar};
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Store};

use crate::error::{Result, file};
use crate::home::Home;
use crate::image::{self, ArchiveFormat, RegistryAccess};
use crate::reporter::Reporter;

/// Where a result goes besides the image store.
pub enum Destination<'a> {
    /// The files, in a directory.
    Directory(PathBuf),
    /// The files, in a tar.
    Tar(Output<'a>),
    /// The image, in an archive.
    Archive(ArchiveFormat, Output<'a>),
    /// The image, under these names, or under its own where there are none.
    Registry {
        /// Names, each with the registry it goes to.
        names: Vec<String>,
    },
}

/// Where a tar or an archive goes.
pub enum Output<'a> {
    /// Whoever takes it.
    Stream(Box<dyn Write + 'a>),
    /// A file.
    File(PathBuf),
}

impl Output<'_> {
    /// Writes with `write`; half a file is removed.
    fn write(self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        match self {
            Output::Stream(mut out) => write(&mut out),
            Output::File(path) => {
                let created = std::fs::File::create(&path).map_err(file("create", &path))?;
                let mut out = BufWriter::new(created);
                let written =
                    write(&mut out).and_then(|()| out.flush().map_err(file("write", &path)));
                if written.is_err() {
                    let _ = std::fs::remove_file(&path);
                }
                written
            }
        }
    }
}

impl Destination<'_> {
    /// Writes the result there.
    pub(super) fn write(
        self,
        home: &Home,
        store: &Store,
        image: &ImageRecord,
        tags: &[Reference],
        registry: &RegistryAccess,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        let tell = |left_out: Vec<String>| {
            for text in left_out {
                reporter.notice(&format!("left out: {text}"));
            }
        };
        match self {
            Destination::Directory(path) => {
                tell(export_directory(store, image, &path)?);
                Ok(())
            }
            Destination::Tar(place) => place.write(|out| {
                tell(export_tar(store, image, out)?);
                Ok(())
            }),
            Destination::Archive(format, place) => place.write(|out| {
                let images = [(image.clone(), tags.to_vec())];
                Ok(save_stream(store, &images, format, out)?)
            }),
            Destination::Registry { names } => {
                let parsed: Result<Vec<Reference>, _> =
                    names.iter().map(|name| name.parse::<Reference>()).collect();
                let named: Vec<Reference> = parsed?.into_iter().map(Reference::or_latest).collect();
                let targets = if named.is_empty() { tags } else { &named };
                for target in targets {
                    image::push_image(home, image, target, registry, reporter)?;
                }
                Ok(())
            }
        }
    }
}
