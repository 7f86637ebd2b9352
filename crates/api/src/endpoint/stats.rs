//! `GET /containers/{id}/stats`: what the runtime reads from the container's cgroup, as Docker
//! writes it, with the sample before.

use std::time::Duration;

use husk_docker::stats_document;
use husk_engine::container::Container;
use husk_engine::stats::Sample;

use crate::call::Call;
use crate::failure::Result;
use crate::reply::{self, Reply};
use crate::service::Shared;

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// # Errors
/// A container that is not there.
pub(crate) async fn stats(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let container = service.find(id).await?;
    let (streams, one_shot) = (call.query.is_or("stream", true), call.query.is("one-shot"));
    if !streams {
        let mut before = None;
        if !one_shot {
            before = sample(&service, &container).await;
            if before.is_some() {
                tokio::time::sleep(INTERVAL).await;
            }
        }
        let now = sample(&service, &container).await;
        return reply::json(&stats_document(&container, now.as_ref(), before.as_ref()));
    }
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    tokio::spawn(async move {
        let mut before: Option<Sample> = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
            }
            if !container.directory.join("container.json").exists() {
                return;
            }
            let now = sample(&service, &container).await;
            let Ok(line) = reply::line(&stats_document(&container, now.as_ref(), before.as_ref()))
            else {
                return;
            };
            if sender.send(Ok(line)).await.is_err() {
                return;
            }
            before = now;
        }
    });
    Ok(answer)
}

/// One sample; `None` of a container that does not run.
async fn sample(service: &Shared, container: &Container) -> Option<Sample> {
    let container = container.clone();
    let taken = service.blocking(move |service| Ok(Sample::take(&service.home, &container)?));
    taken.await.ok().flatten()
}
