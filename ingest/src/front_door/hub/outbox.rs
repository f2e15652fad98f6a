//! What goes down to one client: a queue, and what was sent and is not acknowledged yet. Pure: time
//! comes in, packets come out.
//!
//! Messages of QoS 1 and 2 leave in the order they came ([MQTT-4.6.0-6]) and stay until they are
//! acknowledged, over as many connections as that takes. How many are on their way at once is the
//! client's Receive Maximum ([MQTT-3.3.4-9]). The queue is bounded; what doesn't get in is refused to
//! whoever published it, before he is told that it was taken.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use models::time::Timestamp;

use super::Message;
use crate::front_door::packet::Down;

/// Bytes of a tenant's part of the journal; given back when the message is done with and written.
#[derive(Debug)]
pub struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// `None` = that would be more than `most`.
    pub fn take(of: &Arc<AtomicUsize>, bytes: usize, most: usize) -> Option<Arc<Self>> {
        let taken = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            now.checked_add(bytes).filter(|sum| *sum <= most)
        });
        taken.ok()?;
        Some(Arc::new(Self {
            of: of.clone(),
            bytes,
        }))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message for one client.
#[derive(Clone, Debug, Default)]
pub struct Queued {
    pub message: Arc<Message>,
    /// Number in the journal; 0 = it is not in there.
    pub entry: i64,
    /// Of one in the journal, where it stays the same over a restart; else 0 until it is sent.
    pub packet_id: u16,
    /// It was kept over a restart, and may have been sent before.
    pub again: bool,
    pub share: Option<Arc<Share>>,
    /// The smaller one of the message's and the subscription's.
    pub qos: u8,
    pub retain: bool,
    /// The name the client subscribed by, where it isn't the message's.
    pub name: Option<String>,
    pub identifiers: Vec<u32>,
}

impl Queued {
    fn size(&self) -> usize {
        self.message.size()
    }

    fn down(&self, packet_id: u16, dup: bool, now: Timestamp) -> Down {
        let message = &self.message;
        Down {
            topic: self.name.clone().unwrap_or_else(|| message.topic.clone()),
            alias: None,
            payload: message.payload.clone(),
            qos: self.qos,
            packet_id,
            dup,
            retain: self.retain,
            expiry: message.seconds_left(now),
            properties: message.properties.clone(),
            identifiers: self.identifiers.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// PUBLISH was sent.
    Sent,
    /// PUBREC came; PUBREL is said once the journal knows.
    Received,
    /// PUBREL was said, or may be.
    Released,
}

#[derive(Clone, Debug)]
struct InFlight {
    packet_id: u16,
    stage: Stage,
    queued: Queued,
}

/// No room for a message that may not be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What is to be said again on a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    Publish(Box<Down>),
    PubRel(u16),
}

#[derive(Debug)]
pub struct Outbox {
    waiting: VecDeque<Queued>,
    in_flight: VecDeque<InFlight>,
    ids: HashSet<u16>,
    last_id: u16,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl Outbox {
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            ids: HashSet::new(),
            last_id: 0,
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    pub fn has_room(&self) -> bool {
        self.waiting.len() + self.in_flight.len() < self.max_messages && self.bytes < self.max_bytes
    }

    /// Queues a message. When there is no room, the oldest message of QoS 0 makes room. One for the
    /// journal gets its packet identifier here; it is returned.
    ///
    /// # Errors
    /// When there is none.
    pub fn push(&mut self, mut queued: Queued) -> Result<u16, Full> {
        if !self.has_room() {
            let oldest = self.waiting.iter().position(|queued| queued.qos == 0);
            match oldest.and_then(|i| self.waiting.remove(i)) {
                Some(dropped) => self.bytes -= dropped.size(),
                None => return Err(Full),
            }
        }
        if queued.entry > 0 {
            queued.packet_id = self.free_id();
        }
        let packet_id = queued.packet_id;
        self.bytes += queued.size();
        self.waiting.push_back(queued);
        Ok(packet_id)
    }

    fn free_id(&mut self) -> u16 {
        // There is one: less than 65535 wait or are in flight.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.ids.insert(self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The next message to send, unless as many as `receive_max` are on their way. Expired ones are
    /// left out ([MQTT-3.3.2-5]); their journal entries are added to `gone`.
    pub fn next(&mut self, receive_max: u16, now: Timestamp, gone: &mut Vec<i64>) -> Option<Down> {
        loop {
            let first = self.waiting.front()?;
            if first.qos > 0
                && !first.message.is_expired(now)
                && self.in_flight.len() >= usize::from(receive_max.min(u16::MAX - 1))
            {
                return None;
            }
            let mut queued = self.waiting.pop_front()?;
            if queued.message.is_expired(now) || queued.qos == 0 {
                self.bytes -= queued.size();
                if queued.message.is_expired(now) {
                    self.ids.remove(&queued.packet_id);
                    gone.extend((queued.entry > 0).then_some(queued.entry));
                    continue;
                }
                return Some(queued.down(0, false, now));
            }
            if queued.packet_id == 0 {
                queued.packet_id = self.free_id();
            }
            let packet_id = queued.packet_id;
            let down = queued.down(packet_id, queued.again, now);
            self.in_flight.push_back(InFlight {
                packet_id,
                stage: Stage::Sent,
                queued,
            });
            return Some(down);
        }
    }

    fn position(&self, packet_id: u16, stage: Stage, qos: u8) -> Option<usize> {
        self.in_flight
            .iter()
            .position(|sent| sent.packet_id == packet_id && sent.stage == stage && sent.queued.qos == qos)
    }

    fn finish(&mut self, i: usize) -> Option<Queued> {
        let sent = self.in_flight.remove(i)?;
        self.ids.remove(&sent.packet_id);
        self.bytes -= sent.queued.size();
        Some(sent.queued)
    }

    /// PUBACK, or a PUBREC that refuses: the message is done with. `None` = no such message.
    pub fn acknowledged(&mut self, packet_id: u16, qos: u8) -> Option<Queued> {
        let i = self.position(packet_id, Stage::Sent, qos)?;
        self.finish(i)
    }

    /// PUBREC: PUBREL is due, now or again, or with an entry once the journal knows. `None` = no such
    /// message.
    pub fn received(&mut self, packet_id: u16) -> Option<Option<i64>> {
        let stages = [Stage::Sent, Stage::Received, Stage::Released];
        let i = stages
            .into_iter()
            .find_map(|stage| self.position(packet_id, stage, 2))?;
        let sent = self.in_flight.get_mut(i)?;
        let must_wait = sent.queued.entry > 0 && sent.stage != Stage::Released;
        sent.stage = if must_wait {
            Stage::Received
        } else {
            Stage::Released
        };
        Some(must_wait.then_some(sent.queued.entry))
    }

    /// The journal knows that the PUBREC of an entry came. Returns its packet identifier when its
    /// PUBREL may be said now.
    pub fn released(&mut self, entry: i64) -> Option<u16> {
        let sent = self
            .in_flight
            .iter_mut()
            .find(|sent| sent.stage == Stage::Received && sent.queued.entry == entry)?;
        sent.stage = Stage::Released;
        Some(sent.packet_id)
    }

    /// PUBCOMP. `None` = no such message.
    pub fn completed(&mut self, packet_id: u16) -> Option<Queued> {
        let i = self.position(packet_id, Stage::Released, 2)?;
        self.finish(i)
    }

    /// The client can't take this packet, it is larger than it said ([MQTT-3.1.2-25] of 5.0).
    pub fn discard(&mut self, packet_id: u16) -> Option<Queued> {
        let i = self
            .in_flight
            .iter()
            .position(|sent| sent.packet_id == packet_id)?;
        self.finish(i)
    }

    /// What was on its way when the last connection ended, in order ([MQTT-4.4.0-1],
    /// [MQTT-4.6.0-1]).
    pub fn again(&self, now: Timestamp) -> Vec<Again> {
        self.in_flight
            .iter()
            .filter_map(|sent| match sent.stage {
                Stage::Sent => Some(Again::Publish(Box::new(sent.queued.down(
                    sent.packet_id,
                    true,
                    now,
                )))),
                // Its PUBREL comes when the journal knows.
                Stage::Received => None,
                Stage::Released => Some(Again::PubRel(sent.packet_id)),
            })
            .collect()
    }

    /// Without a connection messages of QoS 0 don't wait.
    pub fn offline(&mut self) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|queued| {
            let keep = queued.qos > 0;
            if !keep {
                *bytes -= queued.size();
            }
            keep
        });
    }

    /// Everything that is not acknowledged, in order: a session that ended gives it to others.
    pub fn drain(&mut self) -> Vec<Queued> {
        self.bytes = 0;
        self.ids.clear();
        let sent = self
            .in_flight
            .drain(..)
            .filter(|sent| sent.stage == Stage::Sent && sent.queued.qos == 1);
        let mut all: Vec<Queued> = sent.map(|sent| sent.queued).collect();
        all.extend(self.waiting.drain(..));
        all
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Puts back what the journal kept, at a start. `released` = its PUBREC had come.
    pub fn restore(&mut self, mut queued: Queued, released: bool) {
        if !self.ids.insert(queued.packet_id) {
            queued.packet_id = self.free_id();
        }
        self.bytes += queued.size();
        if released {
            self.in_flight.push_back(InFlight {
                packet_id: queued.packet_id,
                stage: Stage::Released,
                queued,
            });
        } else {
            self.waiting.push_back(queued);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn queued(text: &str, qos: u8) -> Queued {
        Queued {
            message: Arc::new(Message {
                topic: text.to_owned(),
                qos,
                ..Message::default()
            }),
            qos,
            ..Queued::default()
        }
    }

    fn send(outbox: &mut Outbox, receive_max: u16) -> Vec<(String, u16)> {
        std::iter::from_fn(|| outbox.next(receive_max, NOW, &mut Vec::new()))
            .map(|down| (down.topic, down.packet_id))
            .collect()
    }

    #[test]
    fn no_more_are_on_their_way_than_the_client_takes() {
        let mut outbox = Outbox::new(100, 1 << 20);
        for i in 0..5 {
            outbox.push(queued(&i.to_string(), 1)).unwrap();
        }
        assert_eq!(send(&mut outbox, 2), [("0".into(), 1), ("1".into(), 2)]);
        assert!(outbox.acknowledged(9, 1).is_none() && outbox.acknowledged(1, 2).is_none());
        assert!(outbox.acknowledged(2, 1).is_some(), "out of order");
        assert_eq!(send(&mut outbox, 2), [("2".into(), 3)]);
    }

    #[test]
    fn qos_2_goes_through_its_stages_and_is_repeated_in_order() {
        let mut outbox = Outbox::new(100, 1 << 20);
        for (text, qos) in [("a", 2), ("b", 1), ("c", 2)] {
            outbox.push(queued(text, qos)).unwrap();
        }
        send(&mut outbox, 10);
        assert!(outbox.completed(1).is_none(), "not yet");
        assert!(
            outbox.received(1).is_some() && outbox.received(1).is_some(),
            "again is well"
        );
        assert!(outbox.received(2).is_none(), "that one has QoS 1");
        let again = outbox.again(NOW);
        assert_eq!(again[0], Again::PubRel(1));
        for (again, topic) in again[1..].iter().zip(["b", "c"]) {
            assert!(matches!(again, Again::Publish(down) if down.dup && down.topic == topic));
        }
        assert!(outbox.completed(1).is_some() && outbox.acknowledged(2, 1).is_some());
        assert!(outbox.acknowledged(3, 2).is_some(), "a PUBREC that refuses");
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn a_full_queue_drops_qos_0_only() {
        let mut outbox = Outbox::new(2, 1 << 20);
        outbox.push(queued("old", 0)).unwrap();
        outbox.push(queued("kept", 1)).unwrap();
        outbox.push(queued("new", 1)).unwrap();
        assert_eq!(outbox.push(queued("one too many", 1)), Err(Full));
        assert_eq!(send(&mut outbox, 10), [("kept".into(), 1), ("new".into(), 2)]);
    }

    #[test]
    fn what_expired_is_not_sent_and_what_is_left_is_said() {
        let mut outbox = Outbox::new(9, 1 << 20);
        for seconds in [5, 20] {
            let mut one = queued(&seconds.to_string(), 1);
            one.entry = seconds;
            Arc::make_mut(&mut one.message).expires_at = Some(NOW.plus_seconds(seconds as f64));
            outbox.push(one).unwrap();
        }
        let mut gone = Vec::new();
        let down = outbox.next(9, NOW.plus_seconds(8.0), &mut gone).unwrap();
        assert_eq!((down.topic.as_str(), down.expiry), ("20", Some(12)));
        assert_eq!(gone, [5]);
    }

    #[test]
    fn identifiers_are_not_given_twice() {
        let mut outbox = Outbox::new(10, 1 << 20);
        outbox.push(queued("a", 1)).unwrap();
        outbox.push(queued("b", 1)).unwrap();
        assert_eq!(send(&mut outbox, 10), [("a".into(), 1), ("b".into(), 2)]);
        outbox.acknowledged(2, 1).unwrap();
        outbox.last_id = u16::MAX;
        outbox.push(queued("c", 1)).unwrap();
        assert_eq!(send(&mut outbox, 10), [("c".into(), 2)], "never 0, never 1");
    }

    /// What stands in the journal has its identifier before it is sent, and its PUBREL waits for the
    /// journal, also over a reconnect.
    #[test]
    fn a_pubrel_waits_until_the_journal_knows() {
        let mut outbox = Outbox::new(10, 1 << 20);
        for entry in [4, 5] {
            let kept = Queued {
                entry,
                ..queued(&entry.to_string(), 2)
            };
            assert_eq!(i64::from(outbox.push(kept).unwrap()), entry - 3);
        }
        assert_eq!(send(&mut outbox, 1), [("4".into(), 1)], "the client takes one");
        assert_eq!(outbox.received(1), Some(Some(4)));
        assert_eq!(outbox.again(NOW), [], "neither the message nor its PUBREL");
        assert_eq!(outbox.completed(1).map(|queued| queued.entry), None);
        assert_eq!((outbox.released(9), outbox.released(4)), (None, Some(1)));
        assert_eq!(outbox.released(4), None, "once");
        assert_eq!(outbox.received(1), Some(None), "known: at once");
        assert_eq!(outbox.again(NOW), [Again::PubRel(1)]);
        assert_eq!(outbox.completed(1).map(|queued| queued.entry), Some(4));
        assert_eq!(send(&mut outbox, 1), [("5".into(), 2)]);
    }

    /// After a restart everything has its identifier and its order, what may have been sent says so,
    /// and no more are sent at once than the client takes.
    #[test]
    fn what_is_restored_is_sent_again_within_the_window() {
        let mut outbox = Outbox::new(10, 1 << 20);
        for (entry, packet_id, released) in [(1, 9, true), (2, 3, false), (3, 4, false)] {
            let kept = Queued {
                entry,
                packet_id,
                again: true,
                ..queued(&entry.to_string(), 2)
            };
            outbox.restore(kept, released);
        }
        assert_eq!(outbox.again(NOW), [Again::PubRel(9)]);
        let down = outbox.next(2, NOW, &mut Vec::new()).unwrap();
        assert_eq!((down.topic.as_str(), down.packet_id, down.dup), ("2", 3, true));
        assert_eq!(outbox.next(2, NOW, &mut Vec::new()), None);
        outbox.push(queued("new", 1)).unwrap();
        outbox.completed(9).unwrap();
        let ids: Vec<u16> = send(&mut outbox, 9).into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, [4, 1], "a new one gets a free one");
    }

    #[test]
    fn shares_are_bounded_and_come_back() {
        let of = Arc::new(AtomicUsize::new(0));
        let share = Share::take(&of, 60, 100).unwrap();
        assert!(Share::take(&of, 60, 100).is_none());
        let copy = share.clone();
        drop(share);
        assert!(Share::take(&of, 60, 100).is_none(), "somebody still holds it");
        drop(copy);
        assert!(Share::take(&of, 60, 100).is_some());
    }
}
