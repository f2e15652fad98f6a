//! A link that can be cut, held and slowed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Open,
    /// Connections break; new ones are closed at once.
    Cut,
    /// Nothing passes and nothing is closed.
    Held,
    /// Bytes a second, each connection and direction.
    Slow(u32),
}

#[derive(Clone, Debug)]
pub enum Target {
    Tcp(u16),
    Unix(PathBuf),
}

pub struct Proxy {
    port: u16,
    link: Arc<watch::Sender<Link>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: Target) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let link = Arc::new(watch::channel(Link::Open).0);
        let links = link.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(serve(client, target.clone(), links.subscribe()));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { port, link, task })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, target: Target, link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    match target {
        Target::Tcp(port) => {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                relay(client, server, link).await;
            }
        }
        Target::Unix(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                relay(client, server, link).await;
            }
        }
    }
}

/// Ends when either side does, or the link is cut.
async fn relay<S: AsyncRead + AsyncWrite>(client: TcpStream, server: S, link: watch::Receiver<Link>) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        () = one_way(from_client, to_server, link.clone()) => {}
        () = one_way(from_server, to_client, link) => {}
    }
}

async fn one_way<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut from: R,
    mut to: W,
    mut link: watch::Receiver<Link>,
) {
    const TICKS_PER_S: u32 = 20;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *link.borrow_and_update();
        let most = match now {
            Link::Cut => return,
            Link::Held => {
                if link.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Link::Open => buffer.len(),
            Link::Slow(rate) => (rate / TICKS_PER_S).max(1) as usize,
        };
        let most = most.min(buffer.len());
        tokio::select! {
            changed = link.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer[..most]) => {
                let Ok(n @ 1..) = read else { return };
                if to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
                if matches!(now, Link::Slow(_)) {
                    tokio::time::sleep(Duration::from_secs(1) / TICKS_PER_S).await;
                }
            }
        }
    }
}
