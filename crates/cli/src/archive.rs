//! Commands between images and tars.

use std::io::{BufReader, IsTerminal};
use std::path::Path;

use clap::Args;
use husk_image::archive::{self, Format, ImportOptions};
use husk_image::config::RunConfig;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::ImageRecord;

use super::output;
use super::progress::Warnings;
use crate::error::{Error, Result, file};
use husk_engine::home::Home;

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
            "docker" | "docker-archive" => Format::Docker,
            "oci" | "oci-archive" => Format::Oci,
            other => return Err(Error::flag("--format", other, "must be docker or oci")),
        };
        let store = home.images()?;
        let mut images: Vec<(ImageRecord, Vec<Reference>)> = Vec::new();
        for name in &self.images {
            let record = store.find(name)?;
            let by_name = name.parse::<Reference>().ok().map(Reference::or_latest);
            let named = match by_name {
                Some(reference) if store.find_reference(&reference)?.is_some() => vec![reference],
                _ => Vec::new(),
            };
            match images.iter_mut().find(|(known, _)| known.manifest == record.manifest) {
                Some((_, names)) => names.extend(named),
                None => images.push((record, named)),
            }
        }
        match &self.output {
            Some(path) => {
                let opened = std::fs::File::create(path).map_err(file("create", path))?;
                archive::save_stream(&store, &images, format, std::io::BufWriter::new(opened))?;
            }
            None if std::io::stdout().is_terminal() => {
                return Err(Error::other(
                    "refusing to write an archive to a terminal: use -o FILE",
                ));
            }
            None => archive::save_stream(&store, &images, format, std::io::stdout().lock())?,
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
        let store = home.images()?;
        let options = PullOptions::default();
        let loaded = match &self.input {
            Some(path) if Path::new(path).is_dir() => {
                archive::load_directory(&store, Path::new(path), &options, &Warnings)?
            }
            Some(path) => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                archive::load_stream(&store, BufReader::new(opened), &options, &Warnings)?
            }
            None => archive::load_stream(&store, std::io::stdin().lock(), &options, &Warnings)?,
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
        let import = ImportOptions {
            config: self.config()?,
            message: self.message.clone(),
            reference: self.name.as_deref().map(str::parse).transpose()?,
        };
        let store = home.images()?;
        let options = PullOptions::default();
        let record = match self.file.as_str() {
            "-" => archive::import(&store, std::io::stdin().lock(), import, &options, &Warnings)?,
            path => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                archive::import(&store, BufReader::new(opened), import, &options, &Warnings)?
            }
        };
        output::line(record.id)?;
        Ok(0)
    }

    fn config(&self) -> Result<RunConfig> {
        husk_image::build::config_of(&self.change, &Warnings)
            .map_err(|error| Error::flag("--change", &error.line, error.message))
    }
}
