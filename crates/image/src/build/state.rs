//! What a stage has come to: its config, its layers and its variables.

use super::cache::CacheEntry;
use super::dockerfile::Command;
use crate::config::{History, ImageConfig, RunConfig};
use crate::digest::Digest;
use crate::document::{Manifest, media};
use crate::platform::Platform;
use crate::store::{ImageLayer, ImageRecord};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage under way.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    pub(crate) config: RunConfig,
    pub(crate) author: Option<String>,
    pub(crate) platform: Platform,
    /// Layers, lowest first, with their media types.
    pub(crate) layers: Vec<(ImageLayer, String)>,
    pub(crate) history: Vec<History>,
    /// The steps that made the layers, for caches.
    pub(crate) steps: Vec<CacheEntry>,
    /// When its last layer was made; none where there is none yet.
    pub(crate) created: Option<String>,
    /// This stage has a CMD of its own.
    pub(crate) has_cmd: bool,
    /// ARGs that have a value.
    arguments: Vec<(String, String)>,
}

/// What a step is made on top of.
pub(crate) enum Parent {
    Scratch,
    Chain(Digest),
}

impl StageState {
    pub(crate) fn scratch(platform: Platform) -> StageState {
        // As BuildKit's empty image has it.
        let config = RunConfig { working_dir: Some("/".to_owned()), ..RunConfig::default() };
        StageState {
            config,
            author: None,
            platform,
            layers: Vec::new(),
            history: Vec::new(),
            steps: Vec::new(),
            created: None,
            has_cmd: false,
            arguments: Vec::new(),
        }
    }

    pub(crate) fn of_image(
        image: &ImageRecord,
        manifest: &Manifest,
        config: ImageConfig,
    ) -> StageState {
        // The new manifest is OCI's, whatever the base's was: the blobs are the same.
        let kind = |media_type: &str| {
            match media_type {
                media::DOCKER_LAYER_GZIP => media::OCI_LAYER_GZIP,
                media::DOCKER_LAYER => media::OCI_LAYER,
                other => other,
            }
            .to_owned()
        };
        let kinds = manifest.layers.iter().map(|layer| kind(&layer.media_type));
        let platform = config.platform();
        StageState {
            config: config.config.unwrap_or_default(),
            author: config.author,
            created: config.created,
            layers: image.layers.iter().cloned().zip(kinds).collect(),
            history: config.history.unwrap_or_default(),
            ..StageState::scratch(platform)
        }
    }

    /// Gives a base without a PATH the default one, as BuildKit does: `ENV PATH=/x:$PATH` then
    /// means what it says.
    pub(crate) fn with_path(mut self) -> StageState {
        if !self.env().any(|(name, _)| name == "PATH") {
            self.set_env("PATH", PATH);
        }
        self
    }

    /// The step with this key has come to the present layers.
    pub(crate) fn remember(&mut self, key: Digest) {
        let (layers, created) = (self.layers.len(), self.created.clone());
        self.steps.push(CacheEntry { key, layers, created });
    }

    /// For a stage that is FROM this one: ARGs end with their stage.
    pub(crate) fn on_top(mut self) -> StageState {
        self.arguments.clear();
        self.has_cmd = false;
        self
    }

    pub(crate) fn parent(&self) -> Parent {
        self.layers.last().map_or(Parent::Scratch, |(layer, _)| Parent::Chain(layer.chain_id))
    }

    pub(crate) fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|(layer, _)| layer.chain_id).collect()
    }

    pub(crate) fn working_dir(&self) -> &str {
        let set = self.config.working_dir.as_deref().filter(|path| path.starts_with('/'));
        set.unwrap_or("/")
    }

    /// ENV wins over ARG.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let set = self.env().find(|(known, _)| known == name).map(|(_, value)| value);
        set.or_else(|| {
            let found = self.arguments.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    }

    fn env(&self) -> impl Iterator<Item = (String, String)> {
        let entries = self.config.env.iter().flatten();
        entries.filter_map(|entry| {
            entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let env = self.config.env.get_or_insert_default();
        let entry = format!("{name}={value}");
        let same =
            |known: &&mut String| known.split_once('=').is_some_and(|(known, _)| known == name);
        match env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => env.push(entry),
        }
    }

    pub(crate) fn set_argument(&mut self, name: &str, value: Option<String>) {
        self.arguments.retain(|(known, _)| known != name);
        self.arguments.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// The environment of a RUN: ENV, and ARGs that ENV does not hide.
    pub(crate) fn run_environment(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = self.env().collect();
        for (name, value) in &self.arguments {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.clone(), value.clone()));
            }
        }
        env
    }

    pub(crate) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let mut words = self.config.shell.clone().unwrap_or_else(default);
                words.push(line.clone());
                words
            }
        }
    }
}

/// A path of the Dockerfile as an absolute one without `.`, `..` and double slashes.
pub(crate) fn absolute(path: &str, working_dir: &str) -> String {
    let base = if path.starts_with('/') { "" } else { working_dir };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
