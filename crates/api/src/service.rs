//! What every request can use: the engine's directories, the socket's policy, threads for what
//! blocks.

use std::path::PathBuf;
use std::sync::Arc;

use husk_engine::container::Container;
use husk_engine::error::Error;
use husk_engine::home::Home;

use crate::failure::{Failure, Result};
use crate::policy::Policy;
use crate::stream::hub::Hub;

/// One for the whole program.
pub(crate) struct Service {
    pub(crate) home: Home,
    /// The program `husk`.
    #[allow(dead_code, reason = "build endpoints")]
    pub(crate) program: PathBuf,
    pub(crate) policy: Policy,
    /// Who waits for containers that have not started.
    pub(crate) hub: Hub,
    /// Names the engine, the same for every server on it.
    pub(crate) id: String,
}

/// As all requests share it.
pub(crate) type Shared = Arc<Service>;

impl Service {
    /// # Errors
    /// A directory that cannot be written.
    pub(crate) fn new(home: Home, program: PathBuf, policy: Policy) -> Result<Shared, Error> {
        let id = engine_id(&home)?;
        Ok(Arc::new(Self { home, program, policy, hub: Hub::default(), id }))
    }

    /// Runs what blocks on a thread. It goes to its end, also where the client goes away.
    ///
    /// # Errors
    /// Its own.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let service = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&service)).await;
        done.unwrap_or_else(|_| Err(Failure::internal("a thread of the server ended early")))
    }

    /// A container by its name or id, where this socket may see it.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn container(&self, wanted: &str) -> Result<Container> {
        let container = Container::find(&self.home, wanted)?;
        match self.sees(&container) {
            true => Ok(container),
            false => Err(Error::NoContainer(wanted.to_owned()).into()),
        }
    }

    /// Whether this socket may see it.
    pub(crate) fn sees(&self, container: &Container) -> bool {
        self.policy.label().is_none_or(|(name, value)| {
            let has = container.record.config.labels.get(name);
            has.is_some_and(|has| value.is_none_or(|value| has == value))
        })
    }

    /// The same without blocking the thread that serves connections.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn find(self: &Arc<Self>, wanted: &str) -> Result<Container> {
        let wanted = wanted.to_owned();
        self.blocking(move |service| service.container(&wanted)).await
    }
}

/// A name of this engine for tools that count engines, in the form of a UUID.
fn engine_id(home: &Home) -> Result<String, Error> {
    let path = home.root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && id.trim().len() == 36
    {
        return Ok(id.trim().to_owned());
    }
    husk_engine::home::make_directory(&home.root)?;
    let random = husk_engine::container::name::new_id()?;
    let part = |from: usize, to: usize| random.get(from..to).unwrap_or_default();
    let id = format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    );
    husk_record::write(&path, id.as_bytes())?;
    Ok(id)
}
