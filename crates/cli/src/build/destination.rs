//! `build --output`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;

use husk_engine::build;
use husk_engine::image::ArchiveFormat as Format;

use crate::error::{Error, Result};

/// Where a result goes besides the image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The store alone.
    Store,
    /// The files, in a directory.
    Directory(PathBuf),
    /// The files, in a tar.
    Tar(Place),
    /// The image, in an archive.
    Archive(Format, Place),
    /// The image, under these names, or under those of `--tag` where there are none.
    Registry {
        /// `name=`.
        names: Vec<String>,
    },
}

/// A file or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `-`.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Destination> {
        let bad = |problem: &str| Error::flag("--output", text, problem);
        if text == "-" {
            return Ok(Destination::Tar(Place::Stdout));
        }
        if !text.contains('=') {
            return Ok(Destination::Directory(PathBuf::from(text)));
        }
        let (mut kind, mut dest, mut names, mut push) = ("", None, Vec::new(), false);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = value,
                Some(("dest", value)) => dest = Some(value),
                Some(("name", value)) => names.push(value.to_owned()),
                Some(("push", "true")) => push = true,
                Some(("push", "false")) => push = false,
                _ => return Err(bad("takes type=, dest=, name= and push=true|false")),
            }
        }
        let place = match dest {
            None | Some("-") => Place::Stdout,
            Some(path) => Place::File(PathBuf::from(path)),
        };
        match (kind, dest) {
            ("local", Some("-") | None) => Err(bad("needs dest=DIRECTORY")),
            ("local", Some(path)) => Ok(Destination::Directory(PathBuf::from(path))),
            ("tar", _) => Ok(Destination::Tar(place)),
            ("oci", _) => Ok(Destination::Archive(Format::Oci, place)),
            ("docker", Some(_)) => Ok(Destination::Archive(Format::Docker, place)),
            ("docker", None) => Ok(Destination::Store),
            ("image", None) if push => Ok(Destination::Registry { names }),
            ("image", None) => Ok(Destination::Store),
            ("registry", None) => Ok(Destination::Registry { names }),
            ("image" | "registry", Some(_)) => Err(bad("takes no dest=")),
            _ => Err(bad("type must be one of local, tar, oci, docker, image, registry")),
        }
    }
}

impl Place {
    fn output(self) -> Result<build::Output<'static>> {
        match self {
            Place::Stdout if std::io::stdout().is_terminal() => {
                Err(Error::other("standard output is a terminal: give --output dest=FILE"))
            }
            Place::Stdout => Ok(build::Output::Stream(Box::new(std::io::stdout()))),
            Place::File(path) => Ok(build::Output::File(path)),
        }
    }
}

impl Destination {
    /// The same for the build; none is the store alone.
    pub(super) fn request(self) -> Result<Option<build::Destination<'static>>> {
        Ok(Some(match self {
            Destination::Store => return Ok(None),
            Destination::Directory(path) => build::Destination::Directory(path),
            Destination::Tar(place) => build::Destination::Tar(place.output()?),
            Destination::Archive(format, place) => {
                build::Destination::Archive(format, place.output()?)
            }
            Destination::Registry { names } => build::Destination::Registry { names },
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
mod tests {
    use super::*;

    #[test]
    fn as_buildx_reads_them() {
        let read = |text: &str| text.parse::<Destination>().map_err(|error| error.to_string());
        let file = |path: &str| Place::File(PathBuf::from(path));
        assert_eq!(read("out").unwrap(), Destination::Directory("out".into()));
        assert_eq!(read("-").unwrap(), Destination::Tar(Place::Stdout));
        assert_eq!(read("type=local,dest=out").unwrap(), Destination::Directory("out".into()));
        assert_eq!(read("type=tar,dest=a.tar").unwrap(), Destination::Tar(file("a.tar")));
        assert_eq!(
            read("type=oci,dest=-").unwrap(),
            Destination::Archive(Format::Oci, Place::Stdout)
        );
        assert_eq!(read("type=docker").unwrap(), Destination::Store);
        let named = Destination::Registry { names: vec!["h/x".to_owned()] };
        assert_eq!(read("type=image,name=h/x,push=true").unwrap(), named);
        for bad in ["type=local", "type=zip,dest=x", "type=oci,compression=zstd", "dest=x"] {
            assert!(read(bad).unwrap_err().starts_with("--output"), "{bad}");
        }
    }
}
