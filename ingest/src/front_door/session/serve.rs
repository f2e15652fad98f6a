//! Reads, waits, answers.

use std::convert::Infallible;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::{End, Pending, Session, told};
use crate::front_door::hub::Received;
use crate::front_door::packet::{self, FromClient, Goodbye, PacketError, PublishAnswer, ToClient, Version};
use crate::metrics;
use crate::writer::Outcome;

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    /// Serves until the end, which is the error.
    pub(super) async fn serve(&mut self) -> Result<Infallible, End> {
        let in_flight = usize::from(self.door.config.limits.in_flight);
        let stop = self.door.stop.clone();
        let session = self.registered.session.clone();
        let mut heard = Instant::now();
        let mut stopping: Option<Instant> = None;
        loop {
            while stopping.is_none() && self.held.is_none() && self.pending.len() < in_flight {
                let Some(frame) =
                    packet::next_frame(&mut self.input, self.door.config.limits.max_packet_bytes)
                        .map_err(|error| self.complain(&error))?
                else {
                    break;
                };
                let packet = packet::read(self.version, frame).map_err(|error| self.complain(&error))?;
                self.handle(packet).await?;
            }
            let more = self.take_mail()?;
            self.flush().await?;
            if more {
                continue;
            }
            if stopping.is_some() && self.pending.is_empty() {
                return Err(told(Goodbye::ShuttingDown));
            }
            let reading = stopping.is_none() && self.held.is_none() && self.pending.len() < in_flight;
            let held_until = self.held.as_ref().map(|held| held.until);
            let deadline = stopping.or(held_until).unwrap_or(heard + self.keep_alive);
            tokio::select! {
                biased;
                answer = self.answers.recv() => {
                    let mut next = answer;
                    while let Some((number, outcome)) = next {
                        self.settle(number, outcome)?;
                        next = self.answers.try_recv().ok();
                    }
                    if !reading {
                        // It could not speak: its silence doesn't count.
                        heard = Instant::now();
                    }
                }
                () = session.news() => {}
                () = stop.cancelled(), if stopping.is_none() => {
                    // Edge nodes that watch this Sparkplug host are told before it goes.
                    self.door.intake.say_goodbye(&self.door.hub);
                    self.take_mail()?;
                    stopping = Some(Instant::now() + Duration::from_secs(self.door.config.shutdown_s));
                }
                read = self.reader.read_buf(&mut self.input), if reading => match read {
                    Ok(n) if n > 0 => heard = Instant::now(),
                    _ => return Err(End::Gone("connection_lost")),
                },
                () = tokio::time::sleep_until(deadline), if reading || stopping.is_some() || held_until.is_some() => {
                    if stopping.is_some() {
                        return Err(told(Goodbye::ShuttingDown));
                    }
                    if self.held.take().is_none() {
                        // [MQTT-3.1.2-24] of 3.1.1.
                        return Err(told(Goodbye::KeepAlive));
                    }
                    heard = Instant::now();
                }
            }
        }
    }

    fn complain(&self, error: &PacketError) -> End {
        tracing::info!(who = %self.identity, %error, "closing the connection");
        let why = match error {
            PacketError::TooLarge(_) => Goodbye::TooLarge,
            PacketError::Protocol(_) => Goodbye::Protocol,
            PacketError::AliasZero => Goodbye::AliasInvalid,
            _ => Goodbye::Malformed,
        };
        End::Told(why, Some(error.to_string()))
    }

    async fn handle(&mut self, packet: FromClient) -> Result<(), End> {
        match packet {
            FromClient::Publish(publish) => self.publish(publish).await?,
            FromClient::PubAck { packet_id, .. } => self.acknowledged(packet_id, 1),
            FromClient::PubRec {
                packet_id,
                refused: true,
            } => self.acknowledged(packet_id, 2),
            FromClient::PubRec {
                packet_id,
                refused: false,
            } => self.received(packet_id),
            FromClient::PubComp(packet_id) => self.completed(packet_id),
            FromClient::PubRel(packet_id) => {
                let session = &self.registered.session;
                let known = session.with(|state| state.unreleased.remove(&packet_id).is_some());
                // The identifier is free for another message from PUBCOMP on: not before the journal
                // has forgotten it.
                if !(known && self.door.hub.released(session, packet_id)) {
                    self.say(ToClient::PubComp { packet_id, known });
                }
            }
            FromClient::Subscribe {
                packet_id,
                filters,
                identifier,
            } => self.subscribe(packet_id, filters, identifier).await?,
            FromClient::Unsubscribe { packet_id, filters } => {
                let existed: Vec<bool> = filters
                    .iter()
                    .map(|filter| self.door.hub.unsubscribe(&self.registered.session, filter))
                    .collect();
                if existed.contains(&true) {
                    self.settle_session().await?;
                }
                self.say(ToClient::UnsubAck(packet_id, existed));
            }
            FromClient::Ping => self.say(ToClient::Pong),
            FromClient::Disconnect {
                publish_will,
                session_expiry,
            } => {
                if let Some(asked) = session_expiry {
                    if self.session_expiry == 0 && asked > 0 {
                        // 5.0, 3.14.2.2.2
                        return Err(told(Goodbye::Protocol));
                    }
                    self.session_expiry = asked.min(self.door.config.limits.session_expiry_s);
                }
                return Err(End::Disconnected { publish_will });
            }
        }
        Ok(())
    }

    pub(super) fn pend(&mut self, pending: Pending) -> u64 {
        let number = pending.number;
        self.pending.push_back(pending);
        self.next_number = number + 1;
        metrics::in_flight(1.0);
        number
    }

    fn settle(&mut self, number: u64, outcome: Outcome) -> Result<(), End> {
        let answer = match outcome {
            Outcome::Committed => (PublishAnswer::Success, None),
            Outcome::DeadLettered => (
                PublishAnswer::Invalid,
                Some("kept as a dead letter: fw/v1/me/error says why".into()),
            ),
            Outcome::Abandoned => return Err(told(Goodbye::Error)),
        };
        let first = self.pending.front().map_or(0, |pending| pending.number);
        if let Some(pending) = number
            .checked_sub(first)
            .and_then(|i| self.pending.get_mut(i as usize))
        {
            // A v5 PUBREC that says no ends the exchange: nothing is to be kept of it.
            let over = self.version == Version::V5 && answer.0 != PublishAnswer::Success;
            if !pending.noted && !over {
                pending.noted = true;
                let (session, to) = (&self.registered.session, self.answer_to.clone());
                // Where it can't be kept, the readings are stored all the same. There is room: what came
                // for this publish was taken out just now.
                let again = move |_| to.try_send((number, outcome)).unwrap_or_default();
                if self.door.hub.taken(session, pending.packet_id, again) {
                    return Ok(());
                }
            }
            pending.answer = Some(answer);
        }
        self.answer();
        Ok(())
    }

    /// Answers what can be answered without overtaking ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).
    pub(super) fn answer(&mut self) {
        while self
            .pending
            .front()
            .is_some_and(|pending| pending.answer.is_some())
        {
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            metrics::in_flight(-1.0);
            let Pending {
                packet_id,
                qos,
                answer: Some((answer, reason)),
                echo,
                ..
            } = pending
            else {
                continue;
            };
            if let (Some(echo), PublishAnswer::Success) = (echo, answer)
                && self.door.hub.publish(self.identity.space, &echo, false).is_err()
            {
                metrics::dropped_down("queue_full");
            }
            let reason = reason
                .or_else(|| self.held_reason())
                .filter(|_| self.problem_info);
            match qos {
                0 => {}
                1 => self.say(ToClient::PubAck(packet_id, answer, reason)),
                _ => {
                    // A v5 PUBREC that says no ends the exchange; everything else waits for PUBREL.
                    let over = self.version == Version::V5 && answer != PublishAnswer::Success;
                    self.registered.session.with(|state| {
                        if over {
                            state.unreleased.remove(&packet_id);
                        } else {
                            state.unreleased.insert(packet_id, Received::Done);
                        }
                    });
                    self.say(ToClient::PubRec(packet_id, answer, reason));
                }
            }
        }
    }
}
