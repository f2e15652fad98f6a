//! A way to the database that can be cut, held, or cut between COMMIT and its answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use models::db::testing::TestDatabase;
use models::db::{Role, connect};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Nothing passes, nothing is closed.
    Held,
    /// Connections break, new ones are closed at once.
    Cut,
    /// COMMIT reaches the database; its answer is lost with the connection. Once, then open.
    LoseAnswerToCommit,
}

pub struct Proxy {
    way: Arc<watch::Sender<Way>>,
    accepted: Arc<AtomicUsize>,
    lost_answers: Arc<AtomicUsize>,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
enum Server {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Proxy {
    pub async fn start(database: &TestDatabase) -> Self {
        let options: PgConnectOptions = database.url().parse().unwrap();
        let server = match options.get_socket() {
            Some(folder) => Server::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => Server::Tcp(options.get_host().to_owned(), options.get_port()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "postgres://{}@127.0.0.1:{}/{}?sslmode=disable",
            options.get_username(),
            listener.local_addr().unwrap().port(),
            options.get_database().unwrap()
        );
        let way = Arc::new(watch::channel(Way::Open).0);
        let (accepted, lost_answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = {
            let (way, accepted, lost) = (way.clone(), accepted.clone(), lost_answers.clone());
            tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let (server, way, lost) = (server.clone(), way.clone(), lost.clone());
                    connections.spawn(async move {
                        match server {
                            Server::Unix(path) => {
                                if let Ok(server) = UnixStream::connect(path).await {
                                    relay(client, server, &way, &lost).await;
                                }
                            }
                            Server::Tcp(host, port) => {
                                if let Ok(server) = TcpStream::connect((host, port)).await {
                                    relay(client, server, &way, &lost).await;
                                }
                            }
                        }
                    });
                    while connections.try_join_next().is_some() {}
                }
            })
        };
        Self {
            way,
            accepted,
            lost_answers,
            url,
            task,
        }
    }

    pub fn pool(&self) -> PgPool {
        connect(&self.url, Role::Ingest, 6).unwrap()
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Connections that were tried so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Answers to COMMIT that were lost so far.
    pub fn lost_answers(&self) -> usize {
        self.lost_answers.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when either side does, or the way is cut.
async fn relay<S>(client: TcpStream, server: S, way: &watch::Sender<Way>, lost: &AtomicUsize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let mut ways = way.subscribe();
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut committing = false;
    loop {
        let now = *ways.borrow_and_update();
        if now == Way::Cut {
            return;
        }
        tokio::select! {
            changed = ways.changed() => if changed.is_err() { return },
            read = from_client.read(&mut up), if now != Way::Held => {
                let Ok(n @ 1..) = read else { return };
                committing |= now == Way::LoseAnswerToCommit && contains(&up[..n], b"COMMIT\0");
                if to_server.write_all(&up[..n]).await.is_err() { return }
            }
            read = from_server.read(&mut down), if now != Way::Held => {
                let Ok(n @ 1..) = read else { return };
                if committing && contains(&down[..n], b"COMMIT\0") {
                    lost.fetch_add(1, Ordering::Relaxed);
                    way.send_replace(Way::Open);
                    return;
                }
                if to_client.write_all(&down[..n]).await.is_err() { return }
            }
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
