//! The environment.

use husk_image::facts::Facts;

use super::ContainerRequest;
use crate::error::{Error, Field, Result};

impl ContainerRequest {
    /// What is asked for first, as Docker has it, then what of the image's it does not replace.
    pub(super) fn environment(&self, image: &Facts) -> Result<Vec<String>> {
        let mut env: Vec<(&str, Option<&str>)> = Vec::new();
        for entry in &self.env {
            let (name, value) = match entry.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (entry.as_str(), None),
            };
            if name.is_empty() || entry.contains('\0') {
                return Err(Error::field(Field::Env, entry, "must be NAME=VALUE"));
            }
            match env.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => env.push((name, value)),
            }
        }
        for (name, value) in &image.env {
            if env.iter().all(|(known, _)| known != name) {
                env.push((name, Some(value)));
            }
        }
        let set = env.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Ok(set.map(|(name, value)| format!("{name}={value}")).collect())
    }
}
