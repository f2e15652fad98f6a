//! Local MQTT: devices that publish to this gateway, or a broker that already runs beside it.
//!
//! ```toml
//! [[collect]]
//! kind = "mqtt"
//! listen = "0.0.0.0:1884"          # we listen: devices publish to us …
//! # url = "mqtt://127.0.0.1:1883"  # … or we subscribe at a broker
//! username = "sensors"
//! password_file = "sensors.password"
//!
//! [[collect.topics]]
//! filter = "plant/+/+/data"
//! device = "{2}"                   # what the 2nd wildcard stands for
//! # channel = "{3}"                # of payloads that are one value
//! values = "/data"                 # JSON pointer to the object with the values
//! time = "ts"                      # its time; else that of arrival
//! rename = { t = "temp" }
//! units = { temp = "Cel" }
//! ```
//!
//! **Why both.** Most sites have devices that can publish and no broker: installing, securing and
//! watching one only to move bytes between two programs on the same box is what they want to avoid, so
//! there is a listener. It takes publishes and nothing else; it is no broker, and a SUBSCRIBE is
//! refused. Sites that have a broker, for other reasons, let us subscribe.
//!
//! **What PUBACK means** is the point of either: the readings are on this gateway's disk, synced. A
//! device that gets none sends again. As a subscriber we acknowledge to the broker in the same way, in
//! a session that it keeps for us, so that a crash of this agent loses nothing that it holds.

mod listener;
mod subscriber;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use models::time::Timestamp;
use parking_lot::Mutex;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Publish;
use secrecy::SecretString;
use serde::Deserialize;

use super::payload::{Names, Shape};
use super::report::Report;
use super::source::{Feed, Source};
use crate::mqtt::{Address, captures, check_filter, tls};

/// Publishes of a connection that may wait for the disk.
const MAX_WAITING: usize = 100;
const MAX_PACKET: usize = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub listen: Option<SocketAddr>,
    pub url: Option<String>,
    /// At a broker: who we are. It keeps a session under this name.
    pub client_id: Option<String>,
    #[serde(default)]
    pub tls: tls::Settings,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub password_file: Option<PathBuf>,
    /// Lets everybody publish to a listener that others can reach.
    #[serde(default)]
    pub anonymous: bool,
    pub topics: Vec<Topic>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    pub filter: String,
    pub device: String,
    pub channel: Option<String>,
    pub values: Option<String>,
    pub time: Option<String>,
    #[serde(default)]
    pub rename: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub units: std::collections::BTreeMap<String, String>,
}

impl Config {
    /// Address or URL, for the collector's name.
    pub fn place(&self) -> String {
        self.listen
            .map(|listen| listen.to_string())
            .or_else(|| self.url.clone())
            .unwrap_or_default()
    }
}

/// # Errors
/// When a setting is missing or wrong.
pub fn open(config: &Config, base: &Path) -> anyhow::Result<Box<dyn Source>> {
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(_)) => bail!("give either `password` or `password_file`"),
        (Some(password), None) => Some(password.clone()),
        (None, Some(file)) => Some(models::service::config::read_secret_file(&base.join(file))?),
        (None, None) => None,
    };
    ensure!(
        config.username.is_some() == password.is_some(),
        "`username` and a password go together"
    );
    let login = config.username.clone().zip(password);
    let rules = Rules::new(&config.topics)?;
    match (config.listen, &config.url) {
        (Some(listen), None) => {
            ensure!(
                login.is_some() || config.anonymous || listen.ip().is_loopback(),
                "`listen` is {listen}, which others can reach: give `username` and a password, or say `anonymous = true`"
            );
            Ok(Box::new(listener::Listener::new(listen, login, rules)))
        }
        (None, Some(url)) => {
            let address = Address::parse("url", url)?;
            let tls = address
                .tls
                .then(|| tls::Client::new(&config.tls, base))
                .transpose()?;
            let filters = config.topics.iter().map(|topic| topic.filter.clone()).collect();
            let client_id = config
                .client_id
                .clone()
                .unwrap_or_else(|| "forewarn-edge".to_owned());
            Ok(Box::new(subscriber::Subscriber::new(
                address, tls, client_id, login, filters, rules,
            )))
        }
        _ => bail!("give either `listen`, to be published to, or `url`, to subscribe at a broker"),
    }
}

/// From topic and payload to readings. Clones share the names.
#[derive(Clone)]
struct Rules {
    topics: Arc<[(Topic, Shape)]>,
    names: Arc<Mutex<Names>>,
}

impl Rules {
    fn new(topics: &[Topic]) -> anyhow::Result<Self> {
        ensure!(
            !topics.is_empty(),
            "needs [[collect.topics]]: which topics are read, and how"
        );
        for topic in topics {
            check_filter(&topic.filter)?;
            let wildcards = topic
                .filter
                .split('/')
                .filter(|level| ["+", "#"].contains(level))
                .count();
            for template in [Some(&topic.device), topic.channel.as_ref()]
                .into_iter()
                .flatten()
            {
                fill(template, &vec!["x"; wildcards]).with_context(|| {
                    format!(
                        "`{template}`: the filter `{}` has {wildcards} wildcards",
                        topic.filter
                    )
                })?;
            }
        }
        let shaped = |topic: &Topic| {
            let shape = Shape {
                values: topic.values.clone(),
                time: topic.time.clone(),
                rename: topic.rename.clone(),
                units: topic.units.clone(),
            };
            (topic.clone(), shape)
        };
        Ok(Self {
            topics: topics.iter().map(shaped).collect(),
            names: Arc::default(),
        })
    }

    /// The first filter that matches counts. `Err` says why nothing of it can be used.
    fn read(&self, topic: &str, payload: &[u8]) -> Result<super::payload::Read, String> {
        let (rule, shape, found) = self
            .topics
            .iter()
            .find_map(|(rule, shape)| Some((rule, shape, captures(&rule.filter, topic)?)))
            .ok_or_else(|| format!("no filter of [[collect.topics]] matches the topic `{topic}`"))?;
        let named = |template: &str| fill(template, &found).map_err(|error| error.to_string());
        let device = named(&rule.device)?;
        let channel = rule.channel.as_deref().map(named).transpose()?;
        shape
            .read(
                payload,
                &device,
                channel.as_deref(),
                &mut self.names.lock(),
                Timestamp::now(),
            )
            .map_err(|why| format!("topic `{topic}`: {why}"))
    }
}

/// Puts what the wildcards stand for in the place of `{1}`, `{2}` …
fn fill(template: &str, found: &[&str]) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (number, after) = after.split_once('}').context("`{` without `}`")?;
        let n: usize = number
            .parse()
            .with_context(|| format!("`{{{number}}}` is no number"))?;
        let value = n.checked_sub(1).and_then(|i| found.get(i));
        out.push_str(before);
        out.push_str(value.with_context(|| format!("there is no wildcard {n}"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Publishes on their way to the disk, answered in the order in which they came.
#[derive(Default)]
struct Waiting {
    queue: FuturesOrdered<BoxFuture<'static, anyhow::Result<(u16, QoS)>>>,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.queue.len() >= MAX_WAITING
    }

    /// What can't be read is answered as well: it would only come again.
    fn push(&mut self, publish: &Publish, rules: &Rules, feed: &Feed) {
        let readings = match rules.read(&publish.topic, &publish.payload) {
            Ok(read) => {
                for why in &read.left_out {
                    feed.rejected(&format!("topic `{}`: {why}", publish.topic));
                }
                read.readings
            }
            Err(why) => {
                feed.rejected(&why);
                Vec::new()
            }
        };
        let (feed, id, qos) = (feed.clone(), publish.pkid, publish.qos);
        self.queue.push_back(Box::pin(async move {
            match qos {
                QoS::AtMostOnce => feed.send(readings).await?,
                _ => feed.keep(readings).await?,
            }
            Ok((id, qos))
        }));
    }

    /// Waits for all of them, answers to nobody.
    async fn settle(&mut self) -> anyhow::Result<()> {
        while let Some(kept) = self.queue.next().await {
            kept?;
        }
        Ok(())
    }

    /// The next one that is safe; never returns while there is none.
    async fn next(&mut self) -> anyhow::Result<(u16, QoS)> {
        match self.queue.next().await {
            Some(kept) => kept,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        use figment::providers::{Format, Toml};
        figment::Figment::from(Toml::string(text)).extract().unwrap()
    }

    #[test]
    fn topics_name_devices_and_channels() {
        let rules = Rules::new(&[
            topic("filter = \"a/+/data\"\ndevice = \"m-{1}\""),
            topic("filter = \"b/+/+\"\ndevice = \"{1}\"\nchannel = \"{2}\"\nunits = { t = \"Cel\" }"),
        ])
        .unwrap();
        let read = |topic: &str, payload: &str| {
            let read = rules.read(topic, payload.as_bytes())?;
            let rows = read.readings.iter().map(|r| {
                format!(
                    "{}/{}={}{}",
                    r.channel.device, r.channel.name, r.value, r.channel.unit
                )
            });
            Ok::<_, String>(rows.collect::<Vec<_>>())
        };
        assert_eq!(read("a/7/data", r#"{"x":1}"#).unwrap(), ["m-7/x=1"]);
        assert_eq!(read("b/p/t", "20").unwrap(), ["p/t=20Cel"]);
        assert!(read("c", "1").unwrap_err().contains("no filter"));
        assert!(read("a/7/data", "1").unwrap_err().contains("`channel`"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("filter = \"a/#/b\"\ndevice = \"d\"", "no topic filter"),
            ("filter = \"a/+\"\ndevice = \"{2}\"", "1 wildcards"),
            ("filter = \"a/+\"\ndevice = \"{x}\"", "{x}"),
            ("filter = \"a/+\"\ndevice = \"{1\"", "{1"),
        ] {
            let error = format!("{:#}", Rules::new(&[topic(text)]).err().unwrap());
            assert!(error.contains(said), "{error}");
        }
    }
}
