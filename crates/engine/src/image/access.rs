//! How registries are talked to, and as whom.

use std::path::PathBuf;

use husk_image::reference::{DEFAULT_REGISTRY, Reference};
use husk_image::registry::{Client, ClientOptions, Credentials, DockerConfig};

use crate::error::Result;

/// How a registry is talked to.
#[derive(Clone, Debug)]
pub struct RegistryAccess {
    /// TLS is required and certificates are verified. Without it, plain HTTP is spoken where
    /// the registry speaks no TLS.
    pub tls_verify: bool,
    /// As whom.
    pub credentials: CredentialSource,
}

impl Default for RegistryAccess {
    fn default() -> Self {
        Self { tls_verify: true, credentials: CredentialSource::None }
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, Default)]
pub enum CredentialSource {
    /// There are none, which most pulls do not need.
    #[default]
    None,
    /// These, whatever the registry.
    Given(Credentials),
    /// Those that a file in the form of Docker's config.json has for the registry, or that
    /// the credential helper it names has. A file that is not there has none.
    File(PathBuf),
}

impl RegistryAccess {
    /// A client of the reference's registry.
    pub(super) fn client(&self, reference: &Reference) -> Result<Client> {
        let credentials = match &self.credentials {
            CredentialSource::None => None,
            CredentialSource::Given(credentials) => Some(credentials.clone()),
            CredentialSource::File(path) => {
                DockerConfig::load(path)?.credentials(reference.registry())?
            }
        };
        let insecure = !self.tls_verify;
        let options = ClientOptions { insecure, credentials, ..ClientOptions::default() };
        Ok(Client::new(reference, options))
    }
}

/// The registry that the server's name of a login means: also the URLs that Docker's older
/// versions took, and Docker Hub where it is empty.
#[must_use]
pub fn server_name(text: &str) -> String {
    if ["", "index.docker.io", "https://index.docker.io/v1/"].contains(&text) {
        return DEFAULT_REGISTRY.to_owned();
    }
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/');
    let without_version = ["/v1", "/v2"].iter().find_map(|version| bare.strip_suffix(version));
    without_version.unwrap_or(bare).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, server) in [
            ("", DEFAULT_REGISTRY),
            ("index.docker.io", DEFAULT_REGISTRY),
            ("https://index.docker.io/v1/", DEFAULT_REGISTRY),
            ("https://registry.example/v2/", "registry.example"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("registry.example/", "registry.example"),
        ] {
            assert_eq!(server_name(text), server, "{text}");
        }
    }
}
