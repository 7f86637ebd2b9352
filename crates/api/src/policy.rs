//! What the requests of a socket may do: `--allow`, `--deny`, `--only-label`.

use crate::arguments::flag;
use husk_engine::error::Result;
use hyper::Method;

use crate::failure::Failure;

/// Parts of the API that can be refused.
const AREAS: [&str; 18] = [
    "archive",
    "attach",
    "auth",
    "build",
    "commit",
    "containers",
    "distribution",
    "events",
    "exec",
    "images",
    "info",
    "logs",
    "networks",
    "secrets",
    "session",
    "system",
    "update",
    "volumes",
];

/// The limits of a socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    read_only: bool,
    denied: Vec<String>,
    /// A label, and its value where that counts.
    label: Option<(String, Option<String>)>,
}

impl Policy {
    /// `--allow`.
    ///
    /// # Errors
    /// Neither `read` nor `all`.
    pub(crate) fn allow(&mut self, level: &str) -> Result<()> {
        self.read_only = match level {
            "read" => true,
            "all" => false,
            _ => return Err(flag("--allow", level, "must be read or all")),
        };
        Ok(())
    }

    /// `--deny`.
    ///
    /// # Errors
    /// An area that is not known.
    pub(crate) fn deny(&mut self, areas: &str) -> Result<()> {
        for area in areas.split(',').filter(|area| !area.is_empty()) {
            if !AREAS.contains(&area) {
                let problem = format!("must be of {}", AREAS.join(", "));
                return Err(flag("--deny", area, problem));
            }
            self.denied.push(area.to_owned());
        }
        Ok(())
    }

    /// `--only-label`.
    ///
    /// # Errors
    /// An empty one.
    pub(crate) fn only_label(&mut self, label: &str) -> Result<()> {
        let (name, value) = match label.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (label, None),
        };
        if name.is_empty() {
            return Err(flag("--only-label", label, "must be NAME or NAME=VALUE"));
        }
        self.label = Some((name.to_owned(), value));
        Ok(())
    }

    /// Refuses what may not be asked.
    ///
    /// # Errors
    /// 403, with the rule that refuses it.
    pub(crate) fn check(&self, method: &Method, path: &[String]) -> Result<(), Failure> {
        // An attached client types, also in a WebSocket, which begins with GET.
        let types = path.last().is_some_and(|last| last == "ws");
        let reads = matches!(*method, Method::GET | Method::HEAD) && !types;
        // A file's content is as good as its host's: archives of a container hold its secrets.
        if self.read_only && !reads {
            return Err(Failure::forbidden(format!(
                "{method} /{}: this socket is for reading only (husk serve --allow read)",
                path.join("/")
            )));
        }
        for area in areas_of(path) {
            if self.denied.iter().any(|denied| denied == area) {
                return Err(Failure::forbidden(format!(
                    "{method} /{}: refused on this socket (husk serve --deny {area})",
                    path.join("/")
                )));
            }
        }
        Ok(())
    }

    /// The label that everything must have.
    pub(crate) fn label(&self) -> Option<(&str, Option<&str>)> {
        self.label.as_ref().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// The areas that a path is of: those of its own words and what is done with them.
fn areas_of(path: &[String]) -> Vec<&str> {
    let mut areas = Vec::new();
    let Some(first) = path.first() else { return areas };
    areas.push(match first.as_str() {
        "_ping" | "version" | "info" | "metrics" => "info",
        "grpc" => "session",
        "swarm" | "nodes" | "services" | "tasks" | "configs" | "plugins" => "system",
        other => other,
    });
    if let ("containers" | "images", Some(last)) = (first.as_str(), path.last()) {
        areas.push(match last.as_str() {
            "exec" => "exec",
            "archive" | "export" => "archive",
            "logs" => "logs",
            "attach" | "ws" => "attach",
            "update" => "update",
            _ => "",
        });
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn read_only() {
        let mut policy = Policy::default();
        policy.allow("read").unwrap();
        policy.check(&Method::GET, &path("containers/json")).unwrap();
        policy.check(&Method::HEAD, &path("_ping")).unwrap();
        assert!(policy.check(&Method::GET, &path("containers/x/attach/ws")).is_err());
        for method in [Method::POST, Method::DELETE, Method::PUT] {
            let refused = policy.check(&method, &path("containers/x/stop")).unwrap_err();
            assert_eq!(refused.status, 403);
        }
        assert!(policy.allow("most").is_err());
    }

    #[test]
    fn areas() {
        let mut policy = Policy::default();
        policy.deny("exec,build").unwrap();
        assert!(policy.deny("everything").is_err());
        assert!(policy.check(&Method::POST, &path("containers/x/exec")).is_err());
        assert!(policy.check(&Method::POST, &path("exec/0123/start")).is_err());
        assert!(policy.check(&Method::POST, &path("build")).is_err());
        policy.check(&Method::POST, &path("containers/exec/stop")).unwrap();
    }
}
