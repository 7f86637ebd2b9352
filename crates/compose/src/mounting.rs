//! What is mounted into a container: volumes, secrets, configs.

use crate::node::Node;
use crate::project::Failure;
use crate::source::Diagnostic;
use crate::words::{Builder, list, texts};

impl Builder<'_> {
    /// The words of all mounts.
    pub(crate) fn mounts(&mut self) -> Result<(), Failure> {
        for (index, mount) in list(self.service, "volumes").iter().enumerate() {
            let path = format!("services.{}.volumes[{index}]", self.name);
            let word = self.mount(mount).map_err(|problem| {
                Diagnostic::new(mount.place, &path, problem).line(&self.project.sources)
            })?;
            self.words.push(word);
        }
        for (target, volume) in &self.new.kept {
            if list(self.service, "volumes")
                .iter()
                .all(|mount| mount.text_of("target") != Some(target))
            {
                self.words.push(format!("--mount=type=volume,source={volume},target={target}"));
            }
        }
        self.each("--tmpfs", "tmpfs");
        for from in texts(self.service, "volumes_from") {
            let (name, access) = match from.strip_prefix("container:") {
                Some(rest) => (rest.to_owned(), String::new()),
                None => {
                    let (service, access) = from.split_once(':').unwrap_or((&from, ""));
                    let id = self.new.others.get(service).cloned();
                    (id.unwrap_or_else(|| service.to_owned()), access.to_owned())
                }
            };
            let access = if access.is_empty() { access } else { format!(":{access}") };
            self.flag("--volumes-from", format!("{name}{access}"));
        }
        for (key, folder) in [("secrets", "/run/secrets/"), ("configs", "/")] {
            for one in list(self.service, key) {
                let (source, target) = reference(one, folder);
                let resource = self.project.section_of(key, &source);
                if let Some(file) = resource.and_then(|node| node.text_of("file")) {
                    let word = bind(file, &target, true, "");
                    if !std::path::Path::new(file).exists() {
                        let path = format!("services.{}.{key}", self.name);
                        let message = format!("the file {file} of {source} is not there");
                        return Err(
                            Diagnostic::new(one.place, &path, message).line(&self.project.sources)
                        );
                    }
                    self.words.push(word);
                }
            }
        }
        Ok(())
    }

    fn mount(&self, mount: &Node) -> Result<String, String> {
        let text = |key: &str| mount.text_of(key).unwrap_or_default();
        let target = text("target");
        let read_only = mount.get("read_only").and_then(Node::as_bool) == Some(true);
        let access = if read_only { ",readonly" } else { "" };
        match text("type") {
            "bind" => {
                let options = mount.get("bind");
                let source = text("source");
                let create =
                    options.and_then(|node| node.get("create_host_path")).and_then(Node::as_bool);
                if !std::path::Path::new(source).exists() {
                    if create != Some(true) {
                        return Err(format!("the path {source} is not there"));
                    }
                    std::fs::create_dir_all(source)
                        .map_err(|e| format!("cannot make {source}: {}", crate::load::plain(&e)))?;
                }
                let mut more = String::new();
                for (key, option) in
                    [("propagation", "bind-propagation"), ("recursive", "bind-recursive")]
                {
                    if let Some(value) = options.and_then(|node| node.text_of(key)) {
                        more.push_str(&format!(",{option}={value}"));
                    }
                }
                Ok(bind(source, target, read_only, &more))
            }
            "tmpfs" => {
                let options = mount.get("tmpfs");
                let mut word = format!("--mount=type=tmpfs,target={target}{access}");
                if let Some(size) = options.and_then(|node| node.text_of("size")) {
                    word.push_str(&format!(",tmpfs-size={size}"));
                }
                if let Some(mode) = options.and_then(|node| node.get("mode")).and_then(Node::as_int)
                {
                    word.push_str(&format!(",tmpfs-mode={mode:o}"));
                }
                Ok(word)
            }
            "volume" => {
                let options = mount.get("volume");
                let mut more = String::new();
                if options.and_then(|node| node.get("nocopy")).and_then(Node::as_bool) == Some(true)
                {
                    more.push_str(",volume-nocopy");
                }
                if let Some(path) = options.and_then(|node| node.text_of("subpath")) {
                    more.push_str(&format!(",volume-subpath={path}"));
                }
                let source = match (text("source"), self.new.kept.get(target)) {
                    ("", Some(kept)) => kept.clone(),
                    ("", None) => String::new(),
                    (key, _) => self.project.resource_name("volumes", key),
                };
                let source = if source.is_empty() { source } else { format!(",source={source}") };
                Ok(format!("--mount=type=volume{source},target={target}{access}{more}"))
            }
            "image" => {
                let options = mount.get("image").and_then(|node| node.text_of("subpath"));
                let more = options.map_or(String::new(), |path| format!(",image-subpath={path}"));
                Ok(format!("--mount=type=image,source={},target={target}{more}", text("source")))
            }
            other => Err(format!("mounts of the type {other} are not supported")),
        }
    }
}

/// A mount of a path; one with a comma or a quote needs the quotes of CSV.
fn bind(source: &str, target: &str, read_only: bool, more: &str) -> String {
    let field = |key: &str, value: &str| match value.contains([',', '"']) {
        true => format!("\"{key}={}\"", value.replace('"', "\"\"")),
        false => format!("{key}={value}"),
    };
    let access = if read_only { ",readonly" } else { "" };
    format!(
        "--mount=type=bind,{},{}{access}{more}",
        field("source", source),
        field("target", target)
    )
}

/// Where a secret or a config is in the container.
pub(crate) fn reference(node: &Node, folder: &str) -> (String, String) {
    let source = node.text_of("source").unwrap_or_default().to_owned();
    let target = match node.text_of("target") {
        None => format!("{folder}{source}"),
        Some(target) if target.starts_with('/') => target.to_owned(),
        Some(target) => format!("{folder}{target}"),
    };
    (source, target)
}
