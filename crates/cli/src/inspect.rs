//! `inspect` of every kind of object.

use clap::Args;
use serde_json::Value;

use super::{for_each, output, volume};
use crate::error::{EngineError, Error, Result};
use husk_engine::container::Container;
use husk_engine::home::Home;

/// The kinds, in the order in which a name is looked for.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

/// `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Format output as json, or by a Go template such as '{{.State.Pid}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Kind of object: container, image, network or volume
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Add SizeRw and SizeRootFs of containers
    #[arg(short, long)]
    size: bool,
    /// Names or IDs
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    /// Of one kind, whatever flags say.
    pub(super) fn of(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| !kind.is_empty())
            && !KINDS.contains(&kind)
        {
            let problem = format!("must be one of {}", KINDS.join(", "));
            return Err(Error::flag("--type", kind, problem));
        }
        let mut found = Vec::new();
        // As Docker: what is there is shown, and then what is not is named.
        let code = for_each(&self.names, |name| {
            found.push(self.one(home, name)?);
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }

    fn one(&self, home: &Home, name: &str) -> Result<Value> {
        match self.kind.as_deref().filter(|kind| !kind.is_empty()) {
            Some(kind) => self.of_kind(home, kind, name),
            None => {
                for kind in KINDS {
                    match self.of_kind(home, kind, name) {
                        Err(error) if is_absent(&error) => {}
                        other => return other,
                    }
                }
                Err(Error::other(format_args!("no such object: {name}")))
            }
        }
    }

    fn of_kind(&self, home: &Home, kind: &str, name: &str) -> Result<Value> {
        match kind {
            "container" => {
                Ok(husk_docker::inspect_container(home, &Container::find(home, name)?, self.size)?)
            }
            "image" => Ok(husk_docker::inspect_image(home, name)?),
            "network" => Ok(husk_docker::inspect_network(home, name)?),
            _ => volume::document(home, name),
        }
    }
}

/// Whether nothing of a kind has the name, or none could have it.
fn is_absent(error: &Error) -> bool {
    let Error::Engine(error) = error else { return false };
    match error {
        EngineError::NoContainer(_) | EngineError::NoVolume(_) | EngineError::Reference(_) => true,
        EngineError::Net(error) => {
            matches!(
                error,
                husk_net::Error::NoSuchNetwork { .. } | husk_net::Error::NetworkName { .. }
            )
        }
        EngineError::Store(error) => matches!(
            **error,
            husk_image::store::StoreError::NoImage(_) | husk_image::store::StoreError::Reference(_)
        ),
        _ => false,
    }
}
