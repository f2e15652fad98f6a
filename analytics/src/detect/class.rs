//! A baseline for an asset that has no past: what others of its class look like while they are healthy.
//!
//! For each channel that three others have too (the same name or label, unit and kind): the median of their levels,
//! and a spread that holds both how much one of them moves and how far they lie apart. Where they have
//! the same states (running, standing) each state has its own; otherwise all regimes count as one. There is
//! no joint picture: how channels move together is each machine's own. It stands until the asset's own
//! first steps can be learned from.

use std::collections::BTreeMap;

use models::asset::ChannelKind;
use models::db::assessment::AssetChannel;
use models::id::ChannelId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, ChannelBaseline, Normal, SetAside};
use super::regime::Regimes;
use crate::stats;

/// Fewer others say nothing about how far machines of the class lie apart.
pub const LEAST_PEERS: usize = 3;

/// Another asset of the class: its own baseline and its channels.
#[derive(Clone, Debug)]
pub struct Peer {
    pub baseline: Baseline,
    pub channels: Vec<AssetChannel>,
}

/// Where a baseline was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Borrowed {
    pub class: String,
    /// Other assets whose baselines were pooled.
    pub assets: usize,
}

impl Peer {
    /// The channel of the same name, or else of the same label, with the same unit and kind.
    fn channel(&self, like: &AssetChannel) -> Option<&ChannelBaseline> {
        let same = |own: &&AssetChannel| (&own.unit, own.kind) == (&like.unit, like.kind);
        let alike = || self.channels.iter().filter(same);
        let found = alike()
            .find(|own| own.name == like.name)
            .or_else(|| alike().find(|own| own.label.is_some() && own.label == like.label))?;
        self.baseline
            .channels
            .iter()
            .find(|channel| channel.channel == found.id)
    }

    /// Titles of the states that part its regimes; `None` = its settings do so too.
    fn states(&self) -> Option<Vec<&str>> {
        let name = |id: &ChannelId| {
            let channel = self.channels.iter().find(|channel| channel.id == *id)?;
            Some(title(channel))
        };
        self.baseline.regimes.states()?.iter().map(name).collect()
    }
}

/// What people call a channel; a device's names are its own, labels are the same in all machines of a class.
fn title(channel: &AssetChannel) -> &str {
    channel.label.as_deref().unwrap_or(&channel.name)
}

/// What the class says of an asset with these channels, from its first reading to `end`; `None` = too few others
/// have any of them. Provisional and borrowed baselines of others are not asked.
pub fn pool(
    class: &str,
    channels: &[AssetChannel],
    peers: &[Peer],
    (from, end): (Timestamp, Timestamp),
) -> Option<Baseline> {
    let own = |peer: &&Peer| !peer.baseline.provisional && peer.baseline.borrowed.is_none();
    let peers: Vec<&Peer> = peers.iter().filter(own).collect();
    let (peers, states) = by_states(channels, &peers);
    if peers.len() < LEAST_PEERS {
        return None;
    }
    // Each regime that is known of enough of them, by the values of its states.
    let mut known: Vec<Vec<i64>> = match &states {
        Some(_) => peers
            .iter()
            .flat_map(|peer| peer.baseline.regimes.state_values())
            .collect(),
        None => Vec::new(),
    };
    known.sort();
    known.dedup();
    let places = if known.is_empty() {
        vec![None]
    } else {
        known.iter().map(Some).collect()
    };
    let (mut pooled, mut set_aside) = (Vec::new(), Vec::new());
    for channel in channels
        .iter()
        .filter(|channel| channel.kind == ChannelKind::Measurement)
    {
        let having: Vec<(&&Peer, &ChannelBaseline)> = peers
            .iter()
            .filter_map(|peer| Some((peer, peer.channel(channel)?)))
            .collect();
        let normal: Vec<Option<Normal>> = places
            .iter()
            .map(|values| {
                let each = having
                    .iter()
                    .filter_map(|(peer, own)| one(&peer.baseline, own, *values));
                together(&each.collect::<Vec<_>>())
            })
            .collect();
        if normal.iter().all(Option::is_none) {
            set_aside.push(SetAside {
                channel: channel.id,
                why: format!(
                    "fewer than {LEAST_PEERS} other assets of class {class} have such a channel with a past"
                ),
            });
            continue;
        }
        pooled.push(ChannelBaseline {
            channel: channel.id,
            normal,
            threshold: stats::median(having.iter().map(|(_, own)| own.threshold)),
            still: having.iter().map(|(_, own)| own.still).max().unwrap_or(0),
        });
    }
    let step_s = stats::median(peers.iter().map(|peer| peer.baseline.step_s as f64)).round() as i64;
    (!pooled.is_empty()).then(|| Baseline {
        step_s,
        from,
        to: end,
        steps: 0,
        regimes: Regimes::of_states(states.unwrap_or_default(), known),
        channels: pooled,
        set_aside,
        pattern: None,
        provisional: false,
        borrowed: Some(Borrowed {
            class: class.to_owned(),
            assets: peers.len(),
        }),
    })
}

/// The others that part their regimes by the same states, most of them and at least [`LEAST_PEERS`], with the asset's
/// channels of that name; or all of them, with their regimes as one.
fn by_states<'a>(channels: &[AssetChannel], peers: &[&'a Peer]) -> (Vec<&'a Peer>, Option<Vec<ChannelId>>) {
    let mut parted: BTreeMap<Vec<&str>, Vec<&Peer>> = BTreeMap::new();
    for peer in peers {
        if let Some(states) = peer.states() {
            parted.entry(states).or_default().push(peer);
        }
    }
    let most = parted.into_iter().max_by_key(|(_, peers)| peers.len());
    let found = most.filter(|(_, same)| same.len() >= LEAST_PEERS && 2 * same.len() > peers.len());
    let with_channels = found.and_then(|(names, same)| {
        let id = |name: &str| {
            let own = channels
                .iter()
                .find(|channel| channel.kind == ChannelKind::State && title(channel) == name)?;
            Some(own.id)
        };
        let ids: Option<Vec<ChannelId>> = names.into_iter().map(id).collect();
        Some((same, ids?))
    });
    match with_channels {
        Some((same, ids)) => (same, Some(ids)),
        None => (peers.to_vec(), None),
    }
}

/// One other's channel in the regime with these states, or in all of its regimes as one.
fn one(baseline: &Baseline, channel: &ChannelBaseline, values: Option<&Vec<i64>>) -> Option<Normal> {
    if let Some(values) = values {
        let place = baseline.regimes.state_values().position(|own| own == *values)?;
        return channel.normal.get(place).copied().flatten();
    }
    let all = || channel.normal.iter().flatten();
    let n: f64 = all().map(|normal| normal.n as f64).sum();
    if n <= 0.0 {
        return None;
    }
    let mean = |of: &dyn Fn(&Normal) -> f64| all().map(|own| own.n as f64 * of(own)).sum::<f64>() / n;
    let median = mean(&|own| own.median);
    let square = mean(&|own| own.scale.powi(2) + (own.median - median).powi(2));
    Some(Normal {
        median,
        scale: square.sqrt(),
        low: all().map(|own| own.low).fold(f64::INFINITY, f64::min),
        high: all().map(|own| own.high).fold(f64::NEG_INFINITY, f64::max),
        n: n as usize,
    })
}

/// What several are like: the medians of where they lie and how much they move, and how far they lie apart.
fn together(each: &[Normal]) -> Option<Normal> {
    if each.len() < LEAST_PEERS {
        return None;
    }
    let medians = stats::spread(each.iter().map(|own| own.median))?;
    let within = stats::median(each.iter().map(|own| own.scale));
    // One odd machine among many doesn't widen what counts as seen.
    let low = stats::quantile(&stats::sorted(each.iter().map(|own| own.low)), 0.1);
    let high = stats::quantile(&stats::sorted(each.iter().map(|own| own.high)), 0.9);
    Some(Normal {
        median: medians.median,
        scale: within.hypot(medians.scale),
        low,
        high,
        n: each.iter().map(|own| own.n).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::detect;
    use crate::testing::{Machine, noise};
    use crate::window::Window;

    /// A pump of its own size that stands every sixth hour.
    fn pump(number: usize, steps: usize) -> Window {
        let level = 50.0 + 2.0 * number as f64;
        let running = |i: usize| i % 36 < 30;
        Machine::new(steps)
            .measurement("flow", move |i| {
                if running(i) {
                    level + 0.5 * noise(i + 997 * number)
                } else {
                    0.01 * noise(i)
                }
            })
            .state("running", move |i| f64::from(u8::from(running(i))))
            .measurement("serial", move |i| number as f64 + 0.1 * noise(i))
            .window()
    }

    fn peer(number: usize) -> Peer {
        let window = pump(number, 288);
        Peer {
            baseline: Baseline::learn(&window).unwrap(),
            channels: window.series.into_iter().map(|series| series.channel).collect(),
        }
    }

    fn pooled(window: &Window, peers: &[Peer]) -> Option<Baseline> {
        let channels: Vec<AssetChannel> = window
            .series
            .iter()
            .map(|series| series.channel.clone())
            .collect();
        pool("pump", &channels, peers, (window.start(), window.end))
    }

    #[test]
    fn a_new_asset_is_compared_with_what_its_class_does_in_each_state() {
        let mut window = pump(2, 24);
        window.series[0].channel.name = "pump-2/flow".to_owned();
        window.series[2].channel.name = "unheard".to_owned();
        let mut peers: Vec<Peer> = (0..5).map(peer).collect();
        for peer in &mut peers {
            peer.channels[0].label = Some("Flow".to_owned());
        }
        window.series[0].channel.label = Some("Flow".to_owned());
        let baseline = pooled(&window, &peers).unwrap();
        assert_eq!(
            (baseline.regimes.len(), baseline.borrowed.as_ref().unwrap().assets),
            (2, 5)
        );
        let running = baseline.channels[0].normal[1].unwrap();
        // Five pumps at 50, 52, … 58: the middle one, and as wide as they lie apart.
        assert!(
            (running.median - 54.0).abs() < 0.3 && (2.0..4.5).contains(&running.scale),
            "{running:?}"
        );
        assert!(baseline.set_aside[0].why.contains("fewer than 3 other assets"));
        assert!(detect(&baseline, &window).unwrap().anomaly < 0.9);
        for value in &mut window.series[0].mean {
            *value *= 2.0;
        }
        let doubled = detect(&baseline, &window).unwrap();
        assert!(doubled.anomaly > 1.0, "{}", doubled.anomaly);
    }

    #[test]
    fn two_others_are_too_few_and_borrowed_ones_do_not_count() {
        let window = pump(2, 24);
        let mut peers: Vec<Peer> = (0..3).map(peer).collect();
        assert_eq!(pooled(&window, &peers[..2]), None);
        assert!(pooled(&window, &peers).is_some());
        peers[0].baseline.provisional = true;
        assert_eq!(pooled(&window, &peers), None);
        peers[0].baseline.provisional = false;
        peers[0].baseline.borrowed = Some(Borrowed {
            class: "pump".to_owned(),
            assets: 3,
        });
        assert_eq!(pooled(&window, &peers), None);
    }

    #[test]
    fn without_the_state_the_regimes_are_one() {
        let mut window = pump(2, 24);
        window.series.remove(1);
        let peers: Vec<Peer> = (0..4).map(peer).collect();
        let baseline = pooled(&window, &peers).unwrap();
        let normal = baseline.channels[0].normal[0].unwrap();
        assert_eq!(baseline.regimes.len(), 1);
        assert!(
            normal.low < 1.0 && normal.high > 50.0 && normal.scale > 10.0,
            "{normal:?}"
        );
    }
}
