//! A store, a context and a runner that writes files instead of running containers.

use std::io::{Read, Write};
use std::sync::Mutex;

use husk_image::build::dockerfile::Dockerfile;
use husk_image::build::{BuildOptions, RunStep, Runner, build, open_context};
use husk_image::config::ImageConfig;
use husk_image::overlay::OverlayPlan;
use husk_image::platform::Platform;
use husk_image::progress::{Event, Progress};
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Store};
use rustix::fs::{Mode, OFlags};

use crate::layer::Scratch;

/// RUN ["write", path, text] writes; RUN ["rm", path] removes; anything else is noted.
pub(crate) struct Fake<'a> {
    store: &'a Store,
    pub(crate) ran: Vec<String>,
}

impl Runner for Fake<'_> {
    fn run(&mut self, step: &RunStep<'_>) -> Result<(), String> {
        let ids = format!("{}:{}", step.user.uid, step.user.gid);
        self.ran.push(format!("{} {:?} {ids} {:?}", step.working_dir, step.arguments, step.env));
        let words: Vec<&str> = step.arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["write", path, text] => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                let path = path.trim_start_matches('/');
                let mode = Mode::from_raw_mode(0o644);
                let fd = rustix::fs::openat(step.rootfs, path, flags, mode).unwrap();
                std::fs::File::from(fd).write_all(text.as_bytes()).unwrap();
                Ok(())
            }
            ["rm", path] => {
                let path = path.trim_start_matches('/');
                let flags = rustix::fs::AtFlags::empty();
                rustix::fs::unlinkat(step.rootfs, path, flags).map_err(|e| e.to_string())
            }
            ["fail"] => Err("the command ended with exit status 3".to_owned()),
            _ => Ok(()),
        }
    }

    fn image(&mut self, reference: &Reference, _: &Platform) -> Result<ImageRecord, String> {
        self.store.find(&reference.to_string()).map_err(|error| error.to_string())
    }
}

#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Progress for Log {
    fn event(&self, event: Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Log {
    pub(crate) fn cached(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.as_str() == "CachedStep").count()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

pub(crate) struct Bench {
    pub(crate) scratch: Scratch,
    pub(crate) store: Store,
}

pub(crate) struct Outcome {
    pub(crate) image: ImageRecord,
    pub(crate) config: ImageConfig,
    pub(crate) ran: Vec<String>,
    pub(crate) log: Log,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let scratch = Scratch::new("build");
        let store = Store::open(scratch.path().join("store")).unwrap();
        std::fs::create_dir(scratch.path().join("context")).unwrap();
        Bench { scratch, store }
    }

    pub(crate) fn file(&self, name: &str, content: &str) {
        let path = self.scratch.path().join("context").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn build(&self, source: &str) -> Result<Outcome, String> {
        self.build_with(source, |_| {})
    }

    pub(crate) fn build_with(
        &self,
        source: &str,
        change: impl FnOnce(&mut BuildOptions),
    ) -> Result<Outcome, String> {
        let dockerfile =
            Dockerfile::parse("Dockerfile", source).map_err(|error| error.to_string())?;
        let directory = self.scratch.path().join("context");
        let (context, ignore) =
            open_context(&directory, "Dockerfile").map_err(|error| error.to_string())?;
        let mut options =
            BuildOptions { context: Some(context), ignore, ..BuildOptions::default() };
        change(&mut options);
        let mut runner = Fake { store: &self.store, ran: Vec::new() };
        let log = Log::default();
        let built = build(&self.store, &dockerfile, &options, &mut runner, &log)
            .map_err(|error| error.to_string())?;
        let image = built.image;
        let config = self.store.config(&image).unwrap();
        Ok(Outcome { image, config, ran: runner.ran, log })
    }

    pub(crate) fn read(&self, image: &ImageRecord, path: &str) -> Option<String> {
        let fd = self.open(image, path)?;
        let mut text = String::new();
        std::fs::File::from(fd).read_to_string(&mut text).unwrap();
        Some(text)
    }

    pub(crate) fn open(&self, image: &ImageRecord, path: &str) -> Option<std::os::fd::OwnedFd> {
        let layers = self.store.layers(&image.chain_ids()).unwrap();
        let directory = self.scratch.path().join("view");
        std::fs::create_dir_all(&directory).unwrap();
        let mount = OverlayPlan::read_only(&layers, &directory).unwrap().mount().unwrap();
        rustix::fs::openat(&mount, path, OFlags::RDONLY, Mode::empty()).ok()
    }

    pub(crate) fn meta(&self, image: &ImageRecord, path: &str) -> std::fs::Metadata {
        std::fs::File::from(self.open(image, path).unwrap()).metadata().unwrap()
    }
}
