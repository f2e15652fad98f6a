//! One session with a server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use models::reading::Quality;
use models::time::Timestamp;
use opcua::client::{DataChangeCallback, Session, SessionPollResult};
use opcua::types::{
    DataValue, ExtensionObject, MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId,
    ReadValueId, StatusCode, TimestampsToReturn, Variant,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::source::Feed;
use super::{Node, OpcUa};
use crate::batch::Reading;

/// Values between the server's publishings and the spool. More than a spool that is full for a while
/// leaves behind; then the values are counted as left out.
const WAITING: usize = 50_000;
/// To read at once.
const TOGETHER: usize = 1_000;
/// From the first packet to the subscription.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// OPC 10000-4, 7.38.1: info bits of a data value that say that the server's queue ran over.
const OVERFLOW: u32 = 0x0480;

/// What the connection's task tells.
enum Event {
    Value(usize, DataValue),
    Ready,
    Ended(StatusCode),
}

impl OpcUa {
    /// Connects, subscribes, and passes values on until the session is gone.
    pub(super) async fn follow(&mut self, feed: &Feed) -> anyhow::Result<()> {
        let (to, mut events) = mpsc::channel(WAITING);
        // Ends the connection's task when this is dropped.
        let mut tasks = JoinSet::new();
        let session = tokio::time::timeout(CONNECT_WITHIN, self.connect(&mut tasks, &to, &mut events))
            .await
            .with_context(|| format!("{} doesn't answer in time", self.config.url))??;
        let url = &self.config.url;
        feed.connected(&format!("session with {url}"));
        let subscribing = self.subscribe(&session, to, feed);
        tokio::time::timeout(CONNECT_WITHIN, subscribing)
            .await
            .with_context(|| format!("{url} doesn't answer to the subscription in time"))??;
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, TOGETHER).await > 0 {
            let mut readings = Vec::new();
            for event in batch.drain(..) {
                match event {
                    Event::Value(i, value) => readings.extend(self.reading(i, &value, feed)),
                    Event::Ready => {}
                    Event::Ended(status) => {
                        feed.send(readings).await?;
                        bail!("session with {url} is gone: {status}");
                    }
                }
            }
            feed.send(readings).await?;
        }
        bail!("session with {url} is gone")
    }

    async fn connect(
        &self,
        tasks: &mut JoinSet<()>,
        to: &mpsc::Sender<Event>,
        events: &mut mpsc::Receiver<Event>,
    ) -> anyhow::Result<Arc<Session>> {
        let url = &self.config.url;
        let client = self.client()?;
        let endpoints = client
            .get_server_endpoints_from_url(url.as_str())
            .await
            .map_err(|error| anyhow::anyhow!("{url} doesn't answer: {error}"))?;
        let endpoint = opcua::client::Client::find_matching_endpoint(&endpoints, url, self.policy, self.mode);
        let Some(endpoint) = endpoint else {
            let offered: Vec<String> = endpoints
                .iter()
                .map(|endpoint| {
                    let policy = endpoint.security_policy_uri.as_ref();
                    let policy = policy.rsplit('#').next().unwrap_or(policy);
                    format!("{policy} with {:?}", endpoint.security_mode)
                })
                .collect();
            bail!(
                "{url} doesn't offer {} with {:?}; it offers {}",
                self.config.security_policy,
                self.mode,
                offered.join(", ")
            );
        };
        let (session, event_loop) = client
            .session_builder()
            .with_endpoints(endpoints)
            .user_identity_token(self.identity.clone())
            .connect_to_endpoint_directly(endpoint)
            .and_then(|builder| builder.build(Arc::clone(client.certificate_store())))
            .map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
        let to = to.clone();
        tasks.spawn(async move {
            let mut stream = Box::pin(event_loop.enter());
            let ended = loop {
                match stream.next().await {
                    None => break StatusCode::BadConnectionClosed,
                    Some(
                        Err(status)
                        | Ok(
                            SessionPollResult::ConnectionLost(status)
                            | SessionPollResult::ReconnectFailed(status),
                        ),
                    ) => break status,
                    Some(Ok(SessionPollResult::Reconnected(_))) => {
                        if to.send(Event::Ready).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(_)) => {}
                }
            };
            // Nobody is left to hear it when the collector stops.
            let _ = to.send(Event::Ended(ended)).await;
        });
        loop {
            match events.recv().await {
                Some(Event::Ready) => return Ok(session),
                Some(Event::Ended(status)) => bail!("{url}: {}", self.explain(status)),
                Some(Event::Value(..)) => {}
                None => bail!("{url}: no session"),
            }
        }
    }

    /// What a refusal usually means.
    fn explain(&self, status: StatusCode) -> String {
        let pki = self.pki_dir.display();
        let advice = if status == StatusCode::BadIdentityTokenRejected
            || status == StatusCode::BadIdentityTokenInvalid
            || status == StatusCode::BadUserAccessDenied
        {
            ": the server doesn't accept the user, check `user` and the password".to_owned()
        } else if status == StatusCode::BadCertificateUntrusted
            || status == StatusCode::BadSecurityChecksFailed
        {
            format!(
                ": if the server's certificate lies in {pki}/rejected and you trust it, move it to {pki}/trusted; \
                 if not, the server doesn't trust ours, {pki}/own/cert.der"
            )
        } else {
            String::new()
        };
        format!("{status}{advice}")
    }

    async fn subscribe(
        &self,
        session: &Arc<Session>,
        to: mpsc::Sender<Event>,
        feed: &Feed,
    ) -> anyhow::Result<()> {
        let failed = |what: &str, error: opcua::types::Error| anyhow::anyhow!("{what}: {error}");
        let counter = feed.clone();
        let callback = DataChangeCallback::new(move |value, item| {
            let i = item.client_handle() as usize - 1;
            if to.try_send(Event::Value(i, value)).is_err() {
                counter.rejected("values came faster than the spool takes them");
            }
        });
        let interval = Duration::from_millis(self.config.publishing_ms);
        let subscription = session
            .create_subscription(interval, 600, 20, 0, 0, true, callback)
            .await
            .map_err(|error| failed("create a subscription", error))?;
        let mut items = Vec::new();
        for (i, (point, node, _)) in self.points.iter().enumerate() {
            let node = match node {
                Node::Known(node) => node.clone(),
                Node::Named(uri, id) => match session.get_namespace_index(uri).await {
                    Ok(index) => format!("ns={index};{id}")
                        .parse::<NodeId>()
                        .map_err(|status| anyhow::anyhow!("`{}`: {status}", point.node))?,
                    Err(_) => {
                        feed.fault(&point.channel, &format!("the server knows no namespace `{uri}`"));
                        continue;
                    }
                },
            };
            let parameters = MonitoringParameters {
                client_handle: u32::try_from(i + 1)?,
                sampling_interval: self.config.sampling_ms as f64,
                filter: ExtensionObject::null(),
                queue_size: self.config.queue,
                discard_oldest: true,
            };
            items.push(MonitoredItemCreateRequest::new(
                ReadValueId::new_value(node),
                MonitoringMode::Reporting,
                parameters,
            ));
        }
        ensure!(!items.is_empty(), "none of the nodes exists");
        let wanted = items.len();
        let created = session
            .create_monitored_items(subscription, TimestampsToReturn::Both, items)
            .await
            .map_err(|error| failed("create monitored items", error))?;
        ensure!(
            created.len() == wanted,
            "the server answers for {} of {wanted} nodes",
            created.len()
        );
        for item in &created {
            let at = item.requested_parameters.client_handle as usize - 1;
            let Some((point, ..)) = self.points.get(at) else {
                continue;
            };
            let status = item.result.status_code;
            if status.is_good() {
                feed.cleared(&point.channel);
            } else {
                feed.fault(&point.channel, &format!("node {}: {status}", point.node));
            }
        }
        Ok(())
    }

    fn reading(&self, i: usize, value: &DataValue, feed: &Feed) -> Option<Reading> {
        let (point, _, channel) = self.points.get(i)?;
        let status = value.status.unwrap_or(StatusCode::Good);
        if status.bits() & OVERFLOW == OVERFLOW {
            feed.rejected(&format!(
                "`{}`: values were lost in the server's queue: raise `queue` or lower `publishing_ms`",
                point.channel
            ));
        }
        let number = match value.value.as_ref().map(number) {
            Some(Ok(number)) => number,
            Some(Err(kind)) => {
                feed.fault(
                    &point.channel,
                    &format!(
                        "node {} is a {kind}: only numbers and booleans are collected",
                        point.node
                    ),
                );
                return None;
            }
            None => {
                feed.fault(
                    &point.channel,
                    &format!("node {} has no value: {status}", point.node),
                );
                return None;
            }
        };
        if !number.is_finite() {
            feed.fault(&point.channel, &format!("node {} is {number}", point.node));
            return None;
        }
        let quality = if status.is_bad() {
            feed.fault(&point.channel, &format!("node {}: {status}", point.node));
            Quality::Bad
        } else {
            feed.cleared(&point.channel);
            if status.is_uncertain() {
                Quality::Suspect
            } else {
                Quality::Good
            }
        };
        let stamp = value
            .source_timestamp
            .as_ref()
            .or(value.server_timestamp.as_ref());
        let ts = stamp
            .filter(|stamp| !stamp.is_null())
            .map_or_else(Timestamp::now, |stamp| {
                Timestamp::from_micros(stamp.as_chrono().timestamp_micros())
            });
        Some(Reading {
            channel: Arc::clone(channel),
            ts,
            value: number,
            quality,
        })
    }
}

/// # Errors
/// The type's name, when it is no number.
fn number(value: &Variant) -> Result<f64, &'static str> {
    Ok(match value {
        Variant::Boolean(on) => f64::from(u8::from(*on)),
        Variant::SByte(n) => f64::from(*n),
        Variant::Byte(n) => f64::from(*n),
        Variant::Int16(n) => f64::from(*n),
        Variant::UInt16(n) => f64::from(*n),
        Variant::Int32(n) => f64::from(*n),
        Variant::UInt32(n) => f64::from(*n),
        Variant::Int64(n) => *n as f64,
        Variant::UInt64(n) => *n as f64,
        Variant::Float(n) => f64::from(*n),
        Variant::Double(n) => *n,
        Variant::Empty => return Err("null"),
        Variant::String(_) => return Err("String"),
        Variant::DateTime(_) => return Err("DateTime"),
        Variant::Array(_) => return Err("array"),
        _ => return Err("structure"),
    })
}
