//! Docker's `config.json`: who we are at which registry, and its credential helpers.
//!
//! Shared with docker, podman, skopeo and buildkit, so what others keep in the file is
//! kept as it is. Secrets are handed to a helper by its standard input, never as an
//! argument, and appear in no message.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Docker Hub's key, a leftover of the first registry protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password or access token.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token ("identity token").
    IdentityToken(String),
}

// Never a secret in a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password({user}, ...)"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken(...)"),
        }
    }
}

/// Why credentials could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A system call failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: std::io::Error,
    },
    /// The file is not what Docker writes.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Property and what is wrong.
        problem: String,
    },
    /// A helper failed.
    #[error("credential helper {helper}: {problem}")]
    Helper {
        /// The program.
        helper: String,
        /// Its message.
        problem: String,
    },
    /// There is no home directory and no DOCKER_CONFIG.
    #[error("no place for credentials: neither DOCKER_CONFIG nor HOME is set")]
    NoHome,
}

/// Docker's configuration file.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    path: PathBuf,
    content: Map<String, Value>,
}

impl DockerConfig {
    /// `$DOCKER_CONFIG/config.json`, else `$HOME/.docker/config.json`.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = set("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
        Some(directory.join("config.json"))
    }

    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// [`CredentialError`] where it cannot be read or is not a JSON object.
    pub fn load(path: &Path) -> Result<DockerConfig, CredentialError> {
        match std::fs::read(path) {
            Ok(bytes) => DockerConfig::parse(path, &bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                DockerConfig::parse(path, b"")
            }
            Err(source) => {
                let path = path.to_owned();
                Err(CredentialError::Io { operation: "read", path, source })
            }
        }
    }

    /// The content of the file at `path`; an empty one is an empty configuration.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<DockerConfig, CredentialError> {
        let content = match bytes.iter().all(u8::is_ascii_whitespace) {
            true => Map::new(),
            false => serde_json::from_slice(bytes).map_err(|error| CredentialError::Malformed {
                path: path.to_owned(),
                problem: error.to_string(),
            })?,
        };
        Ok(DockerConfig { path: path.to_owned(), content })
    }

    /// The credentials for `registry`, as references name it (`docker.io`).
    ///
    /// # Errors
    /// [`CredentialError`] of a malformed entry or a helper that fails.
    pub fn credentials(&self, registry: &str) -> Result<Option<Credentials>, CredentialError> {
        if let Some(helper) = self.helper(registry)? {
            return get(&helper, &server_key(registry));
        }
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        // Several keys may mean one registry, since each program writes its own, and empty ones
        // are left by those that keep the secret elsewhere.
        let exact = server_key(registry);
        let mut entries: Vec<_> = auths.iter().filter(|(key, _)| names(key, registry)).collect();
        entries.sort_by_key(|(key, _)| **key != exact);
        for (key, entry) in entries {
            let found = self.of_entry(key, entry)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn of_entry(&self, key: &str, entry: &Value) -> Result<Option<Credentials>, CredentialError> {
        let text =
            |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials::IdentityToken(token.to_owned())));
        }
        let Some(auth) = text("auth") else { return Ok(None) };
        let bad = || CredentialError::Malformed {
            path: self.path.clone(),
            problem: format!("auths[{key:?}].auth is not the base64 form of user:password"),
        };
        let decoded = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
        let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
        let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
        let password = password.trim_end_matches('\0').to_owned();
        Ok(Some(Credentials::Password { user: user.to_owned(), password }))
    }

    pub(crate) fn helper(&self, registry: &str) -> Result<Option<String>, CredentialError> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|map| map.iter().find(|(key, _)| names(key, registry)));
        let name = own.map(|(_, name)| name).or_else(|| self.content.get("credsStore"));
        let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        // It becomes part of a program's name: no slash, nothing but a word.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            let problem = format!("credential helper {name:?} is not a name");
            return Err(CredentialError::Malformed { path: self.path.clone(), problem });
        }
        Ok(Some(format!("docker-credential-{name}")))
    }

    /// Keeps credentials, by the helper where one is configured, else in the file.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn store(
        &mut self,
        registry: &str,
        credentials: &Credentials,
    ) -> Result<(), CredentialError> {
        let key = server_key(registry);
        if let Some(helper) = self.helper(registry)? {
            let (user, secret) = match credentials {
                Credentials::Password { user, password } => (user.as_str(), password),
                Credentials::IdentityToken(token) => ("<token>", token),
            };
            let message = serde_json::json!({"ServerURL": key, "Username": user, "Secret": secret});
            return run(&helper, "store", message.to_string().as_bytes()).map(drop);
        }
        let entry = match credentials {
            Credentials::Password { user, password } => {
                serde_json::json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
            }
            Credentials::IdentityToken(token) => serde_json::json!({"identitytoken": token}),
        };
        self.auths()?.insert(key, entry);
        self.save()
    }

    /// Forgets a registry; tells whether it was known.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn erase(&mut self, registry: &str) -> Result<bool, CredentialError> {
        let mut known = false;
        if let Some(helper) = self.helper(registry)? {
            let key = server_key(registry);
            known = get(&helper, &key)?.is_some();
            if known {
                run(&helper, "erase", key.as_bytes())?;
            }
        }
        let auths = self.auths()?;
        let before = auths.len();
        auths.retain(|key, _| !names(key, registry));
        if auths.len() < before {
            known = true;
            self.save()?;
        }
        Ok(known)
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>, CredentialError> {
        let path = self.path.clone();
        let auths = self.content.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let problem = "auths is not an object".to_owned();
        auths.as_object_mut().ok_or(CredentialError::Malformed { path, problem })
    }

    fn save(&self) -> Result<(), CredentialError> {
        let failed = |operation| {
            let path = self.path.clone();
            move |source| CredentialError::Io { operation, path, source }
        };
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        // Through a link, as dotfiles often are: the link stays.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut text = serde_json::to_string_pretty(&self.content).unwrap_or_default();
        text.push('\n');
        // Of mode 0600, and in one place: what a failed write has left is removed.
        husk_record::write_durably(&target, text.as_bytes()).map_err(|error| match error {
            husk_record::Error::File { operation, source, .. } => failed(operation)(source),
            husk_record::Error::Damaged { source, .. } => failed("write")(source.into()),
        })
    }
}

fn server_key(registry: &str) -> String {
    if registry == crate::reference::DEFAULT_REGISTRY {
        HUB_KEY.to_owned()
    } else {
        registry.to_owned()
    }
}

/// Whether a key of the file, with or without scheme and path, means `registry`.
fn names(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.split('/').next().unwrap_or(host);
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    host == registry || (registry == crate::reference::DEFAULT_REGISTRY && hub.contains(&host))
}

fn get(helper: &str, key: &str) -> Result<Option<Credentials>, CredentialError> {
    let answer = match run(helper, "get", key.as_bytes()) {
        Ok(answer) => answer,
        // The helpers' protocol has this text for "none", on standard output.
        Err(CredentialError::Helper { problem, .. })
            if problem.contains("credentials not found") =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let failed = |problem: &str| CredentialError::Helper {
        helper: helper.to_owned(),
        problem: problem.into(),
    };
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|_| failed("its answer is not JSON"))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(match (text("Username"), text("Secret")) {
        (_, secret) if secret.is_empty() => None,
        (user, token) if user == "<token>" => Some(Credentials::IdentityToken(token)),
        (user, password) => Some(Credentials::Password { user, password }),
    })
}

fn run(helper: &str, verb: &str, input: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let failed = |problem: String| CredentialError::Helper { helper: helper.to_owned(), problem };
    let program = husk_userns::find_program(helper)
        .ok_or_else(|| failed("no absolute directory of PATH has it".to_owned()))?;
    let mut child = Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("start it: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that exits early says why on its output.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|error| failed(format!("run it: {error}")))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let text = String::from_utf8_lossy(&output.stdout);
            Err(failed(crate::digest::clip(text.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig {
            path: PathBuf::from("config.json"),
            content: serde_json::from_str(text).unwrap(),
        }
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn entries_are_found_by_host() {
        let config = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},
            "r.io:5000":{"auth":"YTpi"},"https://old.io/v2/":{"identitytoken":"t"},"e.io":{}}}"#,
        );
        assert_eq!(config.credentials("docker.io").unwrap(), password("u", "p:q"));
        assert_eq!(config.credentials("r.io:5000").unwrap(), password("a", "b"));
        assert_eq!(config.credentials("r.io").unwrap(), None);
        assert_eq!(config.credentials("e.io").unwrap(), None);
        let token = Some(Credentials::IdentityToken("t".into()));
        assert_eq!(config.credentials("old.io").unwrap(), token);
    }

    #[test]
    fn an_empty_entry_of_another_key_hides_none() {
        let keys = r#"{"auths":{"docker.io":{},"https://index.docker.io/v1/":{"auth":"dTpw"},
            "https://r.io/v1/":{"auth":"YTpi"},"r.io":{"auth":"dTpw"}}}"#;
        assert_eq!(config(keys).credentials("docker.io").unwrap(), password("u", "p"));
        assert_eq!(config(keys).credentials("r.io").unwrap(), password("u", "p"));
    }

    #[test]
    fn malformed_entries_and_helpers_are_named() {
        let error = config(r#"{"auths":{"a.io":{"auth":"!!"}}}"#).credentials("a.io").unwrap_err();
        assert!(error.to_string().contains("auths[\"a.io\"].auth"), "{error}");
        let error = config(r#"{"credsStore":"../../bin/sh"}"#).credentials("a.io").unwrap_err();
        assert!(error.to_string().contains("not a name"), "{error}");
        let error = config(r#"{"credsStore":"husk-none"}"#).credentials("a.io").unwrap_err();
        assert!(error.to_string().contains("docker-credential-husk-none"), "{error}");
    }

    #[test]
    fn storing_keeps_what_others_wrote_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("husk-auth-{}", std::process::id()));
        let path = directory.join("config.json");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(&path, r#"{"psFormat":"x","auths":{"b.io":{"auth":"YTpi"}}}"#).unwrap();
        let mut config = DockerConfig::load(&path).unwrap();
        config.store("a.io", &password("u", "p").unwrap()).unwrap();
        config.store("docker.io", &password("h", "p").unwrap()).unwrap();
        let mut config = DockerConfig::load(&path).unwrap();
        assert_eq!(config.credentials("a.io").unwrap(), password("u", "p"));
        assert_eq!(config.credentials("docker.io").unwrap(), password("h", "p"));
        assert!(std::fs::read_to_string(&path).unwrap().contains("psFormat"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(config.erase("a.io").unwrap());
        assert!(!config.erase("a.io").unwrap());
        let config = DockerConfig::load(&path).unwrap();
        assert_eq!(config.credentials("a.io").unwrap(), None);
        assert_eq!(config.credentials("b.io").unwrap(), password("a", "b"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn secrets_do_not_show() {
        let shown =
            format!("{:?} {:?}", password("u", "pw"), Credentials::IdentityToken("pw".into()));
        assert!(!shown.contains("pw"));
    }
}
