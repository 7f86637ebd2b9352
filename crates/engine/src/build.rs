//! Building an image: context and Dockerfile, base images, a container for each RUN, and where
//! the result goes.

mod cache;
mod context;
mod destination;
mod mount_points;
mod mounts;
mod prune;
mod steps;

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

pub use husk_image::build::Secret;
use husk_image::build::dockerfile::Dockerfile;
use husk_image::build::remote::Remote;
use husk_image::build::{BuildError, BuildOptions, NamedContext, open_context};
use husk_image::platform::Platform;
use husk_image::reference::Reference;
use husk_image::store::ImageRecord;

pub use cache::{CachePlace, Caches};
pub use context::{ContextSource, DockerfileSource};
pub use destination::{Destination, Output};
pub use prune::prune_cache;

use crate::error::{Error, Field, Result};
use crate::home::Home;
use crate::image::{self, PullRequest, RegistryAccess};
use crate::reporter::{Reporter, StoreProgress};
use context::Context;
use steps::Steps;

/// Asks a build to end: the container of the step that runs is killed then.
pub trait Cancel {
    /// Readable once the build is to end.
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// Whether a step's container runs: only then the descriptor is looked at.
    fn hold(&self, held: bool) {
        let _ = held;
    }
}

/// Gives an image for `FROM` that is in no registry, or none; by its familiar name.
pub type OwnImage<'a> = dyn Fn(&str) -> Result<Option<ImageRecord>> + 'a;

/// What is to be built.
pub struct BuildRequest<'a> {
    /// The files of COPY and ADD.
    pub context: ContextSource<'a>,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource<'a>,
    /// Names of the image.
    pub names: Vec<String>,
    /// Values of ARG. SOURCE_DATE_EPOCH among them is the time of the image, in seconds since
    /// 1970 (reproducible-builds.org).
    pub arguments: Vec<(String, String)>,
    /// The stage to build, by name or number; the last one where it is none.
    pub target: Option<String>,
    /// OS/ARCHITECTURE[/VARIANT]; this machine's own where it is none.
    pub platform: Option<String>,
    /// Make every step anew.
    pub no_cache: bool,
    /// Pull the images of FROM also where they are in the store.
    pub pull: bool,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// Secrets of `RUN --mount=type=secret`.
    pub secrets: Vec<Secret>,
    /// Sockets of SSH agents by id, for `RUN --mount=type=ssh`.
    pub agents: Vec<(String, std::path::PathBuf)>,
    /// Names that FROM and `--from` may have, each with a directory or
    /// `docker-image://IMAGE`.
    pub contexts: Vec<(String, String)>,
    /// RUN may have the host's network.
    pub allow_host_network: bool,
    /// RUN may have the privileges of the host's root.
    pub allow_insecure: bool,
    /// The network of RUN; the default one where it is none.
    pub network: Option<String>,
    /// Caches of other machines to use and to write.
    pub caches: Caches,
    /// Where the result goes besides the image store.
    pub destinations: Vec<Destination<'a>>,
    /// The output of a step is told only where the step fails.
    pub quiet: bool,
    /// How registries are talked to.
    pub registry: RegistryAccess,
    /// Ends the build.
    pub cancel: Option<&'a dyn Cancel>,
    /// Images that are in no registry.
    pub own_image: Option<&'a OwnImage<'a>>,
}

impl BuildRequest<'_> {
    /// A build of a context with the Dockerfile in it, and of no more than that.
    pub fn new(context: ContextSource<'_>) -> BuildRequest<'_> {
        BuildRequest {
            context,
            dockerfile: DockerfileSource::Context(None),
            names: Vec::new(),
            arguments: Vec::new(),
            target: None,
            platform: None,
            no_cache: false,
            pull: false,
            labels: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
            contexts: Vec::new(),
            allow_host_network: false,
            allow_insecure: false,
            network: None,
            caches: Caches::default(),
            destinations: Vec::new(),
            quiet: false,
            registry: RegistryAccess::default(),
            cancel: None,
            own_image: None,
        }
    }
}

/// What a build gave.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image, which is in the store.
    pub image: ImageRecord,
    /// Its names.
    pub names: Vec<Reference>,
}

/// How a build ended.
#[derive(Debug)]
pub enum Outcome {
    /// There is an image.
    Built(Box<Built>),
    /// It was asked to end, and this is what failed of that.
    Cancelled(Error),
}

/// Builds an image and sends it where it is to go.
///
/// # Errors
/// A field that cannot be honoured; a Dockerfile, a context or a step that failed. The store
/// then has what the steps before left in the cache.
pub fn build(home: &Home, request: BuildRequest<'_>, reporter: &dyn Reporter) -> Result<Outcome> {
    let mut options = options(&request)?;
    let pushes =
        |one: &Destination<'_>| matches!(one, Destination::Registry { names } if names.is_empty());
    if request.destinations.iter().any(pushes) && options.names.is_empty() {
        return Err(Error::other("a push needs a name: give one with --tag"));
    }
    options.cache = request.caches.export();
    let store = home.images()?;
    // From here on nothing is collected: neither a context in `tmp` nor what is pulled.
    let _activity = store.activity()?;
    let Context { dockerfile, name, root, ignore, scratch } =
        context::open(home, request.context, request.dockerfile)?;
    let dockerfile = Dockerfile::parse(&name, &dockerfile).map_err(BuildError::from)?;
    options.context = root;
    options.ignore = ignore;
    let registry = &request.registry;
    request.caches.import(home, &store, registry, reporter)?;
    let pull = request.pull;
    let own_image = request.own_image;
    let mut find = |reference: &Reference, platform: &Platform| {
        if let Some(own_image) = own_image
            && let Some(record) = own_image(&reference.familiar())?
            && !pull
        {
            return Ok(record);
        }
        let request = PullRequest {
            image: reference.to_string(),
            platform: Some(platform.to_string()),
            registry: registry.clone(),
        };
        Ok(image::pull(home, &request, reporter)?.image)
    };
    let mut steps = Steps {
        home,
        networks: request.network.iter().cloned().collect(),
        pull,
        quiet: request.quiet,
        find: &mut find,
        cancel: request.cancel,
        cancelled: false,
        pulled: HashSet::new(),
        reporter,
    };
    let progress = StoreProgress(reporter);
    let built = husk_image::build::build(&store, &dockerfile, &options, &mut steps, &progress);
    drop(scratch);
    let built = match built {
        Err(error) if steps.cancelled => return Ok(Outcome::Cancelled(error.into())),
        built => built?,
    };
    for destination in request.destinations {
        destination.write(home, &store, &built.image, &options.names, registry, reporter)?;
    }
    request.caches.write(home, &store, &built.cache, registry, reporter)?;
    Ok(Outcome::Built(Box::new(Built { image: built.image, names: options.names })))
}

fn options(request: &BuildRequest<'_>) -> Result<BuildOptions> {
    let mut options = BuildOptions::new();
    for text in &request.names {
        let reference: Reference = text.parse()?;
        if reference.digest().is_some() {
            return Err(Error::field(Field::Tag, text, "a digest cannot be given"));
        }
        options.names.push(reference.or_latest());
    }
    for (field, pairs) in
        [(Field::BuildArguments, &request.arguments), (Field::Labels, &request.labels)]
    {
        if let Some((name, value)) = pairs.iter().find(|(name, _)| name.is_empty()) {
            return Err(Error::field(field, format!("{name}={value}"), "is not NAME=VALUE"));
        }
    }
    options.arguments.clone_from(&request.arguments);
    options.labels.clone_from(&request.labels);
    for secret in &request.secrets {
        options.secrets.push(Secret { id: secret.id.clone(), content: secret.content.clone() });
    }
    options.agents.clone_from(&request.agents);
    for (name, value) in &request.contexts {
        options.contexts.push((name.clone(), named_context(name, value)?));
    }
    options.allow_host_network = request.allow_host_network;
    options.allow_insecure = request.allow_insecure;
    if let Some(text) = &request.platform {
        options.platform = platform(text)?;
    }
    if let Some(network) = &request.network {
        husk_net::Mode::parse(std::slice::from_ref(network), crate::rootless::is_rootless())?;
        options.allow_host_network |= network == "host";
    }
    options.epoch = epoch(&request.arguments)?;
    options.target.clone_from(&request.target);
    options.no_cache = request.no_cache;
    Ok(options)
}

fn platform(text: &str) -> Result<Platform> {
    if text.contains(',') {
        let problem = "names several: build one image a platform, each with a name of its own";
        return Err(Error::field(Field::Platform, text, problem));
    }
    let parsed = text.parse::<Platform>();
    parsed.map_err(|error| Error::field(Field::Platform, text, error.to_string()))
}

fn epoch(arguments: &[(String, String)]) -> Result<Option<u64>> {
    let given = arguments.iter().rev().find(|(name, _)| name == "SOURCE_DATE_EPOCH");
    let Some((_, text)) = given else { return Ok(None) };
    let seconds = text.parse().map(Some);
    seconds.map_err(|_| Error::field(Field::SourceDateEpoch, text, "must be seconds since 1970"))
}

fn named_context(name: &str, value: &str) -> Result<NamedContext> {
    let bad =
        |problem: &str| Error::field(Field::BuildContexts, format!("{name}={value}"), problem);
    if name.is_empty() || value.is_empty() {
        return Err(bad("is not NAME=DIRECTORY"));
    }
    if let Some(image) = value.strip_prefix("docker-image://") {
        image.parse::<Reference>()?;
        return Ok(NamedContext::Image(image.to_owned()));
    }
    if value.contains("://") || Remote::parse(value).is_some() {
        return Err(bad("must be a directory or docker-image://IMAGE"));
    }
    let (root, ignore) = open_context(std::path::Path::new(value), "Dockerfile")?;
    Ok(NamedContext::Directory { root, ignore })
}
