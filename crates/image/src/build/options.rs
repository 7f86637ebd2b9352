//! What a build is asked for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::cache::CacheExport;
use super::ignore::Ignore;
use super::mount_step::Secret;
use crate::compose::{rfc3339, timestamp};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::unpack::UnpackOptions;

/// How an image is built.
#[derive(Debug)]
pub struct BuildOptions {
    /// The context, for COPY and ADD.
    pub context: Option<OwnedFd>,
    /// What of the context is left out.
    pub ignore: Ignore,
    /// `--build-arg`.
    pub arguments: Vec<(String, String)>,
    /// `--target`: a stage's name or number; the last one without.
    pub target: Option<String>,
    /// What the image is for.
    pub platform: Platform,
    /// Make every step anew.
    pub no_cache: bool,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--secret`.
    pub secrets: Vec<Secret>,
    /// `--ssh`: agents by id, each with its socket.
    pub agents: Vec<(String, PathBuf)>,
    /// `--build-context`.
    pub contexts: Vec<(String, NamedContext)>,
    /// `--allow network.host`: RUN may have the host's network.
    pub allow_host_network: bool,
    /// `--allow security.insecure`: RUN may have the privileges of the host's root.
    pub allow_insecure: bool,
    /// `--cache-to`.
    pub cache: CacheExport,
    /// SOURCE_DATE_EPOCH, in seconds: the time of the image, and the latest of its files.
    pub epoch: Option<u64>,
    /// `--tag`.
    pub names: Vec<Reference>,
    /// How layers are made.
    pub unpack: UnpackOptions,
}

/// What a name stands for in `FROM` and `--from`.
#[derive(Debug)]
pub enum NamedContext {
    /// Files.
    Directory {
        /// The directory.
        root: OwnedFd,
        /// What of it is left out.
        ignore: Ignore,
    },
    /// An image.
    Image(String),
}

impl BuildOptions {
    /// The time of what is built now, as configs have it.
    pub(super) fn timestamp(&self) -> String {
        self.epoch.map_or_else(timestamp, |seconds| rfc3339(seconds, 0))
    }

    /// The defaults, for this machine.
    #[must_use]
    pub fn new() -> BuildOptions {
        BuildOptions {
            context: None,
            ignore: Ignore::default(),
            arguments: Vec::new(),
            target: None,
            platform: Platform::host(),
            no_cache: false,
            labels: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
            contexts: Vec::new(),
            allow_host_network: false,
            allow_insecure: false,
            cache: CacheExport::default(),
            epoch: None,
            names: Vec::new(),
            unpack: UnpackOptions::of_this_process(),
        }
    }
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions::new()
    }
}
