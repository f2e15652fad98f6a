//! What is to be said to gateways behind foreign brokers: commands of the Sparkplug host.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use models::id::GatewayId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Messages that wait for one connection; more are dropped: a rebirth is asked for again.
const WAITING: usize = 256;

pub(crate) type Said = (String, Bytes);

/// The connections that speak for a gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlets(Arc<Mutex<HashMap<GatewayId, mpsc::Sender<Said>>>>);

impl Outlets {
    pub fn open(&self, gateway: GatewayId) -> mpsc::Receiver<Said> {
        let (to, from) = mpsc::channel(WAITING);
        self.0.lock().insert(gateway, to);
        from
    }

    pub fn tell(&self, gateway: GatewayId, topic: String, payload: Bytes) {
        if let Some(to) = self.0.lock().get(&gateway)
            && to.try_send((topic, payload)).is_err()
        {
            crate::metrics::dropped_down("foreign_broker_away");
        }
    }
}
