//! Settings of an installation: `settings.json` in its root, written by whoever runs the host.
//!
//! ```json
//! { "publishAddress": "127.0.0.1" }
//! ```

use std::io::{ErrorKind, Read};
use std::net::IpAddr;

use serde::Deserialize;

use crate::error::{Error, Result, file};
use crate::home::Home;

/// What is read of the file: 64 KiB.
const MAX_FILE: u64 = 64 << 10;

/// The settings; what the file does not say is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The address of the host that `8080:80` publishes at: every one where it is none.
    pub publish_address: Option<IpAddr>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// A file that cannot be read, or says what is no setting: by line and column.
    pub fn read(home: &Home) -> Result<Self> {
        let path = home.root.join("settings.json");
        let opened = match std::fs::File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(file("open", &path))?,
        };
        let mut bytes = Vec::new();
        opened.take(MAX_FILE).read_to_end(&mut bytes).map_err(file("read", &path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::other(format_args!("{}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_setting_is_refused_by_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home { root: directory.path().into(), run: directory.path().into() };
        assert_eq!(Settings::read(&home).unwrap(), Settings::default());
        let path = directory.path().join("settings.json");
        std::fs::write(&path, r#"{"publishAddress":"127.0.0.1"}"#).unwrap();
        let local = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(Settings::read(&home).unwrap().publish_address, local);
        for (text, problem) in [
            (r#"{"publishAddress":"localhost"}"#, "invalid IP address"),
            (r#"{"publish":"127.0.0.1"}"#, "unknown field `publish`"),
            ("{", "line 1 column 1"),
            ("", "line 1 column 0"),
            ("\0\0", "line 1 column 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Settings::read(&home).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("settings.json"), "{error}");
        }
    }
}
