//! `build`.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use husk_image::build::dockerfile::Dockerfile;
use husk_image::build::{BuildError, BuildOptions, Secret};
use husk_image::progress::{Progress, Silent};
use husk_image::reference::Reference;

use super::context::{self, Context};
use super::progress::Lines;
use super::{embedded, output, registry};
use husk_engine::build::{Interrupt, Steps};
use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::notice;

/// What a shell makes of SIGINT.
const INTERRUPTED: u8 = 130;

/// `build`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Docker's")]
pub(super) struct Build {
    /// A name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The Dockerfile, - for standard input; CONTEXT/Dockerfile without
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Value of an ARG; NAME alone for our own environment's
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// The stage to build, by name or number; the last one without
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Remove the containers of the steps, as is always done
    #[arg(long, visible_alias = "force-rm")]
    rm: bool,
    /// Make every step anew
    #[arg(long)]
    no_cache: bool,
    /// Pull the images of FROM even where they are here
    #[arg(long)]
    pull: bool,
    /// OS/ARCHITECTURE that the image is for
    #[arg(long)]
    platform: Option<String>,
    /// NAME=VALUE in the image's config
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID and src=FILE or env=NAME
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]")]
    secret: Vec<String>,
    /// Print the image's id only, and the output of a step that fails
    #[arg(short, long)]
    quiet: bool,
    /// auto, plain or quiet
    #[arg(long, default_value = "auto", value_name = "KIND")]
    progress: String,
    /// Network of RUN: bridge, none, host or a network's name
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Whether TLS and its certificates are wanted
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// A directory, or - for a tar or a Dockerfile on standard input
    context: String,
}

impl Build {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let quiet = match self.progress.as_str() {
            "auto" | "plain" => self.quiet,
            "quiet" => true,
            "tty" | "rawjson" => {
                let problem = "is not built yet; use plain";
                return Err(Error::flag("--progress", &self.progress, problem));
            }
            other => return Err(Error::flag("--progress", other, "is none of auto, plain, quiet")),
        };
        let mut options = self.options()?;
        let store = home.images()?;
        // From here on nothing is collected: neither a context in `tmp` nor what is pulled.
        let _activity = store.activity()?;
        let Context { dockerfile, name, root, ignore, scratch } =
            context::open(home, &self.context, self.file.as_deref())?;
        let dockerfile = Dockerfile::parse(&name, &dockerfile).map_err(BuildError::from)?;
        options.context = root;
        options.ignore = ignore;

        let registry = registry::Registry { tls_verify: self.tls_verify, quiet };
        let pull = self.pull;
        let mut find = |reference: &Reference, platform: &husk_image::platform::Platform| {
            let name = reference.to_string();
            if let Some(record) = embedded::image(home, &reference.familiar())?
                && !pull
            {
                return Ok(record);
            }
            let platform = platform.to_string();
            Ok(registry::pull(home, &name, Some(&platform), &registry)?.image)
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
        let lines = Lines::default();
        let progress: &dyn Progress = if quiet { &Silent } else { &lines };
        let built = husk_image::build::build(&store, &dockerfile, &options, &mut steps, progress);
        drop(scratch);
        let image = match built {
            Err(error) if steps.interrupted => {
                output::error(&error.into());
                return Ok(INTERRUPTED);
            }
            built => built?,
        };
        if let Some(path) = &self.iidfile {
            std::fs::write(path, image.id.to_string()).map_err(file("write", path))?;
        }
        if quiet {
            output::line(image.id)?;
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
            options.secrets.push(secret(text)?);
        }
        if let Some(text) = &self.platform {
            let parsed = text.parse();
            options.platform = parsed.map_err(|error| Error::flag("--platform", text, error))?;
        }
        if let Some(network) = &self.network {
            husk_net::Mode::parse(
                std::slice::from_ref(network),
                husk_engine::rootless::is_rootless(),
            )?;
        }
        options.target.clone_from(&self.target);
        options.no_cache = self.no_cache;
        Ok(options)
    }
}

/// As Docker's: the largest secret in bytes.
const MAX_SECRET: u64 = 500 << 10;

/// Reads what `--secret` means.
fn secret(text: &str) -> Result<Secret> {
    let bad = |problem: &str| Error::flag("--secret", text, problem);
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(|| bad("is not KEY=VALUE,..."))?;
        match name {
            "id" => id = Some(value),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            _ => return Err(bad("has a key that is none of id, src, env, type")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| bad("has no id"))?;
    let by_variable = variable.or(if kind == Some("env") { source.or(Some(id)) } else { None });
    let content = match (by_variable, source) {
        (Some(_), Some(_)) if kind != Some("env") => return Err(bad("has both src and env")),
        (Some(name), _) => {
            let value = std::env::var_os(name);
            let value = value.ok_or_else(|| bad("names a variable that is not set"))?;
            std::os::unix::ffi::OsStringExt::into_vec(value)
        }
        // As Docker does: the variable of that name, or else the file.
        (None, None) if std::env::var_os(id).is_some() => {
            std::env::var_os(id).map(std::os::unix::ffi::OsStringExt::into_vec).unwrap_or_default()
        }
        (None, path) => {
            let path = path.unwrap_or(id);
            let opened = std::fs::File::open(path).map_err(file("open --secret", path))?;
            let mut content = Vec::new();
            std::io::Read::read_to_end(
                &mut std::io::Read::take(opened, MAX_SECRET + 1),
                &mut content,
            )
            .map_err(file("read --secret", path))?;
            content
        }
    };
    if content.len() as u64 > MAX_SECRET {
        return Err(bad("is over the limit of 500 KiB"));
    }
    Ok(Secret { id: id.to_owned(), content })
}
