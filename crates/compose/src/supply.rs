//! What containers need before they are made: images, networks, volumes.

use std::collections::BTreeMap;

use crate::graph::at_once;
use crate::hash::digest;
use crate::node::Node;
use crate::project::Failure;
use crate::session::{LABEL, Session, engine};
use crate::source::Diagnostic;
use crate::words::texts;

/// How images come here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    /// Build what has a `build`.
    pub(crate) build: bool,
    /// Build nothing.
    pub(crate) no_build: bool,
    /// `--pull`; `None` is each service's own policy.
    pub(crate) pull: Option<String>,
    pub(crate) quiet_pull: bool,
    pub(crate) quiet_build: bool,
}

/// Flags of `build`.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildFlags {
    pub(crate) args: Vec<String>,
    pub(crate) no_cache: bool,
    pub(crate) pull: bool,
    pub(crate) push: bool,
    pub(crate) quiet: bool,
    pub(crate) ssh: Option<String>,
    pub(crate) progress: Option<String>,
}

impl Session<'_> {
    /// Whether the image is in the store.
    fn has_image(&self, image: &str) -> bool {
        self.home.images().is_ok_and(|store| store.find(image).is_ok())
    }

    /// Builds and pulls what is needed.
    ///
    /// # Errors
    /// Which image of which service is not to be had.
    pub(crate) fn images(&self, supply: &Supply) -> Result<(), Failure> {
        let mut pulls: BTreeMap<String, (String, bool)> = BTreeMap::new();
        let mut builds = Vec::new();
        for (name, service) in self.project.section("services") {
            let image = self.project.image_of(name, service);
            let own = service.text_of("pull_policy").unwrap_or("missing");
            let policy = supply.pull.as_deref().unwrap_or(own);
            let has_build = service.get("build").is_some() && !supply.no_build;
            let there = || self.has_image(&image);
            if has_build && (supply.build || policy == "build" || (policy != "always" && !there()))
            {
                builds.push(name.clone());
                continue;
            }
            match policy {
                "never" if there() => {}
                "never" => {
                    let message =
                        format!("the image {image} is not here, and pull_policy is never");
                    return Err(self.at(service, &format!("services.{name}"), &message));
                }
                "always" => {
                    pulls.insert(image, (name.clone(), service.get("build").is_some()));
                }
                _ if there() => {}
                _ if service.get("build").is_some() && service.text_of("image").is_none() => {
                    let message =
                        format!("the image {image} is not built, and --no-build was given");
                    return Err(self.at(service, &format!("services.{name}"), &message));
                }
                _ => {
                    pulls.insert(image, (name.clone(), false));
                }
            }
        }
        let list: Vec<(&String, &(String, bool))> = pulls.iter().collect();
        at_once(
            &list,
            &|(image, (name, optional))| match self.pull(name, image, supply.quiet_pull) {
                Err(_) if *optional => Ok(()),
                other => other,
            },
        )?;
        let flags = BuildFlags { quiet: supply.quiet_build, ..BuildFlags::default() };
        builds.iter().try_for_each(|name| self.build(name, &flags))
    }

    /// A failure at the place of a node.
    pub(crate) fn at(&self, node: &Node, path: &str, message: &str) -> Failure {
        Diagnostic::new(node.key, path, message).line(&self.project.sources)
    }

    /// Pulls the image of a service.
    pub(crate) fn pull(&self, name: &str, image: &str, quiet: bool) -> Result<(), Failure> {
        if self.dry_run {
            self.done("Image", image, "would be pulled");
            return Ok(());
        }
        let Some(service) = self.project.section_of("services", name) else { return Ok(()) };
        let mut words = vec!["pull".to_owned(), "--quiet".to_owned()];
        if let Some(platform) = service.text_of("platform") {
            words.push(format!("--platform={platform}"));
        }
        words.push(image.to_owned());
        let pulled = self.husk.output(&words);
        pulled.map_err(|why| {
            self.at(service, &format!("services.{name}"), &format!("pull {image}: {why}"))
        })?;
        if !quiet {
            self.done("Image", image, "Pulled");
        }
        Ok(())
    }

    /// Builds the image of a service.
    pub(crate) fn build(&self, name: &str, flags: &BuildFlags) -> Result<(), Failure> {
        let Some(service) = self.project.section_of("services", name) else { return Ok(()) };
        let Some(build) = service.get("build") else { return Ok(()) };
        let image = self.project.image_of(name, service);
        let path = format!("services.{name}.build");
        if self.dry_run {
            self.done("Image", &image, "would be built");
            return Ok(());
        }
        if build.get("privileged").and_then(Node::as_bool) == Some(true) {
            return Err(self.at(
                build,
                &format!("{path}.privileged"),
                "is not supported: use entitlements",
            ));
        }
        let (words, inline) = self.build_words(name, service, build, &image, flags);
        let done = match inline {
            Some(text) => self.husk.feed(&words, text.as_bytes()),
            None if flags.quiet || self.quiet => self.husk.output(&words).map(drop),
            None => match self.husk.run(&words)? {
                0 => Ok(()),
                code => Err(format!("husk build ended with {code}")),
            },
        };
        done.map_err(|why| self.at(build, &path, &why))?;
        self.done("Image", &image, "Built");
        if flags.push {
            self.husk
                .output(&["push", "--quiet", &image])
                .map_err(|why| self.at(build, &path, &why))?;
        }
        Ok(())
    }

    fn build_words(
        &self,
        name: &str,
        service: &Node,
        build: &Node,
        image: &str,
        flags: &BuildFlags,
    ) -> (Vec<String>, Option<String>) {
        let mut words = vec!["build".to_owned(), format!("--tag={image}")];
        let context = build.text_of("context").unwrap_or(".");
        let mut each = |flag: &str, values: Vec<String>| {
            words.extend(values.into_iter().map(|value| format!("{flag}={value}")));
        };
        let pairs = |key: &str| -> Vec<String> {
            let map = build.get(key).and_then(Node::as_map);
            map.into_iter()
                .flatten()
                .map(|(name, value)| format!("{name}={}", value.scalar_text().unwrap_or_default()))
                .collect()
        };
        each("--tag", texts(build, "tags"));
        each("--build-arg", pairs("args"));
        each("--build-arg", flags.args.clone());
        each("--label", pairs("labels"));
        each(
            "--label",
            vec![format!("{LABEL}project={}", self.project.name), format!("{LABEL}service={name}")],
        );
        each("--build-context", pairs("additional_contexts"));
        each("--cache-from", texts(build, "cache_from"));
        each("--cache-to", texts(build, "cache_to"));
        each("--allow", texts(build, "entitlements"));
        each("--ssh", texts(build, "ssh"));
        each("--ssh", flags.ssh.iter().cloned().collect());
        each(
            "--add-host",
            texts(build, "extra_hosts").iter().map(|host| host.replacen('=', ":", 1)).collect(),
        );
        let mut platforms = texts(build, "platforms");
        if let Some(platform) = service.text_of("platform") {
            platforms = vec![platform.to_owned()];
        }
        each("--platform", platforms);
        for (flag, key) in [
            ("--target", "target"),
            ("--network", "network"),
            ("--shm-size", "shm_size"),
            ("--provenance", "provenance"),
            ("--sbom", "sbom"),
        ] {
            each(flag, build.get(key).and_then(Node::scalar_text).into_iter().collect());
        }
        for secret in build.get("secrets").and_then(Node::as_list).unwrap_or_default() {
            let (source, _) = crate::mounting::reference(secret, "");
            let id = secret.text_of("target").unwrap_or(&source).to_owned();
            let resource = self.project.section_of("secrets", &source);
            let from = match (
                resource.and_then(|one| one.text_of("file")),
                resource.and_then(|one| one.text_of("environment")),
            ) {
                (Some(file), _) => format!(",src={file}"),
                (None, Some(variable)) => format!(",env={variable}"),
                (None, None) => String::new(),
            };
            each("--secret", vec![format!("id={id}{from}")]);
        }
        if build.get("no_cache").and_then(Node::as_bool) == Some(true) || flags.no_cache {
            words.push("--no-cache".to_owned());
        }
        if build.get("pull").and_then(Node::as_bool) == Some(true) || flags.pull {
            words.push("--pull".to_owned());
        }
        if flags.quiet || self.quiet {
            words.push("--quiet".to_owned());
        }
        if let Some(progress) = &flags.progress {
            words.push(format!("--progress={progress}"));
        }
        let inline = build.text_of("dockerfile_inline").map(str::to_owned);
        match &inline {
            Some(_) => words.push("--file=-".to_owned()),
            None => {
                let file = build.text_of("dockerfile").unwrap_or("Dockerfile");
                let remote = crate::canonical::is_remote(context);
                let file = if remote {
                    file.to_owned()
                } else {
                    std::path::Path::new(context).join(file).display().to_string()
                };
                words.push(format!("--file={file}"));
            }
        }
        words.push(context.to_owned());
        (words, inline)
    }

    /// Makes the networks and volumes that are missing.
    ///
    /// # Errors
    /// An external one that is not there, or one that cannot be made.
    pub(crate) fn resources(&self) -> Result<(), Failure> {
        let networks = self.home.networks().map_err(engine)?.list().map_err(|e| e.to_string())?;
        for (key, node) in self.project.section("networks") {
            let name = self.project.resource_name("networks", key);
            if networks.iter().any(|network| network.name == name)
                || ["host", "none", "bridge"].contains(&name.as_str())
            {
                continue;
            }
            let path = format!("networks.{key}");
            if node.get("external").and_then(Node::as_bool) == Some(true) {
                let message = format!(
                    "network {name} declared as external, but could not be found: make it with \"husk network create {name}\""
                );
                return Err(self.at(node, &path, &message));
            }
            let words = self.network_words(key, node, &name);
            self.make("Network", &name, node, &path, &words)?;
        }
        let volumes = husk_engine::volume::Volume::all(self.home).map_err(engine)?;
        for (key, node) in self.project.section("volumes") {
            let name = self.project.resource_name("volumes", key);
            if volumes.iter().any(|volume| volume.name == name) {
                continue;
            }
            let path = format!("volumes.{key}");
            if node.get("external").and_then(Node::as_bool) == Some(true) {
                let message = format!(
                    "external volume {name} not found: make it with \"husk volume create {name}\""
                );
                return Err(self.at(node, &path, &message));
            }
            let mut words = vec!["volume".to_owned(), "create".to_owned()];
            words.extend(self.labels("volume", key, node));
            for (option, value) in
                node.get("driver_opts").and_then(Node::as_map).into_iter().flatten()
            {
                words.push(format!("--opt={option}={}", value.scalar_text().unwrap_or_default()));
            }
            words.push(name.clone());
            self.make("Volume", &name, node, &path, &words)?;
        }
        Ok(())
    }

    fn make(
        &self,
        kind: &str,
        name: &str,
        node: &Node,
        path: &str,
        words: &[String],
    ) -> Result<(), Failure> {
        if self.dry_run {
            self.done(kind, name, "would be created");
            return Ok(());
        }
        self.husk.output(words).map_err(|why| self.at(node, path, &why))?;
        self.done(kind, name, "Created");
        Ok(())
    }

    fn labels(&self, kind: &str, key: &str, node: &Node) -> Vec<String> {
        let own = node.get("labels").and_then(Node::as_map).into_iter().flatten();
        let own = own.map(|(name, value)| {
            format!("--label={name}={}", value.scalar_text().unwrap_or_default())
        });
        let made = [
            (kind, key.to_owned()),
            ("project", self.project.name.clone()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("config-hash", digest(node.to_json().to_string().as_bytes())),
        ];
        own.chain(made.map(|(name, value)| format!("--label={LABEL}{name}={value}"))).collect()
    }

    fn network_words(&self, key: &str, node: &Node, name: &str) -> Vec<String> {
        let mut words = vec!["network".to_owned(), "create".to_owned()];
        words.extend(self.labels("network", key, node));
        if node.get("internal").and_then(Node::as_bool) == Some(true) {
            words.push("--internal".to_owned());
        }
        if let Some(ipv6) = node.get("enable_ipv6").and_then(Node::as_bool) {
            words.push(format!("--ipv6={ipv6}"));
        }
        for (option, value) in node.get("driver_opts").and_then(Node::as_map).into_iter().flatten()
        {
            words.push(format!("--opt={option}={}", value.scalar_text().unwrap_or_default()));
        }
        let pools = node.get("ipam").and_then(|ipam| ipam.get("config")).and_then(Node::as_list);
        for pool in pools.unwrap_or_default() {
            for (flag, key) in
                [("--subnet", "subnet"), ("--gateway", "gateway"), ("--ip-range", "ip_range")]
            {
                words.extend(pool.text_of(key).map(|value| format!("{flag}={value}")));
            }
            for (host, address) in
                pool.get("aux_addresses").and_then(Node::as_map).into_iter().flatten()
            {
                words.push(format!(
                    "--aux-address={host}={}",
                    address.scalar_text().unwrap_or_default()
                ));
            }
        }
        words.push(name.to_owned());
        words
    }
}
