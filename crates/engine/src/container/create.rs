//! Creating containers: the image, pulled where that is asked for, then the name and the record.

use husk_image::facts::Facts;
use husk_image::platform::Platform;
use husk_image::reference::Reference;
use husk_image::store::ImageRecord;
use husk_spec::NamespaceType;

use super::request::{ContainerRequest, PullPolicy};
use super::{Container, Parts, Source, name};
use crate::embedded;
use crate::error::{Error, Field, Result};
use crate::home::Home;
use crate::image::{PullRequest, pull};
use crate::reporter::Reporter;

/// Creates a container. What the request asks for is checked before anything is made of it but
/// the image, which stays where something else fails.
///
/// # Errors
/// A field that cannot be honoured; an image that is not there or cannot be pulled; a name that
/// another container has.
pub fn create(
    home: &Home,
    request: &ContainerRequest,
    reporter: &dyn Reporter,
) -> Result<Container> {
    let store = home.images()?;
    // Until the container is written down nothing is collected, its own beginnings included.
    let _activity = store.activity()?;
    let id = name::new_id()?;
    let image = request.image.clone();
    if embedded::is_host(home, &image)? {
        let config = request.resolve(home, &embedded::host_facts())?;
        if config.joined_namespaces.iter().any(|(typ, _)| *typ == NamespaceType::Pid) {
            let mode = &request.host_config.pid_mode;
            let problem = "the processes of that container could read this machine's files \
                           through /proc/PID/root of the image host: use another image, or debug";
            return Err(Error::field(Field::PidMode, mode, problem));
        }
        return Container::create(
            home,
            id,
            &request.name,
            Parts { image, source: Source::Host, config },
        );
    }
    let record = find_image(home, request, reporter)?;
    let facts = Facts::of(&store.config(&record)?)?;
    let config = request.resolve(home, &facts)?;
    store.pin(&id, &record.manifest)?;
    let source = Source::Image { id: record.id, manifest: record.manifest };
    let parts = Parts { image, source, config };
    let created = Container::create(home, id.clone(), &request.name, parts);
    if created.is_err() {
        store.unpin(&id)?;
    }
    created
}

/// The image in the store, pulled where it is missing or of another platform than was asked for.
fn find_image(
    home: &Home,
    request: &ContainerRequest,
    reporter: &dyn Reporter,
) -> Result<ImageRecord> {
    let Some(text) = request.platform.as_deref() else {
        return image(home, request, None, reporter);
    };
    let bad = |problem: String| Error::field(Field::Platform, text, problem);
    let wanted: Platform = text.parse().map_err(|error| bad(format!("{error}")))?;
    let record = image(home, request, Some(&wanted), reporter)?;
    match is_of(&record, &wanted) {
        true => Ok(record),
        false => Err(bad(format!("the image {} is for {}", request.image, record.platform))),
    }
}

fn is_of(record: &ImageRecord, wanted: &Platform) -> bool {
    let own = &record.platform;
    own.os == wanted.os
        && own.architecture == wanted.architecture
        && (wanted.variant.is_none() || own.variant == wanted.variant)
}

fn image(
    home: &Home,
    request: &ContainerRequest,
    wanted: Option<&Platform>,
    reporter: &dyn Reporter,
) -> Result<ImageRecord> {
    let name = &request.image;
    let found = home.images()?.find(name);
    match (request.pull, found) {
        (PullPolicy::Missing, Ok(record))
            if wanted.is_some_and(|wanted| !is_of(&record, wanted)) => {}
        (PullPolicy::Missing | PullPolicy::Never, Ok(record)) => return Ok(record),
        (policy, found) => {
            if let Some(record) = embedded::image(home, name)? {
                return Ok(record);
            }
            if policy == PullPolicy::Never {
                return Ok(found?);
            }
        }
    }
    // A malformed name is not announced as one that is pulled.
    name.parse::<Reference>()?;
    if request.pull == PullPolicy::Missing {
        let what = wanted.map_or_else(String::new, |wanted| format!(" for {wanted}"));
        reporter.notice(&format!("unable to find image {name}{what} locally; pulling it"));
    }
    let pulled = pull(
        home,
        &PullRequest {
            image: name.clone(),
            platform: request.platform.clone(),
            registry: request.registry.clone(),
        },
        reporter,
    )?;
    Ok(pulled.image)
}
