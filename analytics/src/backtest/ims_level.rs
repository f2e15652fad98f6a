//! When the level of vibration of a bearing is no longer that of its healthy days, on a machine that is stopped and changed
//! in between.

use super::metrics::median;

/// Healthy level is learned over a day: at the start, and again after a stop as long as that. What is mounted or greased
/// in between changes the level of everything. A bearing in alarm learns nothing: it may be the one that is broken.
pub(super) const BASELINE_S: f64 = 86_400.0;
/// An alarm: this many deviations above the healthy median, for this many snapshots in a row.
const DEVIATIONS: f64 = 6.0;
pub(super) const PERSIST: usize = 6;

/// One bearing's alarm.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alarm {
    pub bearing: usize,
    pub row: usize,
    /// How far the level was above the healthy median, as a share of what makes an alarm.
    pub excess: f64,
    /// Row from which the level was normal again.
    pub over: Option<usize>,
}

/// What was seen of a run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub alarms: Vec<Alarm>,
    /// Rows at which all bearings rose together: the machine changed, not one of them.
    pub together: Vec<usize>,
    /// Rows at which the healthy level was learned again after a stop.
    pub stops: Vec<usize>,
}

impl Seen {
    /// Alarms that stand at the end.
    pub fn standing(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(|alarm| alarm.over.is_none())
    }

    /// The one that came first; neighbours follow through the shaft. Of those that came at once, the one furthest out.
    pub fn origin(&self) -> Option<&Alarm> {
        let first = self.standing().map(|alarm| alarm.row).min()?;
        self.standing()
            .filter(|alarm| alarm.row < first + PERSIST)
            .max_by(|a, b| a.excess.total_cmp(&b.excess))
    }
}

/// What is healthy for one bearing, and where it stands.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    centre: f64,
    limit: f64,
    above: usize,
    below: usize,
    /// Place of its alarm, while it is on.
    on: Option<usize>,
}

impl Watch {
    fn learn(&mut self, healthy: &[f64]) {
        let centre = median(healthy);
        let away: Vec<f64> = healthy.iter().map(|v| (v - centre).abs()).collect();
        let deviation = 1.4826 * median(&away);
        *self = Self {
            centre,
            limit: centre + DEVIATIONS * deviation.max(1e-3 * centre.abs()),
            ..Self::default()
        };
    }
}

/// The row after the last that is learned from, from `from` on.
pub(super) fn healthy_until(times: &[f64], from: usize) -> usize {
    let healthy = |t: &&f64| **t < times[from] + BASELINE_S;
    from + times[from..].iter().take_while(healthy).count()
}

/// Follows the levels (a column for each bearing) row by row.
pub(super) fn follow(times: &[f64], levels: &[&[f64]]) -> Seen {
    let mut seen = Seen::default();
    let mut watches = vec![Watch::default(); levels.len()];
    if times.is_empty() {
        return seen;
    }
    let settle = |watches: &mut [Watch], from: usize| {
        let until = healthy_until(times, from);
        // The machine warms up over the first snapshots.
        let warm = from + ((until - from) / 10).min((until - from).saturating_sub(1));
        for (watch, level) in watches.iter_mut().zip(levels).filter(|(w, _)| w.on.is_none()) {
            watch.learn(&level[warm..until]);
        }
        until
    };
    let first = settle(&mut watches, 0);
    let mut settled = first;
    for row in first..times.len() {
        if times[row] - times[row - 1] >= BASELINE_S {
            settled = settle(&mut watches, row);
            seen.stops.push(row);
        }
        for (bearing, (watch, level)) in watches.iter_mut().zip(levels).enumerate() {
            if row < settled && watch.on.is_none() {
                continue;
            }
            if level[row] > watch.limit {
                (watch.above, watch.below) = (watch.above + 1, 0);
            } else {
                (watch.above, watch.below) = (0, watch.below + 1);
            }
            match watch.on {
                None if watch.above == PERSIST => {
                    watch.on = Some(seen.alarms.len());
                    let reach = watch.limit - watch.centre;
                    seen.alarms.push(Alarm {
                        bearing,
                        row,
                        excess: (level[row] - watch.centre) / reach.max(f64::MIN_POSITIVE),
                        over: None,
                    });
                }
                Some(place) if watch.below == PERSIST => {
                    seen.alarms[place].over = Some(row);
                    watch.on = None;
                }
                _ => {}
            }
        }
        let begun: Option<Vec<usize>> = watches
            .iter()
            .map(|watch| watch.on.map(|place| seen.alarms[place].row))
            .collect();
        let at_once = |begun: &Vec<usize>| {
            let (first, last) = (begun.iter().min(), begun.iter().max());
            begun.len() > 1 && last == Some(&row) && first.is_some_and(|first| row - first < PERSIST)
        };
        if begun.as_ref().is_some_and(at_once) {
            seen.together.push(row);
            seen.alarms.truncate(seen.alarms.len() - watches.len());
            watches.iter_mut().for_each(|watch| watch.on = None);
            settled = settle(&mut watches, row);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// A snapshot every ten minutes for ten days, stopped for `stop_h` before row 500.
    fn times(stop_h: f64) -> Vec<f64> {
        (0..1440)
            .map(|i| 600.0 * i as f64 + if i >= 500 { 3600.0 * stop_h } else { 0.0 })
            .collect()
    }

    fn levels(rise: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
        (0..3)
            .map(|b| {
                (0..1440)
                    .map(|i| 1.0 + 0.01 * noise(7000 * b + i) + rise(b, i))
                    .collect()
            })
            .collect()
    }

    fn seen(stop_h: f64, rise: impl Fn(usize, usize) -> f64) -> Seen {
        let levels = levels(rise);
        follow(
            &times(stop_h),
            &levels.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn after_a_long_stop_it_settles_again_and_what_comes_later_is_still_seen() {
        let rise = |b: usize, i: usize| {
            let mounted = if i >= 500 { 0.3 } else { 0.0 };
            mounted + if b == 1 && i >= 1000 { 0.2 } else { 0.0 }
        };
        let found = seen(48.0, rise);
        assert_eq!((found.stops.clone(), found.together.len()), (vec![500], 0));
        assert_eq!(
            (found.origin().unwrap().bearing, found.origin().unwrap().row),
            (1, 1005)
        );
        assert_eq!(found.alarms.len(), 1, "{found:?}");
    }

    #[test]
    fn what_rises_on_all_at_once_has_no_origin() {
        let rise = |b: usize, i: usize| {
            let loaded = if i >= 500 { 0.3 } else { 0.0 };
            loaded + if b == 2 && i >= 1000 { 0.2 } else { 0.0 }
        };
        let found = seen(0.0, rise);
        assert_eq!((found.together.clone(), found.stops.len()), (vec![505], 0));
        assert_eq!(
            (found.origin().unwrap().bearing, found.origin().unwrap().row),
            (2, 1005)
        );
        assert_eq!(seen(0.0, |_, i| if i >= 900 { 0.3 } else { 0.0 }).origin(), None);
    }

    #[test]
    fn of_those_that_come_at_once_the_furthest_out_is_the_origin() {
        let found = seen(0.0, |b, i| if i >= 900 { [0.2, 0.0, 0.6][b] } else { 0.0 });
        assert_eq!(found.origin().unwrap().bearing, 2);
        assert_eq!(found.standing().count(), 2);
    }

    #[test]
    fn a_bearing_in_alarm_does_not_take_its_damage_for_healthy() {
        let found = seen(48.0, |b, i| if b == 0 && i >= 300 { 0.4 } else { 0.0 });
        assert_eq!(
            (found.origin().unwrap().bearing, found.origin().unwrap().row),
            (0, 305)
        );
        // One that came and went is over.
        let found = seen(0.0, |b, i| {
            if b == 0 && (300..400).contains(&i) {
                0.4
            } else {
                0.0
            }
        });
        assert_eq!(found.alarms.len(), 1);
        assert_eq!((found.origin(), found.alarms[0].over), (None, Some(405)));
        assert_eq!(follow(&[], &[]), Seen::default());
    }
}
