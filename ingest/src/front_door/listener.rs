//! Accepts connections. Nothing a peer does, or doesn't do, keeps the next one from being accepted:
//! TLS handshake, WebSocket handshake, CONNECT and everything after it happen in the connection's own
//! task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::limits::{Admission, Pace, Place};
use super::session::{self, Peer};
use super::{Door, ws};
use crate::metrics;

/// Where the acceptor of a TLS listener comes from: it changes when the certificate does.
pub(crate) type Acceptor = Arc<dyn Fn() -> TlsAcceptor + Send + Sync>;

/// Runs until the door's token is cancelled and all its connections have ended.
pub(crate) async fn run(
    door: Arc<Door>,
    listener: TcpListener,
    tls: Option<Acceptor>,
    admission: Admission,
) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let stop = door.stop.clone();
    // Longer than anybody may stay without a word.
    let most = door.config.connect_timeout() * 2;
    let mut pace = Pace::new(door.config.limits.accepts_per_s, Instant::now());
    tracing::info!(address = ?listener.local_addr().ok(), tls = tls.is_some(), "listening");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: accepting at once again would only burn.
                tracing::error!(%error, "can't accept a connection");
                metrics::refused_connection("accept_failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admitted = tokio::select! {
            admitted = admission.admit(most) => admitted,
            () = stop.cancelled() => break,
        };
        match admitted {
            Ok(place) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "can't send small packets at once");
                }
                tracker.spawn(welcome(door.clone(), tls.clone(), stream, peer, place));
            }
            Err(reason) => {
                tracing::warn!(%peer, reason, "connection refused");
                metrics::refused_connection(reason);
            }
        }
        if let Some(until) = pace.accepted(Instant::now()) {
            metrics::paced();
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = stop.cancelled() => break,
            }
        }
    }
    drop(listener);
    drop(door);
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// TLS, if this listener has it, then whichever transport the first byte tells.
async fn welcome(
    door: Arc<Door>,
    tls: Option<Acceptor>,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
) {
    let Some(acceptor) = tls else {
        let peer = Peer {
            address,
            chain: Vec::new(),
        };
        return transport(door, stream, peer, place).await;
    };
    match in_time(&door, acceptor().accept(stream)).await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let chain = shown.iter().map(|one| one.clone().into_owned()).collect();
            transport(door, stream, Peer { address, chain }, place).await;
        }
        Err(error) => {
            tracing::warn!(peer = %address, error, "TLS handshake failed");
            metrics::refused_connection("tls_handshake");
        }
    }
}

async fn transport<S>(door: Arc<Door>, stream: S, peer: Peer, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (first, stream) = match in_time(&door, ws::peek(stream)).await {
        Ok(peeked) => peeked,
        Err(error) => {
            tracing::debug!(peer = %peer.address, error, "gone before its first byte");
            metrics::refused_connection("no_first_byte");
            return;
        }
    };
    if first != b'G' {
        return session::run(stream, peer, door, place).await;
    }
    match in_time(&door, ws::accept(stream, door.config.limits.max_packet_bytes)).await {
        Ok(stream) => session::run(stream, peer, door, place).await,
        Err(error) => {
            tracing::info!(peer = %peer.address, error, "WebSocket handshake failed");
            metrics::refused_connection("websocket_handshake");
        }
    }
}

/// A handshake has as long as CONNECT has.
async fn in_time<T, E: ToString>(door: &Door, work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    tokio::select! {
        done = tokio::time::timeout(door.config.connect_timeout(), work) => match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        },
        () = door.stop.cancelled() => Err("stopping".to_owned()),
    }
}
