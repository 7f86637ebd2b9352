//! `GET /images/{name}/json`.

use husk_engine::error::{Error, Result};
use husk_engine::home::Home;
use husk_engine::image::{self, ImageDetails};
use husk_image::config::RunConfig;
use serde_json::{Value, json};

use crate::document::{Nil, OMITTED, nil};

/// The document of an image, by its name, digest or id.
///
/// # Errors
/// An image that is not there, or is damaged.
pub fn inspect_image(home: &Home, name: &str) -> Result<Value> {
    let details = image::inspect(home, name)?;
    let graph_driver = graph_driver(&details);
    let ImageDetails { record, names, config, size, .. } = details;
    let tags: Vec<String> = names.iter().map(|(name, _)| name.familiar()).collect();
    let digests: Vec<String> =
        names.iter().map(|(name, target)| format!("{}@{target}", name.familiar_name())).collect();
    let layers: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    let comment = config.history.as_ref().and_then(|history| history.last()?.comment.clone());
    let mut shown = json!({
        "Id": record.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment.unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author.unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "GraphDriver": graph_driver,
        "Config": run_config(config.config)?,
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        OMITTED: { "Variant": "", "OsVersion": "", "VirtualSize": size },
    });
    if let Some(variant) = config.variant.filter(|variant| !variant.is_empty()) {
        shown["Variant"] = variant.into();
    }
    Ok(shown)
}

/// The directories of the image's layers.
fn graph_driver(details: &ImageDetails) -> Value {
    let mut paths = details.directories.iter().rev().map(|path| path.display().to_string());
    let upper = paths.next().unwrap_or_default();
    let lower: Vec<String> = paths.collect();
    json!({ "Name": "overlay", "Data": { "UpperDir": upper, "LowerDir": lower.join(":") } })
}

/// The image's Config with the fields that Docker always has, null where they are not set.
fn run_config(config: Option<RunConfig>) -> Result<Value> {
    let mut shown = serde_json::to_value(config.unwrap_or_default()).map_err(Error::other)?;
    let mut omitted = json!({});
    let fields = [
        ("Cmd", nil(Nil::List), true),
        ("Entrypoint", nil(Nil::List), true),
        ("Env", nil(Nil::List), true),
        ("Labels", nil(Nil::Map), true),
        ("OnBuild", nil(Nil::List), true),
        ("User", "".into(), true),
        ("Volumes", nil(Nil::Map), true),
        ("WorkingDir", "".into(), true),
        ("ExposedPorts", nil(Nil::Map), false),
        ("Healthcheck", Value::Null, false),
        ("Shell", nil(Nil::List), false),
        ("StopSignal", "".into(), false),
        ("ArgsEscaped", false.into(), false),
        ("Image", "".into(), false),
    ];
    for (name, none, always) in fields {
        if shown.get(name).is_none() {
            let into = if always { &mut shown } else { &mut omitted };
            into[name] = none;
        }
    }
    shown[OMITTED] = omitted;
    Ok(shown)
}
