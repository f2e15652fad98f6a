//! The listener that devices publish to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, SubAck, SubscribeReasonCode,
    UnsubAck,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::http::same;
use super::super::source::{Feed, Source};
use super::{MAX_PACKET, Rules, Waiting};
use crate::mqtt::Link;

const MAX_CONNECTIONS: usize = 500;
const FIRST_PACKET_WITHIN: Duration = Duration::from_secs(10);
/// For a client that wants no keep-alive.
const SILENT_MOST: Duration = Duration::from_secs(3_600);

pub struct Listener {
    listen: SocketAddr,
    login: Option<(String, SecretString)>,
    rules: Rules,
}

/// What the connections share.
#[derive(Clone)]
struct Shared {
    login: Option<(String, SecretString)>,
    rules: Rules,
    feed: Feed,
}

impl Listener {
    pub fn new(listen: SocketAddr, login: Option<(String, SecretString)>, rules: Rules) -> Self {
        Self { listen, login, rules }
    }

    async fn accept(&self, feed: &Feed) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("`listen` {}", self.listen))?;
        feed.connected(&format!("listens on mqtt://{}", listener.local_addr()?));
        let shared = Shared {
            login: self.login.clone(),
            rules: self.rules.clone(),
            feed: feed.clone(),
        };
        // Dropped with the session: all connections end with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, peer) = accepted.context("accept")?;
                    if connections.len() >= MAX_CONNECTIONS {
                        feed.rejected(&format!("{peer}: more than {MAX_CONNECTIONS} connections"));
                        continue;
                    }
                    let shared = shared.clone();
                    connections.spawn(async move {
                        if let Err(error) = shared.serve(stream).await {
                            tracing::debug!(%peer, error = format!("{error:#}"), "device's connection ended");
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Source for Listener {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.accept(feed).boxed()
    }
}

impl Shared {
    fn judge(&self, connect: &Connect) -> ConnectReturnCode {
        let Some((user, password)) = &self.login else {
            return ConnectReturnCode::Success;
        };
        let given = connect.login.as_ref();
        let good = given.is_some_and(|login| {
            // Both are compared, whatever the first says.
            same(login.username.as_bytes(), user.as_bytes())
                & same(login.password.as_bytes(), password.expose_secret().as_bytes())
        });
        if good {
            ConnectReturnCode::Success
        } else {
            ConnectReturnCode::BadUserNamePassword
        }
    }

    async fn serve(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let mut link = Link::new(Box::new(stream), MAX_PACKET);
        let first = tokio::time::timeout(FIRST_PACKET_WITHIN, link.next())
            .await
            .context("no CONNECT in time")??;
        let Packet::Connect(connect) = first else {
            bail!("the first packet is not CONNECT");
        };
        let code = self.judge(&connect);
        link.queue(&Packet::ConnAck(ConnAck::new(code, false)))?;
        link.flush().await?;
        if code != ConnectReturnCode::Success {
            self.feed.rejected(&format!(
                "{peer}: wrong user name or password for the MQTT listener"
            ));
            return Ok(());
        }
        let silent_most = match connect.keep_alive {
            0 => SILENT_MOST,
            s => Duration::from_secs(s.into()).mul_f64(1.5),
        };
        let mut waiting = Waiting::default();
        let ended = self.take_publishes(&mut link, &mut waiting, silent_most).await;
        // A device may send DISCONNECT in the same segment as its last QoS 0 publish: what has come in is kept all the
        // same, however the connection ends.
        let kept = waiting.settle().await;
        ended.and(kept)
    }

    async fn take_publishes(
        &self,
        link: &mut Link,
        waiting: &mut Waiting,
        silent_most: Duration,
    ) -> anyhow::Result<()> {
        // QoS 2: kept, and their PUBREL has not come.
        let mut unreleased: BTreeSet<u16> = BTreeSet::new();
        let mut heard_at = Instant::now();
        loop {
            // While the disk is slow nothing more is read: that is what holds up the device.
            let reading = !waiting.is_full();
            tokio::select! {
                packet = link.next(), if reading => {
                    heard_at = Instant::now();
                    match packet? {
                        Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce && unreleased.contains(&publish.pkid) => {
                            link.queue(&Packet::PubRec(PubRec::new(publish.pkid)))?;
                        }
                        Packet::Publish(publish) => waiting.push(&publish, &self.rules, &self.feed),
                        Packet::PubRel(release) => {
                            unreleased.remove(&release.pkid);
                            link.queue(&Packet::PubComp(PubComp::new(release.pkid)))?;
                        }
                        Packet::PingReq => link.queue(&Packet::PingResp)?,
                        Packet::Subscribe(subscribe) => {
                            let codes = vec![SubscribeReasonCode::Failure; subscribe.filters.len()];
                            link.queue(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
                        }
                        Packet::Unsubscribe(unsubscribe) => link.queue(&Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))?,
                        Packet::Disconnect => return Ok(()),
                        other => bail!("{} is not for a server", crate::mqtt::link::name(&other)),
                    }
                }
                kept = waiting.next() => match kept? {
                    (id, QoS::AtLeastOnce) => link.queue(&Packet::PubAck(PubAck::new(id)))?,
                    (id, QoS::ExactlyOnce) => {
                        unreleased.insert(id);
                        link.queue(&Packet::PubRec(PubRec::new(id)))?;
                    }
                    (_, QoS::AtMostOnce) => {}
                },
                () = tokio::time::sleep_until(heard_at + silent_most), if reading => bail!("silent for too long"),
            }
            if !reading {
                link.flush().await?;
            }
        }
    }
}
