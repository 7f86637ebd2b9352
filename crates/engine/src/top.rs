//! The processes of a container.

use crate::container::Container;
use crate::error::Result;
use crate::events;
use crate::home::Home;
use crate::runtime::Runtime;

/// What ps(1) prints of a container's processes, with options of ps(1).
///
/// # Errors
/// [`crate::error::Error::NotRunning`]; options that ps(1) refuses.
pub fn top(home: &Home, container: &Container, options: &[String]) -> Result<String> {
    container.running()?;
    let mut arguments = vec!["ps".to_owned(), container.id().to_owned()];
    arguments.extend(options.iter().cloned());
    let listed = Runtime::of(home, container)?.output(&arguments)?;
    events::container::record(container, "top", &[]);
    Ok(listed)
}
