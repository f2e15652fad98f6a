//! Subscribing at a broker.

use anyhow::bail;
use futures::FutureExt;
use futures::future::BoxFuture;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Login, Packet, PubAck, PubComp, PubRec, SubscribeReasonCode};
use secrecy::{ExposeSecret, SecretString};

use super::super::source::{Feed, Source};
use super::{MAX_PACKET, Rules, Waiting};
use crate::mqtt::{Address, Link, tls};

const KEEP_ALIVE_S: u16 = 30;

pub struct Subscriber {
    address: Address,
    tls: Option<tls::Client>,
    client_id: String,
    login: Option<(String, SecretString)>,
    filters: Vec<String>,
    rules: Rules,
}

impl Subscriber {
    pub fn new(
        address: Address,
        tls: Option<tls::Client>,
        client_id: String,
        login: Option<(String, SecretString)>,
        filters: Vec<String>,
        rules: Rules,
    ) -> Self {
        Self {
            address,
            tls,
            client_id,
            login,
            filters,
            rules,
        }
    }

    async fn follow(&self, feed: &Feed) -> anyhow::Result<()> {
        let mut connect = Connect::new(self.client_id.clone());
        connect.keep_alive = KEEP_ALIVE_S;
        // The broker keeps what comes while we are away.
        connect.clean_session = false;
        connect.login = self
            .login
            .as_ref()
            .map(|(user, password)| Login::new(user.clone(), password.expose_secret()));
        let mut link = Link::connect(&self.address, self.tls.as_ref(), connect, MAX_PACKET).await?;
        link.subscribe(self.filters.iter().cloned())?;
        let mut waiting = Waiting::default();
        let ended = self.take_publishes(&mut link, &mut waiting, feed).await;
        // The broker sends QoS 0 only once: what has come in is kept, however the connection ends.
        waiting.settle().await?;
        ended
    }

    async fn take_publishes(
        &self,
        link: &mut Link,
        waiting: &mut Waiting,
        feed: &Feed,
    ) -> anyhow::Result<()> {
        loop {
            let reading = !waiting.is_full();
            tokio::select! {
                packet = link.next(), if reading => match packet? {
                    Packet::SubAck(ack) => self.subscribed(&ack.return_codes, feed)?,
                    Packet::Publish(publish) => waiting.push(&publish, &self.rules, feed),
                    // QoS 2 is answered as the standard has it; a second delivery is a duplicate reading,
                    // which the receiver sees as one.
                    Packet::PubRel(release) => link.queue(&Packet::PubComp(PubComp::new(release.pkid)))?,
                    _ => {}
                },
                kept = waiting.next() => match kept? {
                    (id, QoS::AtLeastOnce) => link.queue(&Packet::PubAck(PubAck::new(id)))?,
                    (id, QoS::ExactlyOnce) => link.queue(&Packet::PubRec(PubRec::new(id)))?,
                    (_, QoS::AtMostOnce) => {}
                },
            }
            if !reading {
                link.flush().await?;
            }
        }
    }

    fn subscribed(&self, codes: &[SubscribeReasonCode], feed: &Feed) -> anyhow::Result<()> {
        let mut granted = 0;
        for (filter, code) in self.filters.iter().zip(codes) {
            if matches!(code, SubscribeReasonCode::Failure) {
                feed.fault(
                    filter,
                    "the broker refuses this subscription: check the rights of `username`",
                );
            } else {
                feed.cleared(filter);
                granted += 1;
            }
        }
        if granted == 0 {
            bail!("the broker refuses every subscription");
        }
        feed.connected(&format!(
            "subscribed at {}:{}",
            self.address.host, self.address.port
        ));
        Ok(())
    }
}

impl Source for Subscriber {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.follow(feed).boxed()
    }
}
