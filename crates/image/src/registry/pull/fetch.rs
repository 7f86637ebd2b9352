//! One blob's bytes: what is missing of them, however often the transfer breaks off.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ureq::http::StatusCode;

use super::{CHUNK, Job};
use crate::progress::Event;
use crate::registry::client::is_transient;
use crate::registry::http::{Answer, body_error};
use crate::registry::{Client, RegistryError};
use crate::store::{PartialBlob, StoreError};
use crate::unpack::stream::ChunkWriter;

/// Attempts of a transfer that makes no progress in between.
const ATTEMPTS: u32 = 5;

enum Failure {
    /// Trying again may help.
    BrokenOff(String),
    /// The same, but what came does not count as progress.
    TooSlow(String),
    /// It will not.
    Final(RegistryError),
}

impl Job<'_> {
    /// Fetches what of a blob is missing, handing all of it to `sink`.
    pub(super) fn fetch(
        &self,
        partial: &mut PartialBlob,
        mut sink: Option<&mut ChunkWriter>,
    ) -> Result<(), RegistryError> {
        let digest = *partial.digest();
        let Some((client, reference)) = self.source else {
            return Err(StoreError::NoBlob(digest).into());
        };
        let resumed = partial.resume(|chunk| match &mut sink {
            Some(sink) => sink.send(chunk),
            None => Ok(()),
        });
        match resumed {
            // Unpacking has failed, and says why.
            Err(StoreError::Io { operation: "unpack", .. }) => return Err(RegistryError::Stopped),
            other => other?,
        }
        if partial.offset() > 0 {
            self.progress.event(Event::Resumed(digest, partial.offset()));
        }
        let mut failures = 0;
        while partial.missing() > 0 {
            let before = partial.offset();
            let mut slow = false;
            let problem = match client.blob(reference, &digest, before) {
                Ok(answer) if is_transient(answer.status) => answer.status.to_string(),
                Ok(answer) => match self.receive(client, partial, answer, &mut sink) {
                    Ok(()) => continue,
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::BrokenOff(problem)) => problem,
                    Err(Failure::TooSlow(problem)) => {
                        slow = true;
                        problem
                    }
                },
                Err(RegistryError::Status { status, message, .. })
                    if StatusCode::from_u16(status).is_ok_and(is_transient) =>
                {
                    format!("status {status}{message}")
                }
                Err(error @ (RegistryError::Connect { .. } | RegistryError::Timeout { .. })) => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            failures = if partial.offset() > before && !slow { 1 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return Err(RegistryError::Broken {
                    host: client.registry().to_owned(),
                    digest,
                    offset: partial.offset(),
                    size: partial.offset() + partial.missing(),
                    problem,
                });
            }
            self.progress.event(Event::Retry(digest, &problem));
            std::thread::sleep(Duration::from_millis(100 << failures));
        }
        Ok(())
    }

    fn receive(
        &self,
        client: &Client,
        partial: &mut PartialBlob,
        answer: Answer,
        sink: &mut Option<&mut ChunkWriter>,
    ) -> Result<(), Failure> {
        let digest = *partial.digest();
        let mut skip = self.check_range(client, partial, &answer)?;
        let mut reader = answer.reader();
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Failure::Final(RegistryError::Stopped));
            }
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk);
            if skip > 0 {
                let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                chunk.drain(..known);
                skip -= known as u64;
                if chunk.is_empty() && read.as_ref().is_ok_and(|read| *read > 0) {
                    continue;
                }
            }
            partial.write(&chunk).map_err(|error| Failure::Final(error.into()))?;
            self.progress.event(Event::Transferred(digest, partial.offset()));
            let end = chunk.is_empty();
            if let Some(sink) = sink
                && sink.send(chunk).is_err()
            {
                return Err(Failure::Final(RegistryError::Stopped));
            }
            match read {
                Ok(_) if !end => {}
                Ok(_) if partial.missing() == 0 => return Ok(()),
                Ok(_) => return Err(Failure::BrokenOff("the transfer ended early".to_owned())),
                Err(error) => {
                    let error = body_error(client.registry(), &error);
                    return Err(match error {
                        RegistryError::Slow { .. } => Failure::TooSlow(error.to_string()),
                        error => Failure::BrokenOff(error.to_string()),
                    });
                }
            }
        }
    }

    /// How many bytes at the beginning of the answer are known already; refuses an
    /// answer of another length than the descriptor's.
    fn check_range(
        &self,
        client: &Client,
        partial: &PartialBlob,
        answer: &Answer,
    ) -> Result<u64, Failure> {
        let protocol = |problem: String| Failure::Final(client.protocol(problem));
        let digest = partial.digest();
        let skip = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.header("content-range").unwrap_or_default();
                let start = range.strip_prefix("bytes ").and_then(|r| r.split('-').next());
                if start.and_then(|start| start.parse().ok()) != Some(partial.offset()) {
                    let problem = format!("blob {digest}: range {range:?} was not asked for");
                    return Err(protocol(problem));
                }
                0
            }
            StatusCode::OK => partial.offset(),
            status => return Err(protocol(format!("blob {digest}: status {status} for a range"))),
        };
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let expected = partial.missing() + skip;
        match length {
            Some(length) if length != expected => Err(protocol(format!(
                "blob {digest}: sends {length} bytes where the descriptor says {expected}"
            ))),
            _ => Ok(skip),
        }
    }
}
