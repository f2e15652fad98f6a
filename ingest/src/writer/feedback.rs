//! What a gateway hears on its error topic.

use models::wire::{Refusal, topic};

use crate::front_door::hub::Hub;
use crate::registry::Gateway;

/// Says to a gateway's connections what became of something it sent.
pub(crate) fn tell_refused(hub: &Hub, gateway: &Gateway, refusal: &Refusal) {
    match serde_json::to_vec(refusal) {
        Ok(json) => hub.refused(
            gateway,
            topic(&gateway.tenant_slug, &gateway.slug, "error"),
            json.into(),
        ),
        Err(error) => tracing::error!(%error, "a refusal can't be written as JSON"),
    }
}
