//! What a request fails with: a status, and a message as Docker words it where tools match it.

use husk_engine::error::{Error, ErrorKind};
use husk_image::store::StoreError;
use hyper::StatusCode;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// Everything that answers a request fails with a [`Failure`].
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request itself is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// What Husk does not do.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// Nothing is changed: it is so already.
    pub(crate) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status(&error);
        let message = match &error {
            Error::NoContainer(name) => format!("No such container: {name}"),
            Error::NoVolume(name) => format!("get {name}: no such volume"),
            Error::NoExec(id) => format!("No such exec instance: {id}"),
            Error::VolumeInUse { name, container } => {
                format!("remove {name}: volume is in use - [{container}]")
            }
            Error::Store(store) => return Self::new(status, store_message(store)),
            other => husk_engine::notice::without_errno(&other.to_string()),
        };
        Self { status, message }
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Other(text) if text.contains("is ambiguous") => StatusCode::BAD_REQUEST,
        _ => match error.kind() {
            ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict | ErrorKind::NotRunning | ErrorKind::AlreadyRunning => {
                StatusCode::CONFLICT
            }
            // A monitor that is gone, or too old for what is asked.
            ErrorKind::Unavailable if matches!(error, Error::NoMonitor(_)) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

fn store_message(error: &StoreError) -> String {
    match error {
        StoreError::NoImage(name) => format!("No such image: {}", with_tag(name)),
        other => husk_engine::notice::without_errno(&other.to_string()),
    }
}

/// A name as Docker writes it where there is none: with the tag that is meant.
pub(crate) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.contains([':', '@']) {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}

impl From<husk_docker::BodyError> for Failure {
    fn from(error: husk_docker::BodyError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<husk_net::Error> for Failure {
    fn from(error: husk_net::Error) -> Self {
        Self::from(Error::from(error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::from(Error::from(error))
    }
}
