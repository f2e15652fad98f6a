//! What the sensors of a pump, a compressor and an air handling unit show.
//!
//! Demand follows the day and the week and wanders a little from quarter hour to quarter hour; the
//! machine is on while there is demand. Everything else follows from load, ambient temperature and
//! wear, plus the sensor's noise. Temperatures carry no thermal inertia: at rows minutes apart it
//! would not show.

use std::f64::consts::TAU;

use models::time::Timestamp;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::Config;
use super::wear::{Severities, Wear};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Pump,
    Compressor,
    Hvac,
}

/// One channel.
#[derive(Clone, Copy, Debug)]
pub struct Sensor {
    pub name: &'static str,
    /// UCUM.
    pub unit: &'static str,
    /// Standard deviation.
    noise: f64,
    /// Digits after the point.
    digits: i32,
}

const fn sensor(name: &'static str, unit: &'static str, noise: f64, digits: i32) -> Sensor {
    Sensor {
        name,
        unit,
        noise,
        digits,
    }
}

const PUMP: [Sensor; 12] = [
    sensor("running", "1", 0.0, 0),
    sensor("speed", "{rpm}", 2.0, 0),
    sensor("motor_current", "A", 0.25, 1),
    sensor("power", "kW", 0.12, 1),
    sensor("flow", "m3/h", 0.6, 1),
    sensor("suction_pressure", "bar", 0.01, 2),
    sensor("discharge_pressure", "bar", 0.03, 2),
    sensor("bearing_temp", "Cel", 0.2, 1),
    sensor("vibration", "mm/s", 0.06, 2),
    sensor("filter_dp", "bar", 0.004, 3),
    sensor("run_hours", "h", 0.0, 2),
    sensor("energy", "kW.h", 0.0, 1),
];

const COMPRESSOR: [Sensor; 11] = [
    sensor("running", "1", 0.0, 0),
    sensor("motor_current", "A", 0.6, 1),
    sensor("power", "kW", 0.3, 1),
    sensor("flow", "m3/h", 3.0, 0),
    sensor("discharge_pressure", "bar", 0.03, 2),
    sensor("oil_temp", "Cel", 0.3, 1),
    sensor("bearing_temp", "Cel", 0.2, 1),
    sensor("vibration", "mm/s", 0.08, 2),
    sensor("filter_dp", "bar", 0.004, 3),
    sensor("run_hours", "h", 0.0, 2),
    sensor("energy", "kW.h", 0.0, 1),
];

const HVAC: [Sensor; 11] = [
    sensor("running", "1", 0.0, 0),
    sensor("motor_current", "A", 0.1, 1),
    sensor("power", "kW", 0.05, 2),
    sensor("flow", "m3/h", 40.0, 0),
    sensor("supply_air_temp", "Cel", 0.1, 1),
    sensor("approach_temp", "K", 0.1, 1),
    sensor("filter_dp", "Pa", 2.0, 0),
    sensor("bearing_temp", "Cel", 0.2, 1),
    sensor("vibration", "mm/s", 0.05, 2),
    sensor("run_hours", "h", 0.0, 2),
    sensor("energy", "kW.h", 0.0, 1),
];

/// Length of a demand interval, microseconds: a quarter of an hour.
const SLOT: i64 = 900_000_000;
const DAY: i64 = 86_400_000_000;

/// What is the same for all channels at one moment.
struct Moment {
    /// Share of full load; 0 = off.
    load: f64,
    ambient: f64,
    wear: Severities,
}

/// Counters at the beginning of a slot.
#[derive(Clone, Copy)]
struct Counters {
    slot: i64,
    hours: f64,
    kwh: f64,
}

pub struct Machine {
    kind: Kind,
    key: [u8; 32],
    size: f64,
    continuous: bool,
    /// Small differences between machines of one kind, around 1.
    trim: [f64; 4],
    wear: Vec<Wear>,
    first_start: Timestamp,
    start: Counters,
    counters: Counters,
}

/// Two independent standard normal numbers.
fn normal_pair(random: &mut ChaCha8Rng) -> (f64, f64) {
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
    let radius = (-2.0 * uniform().ln()).sqrt();
    let angle = TAU * uniform();
    (radius * angle.cos(), radius * angle.sin())
}

impl Machine {
    pub fn new(config: &Config, first_start: Timestamp) -> Self {
        // The name makes two machines of one seed different.
        let mut seeder = ChaCha8Rng::seed_from_u64(config.seed);
        let mut key = [0; 32];
        seeder.fill_bytes(&mut key);
        for (i, byte) in config.device.bytes().enumerate() {
            key[i % 32] = key[i % 32].rotate_left(3) ^ byte;
        }
        let mut random = ChaCha8Rng::from_seed(key);
        let trim = std::array::from_fn(|_| 1.0 + 0.04 * normal_pair(&mut random).0.clamp(-2.0, 2.0));
        let begin = first_start.plus_seconds(-config.history_days * 86_400.0);
        let start = Counters {
            slot: begin.micros().div_euclid(SLOT),
            hours: config.hours_at_start,
            kwh: config.kwh_at_start,
        };
        Self {
            kind: config.machine,
            key,
            size: config.size,
            continuous: config.continuous,
            trim,
            wear: config.wear.clone(),
            first_start,
            start,
            counters: start,
        }
    }

    pub fn sensors(&self) -> &'static [Sensor] {
        match self.kind {
            Kind::Pump => &PUMP,
            Kind::Compressor => &COMPRESSOR,
            Kind::Hvac => &HVAC,
        }
    }

    fn random(&self, stream: i64, what: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::from_seed(self.key);
        random.set_stream(stream as u64);
        random.set_word_pos(u128::from(what) << 32);
        random
    }

    /// Demand at the beginning of a slot; 0 = off.
    fn demand(&self, slot: i64) -> f64 {
        let micros = slot * SLOT;
        let hour = micros.rem_euclid(DAY) as f64 / 3.6e9;
        // 1970-01-01 was a Thursday.
        let weekend = matches!((micros.div_euclid(DAY) + 3).rem_euclid(7), 5 | 6);
        let wander = 0.04 * normal_pair(&mut self.random(slot, 1)).0;
        let bell = |peak: f64, width: f64| (-((hour - peak) / width).powi(2)).exp();
        let (on, level) = match self.kind {
            // Two shifts and a break at night; weekends at low flow.
            Kind::Pump if weekend => ((8.0..20.0).contains(&hour), 0.55),
            Kind::Pump => (
                (5.0..23.0).contains(&hour),
                0.68 + 0.2 * bell(10.0, 3.0) + 0.15 * bell(16.0, 2.5),
            ),
            Kind::Compressor if weekend => ((6.0..18.0).contains(&hour), 0.5),
            Kind::Compressor => (true, 0.45 + 0.4 * bell(11.0, 4.5)),
            Kind::Hvac if weekend => ((8.0..18.0).contains(&hour), 0.4),
            Kind::Hvac => ((5.0..21.0).contains(&hour), 0.5 + 0.4 * bell(14.0, 4.0)),
        };
        if on || self.continuous {
            (level + wander).clamp(0.25, 1.05)
        } else {
            0.0
        }
    }

    fn moment(&self, at: Timestamp) -> Moment {
        let slot = at.micros().div_euclid(SLOT);
        let within = at.micros().rem_euclid(SLOT) as f64 / SLOT as f64;
        let (from, to) = (self.demand(slot), self.demand(slot + 1));
        // A machine that is switched off runs at its last load to the end of the slot.
        let load = match (from, to) {
            (0.0, _) => 0.0,
            (from, 0.0) => from,
            (from, to) => from + (to - from) * within,
        };
        let day = at.micros().rem_euclid(DAY) as f64 / DAY as f64;
        let weather = normal_pair(&mut self.random(at.micros().div_euclid(DAY), 2)).0;
        let ambient = 21.0 + 3.0 * (TAU * (day - 0.4)).sin() + weather * (TAU * day / 2.0).sin().powi(2);
        Moment {
            load,
            ambient,
            wear: Severities::at(&self.wear, at, self.first_start),
        }
    }

    fn power(&self, now: &Moment) -> f64 {
        if now.load == 0.0 {
            return 0.0;
        }
        let worn = 1.0 + 0.18 * now.wear.fouling + 0.05 * now.wear.bearing + 0.04 * now.wear.clogging;
        let full = self.size * self.trim[0];
        full * worn
            * match self.kind {
                Kind::Pump => 30.0 * (0.3 + 0.7 * now.load.powf(1.6)),
                Kind::Compressor => 75.0 * (0.35 + 0.65 * now.load),
                Kind::Hvac => 11.0 * (0.15 + 0.85 * now.load.powf(2.2)),
            }
    }

    /// Run hours and energy at a moment. Sums slot by slot, and remembers where it was.
    fn counters(&mut self, at: Timestamp) -> (f64, f64) {
        let slot = at.micros().div_euclid(SLOT);
        if slot < self.counters.slot {
            self.counters = self.start;
        }
        while self.counters.slot < slot {
            let begin = Timestamp::from_micros(self.counters.slot * SLOT);
            let (hours, kwh) = self.usage(begin, 1.0);
            self.counters.hours += hours;
            self.counters.kwh += kwh;
            self.counters.slot += 1;
        }
        let within = at.micros().rem_euclid(SLOT) as f64 / SLOT as f64;
        let (hours, kwh) = self.usage(Timestamp::from_micros(slot * SLOT), within);
        (self.counters.hours + hours, self.counters.kwh + kwh)
    }

    /// Hours and energy of the first part of a slot; power is taken as linear in it.
    fn usage(&self, begin: Timestamp, part: f64) -> (f64, f64) {
        let now = self.moment(begin);
        if now.load == 0.0 {
            return (0.0, 0.0);
        }
        let hours = part * SLOT as f64 / 3.6e9;
        let end = Timestamp::from_micros(begin.micros() + ((SLOT - 1) as f64 * part) as i64);
        (
            hours,
            hours * (self.power(&now) + self.power(&self.moment(end))) / 2.0,
        )
    }

    /// All channels at one moment, in the order of [`Machine::sensors`].
    pub fn row(&mut self, at: Timestamp, out: &mut Vec<f64>) {
        let now = self.moment(at);
        let (hours, kwh) = self.counters(at);
        let on = f64::from(now.load > 0.0);
        let power = self.power(&now);
        let Severities {
            bearing,
            leak,
            fouling,
            clogging,
        } = now.wear;
        let [_, vibration_trim, heat_trim, flow_trim] = self.trim;
        let load = now.load;
        let start = out.len();
        match self.kind {
            Kind::Pump => {
                let flow = on
                    * 120.0
                    * self.size
                    * flow_trim
                    * load
                    * (1.0 - 0.22 * leak - 0.08 * clogging - 0.05 * fouling);
                let suction = 1.2 - 0.25 * load - 0.15 * clogging * on;
                out.extend([
                    on,
                    on * (1_470.0 + 15.0 * (1.0 - load)),
                    power * 1.85,
                    power,
                    flow,
                    suction,
                    suction + on * (5.6 - 1.3 * load * load) * (1.0 - 0.18 * leak - 0.04 * fouling),
                    now.ambient + on * heat_trim * (16.0 + 14.0 * load + 26.0 * bearing),
                    on * vibration_trim * (0.9 + 0.5 * load + 0.4 * leak + 6.4 * bearing),
                    on * load * load * (0.12 + 0.45 * clogging),
                    hours,
                    kwh,
                ]);
            }
            Kind::Compressor => out.extend([
                on,
                power * 1.8,
                power,
                on * 620.0 * self.size * flow_trim * load * (1.0 - 0.2 * leak - 0.06 * clogging),
                on * (7.6 - 0.5 * load) * (1.0 - 0.12 * leak) + (1.0 - on) * 4.0,
                now.ambient + on * heat_trim * (34.0 + 16.0 * load + 18.0 * fouling),
                now.ambient + on * heat_trim * (24.0 + 14.0 * load + 28.0 * bearing + 3.0 * fouling),
                on * vibration_trim * (1.3 + 0.6 * load + 7.0 * bearing),
                on * load * load * (0.15 + 0.5 * clogging),
                hours,
                kwh,
            ]),
            Kind::Hvac => {
                let flow =
                    on * 18_000.0 * self.size * flow_trim * (0.3 + 0.7 * load) * (1.0 - 0.25 * clogging);
                out.extend([
                    on,
                    power * 1.75,
                    power,
                    flow,
                    if on > 0.0 {
                        17.5 + 1.2 * fouling * load + 0.3 * (now.ambient - 21.0) / 3.0
                    } else {
                        now.ambient
                    },
                    on * heat_trim * (3.2 + 1.4 * load + 5.0 * fouling),
                    on * (0.3 + 0.7 * load).powi(2) * (110.0 + 290.0 * clogging),
                    now.ambient + on * heat_trim * (12.0 + 9.0 * load + 22.0 * bearing),
                    on * vibration_trim * (0.7 + 0.4 * load + 4.2 * bearing + 0.3 * clogging),
                    hours,
                    kwh,
                ]);
            }
        }
        let mut random = self.random(at.micros(), 3);
        let sensors = self.sensors();
        for (pair, values) in sensors.chunks(2).zip(out[start..].chunks_mut(2)) {
            let (a, b) = normal_pair(&mut random);
            for ((sensor, value), noise) in pair.iter().zip(values).zip([a, b]) {
                // A stopped shaft shows no noise: its sensors read zero.
                let quiet = *value == 0.0;
                let shown = if quiet { 0.0 } else { *value + sensor.noise * noise };
                let scale = 10_f64.powi(sensor.digits);
                let shown = (shown * scale).round() / scale;
                *value = if shown == 0.0 || (shown < 0.0 && *value >= 0.0) {
                    0.0
                } else {
                    shown
                };
            }
        }
    }
}
