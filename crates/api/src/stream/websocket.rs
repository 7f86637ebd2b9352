//! A client's connection that has become a WebSocket (RFC 6455): its messages are the input, and
//! the output goes to it in binary ones, as they are and never framed.
//!
//! Behind it is an ordinary pair of sockets, so that the rest need not know.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{Body, Reply};
use crate::server::Active;

/// Most bytes of one message.
const MAX_MESSAGE: usize = 1 << 20;
/// How much of the output is sent at once.
const PART: usize = 32 << 10;

/// The answer to a request for a WebSocket, and the other end of it.
///
/// # Errors
/// A request that is none for a WebSocket of version 13.
pub(crate) fn accept(call: &mut Call) -> Result<(Reply, UnixStream)> {
    let asks = call.header("upgrade").is_some_and(|one| one.eq_ignore_ascii_case("websocket"));
    let version = call.header("sec-websocket-version") == Some("13");
    let key = call.header("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    let (true, true, Some(key)) = (asks, version, key) else {
        return Err(Failure::invalid("the request must ask for a WebSocket of version 13"));
    };
    let failed = |error: String| Failure::internal(error);
    let key = HeaderValue::from_str(&key).map_err(|error| failed(error.to_string()))?;
    let Some(upgrade) = call.take_upgrade() else {
        return Err(Failure::invalid("the request must ask for a WebSocket of version 13"));
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(error.to_string()))?;
    tokio::spawn(carry(upgrade, theirs, call.active.clone()));
    let mut answer = Response::new(Body::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(HeaderName::from_static("sec-websocket-accept"), key);
    Ok((answer, ours))
}

/// Carries bytes both ways, until either side has ended.
async fn carry(upgrade: OnUpgrade, socket: UnixStream, active: Arc<Active>) {
    let _active = active;
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let stream: TokioIo<Upgraded> = TokioIo::new(upgraded);
    let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut to_client, mut of_client) = stream.split();
    let (mut output, mut input) = socket.into_split();
    let typed = async {
        while let Some(Ok(message)) = of_client.next().await {
            let data = match message {
                Message::Text(text) => Bytes::from(text),
                Message::Binary(data) => data,
                Message::Close(_) => break,
                // Answered by the library.
                _ => continue,
            };
            if input.write_all(&data).await.is_err() {
                break;
            }
        }
    };
    let written = async {
        let mut buffer = vec![0; PART];
        while let Ok(length @ 1..) = output.read(&mut buffer).await {
            let part = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            if to_client.send(Message::Binary(part)).await.is_err() {
                break;
            }
        }
        let _ = to_client.close().await;
    };
    // A WebSocket that is closed is closed both ways.
    tokio::select! {
        () = typed => {}
        () = written => {}
    }
}
