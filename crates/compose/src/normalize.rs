//! What the files leave unsaid: names, the default network, dependencies, environments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::canonical::{absolute, added};
use crate::load::{Environment, env_file, read};
use crate::node::{Map, Node, Value};
use crate::source::{Diagnostic, Place, nearest};

/// What the steps after merging need to know.
pub(crate) struct Context<'a> {
    pub(crate) project: &'a str,
    pub(crate) directory: &'a Path,
    pub(crate) environment: &'a Environment,
    pub(crate) resolve_environment: bool,
    pub(crate) resolve_paths: bool,
    pub(crate) mistakes: Vec<Diagnostic>,
}

fn text(value: &str, place: Place) -> Node {
    added(Value::Text(value.to_owned()), place)
}

/// The map below `key`, made where it is missing.
fn section<'a>(map: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    let place = Place::default();
    map.entry(key.to_owned()).or_insert_with(|| Node::map(Map::new(), place)).as_map_mut()
}

impl Context<'_> {
    /// Fills in defaults. The tree is merged and settled.
    pub(crate) fn normalize(&mut self, root: &mut Node) {
        let Some(map) = root.as_map_mut() else { return };
        map.insert("name".to_owned(), text(self.project, Place::default()));
        let mut default_network = false;
        if let Some(services) = section(map, "services") {
            for (name, service) in services.iter_mut() {
                let path = format!("services.{name}");
                if let Some(service) = service.as_map_mut() {
                    default_network |= self.service(service, &path);
                }
            }
        }
        if let Some(networks) = section(map, "networks")
            && default_network
        {
            let place = Place::default();
            networks.entry("default".to_owned()).or_insert_with(|| Node::map(Map::new(), place));
        }
        for key in ["networks", "volumes", "secrets", "configs"] {
            let Some(resources) = section(map, key) else { continue };
            for (name, resource) in resources.iter_mut() {
                let place = resource.place;
                let Some(resource) = resource.as_map_mut() else { continue };
                let external = resource.get("external").and_then(Node::as_bool) == Some(true);
                let own = match external {
                    true => name.clone(),
                    false => format!("{}_{name}", self.project),
                };
                resource.entry("name".to_owned()).or_insert_with(|| text(&own, place));
                if key == "volumes" {
                    self.volume_device(resource);
                }
            }
        }
    }

    /// A local volume of the option `o: bind` is a directory of the host.
    fn volume_device(&self, volume: &mut Map) {
        let local = volume.get("driver").and_then(Node::as_text).is_none_or(|one| one == "local");
        let Some(options) = volume.get_mut("driver_opts").and_then(Node::as_map_mut) else {
            return;
        };
        let bind = options.get("o").and_then(Node::as_text).is_some_and(|one| one == "bind");
        if let Some(device) = options.get_mut("device")
            && local
            && bind
            && self.resolve_paths
            && let Value::Text(path) = &device.value
        {
            device.value = Value::Text(absolute(self.directory, None, path));
        }
    }

    /// Whether it is on the default network.
    fn service(&mut self, service: &mut Map, path: &str) -> bool {
        if service.get("pull_policy").and_then(Node::as_text) == Some("if_not_present")
            && let Some(policy) = service.get_mut("pull_policy")
        {
            policy.value = Value::Text("missing".to_owned());
        }
        self.build(service);
        self.devices(service);
        self.dependencies(service);
        if self.resolve_environment {
            self.environment(service, path);
            self.labels(service, path);
        }
        let networks =
            service.get("networks").and_then(Node::as_map).is_some_and(|map| !map.is_empty());
        let mode = service.get("network_mode").is_some_and(|mode| mode.as_text() != Some(""));
        let provider = service.contains_key("provider");
        if networks || mode || provider {
            return service
                .get("networks")
                .is_some_and(|networks| networks.get("default").is_some());
        }
        let map = Map::from([("default".to_owned(), added(Value::Null, Place::default()))]);
        service.insert("networks".to_owned(), Node::map(map, Place::default()));
        true
    }

    fn build(&self, service: &mut Map) {
        let Some(build) = service.get_mut("build") else { return };
        let place = build.place;
        let Some(build) = build.as_map_mut() else { return };
        if !build.contains_key("context") && !build.contains_key("dockerfile_inline") {
            let context = match self.resolve_paths {
                true => self.directory.display().to_string(),
                false => ".".to_owned(),
            };
            build.insert("context".to_owned(), text(&context, place));
        } else if !build.contains_key("context") {
            build.insert("context".to_owned(), text(&self.directory.display().to_string(), place));
        }
        if !build.contains_key("dockerfile") && !build.contains_key("dockerfile_inline") {
            build.insert("dockerfile".to_owned(), text("Dockerfile", place));
        }
        if let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) {
            for (name, value) in args.iter_mut() {
                if value.is_null()
                    && let Some(found) = self.environment.get(name)
                {
                    value.value = Value::Text(found.clone());
                }
            }
            args.retain(|_, value| !value.is_null());
        }
    }

    /// Without a count and without ids all devices are meant.
    fn devices(&self, service: &mut Map) {
        let reservations = service
            .get_mut("deploy")
            .and_then(Node::as_map_mut)
            .and_then(|map| map.get_mut("resources"))
            .and_then(Node::as_map_mut)
            .and_then(|map| map.get_mut("reservations"))
            .and_then(Node::as_map_mut)
            .and_then(|map| map.get_mut("devices"));
        if let Some(Node { value: Value::List(list), .. }) = reservations {
            list.iter_mut().for_each(crate::canonical::device_request);
        }
    }

    /// Links, shared namespaces and volumes of others are dependencies.
    fn dependencies(&self, service: &mut Map) {
        let mut implied: Vec<(String, bool, Place)> = Vec::new();
        let texts = |service: &Map, key: &str| -> Vec<(String, Place)> {
            let list = service.get(key).and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(|one| Some((one.as_text()?.to_owned(), one.place))).collect()
        };
        for (link, place) in texts(service, "links") {
            let name = link.split(':').next().unwrap_or_default().to_owned();
            implied.push((name, true, place));
        }
        for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
            if let Some(node) = service.get(key)
                && let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:"))
            {
                implied.push((name.to_owned(), true, node.place));
            }
        }
        for (from, place) in texts(service, "volumes_from") {
            if !from.starts_with("container:") {
                let name = from.split(':').next().unwrap_or_default().to_owned();
                implied.push((name, false, place));
            }
        }
        if implied.is_empty() {
            return;
        }
        let Some(dependencies) = section(service, "depends_on") else { return };
        for (name, restart, place) in implied {
            let mut map = Map::from([
                ("condition".to_owned(), text("service_started", place)),
                ("required".to_owned(), added(Value::Bool(true), place)),
            ]);
            if restart {
                map.insert("restart".to_owned(), added(Value::Bool(true), place));
            }
            dependencies.entry(name).or_insert_with(|| Node::map(map, place));
        }
    }

    /// `env_file` and `environment` into one; names without a value take the project's.
    fn environment(&mut self, service: &mut Map, path: &str) {
        let files = service.remove("env_file");
        let mut merged: BTreeMap<String, Node> = BTreeMap::new();
        for (index, file) in files.iter().filter_map(Node::as_list).flatten().enumerate() {
            let path = format!("{path}.env_file[{index}]");
            let Some(name) = file.text_of("path") else { continue };
            let place = file.place;
            let file_path = Path::new(name);
            if !file_path.exists() {
                if file.get("required").and_then(Node::as_bool) != Some(false) {
                    let message =
                        format!("the file {name} is not there (required: false allows that)");
                    self.mistakes.push(Diagnostic::new(place, &path, message));
                }
                continue;
            }
            let pairs = match file.text_of("format") {
                Some("raw") => read(file_path).map(|text| raw(&text)),
                _ => {
                    let own = |name: &str| merged.get(name)?.as_text().map(str::to_owned);
                    env_file(file_path, &|name| self.environment.get(name).cloned(), &own)
                }
            };
            match pairs {
                Ok(pairs) => {
                    merged
                        .extend(pairs.into_iter().map(|(name, value)| (name, text(&value, place))));
                }
                Err(problem) => self.mistakes.push(Diagnostic::new(place, &path, problem)),
            }
        }
        if let Some(Value::Map(own)) = service.remove("environment").map(|node| node.value) {
            for (name, mut node) in own {
                if node.is_null()
                    && let Some(value) = self.environment.get(&name)
                {
                    node.value = Value::Text(value.clone());
                }
                merged.insert(name, node);
            }
        }
        if !merged.is_empty() {
            service.insert("environment".to_owned(), Node::map(merged, Place::default()));
        }
    }

    fn labels(&mut self, service: &mut Map, path: &str) {
        let Some(files) = service.remove("label_file") else { return };
        let mut merged = Map::new();
        for (index, file) in files.as_list().unwrap_or_default().iter().enumerate() {
            let Some(name) = file.as_text() else { continue };
            let absolute = absolute(self.directory, None, name);
            match env_file(Path::new(&absolute), &|_| None, &|_| None) {
                Ok(pairs) => {
                    merged.extend(
                        pairs.into_iter().map(|(name, value)| (name, text(&value, file.place))),
                    );
                }
                Err(problem) => {
                    let path = format!("{path}.label_file[{index}]");
                    self.mistakes.push(Diagnostic::new(file.place, &path, problem));
                }
            }
        }
        if let Some(Value::Map(own)) = service.remove("labels").map(|node| node.value) {
            merged.extend(own);
        }
        if !merged.is_empty() {
            service.insert("labels".to_owned(), Node::map(merged, Place::default()));
        }
    }
}

/// Lines of `NAME=VALUE` as they stand.
fn raw(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Removes services whose profiles are not active, and those that nobody asked for. What was
/// asked for by name is active. Returns the names of the disabled ones.
pub(crate) fn select(root: &mut Node, profiles: &[String], named: &[String]) -> BTreeSet<String> {
    let mut disabled = BTreeSet::new();
    let Some(services) =
        root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut)
    else {
        return disabled;
    };
    // Naming a service activates its profiles.
    let mut active: BTreeSet<String> = profiles.iter().cloned().collect();
    for name in named {
        if let Some(service) = services.get(name) {
            active.extend(profiles_of(service));
        }
    }
    services.retain(|name, service| {
        let own = profiles_of(service);
        let kept = own.is_empty()
            || active.contains("*")
            || own.iter().any(|one| active.contains(one))
            || named.contains(name);
        if !kept {
            disabled.insert(name.clone());
        }
        kept
    });
    disabled
}

/// The profiles of a service.
pub(crate) fn profiles_of(service: &Node) -> Vec<String> {
    let list = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
    list.iter().filter_map(Node::as_text).map(str::to_owned).collect()
}

/// Drops resources that no service uses.
pub(crate) fn drop_unused(root: &mut Node) {
    let Some(map) = root.as_map_mut() else { return };
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let services = map.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
    for service in services.values() {
        let networks = service.get("networks").and_then(Node::as_map);
        used.entry("networks")
            .or_default()
            .extend(networks.into_iter().flat_map(|map| map.keys().cloned()));
        for mount in service.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            if mount.text_of("type") == Some("volume") {
                used.entry("volumes")
                    .or_default()
                    .extend(mount.text_of("source").map(str::to_owned));
            }
        }
        for key in ["secrets", "configs"] {
            let own = service.get(key).and_then(Node::as_list).unwrap_or_default();
            let build = service.get("build").and_then(|build| build.get(key));
            let build = build.and_then(Node::as_list).unwrap_or_default();
            let sources = own.iter().chain(build).filter_map(|one| one.text_of("source"));
            used.entry(key).or_default().extend(sources.map(str::to_owned));
        }
        let models = service.get("models").and_then(Node::as_map);
        used.entry("models")
            .or_default()
            .extend(models.into_iter().flat_map(|map| map.keys().cloned()));
    }
    for key in ["networks", "volumes", "secrets", "configs", "models"] {
        let wanted = used.remove(key).unwrap_or_default();
        if let Some(resources) = map.get_mut(key).and_then(Node::as_map_mut) {
            resources.retain(|name, _| wanted.contains(name));
        }
    }
}

/// ", did you mean ...", or nothing.
pub(crate) fn hint<'a>(wanted: &str, names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    nearest(wanted, names.into_iter())
        .map_or(String::new(), |one| format!("; did you mean {one:?}?"))
}
