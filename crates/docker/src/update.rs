//! The body of `POST /containers/{id}/update`: limits, and a restart policy.

use husk_engine::container::config::Limits;
use husk_engine::container::restart::RestartPolicy;
use serde_json::Value;

use crate::create::host_config::{limits, restart_policy};
use crate::object::{Object, Result};

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateBody {
    /// Limits; 0 leaves one as it is.
    pub limits: Limits,
    /// The restart policy; `None` leaves it as it is.
    pub restart_policy: Option<RestartPolicy>,
}

/// What a body asks for.
///
/// # Errors
/// Whatever asks for what is not supported, by its path.
pub fn update_request(body: &Value) -> Result<UpdateBody> {
    let mut object = Object::of(body.clone())?;
    let asks_policy = object.asks("RestartPolicy");
    let limits = limits(&mut object)?;
    let policy = restart_policy(&mut object)?;
    object.finish()?;
    let restart_policy = asks_policy.then_some(policy);
    Ok(UpdateBody { limits, restart_policy })
}
