//! What is said when a connection is gone.

use std::sync::Arc;
use std::time::Duration;

use models::time::Timestamp;

use crate::codec::Decoded;
use crate::front_door::Door;
use crate::front_door::acl::{Destination, Identity};
use crate::front_door::hub::{Message, Registered, WillFate};
use crate::front_door::packet::Will;
use crate::metrics;
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
    let delay = will
        .as_ref()
        .map_or(Duration::ZERO, |will| Duration::from_secs(will.delay.into()));
    let fate = door.hub.unregister(registered, keep, delay);
    let Some(will) = will else { return };
    match fate {
        WillFate::Never => return,
        WillFate::Now => {}
        WillFate::After(delay) => {
            tokio::select! {
                back = door.hub.comes_back(&registered.session, delay) => if back {
                    return;
                },
                // Whoever listens should know before we are gone as well.
                () = door.stop.cancelled() => {}
            }
        }
    }
    publish(door, identity, registered.session.id, will).await;
}

async fn publish(door: &Door, identity: &Identity, from: u64, will: Will) {
    match door.destination(identity, &will.topic) {
        Ok(Destination::Subscribers(topic)) => {
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
            if door.hub.publish(identity.space, &message, false).is_err() {
                metrics::dropped_down("queue_full");
            }
        }
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
