//! `logs`.

use std::sync::Arc;

use husk_engine::clock;
use husk_engine::error::Error;
use husk_engine::logs::{self, LogRequest, Piece};

use crate::call::{Call, Version};
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;
use crate::stream::framing::{MULTIPLEXED, Origin, RAW, frame};

/// `GET /containers/{id}/logs`.
///
/// # Errors
/// No stream is chosen; a container without a log.
pub(crate) async fn logs(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let container = service.find(id).await?;
    let query = &call.query;
    let (stdout, stderr) = (query.is("stdout"), query.is("stderr"));
    if !stdout && !stderr {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    if container.record.config.log.disabled {
        return Err(Failure::not_implemented("configured logging driver does not support reading"));
    }
    let time = |name: &str| match query.text(name) {
        None | Some("0") => Ok(None),
        Some(text) => clock::seconds(text)
            .or_else(|| clock::instant(text))
            .map(Some)
            .ok_or_else(|| Failure::invalid(format!("invalid value for {name:?}: {text:?}"))),
    };
    let cancel = husk_engine::cancel::Cancel::new()?;
    let request = LogRequest {
        tail: query.text("tail").and_then(|tail| tail.parse().ok()),
        since: time("since")?,
        until: time("until")?,
        follow: query.is("follow"),
        cancel: Some(cancel.clone()),
    };
    let (timestamps, details) = (query.is("timestamps"), query.is("details"));
    let framed = !container.record.config.tty;
    let kind = match framed && call.version >= Version(1, 42) {
        true => MULTIPLEXED,
        false => RAW,
    };
    let keep = (call.active.clone(), CancelOnDrop(cancel));
    let (sender, answer) = reply::stream(kind, Box::new(keep));
    let active = call.active.clone();
    tokio::task::spawn_blocking(move || {
        let _active = active;
        let mut sink = |piece: &Piece| {
            if !(if piece.stderr { stderr } else { stdout }) {
                return Ok(());
            }
            let origin = if piece.stderr { Origin::Stderr } else { Origin::Stdout };
            let bytes = frame(origin, framed, &line(piece, timestamps, details));
            sender.blocking_send(Ok(bytes)).map_err(|_| Error::ConsumerGone)
        };
        match logs::read(&container, &request, &mut sink) {
            Ok(()) | Err(Error::ConsumerGone) => {}
            Err(error) => {
                let text = format!("Error grabbing logs: {error}\n");
                let _ = sender.blocking_send(Ok(frame(Origin::Stderr, framed, text.as_bytes())));
            }
        }
    });
    Ok(answer)
}

/// A piece with what stands before each line.
fn line(piece: &Piece, timestamps: bool, details: bool) -> Vec<u8> {
    let mut line = Vec::with_capacity(piece.text.len() + 40);
    if piece.begins && timestamps {
        line.extend_from_slice(piece.time.as_bytes());
        line.push(b' ');
    }
    if piece.begins && details {
        line.extend_from_slice(piece.details().as_bytes());
        line.push(b' ');
    }
    line.extend_from_slice(piece.text.as_bytes());
    line
}

/// Ends what is being followed when nobody reads any more.
pub(crate) struct CancelOnDrop(pub(crate) Arc<husk_engine::cancel::Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
