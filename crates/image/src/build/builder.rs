//! A build: stages in order, each step from the cache or made anew.
//!
//! A step that makes files does so in an overlayfs mount on the layers below; its upper
//! directory then becomes the next layer, both as a blob and, moved as it is, as the
//! unpacked layer. A step's cache key is made of the chain id below it and of everything
//! that goes into it, each field with its length before it, so that no two steps share a
//! key (security-cases "Build").

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use super::BuildError;
use super::cache::carrier;
use super::copy::{Attributes, Target};
use super::dockerfile::{Copy, Dockerfile, Instruction, Run, Stage, Step, StepNetwork, Word};
use super::error::DockerfileError;
use super::layer_step::layer_step;
use super::mount_step::{StepMount, script_path};
use super::options::{BuildOptions, NamedContext};
use super::state::{Parent, StageState};
use crate::compose::{Dialect, compose};
use crate::config::{History, ImageConfig, RootFs};
use crate::document::Descriptor;
use crate::pack::TreeHash;
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::store::{ImageRecord, Store};
use crate::user::{Identity, lookup};

/// What a build needs of the engine.
pub trait Runner {
    /// Runs a command in a container on `step.rootfs` and returns when it has ended and
    /// nothing uses the rootfs any more. An exit status but zero is an error.
    ///
    /// # Errors
    /// One line for the user.
    fn run(&mut self, step: &RunStep<'_>) -> Result<(), String>;

    /// Finds an image, pulling it where it is not in the store, unpacked.
    ///
    /// # Errors
    /// One line for the user.
    fn image(&mut self, reference: &Reference, platform: &Platform) -> Result<ImageRecord, String>;
}

/// A RUN.
#[derive(Debug)]
pub struct RunStep<'a> {
    /// The root file system: a mount, attached nowhere, that changes are written to.
    pub rootfs: &'a OwnedFd,
    /// What is executed.
    pub arguments: Vec<String>,
    /// The environment, PATH among it.
    pub env: Vec<(String, String)>,
    /// Who runs it.
    pub user: Identity,
    /// As USER says it; empty where nothing does.
    pub user_name: String,
    /// Where; it exists.
    pub working_dir: String,
    /// `--mount`.
    pub mounts: Vec<StepMount>,
    /// `--network`.
    pub network: StepNetwork,
    /// `--security=insecure`, which the caller of the build has allowed.
    pub insecure: bool,
    /// The instruction as it stands, for messages.
    pub text: &'a str,
}

/// What a build has made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image.
    pub image: ImageRecord,
    /// The images that carry the cache, where one is to be exported. They are in no list: an
    /// [`crate::store::Activity`] keeps them until they are written elsewhere.
    pub cache: Vec<ImageRecord>,
}

/// Builds an image.
///
/// # Errors
/// [`BuildError`]; what was made stays in the cache for the next attempt.
pub fn build(
    store: &Store,
    dockerfile: &Dockerfile,
    options: &BuildOptions,
    runner: &mut dyn Runner,
    progress: &dyn Progress,
) -> Result<Built, BuildError> {
    let _activity = store.activity()?;
    let target = match &options.target {
        Some(name) => dockerfile
            .stage(name, dockerfile.stages.len())
            .ok_or_else(|| BuildError::Target(name.clone()))?,
        None => dockerfile.stages.len().saturating_sub(1),
    };
    let mut build = Build {
        store,
        dockerfile,
        options,
        runner,
        progress,
        done: vec![None; dockerfile.stages.len()],
        used_arguments: BTreeSet::new(),
    };
    let needed = build.needed(target);
    for index in needed {
        build.stage(index)?;
    }
    let image = build.finish(target)?;
    let cache = build.carriers(target)?;
    Ok(Built { image, cache })
}

pub(super) struct Build<'a> {
    pub(super) store: &'a Store,
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a BuildOptions,
    pub(super) runner: &'a mut dyn Runner,
    pub(super) progress: &'a dyn Progress,
    pub(super) done: Vec<Option<StageState>>,
    pub(super) used_arguments: BTreeSet<String>,
}

impl Build<'_> {
    /// The stages that `target` is made from, in the file's order: a stage refers to
    /// earlier ones only.
    fn needed(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut pending = vec![target];
        while let Some(index) = pending.pop() {
            let Some(stage) = self.dockerfile.stages.get(index) else { continue };
            if !needed.insert(index) {
                continue;
            }
            pending.extend(self.dockerfile.stage(&stage.base.text, index));
            for step in &stage.steps {
                let mut froms = Vec::new();
                match &step.instruction {
                    Instruction::Copy(Copy { from, .. }) => froms.extend(from),
                    Instruction::Run(run) => {
                        froms.extend(run.mounts.iter().filter_map(|mount| mount.option("from")));
                    }
                    _ => {}
                }
                for from in froms {
                    pending.extend(self.dockerfile.stage(&from.text, index));
                }
            }
        }
        needed
    }

    pub(super) fn wrong(&self, word: &Word, message: impl Into<String>) -> BuildError {
        BuildError::Dockerfile(self.dockerfile.error(word.position, message))
    }

    fn stage(&mut self, index: usize) -> Result<(), BuildError> {
        let dockerfile = self.dockerfile;
        let Some(stage) = dockerfile.stages.get(index) else { return Ok(()) };
        if self.done.get(index).is_some_and(Option::is_some) {
            return Ok(());
        }
        let numbering = Numbering::new(dockerfile, stage, index);
        self.progress.event(Event::Step(&numbering.head(1, &format!("FROM {}", stage.base.text))));
        let mut state = self.base(stage, index)?.with_path();
        self.triggers(&mut state, stage, index, &numbering.place)?;
        let mut number = 1;
        for step in &stage.steps {
            if !step.instruction.makes_files() {
                self.step(&mut state, step, index)?;
                continue;
            }
            number += 1;
            self.progress.event(Event::Step(&numbering.head(number, &step.text)));
            self.step(&mut state, step, index)?;
        }
        if let Some(slot) = self.done.get_mut(index) {
            *slot = Some(state);
        }
        Ok(())
    }

    fn base(&mut self, stage: &Stage, index: usize) -> Result<StageState, BuildError> {
        let name = self.expand_global(&stage.base)?;
        let platform = match &stage.platform {
            Some(word) => {
                let text = self.expand_global(word)?;
                text.parse()
                    .map_err(|e: crate::platform::PlatformError| self.wrong(word, e.to_string()))?
            }
            None => self.options.platform.clone(),
        };
        if name == "scratch" {
            return Ok(StageState::scratch(platform));
        }
        if name.is_empty() {
            let message = format!("FROM needs an image; {} stands for nothing", stage.base.text);
            return Err(self.wrong(&stage.base, message));
        }
        match self.named_context(&name) {
            Some(NamedContext::Image(image)) => {
                let image = self.image(&stage.base, &image.clone(), &platform)?;
                let (manifest, config) = self.store.documents(&image)?;
                return Ok(StageState::of_image(&image, &manifest, config));
            }
            Some(NamedContext::Directory { .. }) => {
                let message = format!(
                    "--build-context {name} is a directory, and FROM takes an image; copy its \
                     files with COPY --from={name}"
                );
                return Err(self.wrong(&stage.base, message));
            }
            None => {}
        }
        if let Some(earlier) = self.dockerfile.stage(&name, index) {
            let done = self.finished(earlier)?;
            return Ok(done.map_or_else(|| StageState::scratch(platform), StageState::on_top));
        }
        let image = self.image(&stage.base, &name, &platform)?;
        let (manifest, config) = self.store.documents(&image)?;
        Ok(StageState::of_image(&image, &manifest, config))
    }

    /// A stage that another one begins with or copies from. Those that a variable or an
    /// ONBUILD names are not among the needed ones before.
    pub(super) fn finished(&mut self, index: usize) -> Result<Option<StageState>, BuildError> {
        self.stage(index)?;
        Ok(self.done.get(index).cloned().flatten())
    }

    pub(super) fn image(
        &mut self,
        word: &Word,
        name: &str,
        platform: &Platform,
    ) -> Result<ImageRecord, BuildError> {
        let reference: Reference = name
            .parse()
            .map_err(|e: crate::reference::ReferenceError| self.wrong(word, e.to_string()))?;
        let found = self.runner.image(&reference.or_latest(), platform);
        found.map_err(|message| self.wrong(word, message))
    }

    pub(super) fn step(
        &mut self,
        state: &mut StageState,
        step: &Step,
        index: usize,
    ) -> Result<(), BuildError> {
        let layers = state.layers.len();
        match &step.instruction {
            Instruction::Run(run) => self.run(state, step, run, index)?,
            Instruction::Copy(copy) => self.copy(state, step, copy, index)?,
            Instruction::Workdir(word) => self.workdir(state, word)?,
            Instruction::Arg(arguments) => {
                for argument in arguments {
                    let name = argument.name.text.clone();
                    let given = self.build_argument(&name);
                    if given.is_some() {
                        self.used_arguments.insert(name.clone());
                    }
                    let value = match (given, &argument.default) {
                        (Some(value), _) => Some(value),
                        (None, Some(default)) => Some(self.expand(default, state)?),
                        (None, None) => self.global(&name)?,
                    };
                    state.set_argument(&name, value);
                }
            }
            instruction => self.dockerfile.metadata(state, instruction)?,
        }
        state.history.push(History {
            created: state.created.clone(),
            created_by: Some(step.text.clone()),
            empty_layer: state.layers.len() == layers,
            ..History::default()
        });
        Ok(())
    }

    fn workdir(&mut self, state: &mut StageState, word: &Word) -> Result<(), BuildError> {
        let path = self.dockerfile.working_dir(state, word)?;
        let user = state.config.user.clone().unwrap_or_default();
        let mut key = state.key("WORKDIR");
        key.field(path.as_bytes());
        key.field(user.as_bytes());
        let (unpack, progress) = (&self.options.unpack, self.progress);
        let make = &mut |rootfs: &OwnedFd| {
            // As BuildKit does: an unknown user is an error of RUN, not of WORKDIR.
            let owner = match lookup(rootfs.as_fd(), &user, &[]) {
                Ok(identity) => (identity.uid, identity.gid),
                Err(error) => {
                    let text = format!("WORKDIR {path}: {error}; it belongs to root");
                    progress.event(Event::Warning(&text));
                    (0, 0)
                }
            };
            let attributes = Attributes { owner: Some(owner), mode: None };
            let target = Target { root: rootfs.as_fd(), attributes, options: unpack };
            let made = target.directory(&path, 0o755);
            made.map(drop).map_err(|error| self.wrong(word, error.to_string()))
        };
        layer_step(self.store, self.options, self.progress, state, key, make)?;
        state.config.working_dir = Some(path);
        Ok(())
    }

    fn run(
        &mut self,
        state: &mut StageState,
        step: &Step,
        run: &Run,
        index: usize,
    ) -> Result<(), BuildError> {
        let arguments = match &run.script {
            Some(script) => vec![script_path(script)],
            None => state.argv(&run.command),
        };
        self.check_privileges(step, run)?;
        let mut env = self.run_environment(state);
        let user = state.config.user.clone().unwrap_or_default();
        let working_dir = state.working_dir().to_owned();
        let mut key = state.key("RUN");
        for list in [&arguments, &env.iter().map(|(n, v)| format!("{n}={v}")).collect()] {
            key.field(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|word| key.field(word.as_bytes()));
        }
        key.field(user.as_bytes());
        key.field(working_dir.as_bytes());
        key.field(format!("{:?} {}", run.network, run.insecure).as_bytes());
        key.field(run.script.as_ref().map_or("", |script| &script.content).as_bytes());
        let planned = self.plan_mounts(state, &run.mounts, index, &mut key, &mut env)?;
        let (store, options, progress) = (self.store, self.options, self.progress);
        let dockerfile = self.dockerfile;
        let failed = |message: String| BuildError::Run(dockerfile.error(step.position, message));
        let make = &mut |rootfs: &OwnedFd| {
            let user_name = user.clone();
            let user = lookup(rootfs.as_fd(), &user, &[]).map_err(|e| failed(e.to_string()))?;
            let (arguments, env) = (arguments.clone(), env.clone());
            let (working_dir, text) = (working_dir.clone(), step.text.as_str());
            // What is held goes when the step has ended.
            let (mut mounts, mut held) = self.prepare_mounts(&planned)?;
            if let Some(script) = &run.script {
                self.script(script, &mut mounts, &mut held)?;
            }
            let run = RunStep {
                rootfs,
                arguments,
                env,
                user,
                user_name,
                working_dir,
                mounts,
                network: run.network,
                insecure: run.insecure,
                text,
            };
            self.runner.run(&run).map_err(failed)
        };
        layer_step(store, options, progress, state, key, make)
    }

    /// What a step asks for beyond a sandbox must have been allowed by who builds.
    fn check_privileges(&self, step: &Step, run: &Run) -> Result<(), BuildError> {
        let asked = [
            (run.insecure, self.options.allow_insecure, "--security=insecure", "security.insecure"),
            (
                run.network == StepNetwork::Host,
                self.options.allow_host_network,
                "--network=host",
                "network.host",
            ),
        ];
        for (asked, allowed, flag, name) in asked {
            if asked && !allowed {
                let message =
                    format!("RUN {flag} is not allowed; allow it with husk build --allow {name}");
                return Err(self.dockerfile.error(step.position, message).into());
            }
        }
        Ok(())
    }

    fn run_environment(&mut self, state: &StageState) -> Vec<(String, String)> {
        // These need no ARG (Dockerfile reference, "Predefined ARGs").
        const PROXIES: [&str; 5] =
            ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
        let mut env = state.run_environment();
        for name in PROXIES.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]) {
            if let Some(value) = self.build_argument(&name) {
                self.used_arguments.insert(name.clone());
                env.push((name, value));
            }
        }
        env
    }

    fn carriers(&self, target: usize) -> Result<Vec<ImageRecord>, BuildError> {
        let export = self.options.cache;
        let stages = self.done.iter().enumerate();
        let wanted = stages.filter(|(index, _)| export.all_stages || *index == target);
        let states = wanted.filter_map(|(_, state)| state.as_ref()).filter(|_| export.apart);
        states.map(|state| carrier(self.store, state)).collect()
    }

    fn finish(&mut self, target: usize) -> Result<ImageRecord, BuildError> {
        for (name, _) in &self.options.arguments {
            let own = name == "SOURCE_DATE_EPOCH" && self.options.epoch.is_some();
            if !self.used_arguments.contains(name) && !own {
                let text = format!("--build-arg {name} is used by no ARG");
                self.progress.event(Event::Warning(&text));
            }
        }
        let state = self.done.get(target).cloned().flatten();
        let mut state = state.unwrap_or_else(|| StageState::scratch(self.options.platform.clone()));
        for (name, value) in &self.options.labels {
            state.config.labels.get_or_insert_default().insert(name.clone(), value.clone());
        }
        // Steps without files have the time of the layer below them, or else above: what is
        // built of cached steps alone is then the same image, and leaves none without a name.
        let first = state.history.iter().find_map(|step| step.created.clone());
        let first = first.unwrap_or_else(|| self.options.timestamp());
        for step in &mut state.history {
            step.created.get_or_insert_with(|| first.clone());
        }
        let config = ImageConfig {
            created: Some(state.created.clone().unwrap_or(first)),
            author: state.author.clone(),
            architecture: state.platform.architecture.clone(),
            os: state.platform.os.clone(),
            variant: state.platform.variant.clone(),
            config: Some(state.config.clone()),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: state.layers.iter().map(|(layer, _)| layer.diff_id).collect(),
            },
            history: Some(state.history.clone()),
            cache: self.options.cache.inline.then(|| state.steps.clone()),
        };
        let layers = state
            .layers
            .iter()
            .map(|(layer, kind)| Descriptor::new(kind, layer.blob, layer.size))
            .collect();
        let image = compose(self.store, &config, layers, Dialect::Oci)?;
        let names = self.options.names.iter().map(|name| (name.clone(), image.manifest));
        self.store.add_image(&image, &names.collect::<Vec<_>>())?;
        Ok(image)
    }
}

/// The numbers of a stage's steps, as BuildKit shows them: FROM is the first, and what makes
/// no files has none.
struct Numbering {
    /// The stage's name and a space; empty where it is the only stage.
    place: String,
    total: usize,
}

impl Numbering {
    fn new(dockerfile: &Dockerfile, stage: &Stage, index: usize) -> Numbering {
        let place = match (&stage.name, dockerfile.stages.len()) {
            (_, 1) => String::new(),
            (Some(name), _) => format!("{name} "),
            (None, _) => format!("stage-{index} "),
        };
        let steps = stage.steps.iter().filter(|step| step.instruction.makes_files());
        Numbering { place, total: steps.count() + 1 }
    }

    fn head(&self, number: usize, text: &str) -> String {
        let width = self.total.to_string().len();
        format!("[{}{number:>width$}/{}] {text}", self.place, self.total)
    }
}

impl From<DockerfileError> for BuildError {
    fn from(error: DockerfileError) -> BuildError {
        BuildError::Dockerfile(error)
    }
}

impl StageState {
    /// A key that begins with what is below the step and what the step is.
    pub(super) fn key(&self, operation: &str) -> TreeHash {
        let mut key = TreeHash::new();
        key.field(b"husk build step 1");
        match self.parent() {
            Parent::Scratch => key.field(b""),
            Parent::Chain(chain) => key.field(chain.to_string().as_bytes()),
        }
        key.field(self.platform.to_string().as_bytes());
        key.field(operation.as_bytes());
        key
    }
}
