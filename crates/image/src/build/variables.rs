//! Variables of a build: ENV and ARG, `--build-arg`, and the platform's own.

use std::collections::BTreeSet;

use super::BuildError;
use super::builder::Build;
use super::dockerfile::{Dockerfile, Word};
use super::error::DockerfileError;
use super::state::StageState;
use crate::platform::Platform;

impl Dockerfile {
    /// A word with its variables replaced.
    pub(super) fn expand(
        &self,
        word: &Word,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, DockerfileError> {
        super::expand::expand(&word.text, self.escape, lookup).map_err(|error| {
            let before = word.text.get(..error.offset).unwrap_or_default().chars().count();
            let mut position = word.position;
            position.column += before;
            self.error(position, error.message)
        })
    }
}

impl Build<'_> {
    pub(super) fn expand(&self, word: &Word, state: &StageState) -> Result<String, BuildError> {
        self.expand_with(word, &|name| state.variable(name))
    }

    pub(super) fn expand_with(
        &self,
        word: &Word,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, BuildError> {
        Ok(self.dockerfile.expand(word, lookup)?)
    }

    /// `--build-arg` of a name.
    pub(super) fn build_argument(&self, name: &str) -> Option<String> {
        let given = self.options.arguments.iter().rev().find(|(known, _)| known == name);
        given.map(|(_, value)| value.clone())
    }

    /// A variable of FROM lines and of ARGs without a value: global ARGs and the
    /// platform's.
    pub(super) fn global(&mut self, name: &str) -> Result<Option<String>, BuildError> {
        let platform = &self.options.platform;
        let host = Platform::host();
        let automatic = match name {
            "TARGETPLATFORM" => Some(platform.to_string()),
            "TARGETOS" => Some(platform.os.clone()),
            "TARGETARCH" => Some(platform.architecture.clone()),
            "TARGETVARIANT" => Some(platform.variant.clone().unwrap_or_default()),
            "BUILDPLATFORM" => Some(host.to_string()),
            "BUILDOS" => Some(host.os),
            "BUILDARCH" => Some(host.architecture),
            "BUILDVARIANT" => Some(host.variant.unwrap_or_default()),
            _ => None,
        };
        let dockerfile = self.dockerfile;
        // A default may use the ARGs before it.
        let mut values: Vec<(String, String)> = Vec::new();
        for argument in &dockerfile.global_args {
            let known = argument.name.text.clone();
            let value = match (self.build_argument(&known), &argument.default) {
                (Some(value), _) => {
                    self.used_arguments.insert(known.clone());
                    Some(value)
                }
                (None, Some(default)) => {
                    let lookup = |name: &str| {
                        let found = values.iter().rev().find(|(known, _)| known == name);
                        found.map(|(_, value)| value.clone())
                    };
                    Some(self.expand_with(default, &lookup)?)
                }
                (None, None) => None,
            };
            values.extend(value.map(|value| (known, value)));
        }
        let found = values.into_iter().rev().find(|(known, _)| known == name);
        Ok(found.map(|(_, value)| value).or(automatic))
    }

    pub(super) fn expand_global(&mut self, word: &Word) -> Result<String, BuildError> {
        // The names are collected first: looking one up may fail.
        let names = std::cell::RefCell::new(BTreeSet::new());
        let collect = |name: &str| {
            names.borrow_mut().insert(name.to_owned());
            Some("x".to_owned())
        };
        self.expand_with(word, &collect)?;
        let mut values = Vec::new();
        for name in names.into_inner() {
            let value = self.global(&name)?;
            values.extend(value.map(|value| (name, value)));
        }
        self.expand_with(word, &|name| {
            values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }
}
