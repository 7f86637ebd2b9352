//! A failure as one process tells another: a monitor its clients.

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind, Field, Problem};

/// Why a program could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its kind.
    pub kind: ErrorKind,
    /// Its line.
    pub message: String,
    /// The field that it is about, with its value and what is wrong with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<(Field, String, Problem)>,
}

impl Failure {
    /// The failure alone, without the field that it is about.
    pub fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message, field: None }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let field = match error {
            Error::Field { field, value, problem } => {
                Some((*field, value.clone(), problem.clone()))
            }
            _ => None,
        };
        Self { kind: error.kind(), message: error.to_string(), field }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.field {
            Some((field, value, problem)) => Self::Field { field, value, problem },
            None => Self::Runtime { message: failure.message, kind: failure.kind },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_on_the_other_side() {
        let problem = Problem::from("not with ").field(Field::NetworkMode);
        for error in [
            Error::field(Field::Sysctls, "net.x", problem),
            Error::NameInUse { name: "web".to_owned(), id: "0123".to_owned() },
            Error::Runtime { message: "x".to_owned(), kind: ErrorKind::ProgramNotFound },
        ] {
            let text = serde_json::to_string(&Failure::from(&error)).unwrap();
            let there = Error::from(serde_json::from_str::<Failure>(&text).unwrap());
            assert_eq!(there.kind(), error.kind());
            assert_eq!(there.to_string(), error.to_string());
        }
    }
}
