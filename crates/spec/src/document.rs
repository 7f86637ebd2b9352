//! How a struct becomes a document of the specification: every property may
//! be absent or `null` unless marked `@required`, and an empty one is not written.

use serde::{Deserialize, Deserializer};

/// Reads a property, with `null` standing for its absence.
pub(crate) fn null_is_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a property holds what its absence means.
pub(crate) fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines objects of the specification, one struct each.
macro_rules! documents {
    ($($(#[$meta:meta])* $name:ident {
        $(@required { $($(#[$rmeta:meta])* $required:ident : $rty:ty),+ $(,)? })?
        $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)?
    })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[allow(missing_docs, reason = "the fields are the specification's properties")]
        pub struct $name {
            $($($(#[$rmeta])* pub $required: $rty,)+)?
            $(
                #[serde(
                    default,
                    deserialize_with = "crate::document::null_is_absent",
                    skip_serializing_if = "crate::document::is_absent"
                )]
                $(#[$fmeta])*
                pub $field: $ty,
            )*
        }
    )+ };
}
pub(crate) use documents;
