//! The body of `POST /containers/create`: Docker's `Config`, with `HostConfig` and
//! `NetworkingConfig` in it.

pub(crate) mod host_config;
mod mounts;
mod networks;

use husk_engine::container::health::HealthCheck;
use husk_engine::container::request::ContainerRequest;
use serde_json::Value;

use crate::object::{Object, Result};
pub use networks::connection;

/// What a body asks for. The name, the platform and whether the image is pulled are not in it.
///
/// Fields that are Go's zero value ask for nothing, also where they are not known.
///
/// # Errors
/// Whatever asks for what is not supported, by its path.
pub fn container_request(body: &Value) -> Result<ContainerRequest> {
    let mut config = Object::of(body.clone())?;
    // These say what the client is going to do, or are an answer's.
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "ArgsEscaped"] {
        config.truth(name)?;
    }
    let entrypoint = config.words("Entrypoint")?;
    let mut request = ContainerRequest {
        image: config.text("Image")?,
        hostname: config.text("Hostname")?,
        domainname: config.text("Domainname")?,
        user: config.text_if_any("User")?,
        tty: config.truth("Tty")?,
        open_stdin: config.truth("OpenStdin")?,
        env: config.texts("Env")?,
        cmd: config.words("Cmd")?.unwrap_or_default(),
        // As the command line of Docker clears it.
        entrypoint: entrypoint.map(|words| match words.as_slice() {
            [word] if word.is_empty() => Vec::new(),
            _ => words,
        }),
        working_dir: config.text_if_any("WorkingDir")?,
        labels: config.text_map("Labels")?,
        exposed_ports: config.keys("ExposedPorts")?,
        volumes: config.keys("Volumes")?,
        stop_signal: config.text("StopSignal")?,
        stop_timeout: config.count("StopTimeout")?,
        healthcheck: health_check(&mut config)?,
        mac_address: config.text_if_any("MacAddress")?,
        ..ContainerRequest::default()
    };
    let mut network_mode = String::new();
    if let Some(mut host) = config.object("HostConfig")? {
        network_mode = host.text("NetworkMode")?;
        request.host_config = host_config::read(host)?;
    }
    // The same target twice, as compose writes it: the mount counts.
    let host = &request.host_config;
    let of_binds = host.binds.iter().filter_map(|bind| bind.split(':').nth(1));
    let of_mounts = host.mounts.iter().map(|mount| mount.target.as_str());
    let targets: Vec<&str> = of_binds.chain(of_mounts).collect();
    request.volumes.retain(|target| !targets.contains(&target.as_str()));
    if config.truth("NetworkDisabled")? {
        network_mode = "none".to_owned();
    }
    let networking = config.object("NetworkingConfig")?;
    request.networks = networks::read(&network_mode, networking)?;
    config.finish()?;
    Ok(request)
}

/// Times are nanoseconds, and 0 the image's.
fn health_check(config: &mut Object) -> Result<Option<HealthCheck>> {
    let Some(mut object) = config.object("Healthcheck")? else { return Ok(None) };
    let retries = object.count("Retries")?.unwrap_or(0);
    let check = HealthCheck {
        test: object.texts("Test")?,
        interval: object.count("Interval")?.unwrap_or(0),
        timeout: object.count("Timeout")?.unwrap_or(0),
        start_period: object.count("StartPeriod")?.unwrap_or(0),
        start_interval: object.count("StartInterval")?.unwrap_or(0),
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        ..HealthCheck::default()
    };
    if let Some(kind) = check.test.first()
        && !matches!(kind.as_str(), "" | "NONE" | "CMD" | "CMD-SHELL")
    {
        let problem = format!("{kind:?} is none of NONE, CMD and CMD-SHELL");
        return Err(object.error("Test[0]", problem));
    }
    object.finish()?;
    Ok(Some(check).filter(|check| *check != HealthCheck::default()))
}

#[cfg(test)]
mod tests;
