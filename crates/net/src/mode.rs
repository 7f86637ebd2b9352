//! What `--network` asks for.

use crate::error::{Error, Result};
use crate::network::{DEFAULT_NETWORK, validate_name};

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `none`: a namespace with nothing but loopback. The runtime brings that up.
    None,
    /// `host`: no network namespace; the spec has none.
    Host,
    /// `container:NAME`: the namespace of another container, by name or id. The
    /// spec's network namespace gets `/proc/PID/ns/net` of its init as path.
    Container(String),
    /// Networks of the store, in the order given; the first has the default route
    /// and the published ports.
    Networks(Vec<String>),
    /// Rootless: pasta connects the namespace (see [`crate::pasta`]).
    Pasta,
}

impl Mode {
    /// Reads the values of `--network`; none at all is the default: the bridge,
    /// or pasta without root.
    ///
    /// # Errors
    ///
    /// [`Error::Mode`] for what cannot be combined or needs root, and
    /// [`Error::NetworkName`]. Whether a network exists is found out later.
    pub fn parse(values: &[String], rootless: bool) -> Result<Self> {
        let refuse = |value: &str, reason| Err(Error::Mode { value: value.to_owned(), reason });
        let mut networks = Vec::new();
        for value in values {
            let alone = match value.as_str() {
                "none" => Some(Self::None),
                "host" => Some(Self::Host),
                "pasta" => Some(Self::Pasta),
                "bridge" | "default" if rootless => Some(Self::Pasta),
                other => {
                    other.strip_prefix("container:").map(|name| Self::Container(name.to_owned()))
                }
            };
            match alone {
                Some(Self::Container(name)) if name.is_empty() => {
                    return refuse(value, "names no container (as in container:web)");
                }
                Some(Self::Pasta) if !rootless => {
                    return refuse(value, "is for containers without root; use bridge");
                }
                Some(_) if values.len() > 1 => {
                    return refuse(value, "cannot be combined with another network");
                }
                Some(mode) => return Ok(mode),
                None if rootless => {
                    return refuse(
                        value,
                        "networks of one's own need root; use pasta, host or none",
                    );
                }
                None => {}
            }
            let name = if value == "default" { DEFAULT_NETWORK } else { value };
            validate_name(name)?;
            if networks.iter().any(|n| n == name) {
                return refuse(value, "is given twice");
            }
            networks.push(name.to_owned());
        }
        Ok(match (networks.is_empty(), rootless) {
            (false, _) => Self::Networks(networks),
            (true, false) => Self::Networks(vec![DEFAULT_NETWORK.to_owned()]),
            (true, true) => Self::Pasta,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str], rootless: bool) -> Result<Mode> {
        let values: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
        Mode::parse(&values, rootless)
    }

    #[test]
    fn reads_every_form() {
        let bridge = Mode::Networks(vec!["bridge".to_owned()]);
        assert_eq!(parse(&[], false).unwrap(), bridge);
        assert_eq!(parse(&["default"], false).unwrap(), bridge);
        assert_eq!(parse(&[], true).unwrap(), Mode::Pasta);
        assert_eq!(parse(&["bridge"], true).unwrap(), Mode::Pasta);
        assert_eq!(parse(&["none"], true).unwrap(), Mode::None);
        assert_eq!(parse(&["host"], false).unwrap(), Mode::Host);
        assert_eq!(parse(&["container:db"], false).unwrap(), Mode::Container("db".to_owned()));
        assert_eq!(
            parse(&["a", "b"], false).unwrap(),
            Mode::Networks(vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn refuses_in_one_line() {
        let cases: [(&[&str], bool, &str); 7] = [
            (&["host", "a"], false, "--network host: cannot be combined with another network"),
            (&["a", "none"], false, "--network none: cannot be combined with another network"),
            (
                &["container:"],
                false,
                "--network container:: names no container (as in container:web)",
            ),
            (&["pasta"], false, "--network pasta: is for containers without root; use bridge"),
            (
                &["app"],
                true,
                "--network app: networks of one's own need root; use pasta, host or none",
            ),
            (&["a", "a"], false, "--network a: is given twice"),
            (
                &["a/b"],
                false,
                "network name \"a/b\": must begin with a letter or digit, hold only letters, digits, '_', '.' and '-', and be at most 128 long",
            ),
        ];
        for (values, rootless, message) in cases {
            assert_eq!(parse(values, rootless).unwrap_err().to_string(), message);
        }
    }
}
