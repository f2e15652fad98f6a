//! A payload that is ready for its transaction, and can be run through it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::db::dead_letter::DeadLetter;
use models::db::sent::Sent;
use models::id::DeadLetterId;
use models::reading::Reading;
use models::time::Timestamp;

use super::{Outcome, Payload, Reply};
use crate::codec::{Envelope, Reject, json};
use crate::metrics;
use crate::registry::{Gateway, GatewayNames};
use crate::validate::{TimeLimits, ValidEvent, validate};

#[derive(Debug)]
pub(crate) struct Prepared {
    payload: Payload,
    pub envelope: Option<Envelope>,
    pub readings: Vec<Reading>,
    /// Of `readings`, those that were converted, as they were sent.
    pub sent: Vec<Sent>,
    pub events: Vec<ValidEvent>,
    /// Readings in `letters`.
    pub rejected: usize,
    letters: Vec<DeadLetter>,
    /// Nothing of it could be read.
    pub dead: bool,
    refused: bool,
}

impl Prepared {
    pub fn new(mut payload: Payload, names: Option<&GatewayNames>, limits: TimeLimits) -> Self {
        let decoded = std::mem::replace(&mut payload.decoded, Ok(Default::default()));
        let mut prepared = Self {
            payload,
            envelope: None,
            readings: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            rejected: 0,
            letters: Vec::new(),
            dead: false,
            refused: false,
        };
        let (decoded, names) = match (decoded, names) {
            (Ok(decoded), Some(names)) => (decoded, names),
            (Ok(_), None) => {
                // Not reached: the register of every gateway was read before.
                prepared.letters.push(prepared.raw_letter(
                    "unknown_gateway",
                    "the gateway has no register",
                    0,
                ));
                prepared.dead = true;
                return prepared;
            }
            (Err(why), _) => {
                metrics::undecodable(why.reason);
                prepared
                    .letters
                    .push(prepared.raw_letter(why.reason, &why.detail, 0));
                prepared.dead = true;
                return prepared;
            }
        };
        prepared.envelope = decoded.envelope;
        let valid = validate(decoded, names, limits, prepared.payload.received_at);
        prepared.readings = valid.readings;
        prepared.sent = valid.sent;
        prepared.events = valid.events;
        prepared.rejected = valid.rejects.len();
        if valid.events_refused > 0 {
            metrics::events_refused(valid.events_refused);
            let detail = format!(
                "{} events with a bad device name, code or time stamp",
                valid.events_refused
            );
            let mut letter = prepared.raw_letter("bad_event", &detail, 0);
            letter.format = "events".to_owned();
            prepared.letters.push(letter);
        }
        let mut by_reason: BTreeMap<&'static str, Vec<&Reject>> = BTreeMap::new();
        for reject in &valid.rejects {
            by_reason.entry(reject.reason).or_default().push(reject);
        }
        for (reason, rejects) in by_reason {
            metrics::rejected(reason, rejects.len());
            let detail = match rejects.len() {
                1 => rejects[0].detail.clone(),
                n => format!("{} (and {} more)", rejects[0].detail, n - 1),
            };
            let mut letter = prepared.raw_letter(reason, &detail, rejects.len());
            letter.payload = json::encode_rejects(&rejects);
            letter.format = "readings".to_owned();
            prepared.letters.push(letter);
        }
        prepared
    }

    fn raw_letter(&self, reason: &str, detail: &str, readings: usize) -> DeadLetter {
        DeadLetter {
            id: DeadLetterId::new(),
            tenant_id: self.payload.gateway.tenant,
            gateway_id: self.payload.gateway.id,
            received_at: self.payload.received_at,
            topic: self.payload.topic.clone(),
            payload: self.payload.raw.to_vec(),
            format: self.payload.format.name().to_owned(),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            readings: i32::try_from(readings).unwrap_or(i32::MAX),
        }
    }

    /// The payload as one dead letter, for when the transaction finds that it can't be stored.
    pub fn whole_letter(&self, reason: &str, detail: &str) -> DeadLetter {
        self.raw_letter(reason, detail, self.readings.len() + self.rejected)
    }

    /// Makes all of it one dead letter. Its number stays: the gateway may forget the batch.
    pub fn refuse(&mut self, reason: &str, detail: &str) {
        self.letters = vec![self.whole_letter(reason, detail)];
        self.rejected += self.readings.len();
        self.readings = Vec::new();
        self.sent = Vec::new();
        self.events = Vec::new();
        self.refused = true;
    }

    pub fn is_refused(&self) -> bool {
        self.refused
    }

    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.payload.gateway
    }

    pub fn topic(&self) -> &str {
        &self.payload.topic
    }

    pub fn received_at(&self) -> Timestamp {
        self.payload.received_at
    }

    pub fn letters(&self) -> &[DeadLetter] {
        &self.letters
    }

    /// Every reading the payload held.
    pub fn received(&self) -> usize {
        self.readings.len() + self.rejected
    }

    /// Answers, once, and gives back its share of the bytes in flight.
    pub fn reply(&mut self, outcome: Outcome) {
        self.payload.permit = None;
        if let Some(Reply { number, to }) = self.payload.reply.take() {
            // Fails only when the connection is gone: it will send the payload again.
            let _ = to.try_send((number, outcome));
        }
    }
}
