//! `--filter NAME=VALUE` of the lists.

pub(crate) use husk_engine::filter::*;

use crate::error::{Error, Result};

/// Reads texts of the form `NAME=VALUE`.
///
/// # Errors
/// One without a `=`; those of [`check`].
pub(super) fn parse(texts: &[String], known: &[&str]) -> Result<Vec<Filter>> {
    let one = |whole: &String| {
        let parts = whole.split_once('=');
        let (name, value) =
            parts.ok_or_else(|| Error::Usage(format!("--filter {whole:?}: must be NAME=VALUE")))?;
        Ok(Filter::new(name, value))
    };
    let filters = texts.iter().map(one).collect::<Result<Vec<Filter>>>()?;
    check(&filters, known)?;
    Ok(filters)
}
