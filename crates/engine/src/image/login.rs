//! Credentials of registries: checking and keeping them.

use std::path::Path;

use husk_image::reference::is_registry;
use husk_image::registry::{Client, ClientOptions, Credentials, DockerConfig, RegistryError};

use super::server_name;
use crate::error::{Error, Field, Result};

/// Credentials for a registry.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    /// The registry, see [`server_name`].
    pub server: String,
    /// What proves who we are.
    pub credentials: Credentials,
    /// As [`super::RegistryAccess::tls_verify`].
    pub tls_verify: bool,
}

/// Asks the registry whether it takes the credentials.
///
/// # Errors
/// A malformed server or user, credentials that are refused; those of the registry.
pub fn check_login(request: &LoginRequest) -> Result<()> {
    let server = server_name(&request.server);
    if !is_registry(&server) {
        return Err(Error::other(format_args!("{server:?} is not a registry (HOST or HOST:PORT)")));
    }
    if let Credentials::Password { user, .. } = &request.credentials
        // What stands before the first colon is the user, to registries as in the file.
        && (user.is_empty() || user.contains(':'))
    {
        let problem = "is not a user name: it is empty or has a colon";
        return Err(Error::field(Field::Username, user, problem));
    }
    let options = ClientOptions {
        insecure: !request.tls_verify,
        credentials: Some(request.credentials.clone()),
        ..ClientOptions::default()
    };
    match Client::of_registry(&server, options).check_login() {
        Err(RegistryError::Denied { host, message, .. }) => Err(Error::other(format_args!(
            "registry {host}: incorrect user name or password{message}"
        ))),
        other => Ok(other?),
    }
}

/// Checks the credentials and writes them into a file in the form of Docker's config.json,
/// or hands them to the credential helper that it names.
///
/// # Errors
/// Those of [`check_login`]; a file that cannot be written.
pub fn login(request: &LoginRequest, file: &Path) -> Result<()> {
    check_login(request)?;
    let mut config = DockerConfig::load(file)?;
    Ok(config.store(&server_name(&request.server), &request.credentials)?)
}

/// Removes a registry's credentials from the file; gives whether there were any.
///
/// # Errors
/// A file that cannot be read or written.
pub fn logout(server: &str, file: &Path) -> Result<bool> {
    Ok(DockerConfig::load(file)?.erase(&server_name(server))?)
}
