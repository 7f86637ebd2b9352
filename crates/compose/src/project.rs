//! Which files make a project, its name, its environment; and reading it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::check;
use crate::interpolate::{Use, Variables};
use crate::load::{Environment, Input, Loader, Steps, env_file};
use crate::merge::settle;
use crate::node::{Map, Node};
use crate::normalize::{Context, drop_unused, profiles_of, select};
use crate::output::prune;
use crate::schema::FILE;
use crate::source::{Diagnostic, Mistakes, Sources};

/// Names that are looked for, in their order.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the command line and the environment say of a project.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `-f`; empty: looked for.
    pub(crate) files: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) profiles: Vec<String>,
    pub(crate) env_files: Vec<String>,
    /// The process's environment.
    pub(crate) environment: Environment,
    /// Where it runs.
    pub(crate) current: PathBuf,
    /// Services that are named: their profiles are active.
    pub(crate) services: Vec<String>,
    /// All profiles, whatever is active.
    pub(crate) all_profiles: bool,
    /// Keep resources that no service uses.
    pub(crate) all_resources: bool,
    pub(crate) interpolate: bool,
    pub(crate) normalize: bool,
    pub(crate) paths: bool,
    pub(crate) consistency: bool,
    pub(crate) resolve_environment: bool,
}

/// A project that was read.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    /// Relative paths are below it.
    pub(crate) directory: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) env_files: Vec<PathBuf>,
    pub(crate) environment: Environment,
    /// Normalized; services of inactive profiles are gone.
    pub(crate) root: Node,
    /// All services, those of inactive profiles as well.
    pub(crate) all_services: Map,
    pub(crate) variables: std::collections::BTreeMap<String, Use>,
    pub(crate) sources: Sources,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Why there is no project: the text for the person.
pub(crate) type Failure = String;

impl Request {
    /// All steps, and no flags.
    pub(crate) fn new(caller: &crate::run::Caller) -> Self {
        Self {
            files: Vec::new(),
            name: None,
            directory: None,
            profiles: Vec::new(),
            env_files: Vec::new(),
            environment: caller.environment.clone(),
            current: caller.current.clone(),
            services: Vec::new(),
            all_profiles: false,
            all_resources: false,
            interpolate: true,
            normalize: true,
            paths: true,
            consistency: true,
            resolve_environment: true,
        }
    }

    fn absolute(&self, path: &str) -> PathBuf {
        let home = self.environment.get("HOME").map(String::as_str);
        PathBuf::from(crate::canonical::absolute(&self.current, home, path))
    }

    /// The compose files, and the project's directory.
    fn find_files(&self, environment: &Environment) -> Result<(Vec<Input>, PathBuf), Failure> {
        let mut names = self.files.clone();
        if names.is_empty()
            && let Some(list) = environment.get("COMPOSE_FILE").filter(|list| !list.is_empty())
        {
            let separator = environment.get("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
            names =
                list.split(separator).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        }
        let directory = self.directory.as_ref().map(|path| self.absolute(path));
        if names.is_empty() {
            let (first, found) = self.look(directory.as_deref().unwrap_or(&self.current))?;
            return Ok((found, directory.unwrap_or(first)));
        }
        let mut inputs = Vec::new();
        for name in &names {
            if name == "-" {
                let mut text = String::new();
                use std::io::Read as _;
                std::io::stdin().take(crate::load::FILE_SIZE).read_to_string(&mut text).map_err(
                    |e| format!("cannot read standard input: {}", crate::load::plain(&e)),
                )?;
                let path = self.current.join("-");
                inputs.push(Input { shown: "-".to_owned(), path, text: Some(text) });
                continue;
            }
            let path = self.absolute(name);
            if !path.exists() {
                return Err(format!("no such compose file: {}", path.display()));
            }
            inputs.push(Input { shown: self.shown(&path), path, text: None });
        }
        let own = inputs.first().and_then(|input| input.path.parent()).map(Path::to_path_buf);
        Ok((inputs, directory.or(own).unwrap_or_else(|| self.current.clone())))
    }

    /// A path as a person at the shell writes it.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.current).unwrap_or(path).display().to_string()
    }

    /// Looks for a compose file here and above.
    fn look(&self, start: &Path) -> Result<(PathBuf, Vec<Input>), Failure> {
        for directory in start.ancestors() {
            let found = NAMES.iter().map(|name| directory.join(name)).find(|path| path.is_file());
            let Some(path) = found else { continue };
            let input = |path: PathBuf| Input { shown: self.shown(&path), path, text: None };
            let over =
                OVERRIDES.iter().map(|name| directory.join(name)).find(|path| path.is_file());
            let inputs = [Some(path), over].into_iter().flatten().map(input).collect();
            return Ok((directory.to_path_buf(), inputs));
        }
        Err(format!(
            "no configuration file provided: there is no {} in {} or above it (give one with -f)",
            NAMES.join(", "),
            start.display()
        ))
    }

    /// Adds what the files of variables have; the process's own environment goes before.
    fn read_env_files(
        &self,
        directory: &Path,
        environment: &mut Environment,
    ) -> Result<Vec<PathBuf>, Failure> {
        let mut names = self.env_files.clone();
        if names.is_empty()
            && let Some(list) = environment.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty())
        {
            names = list.split(',').map(str::to_owned).collect();
        }
        let paths: Vec<PathBuf> = if names.is_empty() {
            let disabled = environment
                .get("COMPOSE_DISABLE_ENV_FILE")
                .is_some_and(|one| one == "1" || one == "true");
            let path = directory.join(".env");
            Some(path).filter(|path| !disabled && path.is_file()).into_iter().collect()
        } else {
            names.iter().map(|name| self.absolute(name)).collect()
        };
        let mut found = Environment::new();
        for path in &paths {
            if !path.exists() {
                return Err(format!("couldn't find env file: {}", path.display()));
            }
            let pairs = env_file(path, &|name| environment.get(name).cloned(), &|name| {
                found.get(name).cloned()
            })?;
            found.extend(pairs);
        }
        for (name, value) in found {
            environment.entry(name).or_insert(value);
        }
        Ok(paths)
    }

    /// Whether there is a compose file, given or found.
    pub(crate) fn has_file(&self) -> bool {
        self.find_files(&self.environment).is_ok()
    }

    /// Reads the project.
    ///
    /// # Errors
    /// Every mistake that was found, as text for the person.
    pub(crate) fn load(&self) -> Result<Project, Failure> {
        let mut environment = self.environment.clone();
        let mut env_files = self.read_env_files(&self.current, &mut environment)?;
        let (inputs, directory) = self.find_files(&environment)?;
        if directory != self.current {
            for path in self.read_env_files(&directory, &mut environment)? {
                if !env_files.contains(&path) {
                    env_files.push(path);
                }
            }
        }
        let steps = Steps { interpolate: self.interpolate, paths: self.paths };
        let home = environment.get("HOME").cloned();
        let mut loader = Loader::new(steps, home);
        let name = self.project_name(&inputs, &directory, &environment)?;
        environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
        let mut root = loader.files(&inputs, &directory, &environment, &[]);
        if !loader.mistakes.is_empty() {
            return Err(Mistakes { list: loader.mistakes }.show(&loader.sources));
        }
        settle(&mut root, &[]);
        let files = inputs.iter().map(|input| input.path.clone()).collect();
        self.finish(root, loader, name, directory, files, env_files, environment)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of what it makes")]
    fn finish(
        &self,
        mut root: Node,
        mut loader: Loader,
        name: String,
        directory: PathBuf,
        files: Vec<PathBuf>,
        env_files: Vec<PathBuf>,
        environment: Environment,
    ) -> Result<Project, Failure> {
        let mut profiles = self.profiles.clone();
        if profiles.is_empty()
            && let Some(list) = environment.get("COMPOSE_PROFILES")
        {
            profiles = list
                .split(',')
                .map(|one| one.trim().to_owned())
                .filter(|one| !one.is_empty())
                .collect();
        }
        if self.all_profiles {
            profiles.push("*".to_owned());
        }
        let all_services = root.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
        let disabled = match self.normalize {
            true => select(&mut root, &profiles, &self.services),
            false => BTreeSet::new(),
        };
        if self.normalize {
            let mut context = Context {
                project: &name,
                directory: &directory,
                environment: &environment,
                resolve_environment: self.resolve_environment,
                resolve_paths: self.paths,
                mistakes: Vec::new(),
            };
            context.normalize(&mut root);
            loader.mistakes.append(&mut context.mistakes);
        }
        if self.consistency {
            let (mistakes, warnings) = check::check(&root, &all_services, &disabled);
            loader.mistakes.extend(mistakes);
            loader.warnings.extend(warnings);
        }
        if !loader.mistakes.is_empty() {
            return Err(Mistakes { list: loader.mistakes }.show(&loader.sources));
        }
        if self.normalize && !self.all_resources {
            drop_unused(&mut root);
        }
        prune(&mut root, &FILE);
        Ok(Project {
            name,
            directory,
            files,
            env_files,
            environment,
            root,
            all_services,
            variables: loader.variables,
            sources: loader.sources,
            warnings: loader.warnings,
        })
    }

    /// `-p`, `COMPOSE_PROJECT_NAME`, `name:` of the last file that has one, the directory.
    fn project_name(
        &self,
        inputs: &[Input],
        directory: &Path,
        environment: &Environment,
    ) -> Result<String, Failure> {
        let given = self.name.clone().or_else(|| environment.get("COMPOSE_PROJECT_NAME").cloned());
        if let Some(given) = given.filter(|name| !name.is_empty()) {
            return match normalize_name(&given) == given {
                true => Ok(given),
                false => Err(invalid_name(&given)),
            };
        }
        let mut found = None;
        for input in inputs {
            let text = match &input.text {
                Some(text) => text.clone(),
                None => crate::load::read(&input.path).unwrap_or_default(),
            };
            let documents = crate::yaml::parse(&text, 0).unwrap_or_default();
            let mut names = documents.iter().filter_map(|one| one.text_of("name"));
            found = names.next_back().map(str::to_owned).or(found);
        }
        if let Some(name) = found {
            let lookup = |name: &str| environment.get(name).cloned();
            let replaced = match self.interpolate {
                true => Variables::new(&lookup).replace(&name).unwrap_or_default(),
                false => name,
            };
            if !replaced.is_empty() {
                return match normalize_name(&replaced) {
                    name if name.is_empty() => Err(invalid_name(&replaced)),
                    name => Ok(name),
                };
            }
        }
        let base = directory
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        match normalize_name(&base) {
            name if name.is_empty() => {
                Err("project name must not be empty: give one with -p, or as \"name:\" in the file"
                    .to_owned())
            }
            name => Ok(name),
        }
    }
}

fn invalid_name(name: &str) -> Failure {
    format!(
        "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, \
         and underscores as well as start with a letter or number"
    )
}

fn normalize_name(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    let kept: String = kept.collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

impl Project {
    /// The services that are active.
    pub(crate) fn services(&self) -> Vec<&String> {
        self.root
            .get("services")
            .and_then(Node::as_map)
            .map(|map| map.keys().collect())
            .unwrap_or_default()
    }

    /// Keeps only these services and what they depend on; all where none is named.
    ///
    /// # Errors
    /// A name that no service has.
    pub(crate) fn keep_named(&mut self, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        let Some(services) = self
            .root
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .and_then(Node::as_map_mut)
        else {
            return Ok(());
        };
        let mut wanted: Vec<String> = Vec::new();
        let mut rest: Vec<String> = names.to_vec();
        while let Some(name) = rest.pop() {
            if wanted.contains(&name) {
                continue;
            }
            let Some(service) = services.get(&name) else {
                if names.contains(&name) {
                    let hint = crate::normalize::hint(&name, services.keys());
                    return Err(format!("no such service: {name}{hint}"));
                }
                continue;
            };
            let dependencies = service.get("depends_on").and_then(Node::as_map);
            rest.extend(dependencies.into_iter().flat_map(Map::keys).cloned());
            wanted.push(name);
        }
        services.retain(|name, _| wanted.contains(name));
        drop_unused(&mut self.root);
        Ok(())
    }

    /// Keeps only these services; all where none is named.
    ///
    /// # Errors
    /// A name that no service has.
    pub(crate) fn keep_only(&mut self, names: &[String]) -> Result<(), Failure> {
        self.keep_named(names)?;
        let services = self
            .root
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .and_then(Node::as_map_mut);
        if let Some(services) = services
            && !names.is_empty()
        {
            services.retain(|name, _| names.contains(name));
            drop_unused(&mut self.root);
        }
        Ok(())
    }

    /// A project of which only the name is known.
    pub(crate) fn bare(name: &str, caller: &crate::run::Caller) -> Self {
        Self {
            name: name.to_owned(),
            directory: caller.current.clone(),
            files: Vec::new(),
            env_files: Vec::new(),
            environment: caller.environment.clone(),
            root: Node::map(Map::new(), crate::source::Place::default()),
            all_services: Map::new(),
            variables: std::collections::BTreeMap::new(),
            sources: Sources::default(),
            warnings: Vec::new(),
        }
    }

    /// The image of each service: its own, or the one that is built for it.
    pub(crate) fn images(&self) -> Vec<String> {
        let services = self.root.get("services").and_then(Node::as_map);
        let mut images: Vec<String> = services
            .into_iter()
            .flatten()
            .map(|(name, service)| match service.text_of("image") {
                Some(image) => image.to_owned(),
                None => format!("{}-{name}", self.name),
            })
            .collect();
        images.sort();
        images.dedup();
        images
    }

    /// Every profile of any service.
    pub(crate) fn profiles(&self) -> BTreeSet<String> {
        self.all_services.values().flat_map(profiles_of).collect()
    }
}
