//! Answers: their bodies, and how JSON, errors and streams of bytes become one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::failure::{Failure, Result};

/// An answer.
pub(crate) type Reply = Response<Body>;

/// What is sent after the headers.
pub(crate) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes; what is kept is dropped with it, also where the client goes away.
    Stream {
        /// What comes.
        receiver: mpsc::Receiver<io::Result<Bytes>>,
        /// See [`Keep`].
        _keep: Keep,
    },
}

/// What lasts as long as a stream.
pub(crate) type Keep = Box<dyn std::any::Any + Send + Sync>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { receiver, .. } => {
                receiver.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

/// A status alone.
pub(crate) fn empty(status: StatusCode) -> Reply {
    with_body(status, None, Body::Whole(None))
}

fn with_body(status: StatusCode, kind: Option<&'static str>, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    if let Some(kind) = kind {
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    reply
}

/// Text as it is.
pub(crate) fn text(kind: &'static str, text: impl Into<Bytes>) -> Reply {
    with_body(StatusCode::OK, Some(kind), Body::Whole(Some(text.into())))
}

/// A document.
pub(crate) fn json(value: &impl Serialize) -> Result<Reply> {
    json_with(StatusCode::OK, value)
}

/// A document with another status than 200.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Reply> {
    let bytes = line(value).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(with_body(status, Some("application/json"), Body::Whole(Some(bytes))))
}

/// A document with the line feed that Go's encoder ends one with.
pub(crate) fn line(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// A failure.
pub(crate) fn failure(failure: &Failure) -> Reply {
    if failure.status == StatusCode::NOT_MODIFIED {
        return empty(failure.status);
    }
    let message = serde_json::json!({ "message": failure.message });
    json_with(failure.status, &message).unwrap_or_else(|_| empty(failure.status))
}

/// An answer whose body comes through the sender.
pub(crate) fn stream(kind: &'static str, keep: Keep) -> (mpsc::Sender<io::Result<Bytes>>, Reply) {
    // Few, so that a slow reader holds up who writes.
    let (sender, receiver) = mpsc::channel(8);
    (sender, with_body(StatusCode::OK, Some(kind), Body::Stream { receiver, _keep: keep }))
}
