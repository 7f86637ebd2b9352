//! What an image says about running it, checked and typed.
//!
//! An image's config is a stranger's input (security-cases "Image config as control
//! input"). What is here is all that ever leaves it: nothing of it becomes an
//! annotation, a hook, a host path or a setting of the host, and every value is either
//! of its documented form or an error that names the property.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::config::ImageConfig;
use crate::digest::clip;

/// The checked `config` of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Entrypoint; empty where there is none.
    pub entrypoint: Vec<String>,
    /// Arguments, or the command where there is no entrypoint.
    pub cmd: Vec<String>,
    /// Environment, in the image's order; a later entry of a name has replaced an
    /// earlier one in its place.
    pub env: Vec<(String, String)>,
    /// `user[:group]` as text, for [`crate::user::lookup`]; empty means uid 0.
    pub user: String,
    /// Absolute path below the rootfs; `/` where the image has none.
    pub working_dir: String,
    /// Absolute, normalised paths below the rootfs, sorted, never `/`.
    pub volumes: Vec<String>,
    /// Ports, sorted.
    pub exposed_ports: Vec<ExposedPort>,
    /// The signal's name or number as the image gives it.
    pub stop_signal: Option<String>,
    /// Labels, for display and filters only.
    pub labels: BTreeMap<String, String>,
    /// Docker's probe, not interpreted here.
    pub healthcheck: Option<serde_json::Value>,
    /// The shell of shell forms; empty for the default.
    pub shell: Vec<String>,
}

/// A port of an image's `ExposedPorts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedPort {
    /// First port.
    pub first: u16,
    /// Last port, the same as `first` where it is no range.
    pub last: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}/{}", self.first, self.protocol),
            false => write!(f, "{}-{}/{}", self.first, self.last, self.protocol),
        }
    }
}

/// A property of an image config that cannot be honoured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("image config: {property} {value:?}: {problem}")]
pub struct FactError {
    /// Its name, with an index where it is a list.
    pub property: String,
    /// Its value, cut where long.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

fn error(property: impl Into<String>, value: &str, problem: &'static str) -> FactError {
    FactError { property: property.into(), value: clip(value), problem }
}

impl Facts {
    /// Whether the image has a HEALTHCHECK that is not NONE.
    #[must_use]
    pub fn has_probe(&self) -> bool {
        let test = self.healthcheck.as_ref().and_then(|check| check.get("Test"));
        let first = test.and_then(|test| test.get(0)).and_then(serde_json::Value::as_str);
        first.is_some_and(|kind| !matches!(kind, "" | "NONE"))
    }

    /// Checks the `config` of `image`.
    ///
    /// # Errors
    /// [`FactError`] for a NUL, a relative path, a port out of range, a malformed signal.
    pub fn of(image: &ImageConfig) -> Result<Facts, FactError> {
        let run = image.config.clone().unwrap_or_default();
        let entrypoint = words("Entrypoint", run.entrypoint)?;
        let cmd = words("Cmd", run.cmd)?;
        let shell = words("Shell", run.shell)?;
        let env = environment(run.env.unwrap_or_default())?;
        let user = run.user.unwrap_or_default();
        if user.contains(['\0', '\n']) {
            return Err(error("User", &user, "contains a NUL or a newline"));
        }
        let working_dir = match run.working_dir.as_deref() {
            None | Some("") => "/".to_owned(),
            Some(path) => absolute("WorkingDir", path)?,
        };
        let mut volumes = Vec::new();
        for path in run.volumes.unwrap_or_default().keys() {
            let path = absolute("Volumes", path)?;
            if path == "/" {
                return Err(error("Volumes", &path, "a volume cannot be the root"));
            }
            volumes.push(path);
        }
        volumes.sort();
        volumes.dedup();
        let mut exposed_ports = Vec::new();
        for text in run.exposed_ports.unwrap_or_default().keys() {
            exposed_ports.push(parse_port(text).map_err(|p| error("ExposedPorts", text, p))?);
        }
        exposed_ports.sort();
        let stop_signal = run.stop_signal.filter(|signal| !signal.is_empty());
        if let Some(signal) = &stop_signal
            && !signal.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'-')
        {
            return Err(error("StopSignal", signal, "not a signal's name or number"));
        }
        Ok(Facts {
            entrypoint,
            cmd,
            env,
            user,
            working_dir,
            volumes,
            exposed_ports,
            stop_signal,
            labels: run.labels.unwrap_or_default(),
            healthcheck: run.healthcheck,
            shell,
        })
    }
}

fn words(property: &str, list: Option<Vec<String>>) -> Result<Vec<String>, FactError> {
    let list = list.unwrap_or_default();
    for (index, word) in list.iter().enumerate() {
        if word.contains('\0') {
            return Err(error(format!("{property}[{index}]"), word, "contains a NUL"));
        }
    }
    Ok(list)
}

fn environment(entries: Vec<String>) -> Result<Vec<(String, String)>, FactError> {
    let mut env: Vec<(String, String)> = Vec::with_capacity(entries.len());
    // Where each name is: an image may have a hundred thousand.
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let property = || format!("Env[{index}]");
        if entry.contains('\0') {
            return Err(error(property(), entry, "contains a NUL"));
        }
        // Without a "=" Docker's command line would take the host's value; an image
        // must never reach the host's environment (CVE-2026-57231).
        let Some((name, value)) = entry.split_once('=') else {
            return Err(error(property(), entry, "not NAME=value"));
        };
        if name.is_empty() {
            return Err(error(property(), entry, "has no name"));
        }
        match places.get(name).and_then(|place| env.get_mut(*place)) {
            Some((_, old)) => value.clone_into(old),
            None => {
                places.insert(name, env.len());
                env.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(env)
}

fn absolute(property: &str, path: &str) -> Result<String, FactError> {
    if path.contains('\0') {
        return Err(error(property, path, "contains a NUL"));
    }
    if !path.starts_with('/') {
        return Err(error(property, path, "not an absolute path"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(error(property, path, "contains \"..\"")),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Parses `port[-port][/protocol]`, as `ExposedPorts` and EXPOSE have it.
///
/// # Errors
/// What is wrong with it, for a message that names the property.
pub fn parse_port(text: &str) -> Result<ExposedPort, &'static str> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err("protocol is not tcp, udp or sctp"),
    };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let port = digits.parse::<u16>().ok().filter(|port| plain && *port != 0);
        port.ok_or("not a port from 1 to 65535")
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    if first > last {
        return Err("the range ends before it begins");
    }
    Ok(ExposedPort { first, last, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(run: &str) -> Result<Facts, FactError> {
        let text = format!(r#"{{"config":{run},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#);
        Facts::of(&ImageConfig::parse(text.as_bytes(), 0).unwrap())
    }

    #[test]
    fn a_probe_is_told_from_none() {
        for (check, expected) in [
            (r#"{"Test":["CMD-SHELL","x"]}"#, true),
            (r#"{"Test":["CMD","x"],"Interval":1}"#, true),
            (r#"{"Test":["NONE"]}"#, false),
            (r#"{"Test":[]}"#, false),
            (r#"{"Interval":1}"#, false),
            ("[]", false),
            ("null", false),
        ] {
            let run = format!(r#"{{"Healthcheck":{check}}}"#);
            assert_eq!(facts(&run).unwrap().has_probe(), expected, "{check}");
        }
    }

    #[test]
    fn a_config_becomes_facts() {
        let facts = facts(
            r#"{"User":"1000:1000","Env":["A=1","B=x=y","A=2"],"Entrypoint":["/e"],"Cmd":["c"],
            "WorkingDir":"/a//b/.","Volumes":{"/v/":{}},"ExposedPorts":{"80":{},"53/udp":{},
            "8000-8010/tcp":{}},"StopSignal":"SIGRTMIN+3","Labels":{"io.husk.x":"y"}}"#,
        )
        .unwrap();
        assert_eq!(facts.env, [("A".into(), "2".into()), ("B".into(), "x=y".into())]);
        assert_eq!(facts.working_dir, "/a/b");
        assert_eq!(facts.volumes, ["/v"]);
        let ports: Vec<String> = facts.exposed_ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000-8010/tcp"]);
        assert_eq!(facts.stop_signal.as_deref(), Some("SIGRTMIN+3"));
        assert!(!facts.has_probe());
    }

    #[test]
    fn an_empty_config_has_the_defaults() {
        let facts = facts("null").unwrap();
        assert_eq!(facts.working_dir, "/");
        assert_eq!(facts, Facts { working_dir: "/".into(), ..Facts::default() });
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (run, expected) in [
            (r#"{"Env":["HOME"]}"#, "Env[0] \"HOME\": not NAME=value"),
            (r#"{"Env":["=x"]}"#, "has no name"),
            (r#"{"Env":["A=\u0000"]}"#, "contains a NUL"),
            (r#"{"WorkingDir":"a"}"#, "WorkingDir \"a\": not an absolute path"),
            (r#"{"WorkingDir":"/a/../../b"}"#, "contains \"..\""),
            (r#"{"Volumes":{"/":{}}}"#, "cannot be the root"),
            (r#"{"Volumes":{"/../../etc":{}}}"#, "contains \"..\""),
            (r#"{"Volumes":{"etc":{}}}"#, "not an absolute path"),
            (r#"{"ExposedPorts":{"0/tcp":{}}}"#, "not a port"),
            (r#"{"ExposedPorts":{"70000/tcp":{}}}"#, "not a port"),
            (r#"{"ExposedPorts":{"+80/tcp":{}}}"#, "not a port"),
            (r#"{"ExposedPorts":{"80/icmp":{}}}"#, "protocol"),
            (r#"{"ExposedPorts":{"9-8/tcp":{}}}"#, "ends before"),
            (r#"{"StopSignal":"SIG; rm"}"#, "StopSignal"),
            (r#"{"User":"a\nb"}"#, "newline"),
        ] {
            let error = facts(run).unwrap_err().to_string();
            assert!(error.contains(expected), "{run}: {error}");
        }
    }
}
