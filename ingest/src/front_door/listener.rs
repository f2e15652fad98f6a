//! Accepts connections. Nothing a peer does, or doesn't do, keeps the next one from being accepted:
//! TLS handshake, CONNECT and everything after it happen in the connection's own task.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::limits::Admission;
use super::{Door, session};
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
        let place = match admission.admit() {
            Ok(place) => place,
            Err(reason) => {
                tracing::warn!(%peer, reason, "connection refused");
                metrics::refused_connection(reason);
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "can't send small packets at once");
        }
        let (door, tls) = (door.clone(), tls.clone());
        tracker.spawn(async move {
            match tls {
                None => session::run(stream, peer, door, place).await,
                Some(acceptor) => match handshake(&door, acceptor(), stream).await {
                    Ok(stream) => session::run(stream, peer, door, place).await,
                    Err(error) => {
                        tracing::info!(%peer, error, "TLS handshake failed");
                        metrics::refused_connection("tls_handshake");
                    }
                },
            }
        });
    }
    drop(listener);
    drop(door);
    tracker.close();
    tracker.wait().await;
    Ok(())
}

async fn handshake(
    door: &Door,
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, String> {
    tokio::select! {
        done = tokio::time::timeout(door.config.connect_timeout(), acceptor.accept(stream)) => match done {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        },
        () = door.stop.cancelled() => Err("stopping".to_owned()),
    }
}
