//! Making a volume for no container yet.

use std::collections::BTreeMap;

use super::Volume;
use crate::container::name;
use crate::error::{Error, Field, Result};
use crate::home::Home;

/// What volume is wanted.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Its name; empty for an anonymous volume with a name of 64 hexadecimal digits.
    pub name: String,
    /// `local`, which an empty one means too.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Makes a volume; one of this name that is there stays as it is, and is given.
///
/// # Errors
/// A malformed name, another driver; the errno of what failed.
pub fn create(home: &Home, request: &CreateRequest) -> Result<Volume> {
    if !["", "local"].contains(&request.driver.as_str()) {
        let problem = "must be local, the only volume driver";
        return Err(Error::field(Field::Driver, &request.driver, problem));
    }
    let anonymous = request.name.is_empty();
    let name = if anonymous { name::new_id()? } else { request.name.clone() };
    Volume::create(home, &name, request.labels.clone(), anonymous)
}
