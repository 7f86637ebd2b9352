//! `build`.

mod cache;
mod context;
mod destination;
mod secret;

use std::collections::HashSet;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use clap::Args;
use husk_image::build::dockerfile::Dockerfile;
use husk_image::build::remote::Remote;
use husk_image::build::{BuildError, BuildOptions, NamedContext, open_context};
use husk_image::digest::Digest;
use husk_image::platform::Platform;
use husk_image::progress::Progress;
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Store};

use super::progress::{self, Lines};
use super::{embedded, output, registry};
use crate::error::{Error, Result, file};
use context::Context;
use destination::Destination;
use husk_engine::build::{Interrupt, Steps};
use husk_engine::home::Home;
use husk_engine::image::{self, PullRequest};
use husk_engine::notice;
use husk_engine::reporter::{Reporter, Silent, StoreProgress};

/// What a shell makes of SIGINT.
const INTERRUPTED: u8 = 130;

/// `build`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Docker's")]
pub(super) struct Build {
    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The Dockerfile, or - for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Set an ARG; NAME alone takes the value from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Stage to build, by name or number [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Remove the containers of the steps, as is always done
    #[arg(long, visible_alias = "force-rm")]
    rm: bool,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Always pull the images of FROM
    #[arg(long)]
    pull: bool,
    /// Platform of the image, as OS/ARCHITECTURE
    #[arg(long)]
    platform: Option<String>,
    /// Add a label to the image
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Secret for RUN --mount=type=secret
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]")]
    secret: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    ssh: Vec<String>,
    /// Directory or image that FROM and --from can name
    #[arg(long, value_name = "NAME=DIR|docker-image://IMAGE")]
    build_context: Vec<String>,
    /// Allow RUN --network=host or RUN --security=insecure
    #[arg(long, value_name = "network.host|security.insecure", value_delimiter = ',')]
    allow: Vec<String>,
    /// Where the result goes besides the image store
    #[arg(short, long, value_name = "DIR|-|type=TYPE[,dest=PATH]")]
    output: Vec<String>,
    /// Push the image to its registry, as --output type=registry does
    #[arg(long)]
    push: bool,
    /// Put the image into the image store, as is always done
    #[arg(long)]
    load: bool,
    /// Use a cache of another machine
    #[arg(long, value_name = "IMAGE|type=local,src=DIR|type=registry,ref=IMAGE")]
    cache_from: Vec<String>,
    /// Write the cache for other machines
    #[arg(long, value_name = "type=local,dest=DIR|type=registry,ref=IMAGE|type=inline")]
    cache_to: Vec<String>,
    /// Provenance attestations, which are not made: false
    #[arg(long, value_name = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    provenance: Option<String>,
    /// SBOM attestations, which are not made: false
    #[arg(long, value_name = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sbom: Option<String>,
    /// Print the image's ID only, and the output of a step that fails
    #[arg(short, long)]
    quiet: bool,
    /// How progress is shown: auto, plain, tty or quiet
    #[arg(long, default_value = "auto", value_name = "KIND")]
    progress: String,
    /// Network of RUN: bridge, none, host or a network's name
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write the digests and names of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Whether to require TLS and verify certificates
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// A directory, a git repository, a URL, or - for a tar or a Dockerfile on standard input
    context: String,
}

/// How a build talks to registries.
struct Registry {
    tls_verify: bool,
    quiet: bool,
}

impl Registry {
    fn pull(&self, home: &Home, image: &str, platform: Option<&str>) -> Result<ImageRecord> {
        let request = PullRequest {
            image: image.to_owned(),
            platform: platform.map(str::to_owned),
            registry: registry::access(self.tls_verify),
        };
        Ok(image::pull(home, &request, &*progress::of(self.quiet))?.image)
    }

    fn push(&self, home: &Home, image: &ImageRecord, reference: &Reference) -> Result<Digest> {
        let access = registry::access(self.tls_verify);
        let reporter = progress::of(self.quiet);
        Ok(image::push_image(home, image, reference, &access, &*reporter)?)
    }

    fn digest(&self, reference: &Reference) -> Result<Digest> {
        Ok(image::manifest_digest(reference, &registry::access(self.tls_verify))?)
    }
}

impl Build {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let quiet = self.is_quiet()?;
        self.check_attestations()?;
        let destinations = self.destinations()?;
        let caches = cache::Caches::parse(&self.cache_from, &self.cache_to)?;
        let mut options = self.options()?;
        options.cache = caches.export();
        let store = home.images()?;
        // From here on nothing is collected: neither a context in `tmp` nor what is pulled.
        let _activity = store.activity()?;
        let Context { dockerfile, name, root, ignore, scratch } =
            context::open(home, &self.context, self.file.as_deref())?;
        let dockerfile = Dockerfile::parse(&name, &dockerfile).map_err(BuildError::from)?;
        options.context = root;
        options.ignore = ignore;

        let registry = Registry { tls_verify: self.tls_verify, quiet };
        let lines = Lines::default();
        let reporter: &dyn Reporter = if quiet { &Silent } else { &lines };
        let progress: &dyn Progress = &StoreProgress(reporter);
        caches.import(home, &store, &registry, progress)?;
        let pull = self.pull;
        let mut find = |reference: &Reference, platform: &Platform| {
            let name = reference.to_string();
            if let Some(record) = embedded::image(home, &reference.familiar())?
                && !pull
            {
                return Ok(record);
            }
            let platform = platform.to_string();
            Ok(registry.pull(home, &name, Some(&platform))?)
        };
        let mut steps = Steps {
            home,
            networks: self.network.iter().cloned().collect(),
            pull,
            quiet,
            find: &mut find,
            signals: Interrupt::watch().map_err(file("watch", "signals"))?,
            interrupted: false,
            pulled: HashSet::new(),
        };
        let built = husk_image::build::build(&store, &dockerfile, &options, &mut steps, progress);
        drop(scratch);
        let built = match built {
            Err(error) if steps.interrupted => {
                output::error(&error.into());
                return Ok(INTERRUPTED);
            }
            built => built?,
        };
        self.deliver(home, &store, &built.image, &options, &destinations, quiet)?;
        caches.write(home, &store, &built.cache, &registry)?;
        self.report(&built.image, &options, quiet)
    }

    fn is_quiet(&self) -> Result<bool> {
        match self.progress.as_str() {
            "auto" | "plain" => Ok(self.quiet),
            "quiet" => Ok(true),
            "tty" if std::io::stderr().is_terminal() => Ok(self.quiet),
            "tty" => Err(Error::flag("--progress", "tty", "needs a terminal as standard error")),
            "rawjson" => Err(Error::flag("--progress", "rawjson", "is not built yet; use plain")),
            other => {
                let problem = "must be one of auto, plain, tty, quiet";
                Err(Error::flag("--progress", other, problem))
            }
        }
    }

    /// Attestations are not made, and who asks for one must not believe that it is there.
    fn check_attestations(&self) -> Result<()> {
        for (flag, value) in [("--provenance", &self.provenance), ("--sbom", &self.sbom)] {
            match value.as_deref() {
                None | Some("false" | "0") => {}
                Some(value) => {
                    let problem = "is not built: images get no attestations; use false";
                    return Err(Error::flag(flag, value, problem));
                }
            }
        }
        Ok(())
    }

    fn destinations(&self) -> Result<Vec<Destination>> {
        let parsed: Result<Vec<_>> = self.output.iter().map(|text| text.parse()).collect();
        let mut destinations = parsed?;
        if self.push {
            destinations.push(Destination::Registry { names: Vec::new() });
        }
        let pushes = destinations
            .iter()
            .any(|one| matches!(one, Destination::Registry { names } if names.is_empty()));
        if pushes && self.tag.is_empty() {
            return Err(Error::other("a push needs a name: give one with --tag"));
        }
        Ok(destinations)
    }

    /// Sends the image where `--output` and `--push` say.
    fn deliver(
        &self,
        home: &Home,
        store: &Store,
        image: &ImageRecord,
        options: &BuildOptions,
        destinations: &[Destination],
        quiet: bool,
    ) -> Result<()> {
        let registry = Registry { tls_verify: self.tls_verify, quiet };
        for destination in destinations {
            destination.write(home, store, image, &options.names, &registry)?;
        }
        Ok(())
    }

    fn report(&self, image: &ImageRecord, options: &BuildOptions, quiet: bool) -> Result<u8> {
        if let Some(path) = &self.iidfile {
            std::fs::write(path, image.id.to_string()).map_err(file("write", path))?;
        }
        if let Some(path) = &self.metadata_file {
            let names: Vec<String> = options.names.iter().map(ToString::to_string).collect();
            let mut metadata = serde_json::json!({
                "containerimage.config.digest": image.id.to_string(),
                "containerimage.digest": image.manifest.to_string(),
            });
            if !names.is_empty() {
                metadata["image.name"] = names.join(",").into();
            }
            let text = format!("{metadata:#}\n");
            std::fs::write(path, text).map_err(file("write", path))?;
        }
        if quiet {
            // Standard output may be the result's own: -o -.
            if !self.output.iter().any(|text| text == "-" || text.ends_with("dest=-")) {
                output::line(image.id)?;
            }
            return Ok(0);
        }
        notice::line(format_args!("built {}", image.id));
        for name in &options.names {
            notice::line(format_args!("named {}", name.familiar()));
        }
        Ok(0)
    }

    fn options(&self) -> Result<BuildOptions> {
        let mut options = BuildOptions::new();
        for text in &self.tag {
            let reference: Reference = text.parse()?;
            if reference.digest().is_some() {
                return Err(Error::flag("--tag", text, "a digest cannot be given"));
            }
            options.names.push(reference.or_latest());
        }
        for text in &self.build_arg {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                // What is not in our environment is as if it were not given.
                None => (text.as_str(), std::env::var(text).ok()),
            };
            if name.is_empty() {
                return Err(Error::flag("--build-arg", text, "is not NAME=VALUE"));
            }
            options.arguments.extend(value.map(|value| (name.to_owned(), value)));
        }
        for text in &self.label {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                return Err(Error::flag("--label", text, "is not NAME=VALUE"));
            }
            options.labels.push((name.to_owned(), value.to_owned()));
        }
        for text in &self.secret {
            options.secrets.push(secret::secret(text)?);
        }
        for text in &self.ssh {
            options.agents.push(secret::agent(text)?);
        }
        for text in &self.build_context {
            options.contexts.push(named_context(text)?);
        }
        for text in &self.allow {
            match text.as_str() {
                "network.host" => options.allow_host_network = true,
                "security.insecure" => options.allow_insecure = true,
                other => {
                    let problem = "must be one of network.host, security.insecure";
                    return Err(Error::flag("--allow", other, problem));
                }
            }
        }
        if let Some(text) = &self.platform {
            options.platform = platform(text)?;
        }
        if let Some(network) = &self.network {
            husk_net::Mode::parse(
                std::slice::from_ref(network),
                husk_engine::rootless::is_rootless(),
            )?;
            options.allow_host_network |= network == "host";
        }
        options.epoch = epoch(&mut options.arguments)?;
        options.target.clone_from(&self.target);
        options.no_cache = self.no_cache;
        Ok(options)
    }
}

fn platform(text: &str) -> Result<Platform> {
    if text.contains(',') {
        let problem = "names several: build one image a platform, each with a --tag of its own";
        return Err(Error::flag("--platform", text, problem));
    }
    text.parse().map_err(|error| Error::flag("--platform", text, error))
}

/// SOURCE_DATE_EPOCH (reproducible-builds.org) of `--build-arg`, or else of the environment,
/// which then is an argument too, as with buildx.
fn epoch(arguments: &mut Vec<(String, String)>) -> Result<Option<u64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = arguments.iter().rev().find(|(name, _)| name == NAME);
    let text = match given.map(|(_, value)| value.clone()) {
        Some(text) => text,
        None => {
            let Some(text) = std::env::var(NAME).ok().filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            arguments.push((NAME.to_owned(), text.clone()));
            text
        }
    };
    let seconds = text.parse().map(Some);
    seconds.map_err(|_| Error::flag(NAME, text, "must be seconds since 1970"))
}

/// Reads what `--build-context` means.
fn named_context(text: &str) -> Result<(String, NamedContext)> {
    let bad = |problem: &str| Error::flag("--build-context", text, problem);
    let (name, value) = text.split_once('=').ok_or_else(|| bad("is not NAME=DIRECTORY"))?;
    if name.is_empty() || value.is_empty() {
        return Err(bad("is not NAME=DIRECTORY"));
    }
    if let Some(image) = value.strip_prefix("docker-image://") {
        image.parse::<Reference>()?;
        return Ok((name.to_owned(), NamedContext::Image(image.to_owned())));
    }
    if value.contains("://") || Remote::parse(value).is_some() {
        return Err(bad("must be a directory or docker-image://IMAGE"));
    }
    let (root, ignore): (OwnedFd, _) = open_context(Path::new(value), "Dockerfile")?;
    Ok((name.to_owned(), NamedContext::Directory { root, ignore }))
}
