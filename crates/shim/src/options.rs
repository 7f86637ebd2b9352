//! Options of the runtime: how containerd's configuration reaches `husk-oci`.
//!
//! containerd sends `containerd.runc.v1.Options` for a runtime named `io.containerd.runc.v2`,
//! and for every other name `runtimeoptions.v1.Options`, whose body is the TOML of the
//! runtime's `options` table. Both are read, so that `SystemdCgroup = true` works under either
//! name (containerd issue 9671 tells what happens otherwise).

use std::path::Path;

use husk_oci_client::Runtime;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::message::Any;
use crate::message::options::{GenericOptions, Options as RuncOptions};

/// The file in a bundle from which `delete` learns how its container was made.
pub(crate) const FILE: &str = "options.json";
/// Where the state of containers is kept, below which each namespace has its directory.
const ROOT: &str = "/run/containerd/husk";

/// Options of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Options {
    /// Move the root over `/` instead of pivot_root(2).
    pub(crate) no_pivot_root: bool,
    /// Stay in the caller's session keyring.
    pub(crate) no_new_keyring: bool,
    /// A cgroup for the shim itself.
    pub(crate) shim_cgroup: String,
    /// Owner of the container's standard streams.
    pub(crate) io_uid: u32,
    /// Group of the container's standard streams.
    pub(crate) io_gid: u32,
    /// The runtime: `husk-oci` by default.
    pub(crate) binary_name: String,
    /// The directory of the runtime's state.
    pub(crate) root: String,
    /// Have systemd make the cgroups.
    pub(crate) systemd_cgroup: bool,
    /// Directory of CRIU's images.
    pub(crate) criu_image_path: String,
    /// Directory of CRIU's work files.
    pub(crate) criu_work_path: String,
    /// The program CRIU; in PATH by default.
    criu_path: String,
    /// Address of the task API, which only sandboxes that are virtual machines use.
    #[serde(skip_serializing)]
    task_api_address: String,
    /// Version of the task API, as above.
    #[serde(skip_serializing)]
    task_api_version: u32,
}

impl Options {
    /// Reads the options of a request.
    ///
    /// # Errors
    /// Their type is unknown, or they do not parse.
    pub(crate) fn read(any: Option<&Any>) -> Result<Self, String> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
            return Ok(Self::default());
        };
        match any.type_name() {
            "containerd.runc.v1.Options" => {
                let options = RuncOptions::decode(any.value.as_slice());
                options.map(Self::from).map_err(|error| format!("options: {error}"))
            }
            "runtimeoptions.v1.Options" => {
                let options = GenericOptions::decode(any.value.as_slice())
                    .map_err(|error| format!("options: {error}"))?;
                Self::read_generic(&options)
            }
            other => Err(format!("options of type {other:?} are not supported")),
        }
    }

    fn read_generic(options: &GenericOptions) -> Result<Self, String> {
        let (place, text) = if options.config_body.is_empty() && !options.config_path.is_empty() {
            let text = std::fs::read_to_string(&options.config_path)
                .map_err(|error| format!("options, {}: {error}", options.config_path))?;
            (options.config_path.as_str(), text)
        } else {
            let text = String::from_utf8(options.config_body.clone())
                .map_err(|_| "options: the TOML is not UTF-8".to_owned())?;
            ("the TOML of the runtime's options", text)
        };
        toml::from_str(&text).map_err(|error| format!("{place}: {}", error.message()))
    }

    /// Writes the options to a bundle.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, bundle: &Path) -> Result<(), String> {
        let path = bundle.join(FILE);
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        std::fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))
    }

    /// Reads the options of a bundle; the defaults where there are none.
    pub(crate) fn load(bundle: &Path) -> Self {
        let text = std::fs::read(bundle.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The runtime that these options mean, in a namespace of containerd's.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn runtime(&self, namespace: &str) -> Result<Runtime, String> {
        let name = if self.binary_name.is_empty() { "husk-oci" } else { &self.binary_name };
        let root = if self.root.is_empty() { ROOT } else { &self.root };
        let runtime = Runtime::find(name, Path::new(root).join(namespace))
            .map_err(|error| error.to_string())?;
        Ok(runtime.with_systemd_cgroup(self.systemd_cgroup).with_criu(&self.criu_path))
    }
}

impl From<RuncOptions> for Options {
    fn from(options: RuncOptions) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_cgroup_by_either_message() {
        let runc = RuncOptions { systemd_cgroup: true, ..RuncOptions::default() };
        let options = Options::read(Some(&Any::pack(&runc))).expect("runc's options");
        assert!(options.systemd_cgroup);
        let body = b"SystemdCgroup = true\nRoot = \"/run/x\"\nIoUid = 7\n".to_vec();
        let generic = GenericOptions { config_body: body, ..GenericOptions::default() };
        let options = Options::read(Some(&Any::pack(&generic))).expect("generic options");
        assert!(options.systemd_cgroup);
        assert_eq!((options.root.as_str(), options.io_uid), ("/run/x", 7));
    }

    #[test]
    fn an_unknown_option_is_named() {
        let body = b"SystemdCgruop = true\n".to_vec();
        let generic = GenericOptions { config_body: body, ..GenericOptions::default() };
        let error = Options::read(Some(&Any::pack(&generic))).expect_err("a misspelt option");
        assert!(error.contains("SystemdCgruop"), "{error}");
        let other = Any { type_url: "x.y/windows.Options".to_owned(), value: Vec::new() };
        assert!(Options::read(Some(&other)).expect_err("a type").contains("windows.Options"));
    }

    #[test]
    fn no_options_are_the_defaults() {
        assert_eq!(Options::read(None), Ok(Options::default()));
        assert_eq!(Options::read(Some(&Any::default())), Ok(Options::default()));
    }
}
