//! Commands between images and tars.

use std::io::{BufReader, IsTerminal};
use std::path::Path;

use clap::Args;

use super::output;
use super::progress::Notices;
use crate::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::image::{self, ArchiveFormat, ImportRequest, SaveRequest};

/// `save`.
#[derive(Debug, Args)]
pub(super) struct Save {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Archive format: docker (also an OCI layout) or oci
    #[arg(long, default_value = "docker")]
    format: String,
    /// Names or IDs
    #[arg(required = true)]
    images: Vec<String>,
}

impl Save {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let format = match self.format.as_str() {
            "docker" | "docker-archive" => ArchiveFormat::Docker,
            "oci" | "oci-archive" => ArchiveFormat::Oci,
            other => return Err(Error::flag("--format", other, "must be docker or oci")),
        };
        let request = SaveRequest { images: self.images.clone(), format };
        match &self.output {
            Some(path) => image::save(home, &request, || {
                let opened = std::fs::File::create(path).map_err(file("create", path))?;
                Ok(std::io::BufWriter::new(opened))
            })?,
            None if std::io::stdout().is_terminal() => {
                return Err(Error::other(
                    "refusing to write an archive to a terminal: use -o FILE",
                ));
            }
            None => image::save(home, &request, || Ok(std::io::stdout().lock()))?,
        }
        Ok(0)
    }
}

/// `load`.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// Read from a file or an OCI layout directory instead of standard input
    #[arg(short, long)]
    input: Option<String>,
    /// Do not print image names
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let loaded = match &self.input {
            Some(path) if Path::new(path).is_dir() => {
                image::load_directory(home, Path::new(path), &Notices)?
            }
            Some(path) => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                image::load(home, BufReader::new(opened), &Notices)?
            }
            None => image::load(home, std::io::stdin().lock(), &Notices)?,
        };
        for one in loaded.iter().filter(|_| !self.quiet) {
            match one.names.is_empty() {
                true => output::line(format_args!("Loaded image ID: {}", one.image.id))?,
                false => {
                    for name in &one.names {
                        output::line(format_args!("Loaded image: {}", name.familiar()))?;
                    }
                }
            }
        }
        Ok(0)
    }
}

/// `import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Commit message for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// An instruction of a Dockerfile that changes the config and no file, as in "CMD ls"
    #[arg(short, long)]
    change: Vec<String>,
    /// Tar archive, or - for standard input
    file: String,
    /// Name
    name: Option<String>,
}

impl Import {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let request = ImportRequest {
            message: self.message.clone(),
            changes: self.change.clone(),
            name: self.name.clone(),
        };
        let record = match self.file.as_str() {
            "-" => image::import(home, &request, std::io::stdin().lock(), &Notices)?,
            path => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                image::import(home, &request, BufReader::new(opened), &Notices)?
            }
        };
        output::line(record.id)?;
        Ok(0)
    }
}
