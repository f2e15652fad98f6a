//! The last message of each topic that was published to be kept ([MQTT-3.3.1-5]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use models::time::Timestamp;

use super::outbox::Full;
use super::{Message, filter};

#[derive(Debug)]
pub struct Retained {
    messages: BTreeMap<String, Arc<Message>>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

fn size(message: &Message) -> usize {
    message.payload.len() + message.topic.len() + 200
}

impl Retained {
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    fn remove(&mut self, topic: &str) -> bool {
        match self.messages.remove(topic) {
            Some(old) => {
                self.bytes -= size(&old);
                true
            }
            None => false,
        }
    }

    /// Whether the journal has the message of a topic.
    pub fn is_kept(&self, topic: &str) -> bool {
        self.messages.get(topic).is_some_and(|message| message.kept)
    }

    /// Keeps a message; one without a payload takes the kept one away ([MQTT-3.3.1-6]). Returns
    /// whether anything changed.
    ///
    /// # Errors
    /// When there is no room for another one.
    pub fn set(&mut self, message: &Arc<Message>, now: Timestamp) -> Result<bool, Full> {
        if message.payload.is_empty() {
            return Ok(self.remove(&message.topic));
        }
        let old = self.messages.get(&message.topic).map_or(0, |old| size(old));
        let count = self.messages.len() + usize::from(old == 0);
        if count > self.max_messages || self.bytes - old + size(message) > self.max_bytes {
            self.forget_expired(now);
            let count = self.messages.len() + usize::from(!self.messages.contains_key(&message.topic));
            if count > self.max_messages || self.bytes + size(message) > self.max_bytes {
                return Err(Full);
            }
        }
        self.remove(&message.topic);
        self.bytes += size(message);
        self.messages.insert(message.topic.clone(), message.clone());
        Ok(true)
    }

    fn forget_expired(&mut self, now: Timestamp) {
        let bytes = &mut self.bytes;
        self.messages.retain(|_, message| {
            let keep = !message.is_expired(now);
            if !keep {
                *bytes -= size(message);
            }
            keep
        });
    }

    /// What is kept and matches, in order of topic.
    pub fn find(&self, wanted: &str, now: Timestamp) -> Vec<Arc<Message>> {
        let fixed = wanted.split(['+', '#']).next().unwrap_or_default();
        // `a/#` matches `a` as well.
        let from = fixed.strip_suffix('/').unwrap_or(fixed);
        self.messages
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(from))
            .filter(|(topic, message)| filter::matches(wanted, topic) && !message.is_expired(now))
            .map(|(_, message)| message.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn message(topic: &str, payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: topic.to_owned(),
            payload: payload.as_bytes().into(),
            ..Message::default()
        })
    }

    fn topics(retained: &Retained, filter: &str) -> Vec<String> {
        let found = retained.find(filter, NOW);
        found.iter().map(|message| message.topic.clone()).collect()
    }

    #[test]
    fn the_last_one_is_kept_and_an_empty_one_takes_it_away() {
        let mut retained = Retained::new(10, 1 << 20);
        for topic in ["a", "a/b", "a/b/c", "ab", "$s/a"] {
            retained.set(&message(topic, "1"), NOW).unwrap();
        }
        assert_eq!(topics(&retained, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(topics(&retained, "#"), ["a", "a/b", "a/b/c", "ab"]);
        assert_eq!(topics(&retained, "+"), ["a", "ab"]);
        assert_eq!(topics(&retained, "a/b"), ["a/b"]);
        assert_eq!(retained.set(&message("a/b", ""), NOW), Ok(true));
        assert_eq!(retained.set(&message("a/b", ""), NOW), Ok(false));
        assert_eq!(topics(&retained, "a/b"), Vec::<String>::new());
    }

    #[test]
    fn its_room_is_bounded_and_expired_ones_make_room() {
        let mut retained = Retained::new(2, 1 << 20);
        let mut short = message("a", "1");
        Arc::make_mut(&mut short).expires_at = Some(NOW.plus_seconds(5.0));
        retained.set(&short, NOW).unwrap();
        retained.set(&message("b", "1"), NOW).unwrap();
        assert_eq!(retained.set(&message("c", "1"), NOW), Err(Full));
        assert_eq!(retained.set(&message("b", "2"), NOW), Ok(true), "in its place");
        let later = NOW.plus_seconds(6.0);
        assert!(retained.find("a", later).is_empty());
        assert_eq!(retained.set(&message("c", "1"), later), Ok(true));
        let mut small = Retained::new(10, 400);
        small.set(&message("a", "1"), NOW).unwrap();
        assert_eq!(small.set(&message("b", "1"), NOW), Err(Full));
    }
}
