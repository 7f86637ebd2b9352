//! The documents of runtime-spec 1.3 as plain data: config.json, state, features.
