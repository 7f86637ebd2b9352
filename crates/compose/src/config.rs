//! `config`.

use std::fmt::Write as _;

use crate::arguments::Config;
use crate::hash::service_hash;
use crate::node::{Map, Node};
use crate::output;
use crate::project::{Failure, Project, Request};
use crate::run::print;

impl Config {
    /// Runs it.
    ///
    /// # Errors
    /// Every mistake of the files; a file that cannot be written.
    pub(crate) fn run(&self, request: Request) -> Result<u8, Failure> {
        if !["yaml", "json"].contains(&self.format.as_str()) {
            return Err(format!("--format {:?}: must be yaml or json", self.format));
        }
        let request = Request {
            interpolate: !self.no_interpolate,
            normalize: !self.no_normalize,
            paths: !self.no_path_resolution,
            consistency: !self.no_consistency && !self.no_interpolate && !self.no_normalize,
            resolve_environment: !self.no_env_resolution,
            all_profiles: self.profiles || request.all_profiles,
            services: self.names.clone(),
            ..request
        };
        let mut project = request.load()?;
        project.warn();
        project.keep_named(&self.names)?;
        let text = self.render(&project)?;
        if self.quiet {
            return Ok(0);
        }
        match &self.output {
            Some(path) => std::fs::write(path, text).map_err(|e| {
                format!("cannot write {}: {}", path.display(), crate::load::plain(&e))
            })?,
            None => print(&text),
        }
        Ok(0)
    }

    fn render(&self, project: &Project) -> Result<String, Failure> {
        let lines =
            |names: Vec<String>| names.iter().fold(String::new(), |text, name| text + name + "\n");
        let section = |key: &str| -> Vec<String> {
            project
                .root
                .get(key)
                .and_then(Node::as_map)
                .into_iter()
                .flat_map(Map::keys)
                .cloned()
                .collect()
        };
        if self.services {
            return Ok(lines(section("services")));
        }
        if self.volumes {
            return Ok(lines(section("volumes")));
        }
        if self.networks {
            return Ok(lines(section("networks")));
        }
        if self.models {
            return Ok(lines(section("models")));
        }
        if self.profiles {
            return Ok(lines(project.profiles().into_iter().collect()));
        }
        if self.images {
            return Ok(lines(project.images()));
        }
        if self.environment {
            return Ok(lines(
                project.environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            ));
        }
        if let Some(wanted) = &self.hash {
            return self.hashes(project, wanted);
        }
        if self.variables {
            return Ok(variables(project));
        }
        Ok(match self.format.as_str() {
            "json" => format!("{:#}\n", output::json(&project.root, !self.no_interpolate)),
            _ => output::yaml(&project.root, !self.no_interpolate),
        })
    }

    fn hashes(&self, project: &Project, wanted: &str) -> Result<String, Failure> {
        let mut text = String::new();
        let names: Vec<&str> = wanted.split(',').collect();
        for (name, service) in
            project.root.get("services").and_then(Node::as_map).into_iter().flatten()
        {
            if wanted == "*" || names.contains(&name.as_str()) {
                let _ = writeln!(text, "{name} {}", service_hash(service));
            }
        }
        let known = |name: &&str| project.services().iter().any(|one| one == name);
        match names.into_iter().filter(|name| *name != "*").find(|name| !known(name)) {
            Some(unknown) => Err(format!("no such service: {unknown}")),
            None => Ok(text),
        }
    }
}

/// A table of the variables.
fn variables(project: &Project) -> String {
    let mut rows =
        vec![["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"].map(str::to_owned).to_vec()];
    for (name, used) in &project.variables {
        rows.push(vec![
            name.clone(),
            used.required.to_string(),
            used.default.clone(),
            used.alternate.clone(),
        ]);
    }
    crate::run::table(&rows)
}
