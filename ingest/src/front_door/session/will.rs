//! What is said when a connection is gone.

use std::sync::Arc;
use std::time::Duration;

use models::db::registry;
use models::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::codec::Decoded;
use crate::front_door::Door;
use crate::front_door::acl::{Destination, Identity};
use crate::front_door::hub::wills::KeptWill;
use crate::front_door::hub::{Message, Registered, Space, WillFate};
use crate::front_door::packet::Will;
use crate::metrics;
use crate::registry::Gateway;
use crate::writer::Payload;

/// Lets go of the connection's place and publishes its will, if it has one and as late as that asked
/// for ([MQTT-3.1.2-8], [MQTT-3.1.3-9] of 5.0).
pub(super) async fn after(
    door: &Door,
    identity: &Identity,
    registered: &Registered,
    keep: Option<Duration>,
    will: Option<Will>,
) {
    let number = registered.number as i64;
    let delay = will
        .as_ref()
        .map_or(Duration::ZERO, |will| Duration::from_secs(will.delay.into()));
    let fate = door.hub.unregister(registered, keep, delay);
    let Some(will) = will else {
        return door.hub.will_is_done(number);
    };
    let due = match fate {
        WillFate::Never => false,
        WillFate::Now => true,
        WillFate::After(delay) => tokio::select! {
            back = door.hub.comes_back(&registered.session, delay) => !back,
            // Whoever listens should know before we are gone as well.
            () = door.stop.cancelled() => true,
        },
    };
    if due {
        publish(door, identity, registered.session.id, will).await;
    }
    door.hub.will_is_done(number);
}

/// Keeps the will of a connection that begins over a kill. `silence`: how long it may say nothing.
pub(super) fn keep(
    door: &Door,
    identity: &Identity,
    registered: &Registered,
    will: &Will,
    silence: Duration,
) {
    let name = match door.destination(identity, &will.topic) {
        Ok(Destination::Subscribers(name)) => Some(name),
        Ok(Destination::Writer(..)) => None,
        Ok(Destination::Claim(_)) | Err(_) => return,
    };
    let delay_s = u64::from(will.delay).max(silence.as_secs() + 1);
    door.hub.keep_will(registered, will, name, delay_s);
}

/// After a restart: says the wills of those who were connected and don't come back, each when its
/// silence would have been heard.
pub(crate) async fn after_restart(
    door: Arc<Door>,
    wills: oneshot::Receiver<Vec<KeptWill>>,
) -> anyhow::Result<()> {
    let stop = door.stop.clone();
    let saying = async move {
        // An error: the service stops before anything is back.
        let mut wills = wills.await.unwrap_or_default();
        wills.sort_by_key(|kept| kept.delay_s);
        let began = Instant::now();
        for kept in wills {
            tokio::time::sleep_until(began + Duration::from_secs(kept.delay_s)).await;
            if door.hub.is_due(&kept) {
                tracing::info!(
                    client_id = kept.client_id,
                    topic = kept.will.topic,
                    "not back after the restart"
                );
                say_kept(&door, &kept).await;
            }
            door.hub.will_is_done(kept.connection);
        }
    };
    // What is not said by then stays for the next start.
    if stop.run_until_cancelled(saying).await.is_some() {
        stop.cancelled().await;
    }
    Ok(())
}

/// Tries until the database answers, where it has to be asked.
async fn say_kept(door: &Door, kept: &KeptWill) {
    let space = Space::Tenant(kept.tenant);
    if let Some(name) = &kept.name {
        return tell(door, space, name.clone(), 0, kept.will.clone());
    }
    let row = loop {
        let asking = async {
            let mut connection = door.pool.acquire().await?;
            registry::gateway(&mut connection, kept.gateway).await
        };
        match asking.await {
            Ok(row) => break row,
            Err(error) => {
                tracing::warn!(%error, "can't look up whose will it is: trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    // Of a gateway that is gone there is nothing to say.
    let Some(row) = row else { return };
    let identity = Identity {
        space,
        gateway: Some(Arc::new(Gateway {
            id: row.gateway_id,
            tenant: row.tenant_id,
            tenant_slug: row.tenant_slug,
            slug: row.slug,
            max_channels: row.max_channels,
        })),
        credential: None,
        grants: Arc::default(),
        claim: None,
    };
    publish(door, &identity, 0, kept.will.clone()).await;
}

fn tell(door: &Door, space: Space, topic: String, from: u64, will: Will) {
    let expiry = will
        .expiry
        .map(|seconds| Timestamp::now().plus_seconds(seconds.into()));
    let message = Arc::new(Message {
        topic,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        expires_at: expiry,
        properties: will.properties,
        from,
        kept: true,
    });
    if door.hub.publish(space, &message, false).is_err() {
        metrics::dropped_down("queue_full");
    }
}

async fn publish(door: &Door, identity: &Identity, from: u64, will: Will) {
    match door.destination(identity, &will.topic) {
        Ok(Destination::Subscribers(topic)) => tell(door, identity.space, topic, from, will),
        Ok(Destination::Writer(gateway, format)) => {
            let received_at = Timestamp::now();
            let ready = door.intake.read(Payload {
                topic: will.topic,
                received_at,
                decoded: Ok(Decoded::default()),
                raw: will.payload,
                format,
                reply: None,
                permit: None,
                gateway,
            });
            for payload in ready {
                let writer = door.writer(payload.gateway.id);
                if writer.send(payload).await.is_err() {
                    tracing::warn!(who = %identity, "a will came after the writers had stopped");
                    metrics::refused_publish("stopping");
                }
            }
        }
        Ok(Destination::Claim(_)) | Err(_) => metrics::refused_publish("will_not_allowed"),
    }
}
