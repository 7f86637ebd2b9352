//! From files to one merged tree: interpolation, `extends`, `include`, several files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::canonical::{Reading, absolute};
use crate::interpolate::{Use, Variables, uses};
use crate::merge::merge;
use crate::node::{Map, Node, Value};
use crate::schema::FILE;
use crate::source::{Diagnostic, Place, Sources};
use crate::{dotenv, yaml};

/// Environment of a project.
pub(crate) type Environment = BTreeMap<String, String>;

/// How deep files may include or extend each other.
const DEPTH: usize = 32;
/// The largest compose file that is read, in bytes.
pub(crate) const FILE_SIZE: u64 = 16 << 20;

/// What is left out on request of `config`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) interpolate: bool,
    pub(crate) paths: bool,
}

/// Reads files into one tree.
pub(crate) struct Loader {
    pub(crate) sources: Sources,
    pub(crate) mistakes: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Every variable that was used.
    pub(crate) variables: BTreeMap<String, Use>,
    pub(crate) steps: Steps,
    pub(crate) home: Option<String>,
    missing: Vec<String>,
    /// Files that were read for `extends`, by path and directory.
    extended: BTreeMap<PathBuf, Option<Node>>,
}

/// A file that is read: how it is shown, and where it is. Standard input has no path.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) shown: String,
    pub(crate) path: PathBuf,
    pub(crate) text: Option<String>,
}

impl Loader {
    pub(crate) fn new(steps: Steps, home: Option<String>) -> Self {
        Self {
            sources: Sources::default(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            variables: BTreeMap::new(),
            steps,
            home,
            missing: Vec::new(),
            extended: BTreeMap::new(),
        }
    }

    fn wrong(&mut self, place: Place, path: &str, message: impl std::fmt::Display) {
        self.mistakes.push(Diagnostic::new(place, path, message));
    }

    /// Several files into one tree. Paths are below `base`.
    pub(crate) fn files(
        &mut self,
        inputs: &[Input],
        base: &Path,
        environment: &Environment,
        including: &[PathBuf],
    ) -> Node {
        let mut whole = Node::map(Map::new(), Place::default());
        for input in inputs {
            let chain: Vec<PathBuf> =
                including.iter().cloned().chain([input.path.clone()]).collect();
            for mut document in self.documents(input, base, environment) {
                self.extend_services(&mut document, &whole, input, environment);
                self.include(&mut document, base, environment, &chain);
                let old = std::mem::replace(&mut whole, Node::map(Map::new(), Place::default()));
                if let Some(merged) = merge(old, document, &[]) {
                    whole = merged;
                }
            }
        }
        whole
    }

    /// The documents of a file, interpolated and in their long form.
    fn documents(&mut self, input: &Input, base: &Path, environment: &Environment) -> Vec<Node> {
        let text = match &input.text {
            Some(text) => text.clone(),
            None => match read(&input.path) {
                Ok(text) => text,
                Err(problem) => {
                    let file = self.sources.add(&input.shown, "");
                    self.wrong(Place { file, ..Place::default() }, "", problem);
                    return Vec::new();
                }
            },
        };
        let file = self.sources.add(&input.shown, &text);
        let documents = match yaml::parse(&text, file) {
            Ok(documents) => documents,
            Err(mistakes) => {
                self.mistakes.extend(mistakes);
                return Vec::new();
            }
        };
        let empty = documents.iter().all(Node::is_null);
        if empty {
            self.wrong(Place { file, ..Place::default() }, "", "the file is empty");
            return Vec::new();
        }
        documents
            .into_iter()
            .filter_map(|document| self.document(document, base, environment))
            .collect()
    }

    fn document(
        &mut self,
        mut document: Node,
        base: &Path,
        environment: &Environment,
    ) -> Option<Node> {
        if document.as_map().is_none() {
            let kind = document.describe();
            let message =
                format!("a compose file is a mapping with \"services\", but this is {kind}");
            self.wrong(document.place, "", message);
            return None;
        }
        uses(&document, &mut self.variables);
        if self.steps.interpolate {
            let lookup = |name: &str| environment.get(name).cloned();
            let mut variables = Variables::new(&lookup);
            variables.replace_all(&mut document, "", &mut self.mistakes);
            for name in variables.missing {
                if !self.missing.contains(&name) {
                    let message =
                        format!("The {name:?} variable is not set. Defaulting to a blank string.");
                    self.warnings.push(Diagnostic::new(Place::default(), "", message));
                    self.missing.push(name);
                }
            }
        }
        if let Some(version) = document.get("version") {
            let message =
                "the attribute \"version\" is obsolete, it will be ignored, please remove it";
            self.warnings.push(Diagnostic::new(version.key, "", message));
        }
        let mut reading = Reading {
            base: self.steps.paths.then_some(base),
            home: self.home.as_deref(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        let mut read = reading.canonical(&document, &FILE, "");
        let Reading { mistakes, warnings, .. } = reading;
        self.mistakes.extend(mistakes);
        self.warnings.extend(warnings);
        if let Some(map) = read.as_mut().and_then(Node::as_map_mut) {
            map.remove("version");
            self.split_external(map);
        }
        read
    }

    /// `external: {name: x}` is an old form of `external: true` and `name: x`.
    fn split_external(&mut self, map: &mut Map) {
        for section in ["networks", "volumes", "secrets", "configs"] {
            let Some(resources) = map.get_mut(section).and_then(Node::as_map_mut) else { continue };
            for (name, resource) in resources {
                let Some(resource) = resource.as_map_mut() else { continue };
                let Some(external) = resource.get_mut("external") else { continue };
                let Some(old) = external.as_map().cloned() else { continue };
                let place = external.place;
                external.value = Value::Bool(true);
                let message = "external.name is an old form: write external: true and name";
                let path = format!("{section}.{name}");
                self.warnings.push(Diagnostic::new(place, &path, message));
                if let Some(old) = old.get("name").cloned() {
                    resource.insert("name".to_owned(), old);
                }
            }
        }
    }

    // --- extends

    fn extend_services(
        &mut self,
        document: &mut Node,
        whole: &Node,
        input: &Input,
        environment: &Environment,
    ) {
        let Some(services) = document.get("services").and_then(Node::as_map).cloned() else {
            return;
        };
        let mut extended = Map::new();
        for (name, service) in &services {
            let mut chain = vec![(input.path.clone(), name.clone())];
            let service = self.extend(
                name,
                service.clone(),
                &services,
                whole,
                input,
                environment,
                &mut chain,
            );
            extended.insert(name.clone(), service);
        }
        if let Some(node) = document.as_map_mut().and_then(|map| map.get_mut("services")) {
            node.value = Value::Map(extended);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one recursion: what it looks in and where it is")]
    fn extend(
        &mut self,
        name: &str,
        mut service: Node,
        services: &Map,
        whole: &Node,
        input: &Input,
        environment: &Environment,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Node {
        let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
            return service;
        };
        let path = format!("services.{name}.extends");
        let Some(wanted) = extends.text_of("service").map(str::to_owned) else {
            self.wrong(extends.place, &path, "has no \"service\"");
            return service;
        };
        let place = extends.place;
        let (file, others, shown) = match extends.text_of("file") {
            None => (input.path.clone(), None, input.shown.clone()),
            Some(file) => {
                let directory = input.path.parent().unwrap_or(Path::new("/"));
                let path = PathBuf::from(absolute(directory, self.home.as_deref(), file));
                let node = self.extended_file(&path, file, environment);
                (path, node, file.to_owned())
            }
        };
        if extends.text_of("file").is_some() && others.is_none() {
            // Its own mistake says why.
            return service;
        }
        if chain.len() > DEPTH || chain.contains(&(file.clone(), wanted.clone())) {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            let message = format!(
                "services extend each other in a circle: {} -> {wanted}",
                names.join(" -> ")
            );
            self.wrong(place, &path, message);
            return service;
        }
        let section =
            others.as_ref().and_then(|node| node.get("services")).and_then(Node::as_map).cloned();
        let services = section.as_ref().unwrap_or(services);
        let earlier = || {
            whole.get("services").and_then(|node| node.get(&wanted)).filter(|_| others.is_none())
        };
        let Some(base) = services.get(&wanted).or_else(earlier).cloned() else {
            let meant = crate::source::nearest(&wanted, services.keys().map(String::as_str));
            let hint = meant.map_or(String::new(), |one| format!("; did you mean {one:?}?"));
            self.wrong(place, &path, format!("{shown} has no service {wanted:?}{hint}"));
            return service;
        };
        chain.push((file.clone(), wanted.clone()));
        let input = Input { shown, path: file, text: None };
        let base = self.extend(&wanted, base, services, whole, &input, environment, chain);
        chain.pop();
        merge(base, service.clone(), &["services", name]).unwrap_or(service)
    }

    /// The tree of a file that a service extends; read once.
    fn extended_file(
        &mut self,
        path: &Path,
        shown: &str,
        environment: &Environment,
    ) -> Option<Node> {
        if let Some(known) = self.extended.get(path) {
            return known.clone();
        }
        let input = Input { shown: shown.to_owned(), path: path.to_path_buf(), text: None };
        let base = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let documents = self.documents(&input, &base, environment);
        let empty = Node::map(Map::new(), Place::default());
        let whole = match documents.is_empty() {
            true => None,
            false => documents.into_iter().try_fold(empty, |whole, one| merge(whole, one, &[])),
        };
        self.extended.insert(path.to_path_buf(), whole.clone());
        whole
    }

    // --- include

    fn include(
        &mut self,
        document: &mut Node,
        base: &Path,
        environment: &Environment,
        chain: &[PathBuf],
    ) {
        let Some(includes) = document.as_map_mut().and_then(|map| map.remove("include")) else {
            return;
        };
        for (index, include) in includes.as_list().unwrap_or_default().iter().enumerate() {
            let path = format!("include[{index}]");
            if let Some(included) = self.included(include, &path, base, environment, chain) {
                self.import(document, included, include.place, &path);
            }
        }
    }

    fn included(
        &mut self,
        include: &Node,
        path: &str,
        base: &Path,
        environment: &Environment,
        chain: &[PathBuf],
    ) -> Option<Node> {
        let texts = |key: &str| -> Vec<String> {
            let list = include.get(key).and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::as_text).map(str::to_owned).collect()
        };
        let names = texts("path");
        let home = self.home.clone();
        let inputs: Vec<Input> = names
            .iter()
            .map(|name| {
                let path = PathBuf::from(absolute(base, home.as_deref(), name));
                Input { shown: name.clone(), path, text: None }
            })
            .collect();
        let Some(first) = inputs.first() else {
            self.wrong(include.place, path, "has no \"path\"");
            return None;
        };
        if let Some(remote) =
            names.iter().find(|name| name.contains("://") || name.starts_with("git@"))
        {
            self.wrong(
                include.place,
                path,
                format!("{remote:?}: files are included from this machine only"),
            );
            return None;
        }
        if chain.len() > DEPTH || chain.contains(&first.path) {
            let shown: Vec<String> = chain.iter().map(|one| one.display().to_string()).collect();
            let message = format!(
                "files include each other in a circle: {} -> {}",
                shown.join(" -> "),
                first.path.display()
            );
            self.wrong(include.place, path, message);
            return None;
        }
        let directory = match include.text_of("project_directory") {
            Some(directory) => PathBuf::from(absolute(base, home.as_deref(), directory)),
            None => first.path.parent().unwrap_or(base).to_path_buf(),
        };
        let mut own = environment.clone();
        let given = texts("env_file");
        let files: Vec<PathBuf> = match given.is_empty() {
            true => {
                Some(directory.join(".env")).filter(|path| path.is_file()).into_iter().collect()
            }
            false => given
                .iter()
                .map(|name| PathBuf::from(absolute(base, home.as_deref(), name)))
                .collect(),
        };
        for file in files {
            match env_file(&file, &|name| environment.get(name).cloned(), &|_| None) {
                Ok(pairs) => {
                    for (name, value) in pairs {
                        own.entry(name).or_insert(value);
                    }
                }
                Err(problem) => self.wrong(include.place, path, problem),
            }
        }
        Some(self.files(&inputs, &directory, &own, chain))
    }

    /// Takes the resources of an included file; two of one name must be equal.
    fn import(&mut self, document: &mut Node, mut included: Node, place: Place, path: &str) {
        let (Some(target), Some(source)) = (document.as_map_mut(), included.as_map_mut()) else {
            return;
        };
        for section in ["services", "networks", "volumes", "secrets", "configs", "models"] {
            let Some(Value::Map(resources)) = source.remove(section).map(|node| node.value) else {
                continue;
            };
            let node =
                target.entry(section.to_owned()).or_insert_with(|| Node::map(Map::new(), place));
            let Some(known) = node.as_map_mut() else { continue };
            for (name, resource) in resources {
                match known.get(&name) {
                    Some(other) if *other != resource => {
                        let there = self.sources.show(other.key);
                        let message = format!(
                            "{section}.{name} of the included file is not the one of {there}"
                        );
                        self.mistakes.push(Diagnostic::new(place, path, message));
                    }
                    Some(_) => {}
                    None => {
                        known.insert(name, resource);
                    }
                }
            }
        }
    }
}

/// The text of a file, which must be UTF-8 and of a sane size.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let meta =
        std::fs::metadata(path).map_err(|e| format!("cannot read {shown}: {}", plain(&e)))?;
    if meta.is_dir() {
        return Err(format!("cannot read {shown}: it is a directory"));
    }
    if meta.len() > FILE_SIZE {
        return Err(format!("cannot read {shown}: it has more than {} MiB", FILE_SIZE >> 20));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {shown}: {}", plain(&e)))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!("{shown} is not UTF-8: the byte {at} is part of no character")
    })
}

/// An error of the system without Rust's number behind it.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// Reads an environment file.
pub(crate) fn env_file(
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    earlier: &dyn Fn(&str) -> Option<String>,
) -> Result<dotenv::Pairs, String> {
    let text = read(path)?;
    dotenv::parse(&text, lookup, earlier)
        .map_err(|(line, problem)| format!("{}:{line}: {problem}", path.display()))
}
