//! `hooks`.

use husk_spec::{Hook, Hooks};

use crate::report::{Error, Result};

pub(super) fn plan(hooks: Option<&Hooks>) -> Result<Hooks> {
    let Some(hooks) = hooks else {
        return Ok(Hooks::default());
    };
    let kinds: [(&str, &[Hook]); 6] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().enumerate() {
            let property = format!("hooks.{kind}[{index}]");
            if !hook.path.starts_with('/') {
                return Err(Error::invalid(
                    format_args!("{property}.path ({})", hook.path),
                    "not an absolute path",
                ));
            }
            for (number, entry) in hook.env.iter().flatten().enumerate() {
                if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                    return Err(Error::invalid(
                        format_args!("{property}.env[{number}] ({entry})"),
                        "not of the form NAME=value",
                    ));
                }
            }
            if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
                return Err(Error::invalid(
                    format_args!("{property}.timeout ({timeout})"),
                    "must be greater than zero",
                ));
            }
        }
    }
    Ok(hooks.clone())
}
