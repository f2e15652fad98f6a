//! What the plant's sensors say, and the writer that judges and commits it.

use models::alarm::Machine;
use models::db::alarm::{Watch, evaluate};
use models::id::AlarmRuleId;
use models::reading::Quality;
use models::time::Timestamp;
use rand::Rng;
use sqlx::PgPool;

use super::episode::{Episode, Sign, Why};
use super::world::World;
use super::{CALM_H, GATEWAYS, MAX_AGE_H, REPLAYED, SAMPLE_H, STEP_H};

impl World {
    /// What one rule's channel reads in the hours after `from` and up to `to`.
    fn readings(
        &mut self,
        fault: usize,
        rule: AlarmRuleId,
        from: i64,
        to: i64,
    ) -> Vec<(Timestamp, f64, Quality)> {
        let broken = self.faults[fault].broken;
        let mut samples = Vec::new();
        if self.faults[fault].episode.is_some() {
            let value = if broken { 12.0 } else { 5.0 };
            let mut hour = from + SAMPLE_H;
            while hour <= to {
                samples.push((self.moment(hour), value, Quality::Good));
                hour += SAMPLE_H;
            }
            return samples;
        }
        if from > 24 && self.rng.random_bool(0.01) {
            // Old readings come again, with values that would raise an alarm.
            self.tally.replayed += 1;
            for back in [20, 18, 16] {
                samples.push((self.moment(from - back), REPLAYED, Quality::Good));
            }
        }
        let mut hour = from + SAMPLE_H;
        while hour <= to {
            let noise = self.rng.random_range(-1.0..1.0);
            // A broken machine is beyond the limit (10), and now and then between it and the dead band.
            let value = if broken { 12.0 + 2.5 * noise } else { 5.0 + noise };
            let old = hour < to - MAX_AGE_H;
            let sample = if self.rng.random_bool(0.005) {
                self.tally.bad_readings += 1;
                (999.0, Quality::Bad)
            } else if old && self.rng.random_bool(0.2) {
                // Kept by the gateway while it was away: history that nobody is to be woken for.
                self.tally.replayed += 1;
                (REPLAYED, Quality::Good)
            } else if !broken && self.rng.random_bool(0.003) && self.spiked.insert(rule) {
                // One spike, and a good value before the next one: shorter than the on-delay.
                (50.0, Quality::Good)
            } else {
                self.spiked.remove(&rule);
                (value, Quality::Good)
            };
            samples.push((self.moment(hour), sample.0, sample.1));
            hour += SAMPLE_H;
        }
        // The newest one is always an honest good one: what comes next is judged from here.
        if !broken && let Some(last) = samples.last_mut() {
            *last = (last.0, 5.0, Quality::Good);
            self.spiked.remove(&rule);
        }
        samples
    }

    /// Gateways go away for hours and days, but not where somebody has to be heard.
    fn gateways_go(&mut self, hour: i64) {
        let needed: Vec<usize> = self
            .faults
            .iter()
            .filter(|fault| fault.episode.is_some_and(|episode| episode.needs_hearing()))
            .map(|fault| fault.gateway)
            .collect();
        // Nobody can tell that a machine is well again that was not heard before they look.
        let calm = hour > CALM_H || self.nobody_in(hour - 24..hour + 72);
        for index in 0..GATEWAYS {
            if hour >= self.away_until[index]
                && !calm
                && !needed.contains(&index)
                && self.rng.random_bool(0.015)
            {
                self.away_until[index] = hour + self.rng.random_range(6..72);
                self.tally.outages += 1;
            }
        }
    }

    /// A fault breaks, or a short one is over.
    fn go_on(&mut self, index: usize, hour: i64) {
        let fault = &self.faults[index];
        let Some(episode) = fault.episode else {
            let stay = self.stays.get(&fault.asset).copied();
            let fault = &mut self.faults[index];
            if let Some(stay) = stay {
                // What breaks in storage does so on purpose.
                fault.next = fault.next.max(stay.back + 24);
            }
            if !fault.broken && hour >= fault.next && hour <= CALM_H {
                fault.broken = true;
                fault.happened += 1;
            }
            return;
        };
        if episode.began {
            if episode.is_over(hour) {
                self.faults[index].broken = false;
                self.faults[index].mended = hour;
            }
            return;
        }
        if hour < episode.begin {
            return;
        }
        let heard = self.heard[fault.gateway] == hour - STEP_H && hour >= self.away_until[fault.gateway];
        if let Why::Storage { back } = episode.why {
            let end = hour + episode.lasts.unwrap_or(0) + 24;
            if end > back {
                self.faults[index].episode = None;
                return;
            }
            // One that is over before anybody has seen it leaves nothing to compare.
            if !heard || (episode.lasts.is_some() && self.nobody_in(hour - STEP_H..end)) {
                return;
            }
        }
        assert!(heard, "its gateway is there");
        let fault = &mut self.faults[index];
        fault.broken = true;
        fault.happened += u32::from(episode.lasts.is_none());
        fault.episode = Some(Episode {
            begin: hour,
            began: true,
            ..episode
        });
        // Three samples are beyond the limit, and the second one is so for the on-delay.
        self.signs.extend(fault.rules.iter().map(|rule| Sign {
            rule: rule.id,
            why: episode.why,
            raised: hour - SAMPLE_H,
            over: episode.lasts.map(|lasts| hour + lasts),
            seen: None,
        }));
    }

    /// The plant goes on to `hour`, and what is heard of it is written.
    pub(super) async fn write(&mut self, ingest: &PgPool, hour: i64) {
        self.gateways_go(hour);
        let mut new = Vec::new();
        for index in 0..self.faults.len() {
            self.go_on(index, hour);
            let gateway = self.faults[index].gateway;
            if hour < self.away_until[gateway] {
                continue;
            }
            let ids: Vec<AlarmRuleId> = self.faults[index].rules.iter().map(|rule| rule.id).collect();
            for (place, id) in ids.into_iter().enumerate() {
                let from = self.heard[gateway];
                new.push((index, place, self.readings(index, id, from, hour)));
            }
            let fault = &mut self.faults[index];
            if fault.episode.is_some_and(|episode| episode.is_over(hour)) {
                fault.episode = None;
                // Not before somebody has seen that it was over: the two would be one to them.
                let nobody = self.nobody.iter().find(|nobody| nobody.contains(&hour));
                fault.next =
                    hour.max(nobody.map_or(0, |nobody| nobody.end)) + self.fate.random_range(5 * 24..90 * 24);
            }
        }
        for (index, away) in self.away_until.iter().enumerate() {
            if hour >= *away {
                self.heard[index] = hour;
            }
        }
        let dies = self.rng.random_bool(0.03);
        let judge_from = self.moment(hour - MAX_AGE_H);
        // The second time is the same batch again, after a writer that died before its commit.
        for dying in [true, false] {
            if dying && !dies {
                continue;
            }
            let mut watches: Vec<Watch<'_>> = new
                .iter()
                .map(|(fault, place, samples)| {
                    let rule = &self.faults[*fault].rules[*place];
                    Watch {
                        rule,
                        machine: self.machines.get(&rule.id).cloned().unwrap_or_default(),
                        samples: samples.clone(),
                    }
                })
                .collect();
            let mut tx = ingest.begin().await.unwrap();
            evaluate(&mut tx, &mut watches, judge_from, "ingest")
                .await
                .unwrap();
            if dying {
                self.tally.writer_deaths += 1;
                continue;
            }
            tx.commit().await.unwrap();
            let kept: Vec<(AlarmRuleId, Machine)> = watches
                .into_iter()
                .map(|watch| (watch.rule.id, watch.machine))
                .collect();
            self.machines.extend(kept);
        }
    }
}
