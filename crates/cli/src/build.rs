//! `build`.

mod cache;
mod destination;
mod interrupt;
mod secret;

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use husk_engine::build::{self, BuildRequest, Built, ContextSource, DockerfileSource, Outcome};
use husk_engine::home::Home;
use husk_engine::notice;
use husk_engine::reporter::Reporter;

use super::progress::{BuildLines, Quiet};
use super::{output, registry};
use crate::error::{Error, Result, file};
use destination::Destination;
use interrupt::Interrupt;

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

impl Build {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let quiet = self.is_quiet()?;
        self.check_attestations()?;
        let interrupt = Interrupt::watch().map_err(file("watch", "signals"))?;
        let own_image = |name: &str| husk_engine::embedded::image(home, name);
        let mut request = self.request()?;
        request.quiet = quiet;
        request.cancel = Some(&interrupt);
        request.own_image = Some(&own_image);
        let lines = BuildLines::default();
        let reporter: &dyn Reporter = if quiet { &Quiet } else { &lines };
        match build::build(home, request, reporter)? {
            Outcome::Cancelled(error) => {
                output::error(&error.into());
                Ok(INTERRUPTED)
            }
            Outcome::Built(built) => self.report(&built, quiet),
        }
    }

    fn request(&self) -> Result<BuildRequest<'static>> {
        let (context, dockerfile) = self.sources()?;
        let mut request = BuildRequest::new(context);
        request.dockerfile = dockerfile;
        request.names.clone_from(&self.tag);
        request.arguments = self.arguments()?;
        request.target.clone_from(&self.target);
        request.platform.clone_from(&self.platform);
        request.no_cache = self.no_cache;
        request.pull = self.pull;
        for text in &self.label {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                return Err(Error::flag("--label", text, "is not NAME=VALUE"));
            }
            request.labels.push((name.to_owned(), value.to_owned()));
        }
        for text in &self.secret {
            request.secrets.push(secret::secret(text)?);
        }
        for text in &self.ssh {
            request.agents.push(secret::agent(text)?);
        }
        for text in &self.build_context {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Error::flag("--build-context", text, "is not NAME=DIRECTORY"))?;
            request.contexts.push((name.to_owned(), value.to_owned()));
        }
        for text in &self.allow {
            match text.as_str() {
                "network.host" => request.allow_host_network = true,
                "security.insecure" => request.allow_insecure = true,
                other => {
                    let problem = "must be one of network.host, security.insecure";
                    return Err(Error::flag("--allow", other, problem));
                }
            }
        }
        request.network.clone_from(&self.network);
        request.caches = cache::caches(&self.cache_from, &self.cache_to)?;
        for text in &self.output {
            request.destinations.extend(text.parse::<Destination>()?.request()?);
        }
        if self.push {
            request.destinations.push(build::Destination::Registry { names: Vec::new() });
        }
        request.registry = registry::access(self.tls_verify);
        Ok(request)
    }

    fn sources(&self) -> Result<(ContextSource<'static>, DockerfileSource<'static>)> {
        let context = match self.context.as_str() {
            "-" if self.file.as_deref() == Some("-") => {
                return Err(Error::other("standard input cannot be both context and Dockerfile"));
            }
            "-" => ContextSource::Stream {
                name: "standard input".to_owned(),
                input: Box::new(std::io::stdin()),
            },
            text => ContextSource::of_text(text),
        };
        let dockerfile = match self.file.as_deref() {
            Some("-") => DockerfileSource::Stream {
                name: "<stdin>".to_owned(),
                input: Box::new(std::io::stdin()),
            },
            file => DockerfileSource::Context(file.map(str::to_owned)),
        };
        Ok((context, dockerfile))
    }

    /// `--build-arg`, and SOURCE_DATE_EPOCH of the environment, which then is an argument too, as
    /// with buildx.
    fn arguments(&self) -> Result<Vec<(String, String)>> {
        const EPOCH: &str = "SOURCE_DATE_EPOCH";
        let mut arguments = Vec::new();
        for text in &self.build_arg {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                // What is not in our environment is as if it were not given.
                None => (text.as_str(), std::env::var(text).ok()),
            };
            if name.is_empty() {
                return Err(Error::flag("--build-arg", text, "is not NAME=VALUE"));
            }
            arguments.extend(value.map(|value| (name.to_owned(), value)));
        }
        if !arguments.iter().any(|(name, _)| name == EPOCH) {
            let set = std::env::var(EPOCH).ok().filter(|text| !text.is_empty());
            arguments.extend(set.map(|text| (EPOCH.to_owned(), text)));
        }
        Ok(arguments)
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

    fn report(&self, built: &Built, quiet: bool) -> Result<u8> {
        let Built { image, names } = built;
        if let Some(path) = &self.iidfile {
            std::fs::write(path, image.id.to_string()).map_err(file("write", path))?;
        }
        if let Some(path) = &self.metadata_file {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
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
        for name in names {
            notice::line(format_args!("named {}", name.familiar()));
        }
        Ok(0)
    }
}
