//! `husk debug`: a container with tools beside one that has none, running or not.
//!
//! The tools' root is this machine's or an image's; what is written there goes with it. Of a target
//! that runs, the container joins the pid, network, IPC and UTS namespaces: its program is process 1
//! and its files are at /proc/1/root. As its processes may see the tools' root in the same way, that
//! has this machine's programs then, and none of its other files ([`host_programs`]). The files of one that does not run, and of an image, are at
//! /target, read-only. Nothing of the target is written, mounted or started.

use std::path::Path;

use husk_image::facts::Facts;
use husk_image::overlay::OverlayPlan;
use husk_image::store::Layer;
use husk_spec::NamespaceType;
use rustix::fs::CWD;
use rustix::mount::MoveMountFlags;

use crate::container::config::{BindRecursive, Config, LogOptions, Mount};
use crate::container::state::Status;
use crate::container::{Container, Parts, Source, name};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::rootless::is_rootless;
use crate::{host_programs, rootfs};

/// Where the files of a target are that does not run.
pub const TARGET: &str = "/target";

/// What to look at, and with which tools.
#[derive(Clone, Debug, Default)]
pub struct DebugRequest {
    /// A container's name or id, or an image's.
    pub target: String,
    /// The image with the tools; `host` for this machine's programs.
    pub image: String,
    /// The program and its arguments; none for a shell.
    pub args: Vec<String>,
    /// With a terminal.
    pub tty: bool,
}

/// What is looked at.
enum Subject {
    Running(Box<Container>),
    Stopped(Box<Container>),
    Image(Vec<Layer>),
}

/// Makes the container with the tools; the caller starts it. It goes when its program ends.
///
/// # Errors
/// A target or an image that is not there.
pub fn create(home: &Home, request: &DebugRequest) -> Result<Container> {
    let subject = find(home, &request.target)?;
    let id = name::new_id()?;
    let store = home.images()?;
    let _activity = store.activity()?;
    let (source, facts) = match request.image.as_str() {
        "host" if matches!(subject, Subject::Running(_)) => (Source::Tree, Facts::default()),
        "host" => (Source::Host, Facts::default()),
        image => {
            let record = store.find(image)?;
            let facts = Facts::of(&store.config(&record)?)?;
            store.pin(&id, &record.manifest)?;
            (Source::Image { id: record.id, manifest: record.manifest }, facts)
        }
    };
    let env = facts.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut config = config(request, env);
    let run = home.run.join("containers").join(&id);
    let placed = match source {
        Source::Tree => place_programs(&run, &mut config),
        _ => Ok(()),
    };
    let placed = placed.and_then(|()| place(home, &subject, &run, &mut config));
    let parts = Parts { image: request.image.clone(), source, config };
    let created = placed.and_then(|()| {
        Container::create(home, id.clone(), &format!("debug-{}", name::short(&id)), parts)
    });
    created.inspect_err(|_| {
        let _ = rootfs::discard_below(&run);
        let _ = store.unpin(&id);
    })
}

/// Makes this machine's programs the root, which takes root as the image host does.
fn place_programs(run: &Path, config: &mut Config) -> Result<()> {
    if is_rootless() {
        return Err(rootfs::host_takes_root());
    }
    host_programs::place(run, config)
}

fn find(home: &Home, target: &str) -> Result<Subject> {
    match Container::find(home, target) {
        Ok(container) => Ok(match container.state()?.status {
            Status::Running => Subject::Running(Box::new(container)),
            _ => Subject::Stopped(Box::new(container)),
        }),
        Err(Error::NoContainer(_)) => {
            let record = home.images()?.find(target).map_err(|_| {
                Error::other(format_args!("there is neither a container nor an image {target}"))
            })?;
            Ok(Subject::Image(rootfs::layers(home, &record.manifest)?))
        }
        Err(error) => Err(error),
    }
}

fn config(request: &DebugRequest, env: Vec<String>) -> Config {
    let args = match request.args.is_empty() {
        true => vec!["sh".to_owned()],
        false => request.args.clone(),
    };
    Config {
        entrypoint_length: 0,
        args,
        env,
        working_dir: "/".to_owned(),
        tty: request.tty,
        interactive: true,
        shm_size: 64 << 20,
        auto_remove: true,
        networks: vec!["none".to_owned()],
        log: LogOptions { disabled: true, ..LogOptions::default() },
        ..Config::default()
    }
}

/// Puts the subject within reach.
fn place(home: &Home, subject: &Subject, run: &Path, config: &mut Config) -> Result<()> {
    let layers = match subject {
        Subject::Running(container) => {
            let id = container.id().to_owned();
            for typ in [NamespaceType::Pid, NamespaceType::Ipc, NamespaceType::Uts] {
                config.joined_namespaces.push((typ, id.clone()));
            }
            config.networks = vec![format!("container:{id}")];
            // /proc/1/root leads to the target's files for who may trace its processes (proc(5)).
            config.cap_add.push("CAP_SYS_PTRACE".to_owned());
            return Ok(());
        }
        Subject::Stopped(container) => match &container.record.source {
            Source::Image { manifest, .. } => {
                let upper = rootfs::upper_of(container);
                let mut directories = vec![upper];
                directories.retain(|upper| upper.is_dir());
                (directories, rootfs::layers(home, manifest)?)
            }
            Source::Host | Source::Tree => {
                return Err(Error::other(format_args!(
                    "container {}: its root is this machine's; there is nothing to look at \
                     while it does not run",
                    container.record.name
                )));
            }
        },
        Subject::Image(layers) => (Vec::new(), layers.clone()),
    };
    let target = run.join("tree");
    make_directory(&target)?;
    let (above, layers) = layers;
    let mut plan = OverlayPlan::read_only(&layers, run)?;
    plan.lower.splice(0..0, above);
    let tree = plan.mount()?;
    rustix::mount::move_mount(&tree, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(file("mount the target at", &target))?;
    config.mounts.push(Mount::Bind {
        source: target.display().to_string(),
        target: TARGET.to_owned(),
        read_only: true,
        propagation: String::new(),
        recursive: BindRecursive::default(),
        resolved: String::new(),
    });
    Ok(())
}
