//! Connections: accepting them within bounds, and leaving when nobody asks for anything.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use husk_engine::error::{Result, file};
use husk_engine::notice::notice;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::listen::Listening;
use crate::reply::Reply;
use crate::route;
use crate::service::Shared;
use crate::tls::{self, Port};

/// Most connections at a time. The next one takes the place of the one that has been silent for
/// longest.
const MAX_CONNECTIONS: usize = 1024;
/// Most threads: a connection keeps at most one waiting, and what a client has left behind (a
/// stop that is patient) needs one, too.
const MAX_THREADS: usize = 2048;
/// Threads call the engine, which calls itself no deeper than trees are deep.
const STACK: usize = 1 << 20;
/// How long a connection may be silent between two requests, and a request's head may take.
/// Clients keep idle connections for minutes.
const SILENCE: Duration = Duration::from_secs(300);
/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;
/// Most headers.
const MAX_HEADERS: usize = 128;
/// How long the requests that are being answered have when the server is asked to end.
const FAREWELL: Duration = Duration::from_secs(3);
/// Without descriptors no connection is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server's connections and what is being done.
struct Connections {
    /// Each with what tells that it is in use, and what ends it.
    open: Mutex<HashMap<u64, Connection>>,
    next: AtomicU64,
    closed: Notify,
    /// More than one reference: a request is being answered.
    active: Arc<()>,
}

struct Connection {
    active: Arc<()>,
    since: Instant,
    evict: Arc<Notify>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Active {
    _server: Arc<()>,
    _connection: Arc<()>,
}

/// Serves until it is asked to end, or nobody asks for anything for `idle_exit`.
///
/// # Errors
/// What keeps it from listening.
pub(crate) fn run(
    sockets: Vec<Listening>,
    port: Option<Port>,
    service: Shared,
    idle_exit: Option<Duration>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_THREADS)
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(STACK)
        .thread_name("husk-serve")
        .build()
        .map_err(file("make", "the event loop"))?;
    let done = runtime.block_on(serve(&sockets, port, service, idle_exit));
    // Threads that wait for a slow stop do not keep us.
    runtime.shutdown_background();
    done
}

async fn serve(
    sockets: &[Listening],
    port: Option<Port>,
    service: Shared,
    idle_exit: Option<Duration>,
) -> Result<()> {
    let connections = Arc::new(Connections {
        open: Mutex::new(HashMap::new()),
        next: AtomicU64::new(0),
        closed: Notify::new(),
        active: Arc::new(()),
    });
    for socket in sockets {
        let listener = socket.listener.try_clone().map_err(file("duplicate", "a socket"))?;
        listener.set_nonblocking(true).map_err(file("set the flags of", "a socket"))?;
        let listener = UnixListener::from_std(listener).map_err(file("watch", "a socket"))?;
        tokio::spawn(accept(listener, connections.clone(), service.clone()));
        notice(format_args!("serving Docker's API on {}", socket.path()));
    }
    if let Some(Port { listener, acceptor, address }) = port {
        listener.set_nonblocking(true).map_err(file("set the flags of", "a socket"))?;
        let listener = TcpListener::from_std(listener).map_err(file("watch", "a socket"))?;
        tokio::spawn(accept_tcp(listener, acceptor, connections.clone(), service));
        notice(format_args!("serving Docker's API on tcp://{address}, with certificates"));
    }
    let handler = |kind| signal(kind).map_err(file("handle", "signals"));
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut hangup = handler(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
        () = idle(&connections, idle_exit) => return Ok(()),
    }
    let until = Instant::now() + FAREWELL;
    while connections.is_active() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Until there was no request for so long; for ever without a limit.
async fn idle(connections: &Connections, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    let mut since = Instant::now();
    let mut seen = connections.next.load(Ordering::Relaxed);
    let step = (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        tokio::time::sleep(step).await;
        let now = connections.next.load(Ordering::Relaxed);
        if connections.is_active() || now != seen {
            since = Instant::now();
            seen = now;
        } else if since.elapsed() >= limit {
            return;
        }
    }
}

impl Connections {
    fn is_active(&self) -> bool {
        Arc::strong_count(&self.active) > 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more: the one that has asked for nothing for longest ends.
    fn make_room(&self) -> bool {
        let open = self.lock();
        if open.len() < MAX_CONNECTIONS {
            return true;
        }
        let silent = open.values().filter(|one| Arc::strong_count(&one.active) == 2);
        if let Some(oldest) = silent.min_by_key(|one| one.since) {
            oldest.evict.notify_one();
        }
        false
    }
}

async fn accept(listener: UnixListener, connections: Arc<Connections>, service: Shared) {
    loop {
        while !connections.make_room() {
            // Where none is silent the others have to wait until one is.
            let _ = tokio::time::timeout(ACCEPT_PAUSE, connections.closed.notified()).await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (connections, service) = (connections.clone(), service.clone());
                tokio::spawn(connection(stream, connections, service));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The same of a port: only those who have shown their certificate become connections.
async fn accept_tcp(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<Connections>,
    service: Shared,
) {
    let handshakes = Arc::new(Semaphore::new(tls::MAX_HANDSHAKES));
    loop {
        let Ok(shaking) = handshakes.clone().acquire_owned().await else { return };
        while !connections.make_room() {
            let _ = tokio::time::timeout(ACCEPT_PAUSE, connections.closed.notified()).await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (connections, service) = (connections.clone(), service.clone());
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let accepted = tls::accept(&acceptor, stream).await;
                    drop(shaking);
                    if let Some(stream) = accepted {
                        connection(stream, connections, service).await;
                    }
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: UnixStream, connections: Arc<Connections>, service: Shared) {
    let number = connections.next.fetch_add(1, Ordering::Relaxed);
    let (active, evict) = (Arc::new(()), Arc::new(Notify::new()));
    let since = Instant::now();
    let known = Connection { active: active.clone(), since, evict: evict.clone() };
    connections.lock().insert(number, known);
    let server = connections.active.clone();
    let answer = service_fn(|request: Request<Incoming>| {
        connections.next.fetch_add(1, Ordering::Relaxed);
        let active = Active { _server: server.clone(), _connection: active.clone() };
        answer(service.clone(), request, Arc::new(active))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    tokio::select! {
        // Whatever is wrong with a connection is its client's business.
        _ = served => {}
        () = evict.notified() => {}
    }
    connections.lock().remove(&number);
    connections.closed.notify_waiters();
}

async fn answer(
    service: Shared,
    request: Request<Incoming>,
    active: Arc<Active>,
) -> std::result::Result<Reply, Infallible> {
    Ok(route::answer(service, request, active).await)
}
