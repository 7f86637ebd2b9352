//! TCP, for clients with a certificate of the given authority: the API has no passwords, and a
//! client of it has the power of root on this machine.
//!
//! Behind each such connection is an ordinary pair of sockets, so that the rest need not know.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use husk_engine::error::{Error, Result, file};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::arguments::flag;

/// How long a client may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most clients that are doing so at a time.
pub(crate) const MAX_HANDSHAKES: usize = 64;

/// `--tcp` and what it needs.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) address: SocketAddr,
    /// Of the authority whose clients may connect.
    pub(crate) authority: PathBuf,
    /// The server's own.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A port to listen on.
pub(crate) struct Port {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) address: SocketAddr,
}

/// # Errors
/// Files that cannot be read or do not fit; an address that cannot be listened on.
pub(crate) fn listen(tcp: &Tcp) -> Result<Port> {
    let config = config(tcp)?;
    let failed = file("listen on", tcp.address.to_string());
    let listener = std::net::TcpListener::bind(tcp.address).map_err(failed)?;
    let address = listener.local_addr().map_err(file("listen on", tcp.address.to_string()))?;
    Ok(Port { listener, acceptor: TlsAcceptor::from(Arc::new(config)), address })
}

fn config(tcp: &Tcp) -> Result<ServerConfig> {
    let bad = |name: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |problem: String| flag(name, &path, problem)
    };
    let authority = bad("--tlscacert", &tcp.authority);
    let mut roots = RootCertStore::empty();
    for one in certificates(&tcp.authority).map_err(&authority)? {
        roots.add(one).map_err(|error| authority(error.to_string()))?;
    }
    let chain = certificates(&tcp.certificate).map_err(bad("--tlscert", &tcp.certificate))?;
    let meta = std::fs::metadata(&tcp.key).map_err(file("stat", &tcp.key))?;
    if meta.mode() & 0o007 != 0 {
        let problem = "others may read it: chmod 600";
        return Err(flag("--tlskey", tcp.key.display(), problem));
    }
    let key = PrivateKeyDer::from_pem_file(&tcp.key)
        .map_err(|error| flag("--tlskey", tcp.key.display(), error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| authority(error.to_string()))?;
    let failed = |error: rustls::Error| Error::other(format_args!("--tlscert, --tlskey: {error}"));
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(failed)
}

fn certificates(path: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let all = read.collect::<std::result::Result<Vec<_>, _>>();
    match all.map_err(|error| error.to_string())? {
        none if none.is_empty() => Err("has no certificate".to_owned()),
        all => Ok(all),
    }
}

/// The connection of a client that has shown its certificate, as one end of a pair of sockets;
/// `None` for one that has not. What goes over it is carried until either side has ended.
pub(crate) async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<UnixStream> {
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let mut secure = shaken.ok()?.ok()?;
    let (ours, mut theirs) = UnixStream::pair().ok()?;
    tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut secure, &mut theirs).await;
    });
    Some(ours)
}
