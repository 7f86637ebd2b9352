//! Images: what there is, and what changes names. Transfers are in `image/transfer.rs`, builds in
//! `image/build.rs`, commits in `image/commit.rs`.

mod build;
mod commit;
mod transfer;

use std::collections::BTreeMap;

use husk_engine::clock;
use husk_image::reference::Reference;
use husk_image::store::{Image, Removal, StoreError};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::list::has_label;
use super::network::until;
use crate::call::{Call, Version};
use crate::failure::{Failure, Result, with_tag};
use crate::query::Filters;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const LIST_FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
const PRUNE_FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

/// # Errors
/// Those of the endpoint.
pub(crate) async fn answer(service: Shared, call: Call, path: &[&str]) -> Result<Reply> {
    let method = call.method.clone();
    match (method.as_str(), path) {
        ("GET", ["images", "json"]) => list(service, call).await,
        ("POST", ["images", "create"]) => transfer::create(service, call).await,
        ("POST", ["images", "load"]) => transfer::load(service, call).await,
        ("GET", ["images", "get"]) => {
            let names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
            let names = names.iter().flat_map(|name| name.split(',').map(str::to_owned)).collect();
            transfer::save(service, call, names).await
        }
        ("GET", ["images", "search"]) => Err(Failure::not_implemented(
            "registries have no search that Husk could ask: look at their web pages",
        )),
        ("POST", ["images", "prune"]) => prune(service, call).await,
        ("GET", ["images", name @ .., "json"]) if !name.is_empty() => {
            inspect(service, &call, name.join("/")).await
        }
        ("GET", ["images", name @ .., "history"]) if !name.is_empty() => {
            history(service, name.join("/")).await
        }
        ("GET", ["images", name @ .., "get"]) if !name.is_empty() => {
            transfer::save(service, call, vec![name.join("/")]).await
        }
        ("POST", ["images", name @ .., "push"]) if !name.is_empty() => {
            transfer::push(service, call, name.join("/")).await
        }
        ("POST", ["images", name @ .., "tag"]) if !name.is_empty() => {
            tag(service, call, name.join("/")).await
        }
        ("DELETE", ["images", name @ ..]) if !name.is_empty() => {
            remove(service, call, name.join("/")).await
        }
        ("GET", ["distribution", name @ .., "json"]) if !name.is_empty() => {
            transfer::distribution(service, call, name.join("/")).await
        }
        ("POST", ["build"]) => build::build(service, call).await,
        ("POST", ["build", "prune"]) => build::prune(service).await,
        ("POST", ["build", "cancel"]) => Err(Failure::not_implemented(
            "a build is cancelled by closing the connection that it was asked for on",
        )),
        ("POST", ["commit"]) => commit::commit(service, call).await,
        _ => Err(Failure::not_found("page not found")),
    }
}

/// The image's name, or Docker's word for none.
fn digests(image: &Image) -> Vec<String> {
    let of = image.names.iter();
    let mut digests: Vec<String> =
        of.map(|(name, target)| format!("{}@{target}", name.familiar_name())).collect();
    digests.sort();
    digests.dedup();
    digests
}

fn tags(image: &Image) -> Vec<String> {
    let of = image.names.iter().filter(|(name, _)| name.tag().is_some());
    of.map(|(name, _)| name.familiar()).collect()
}

fn seconds(created: Option<&String>) -> u64 {
    created.and_then(|text| clock::parse(text)).unwrap_or_default()
}

async fn list(service: Shared, call: Call) -> Result<Reply> {
    let mut filters = call.query.filters(&LIST_FILTERS)?;
    if let Some(name) = call.query.text("filter") {
        // Of API versions before 1.25.
        filters.entry("reference".to_owned()).or_default().push(name.to_owned());
    }
    let (version, shared) = (call.version, call.query.is("shared-size"));
    let rows = service.blocking(move |service| rows(service, &filters, version, shared)).await?;
    reply::json(&rows)
}

fn rows(
    service: &Service,
    filters: &Filters,
    version: Version,
    shared: bool,
) -> Result<Vec<Value>> {
    let store = service.home.images()?;
    let pins = store.pins()?;
    let of = |name: &str| filters.get(name).cloned().unwrap_or_default();
    let created =
        |name: &String| -> Result<u64> { Ok(seconds(store.find(name)?.created.as_ref())) };
    let before = of("before").iter().map(created).collect::<Result<Vec<_>>>()?;
    let since = of("since").iter().map(created).collect::<Result<Vec<_>>>()?;
    let until = until(&of("until"))?;
    let (references, with) = (of("reference"), of("label"));
    let dangling = of("dangling").first().map(|value| matches!(value.as_str(), "true" | "1"));
    let mut rows = Vec::new();
    for image in store.images()? {
        let record = &image.record;
        let time = seconds(record.created.as_ref());
        let labels = labels(service, &image);
        let is_named = |wanted: &String| image.names.iter().any(|(name, _)| matches(name, wanted));
        if before.iter().any(|limit| time >= *limit)
            || since.iter().any(|limit| time <= *limit)
            || until.is_some_and(|(limit, _)| time >= limit)
            || !with.iter().all(|label| has_label(&labels, label))
            || dangling.is_some_and(|wanted| wanted != image.names.is_empty())
            || (!references.is_empty() && !references.iter().any(is_named))
        {
            continue;
        }
        let size = store.unpacked_size(&record.chain_ids())?;
        let containers = pins.iter().filter(|(_, manifest)| *manifest == record.manifest).count();
        let mut row = json!({
            "Containers": if shared { json!(containers) } else { json!(-1) },
            "Created": time,
            "Id": record.id.to_string(),
            "Labels": labels,
            "ParentId": "",
            "RepoDigests": digests(&image),
            "RepoTags": tags(&image),
            "SharedSize": if shared { 0 } else { -1 },
            "Size": size,
        });
        if version < Version(1, 44) {
            row["VirtualSize"] = size.into();
        }
        rows.push((time, row));
    }
    rows.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The rows of `system/df`.
///
/// # Errors
/// A store that cannot be read.
pub(super) fn usage(service: &Service) -> Result<Vec<Value>> {
    rows(service, &Filters::new(), crate::call::NEWEST, true)
}

fn labels(service: &Service, image: &Image) -> BTreeMap<String, String> {
    let config = service.home.images().and_then(|store| Ok(store.config(&image.record)?));
    let config = config.ok().and_then(|config| config.config);
    config.and_then(|config| config.labels).unwrap_or_default()
}

/// A name as it is written short, against a pattern of path.Match in Go: `*` stops at a slash.
fn matches(name: &Reference, wanted: &str) -> bool {
    let (short, whole) = (name.familiar_name(), name.familiar());
    glob(wanted.as_bytes(), short.as_bytes())
        || glob(wanted.as_bytes(), whole.as_bytes())
        || wanted.parse::<Reference>().is_ok_and(|wanted| {
            wanted.name() == name.name() && (wanted.tag().is_none() || wanted.tag() == name.tag())
        })
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(byte, after)| *byte != b'/' && glob(pattern, after))
        }
        (Some((b'?', rest)), Some((byte, after))) => *byte != b'/' && glob(rest, after),
        (Some((one, rest)), Some((other, after))) => one == other && glob(rest, after),
        _ => false,
    }
}

async fn inspect(service: Shared, call: &Call, name: String) -> Result<Reply> {
    let version = call.version;
    let document = service
        .blocking(move |service| {
            // For the words of the failure.
            service.home.images()?.find(&name)?;
            let document = husk_docker::inspect_image(&service.home, &name)?;
            Ok(husk_docker::document::public(&document))
        })
        .await?;
    let mut document = document;
    if version < Version(1, 44) {
        document["VirtualSize"] = document["Size"].clone();
    }
    if document["Metadata"].is_null() {
        document["Metadata"] = json!({ "LastTagTime": "0001-01-01T00:00:00Z" });
    }
    reply::json(&document)
}

async fn history(service: Shared, name: String) -> Result<Reply> {
    let rows = service
        .blocking(move |service| {
            let store = service.home.images()?;
            let record = store.find(&name)?;
            let config = store.config(&record)?;
            let layers = store.layers(&record.chain_ids())?;
            let mut sizes = layers.into_iter().map(|layer| layer.record.size);
            let mut rows: Vec<Value> = Vec::new();
            for entry in config.history.unwrap_or_default() {
                let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
                rows.push(json!({
                    "Comment": entry.comment.unwrap_or_default(),
                    "Created": seconds(entry.created.as_ref()),
                    "CreatedBy": entry.created_by.unwrap_or_default(),
                    "Id": "<missing>",
                    "Size": size,
                    "Tags": null,
                }));
            }
            rows.reverse();
            if let Some(first) = rows.first_mut() {
                first["Id"] = record.id.to_string().into();
                let all = store.images()?;
                let own = all.iter().find(|image| image.record.manifest == record.manifest);
                first["Tags"] = own.map_or(Value::Null, |image| json!(tags(image)));
            }
            Ok(rows)
        })
        .await?;
    reply::json(&rows)
}

async fn tag(service: Shared, call: Call, name: String) -> Result<Reply> {
    let repo = call.query.text("repo").unwrap_or_default().to_owned();
    let wanted = match call.query.text("tag") {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo,
    };
    let reference: Reference = wanted
        .parse()
        .map_err(|error| Failure::invalid(format!("invalid reference format: {error}")))?;
    service
        .blocking(move |service| {
            let store = service.home.images()?;
            let record = store.find(&name)?;
            Ok(store.tag(&reference.or_latest(), &record.manifest, &record.manifest)?)
        })
        .await?;
    Ok(reply::empty(StatusCode::CREATED))
}

fn removals(removed: &[Removal]) -> Vec<Value> {
    let one = |removal: &Removal| match removal {
        Removal::Untagged(name) => json!({ "Untagged": name.familiar() }),
        Removal::Deleted(id) => json!({ "Deleted": id.to_string() }),
    };
    removed.iter().map(one).collect()
}

async fn remove(service: Shared, call: Call, name: String) -> Result<Reply> {
    let force = call.query.is("force");
    let removed = service
        .blocking(move |service| {
            let store = service.home.images()?;
            let id = store.find(&name).map(|record| record.id.to_string()).unwrap_or_default();
            let short = |id: &str| {
                let plain = id.trim_start_matches("sha256:");
                plain.get(..12).unwrap_or(plain).to_owned()
            };
            store.remove(&name, force).map_err(|error| match error {
                StoreError::InUse { container, .. } => Failure::conflict(format!(
                    "conflict: unable to remove repository reference \"{name}\" (must force) - \
                     container {} is using its referenced image {}",
                    short(&container),
                    short(&id)
                )),
                StoreError::SeveralNames { .. } => Failure::conflict(format!(
                    "conflict: unable to delete {} (must be forced) - image is referenced in \
                     multiple repositories",
                    short(&id)
                )),
                StoreError::NoImage(name) => {
                    Failure::not_found(format!("No such image: {}", with_tag(&name)))
                }
                other => other.into(),
            })
        })
        .await?;
    reply::json(&removals(&removed))
}

async fn prune(service: Shared, call: Call) -> Result<Reply> {
    let filters = call.query.filters(&PRUNE_FILTERS)?;
    let (removed, freed) = service
        .blocking(move |service| {
            let of = |name: &str| filters.get(name).cloned().unwrap_or_default();
            let all = of("dangling").iter().any(|value| matches!(value.as_str(), "false" | "0"));
            let (with, without) = (of("label"), of("label!"));
            let before = until(&of("until"))?;
            let store = service.home.images()?;
            let used = husk_engine::usage::store(&store)?;
            let pinned: Vec<_> = store.pins()?.into_iter().map(|(_, manifest)| manifest).collect();
            let mut removed = Vec::new();
            for image in store.images()? {
                let labels = labels(service, &image);
                let time = seconds(image.record.created.as_ref());
                if pinned.contains(&image.record.manifest)
                    || !(all || image.names.is_empty())
                    || !with.iter().all(|label| has_label(&labels, label))
                    || without.iter().any(|label| has_label(&labels, label))
                    || before.is_some_and(|(limit, _)| time >= limit)
                {
                    continue;
                }
                if let Ok(gone) = store.remove(&image.record.manifest.to_string(), true) {
                    removed.extend(removals(&gone));
                }
            }
            Ok((removed, used.saturating_sub(husk_engine::usage::store(&store)?)))
        })
        .await?;
    let removed = if removed.is_empty() { Value::Null } else { json!(removed) };
    reply::json(&json!({ "ImagesDeleted": removed, "SpaceReclaimed": freed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_docker_matches_them() {
        let name: Reference = "alpine:3".parse().unwrap();
        for (wanted, found) in [
            ("alpine", true),
            ("alpine:3", true),
            ("alpine:4", false),
            ("al*", true),
            ("alpine:*", true),
            ("docker.io/library/alpine", true),
            ("*/alpine", false),
        ] {
            assert_eq!(matches(&name, wanted), found, "{wanted}");
        }
    }
}
