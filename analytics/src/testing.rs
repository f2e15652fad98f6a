//! Seeded machines for tests.

use models::asset::ChannelKind;
use models::db::assessment::AssetChannel;
use models::id::ChannelId;
use models::time::Timestamp;

use crate::window::Window;

/// Noise that is the same in every run: roughly normal, one number for each place.
pub fn noise(place: usize) -> f64 {
    let uniform = |salt: u64| {
        let mut x = (place as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
        for _ in 0..3 {
            x ^= x >> 31;
            x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x ^= x >> 27;
        }
        (x >> 11) as f64 / (1_u64 << 53) as f64
    };
    (1..=12).map(uniform).sum::<f64>() - 6.0
}

/// A machine with channels on an even grid of ten minutes.
#[derive(Debug)]
pub struct Machine {
    window: Window,
}

impl Machine {
    pub fn new(steps: usize) -> Self {
        let first = 2_800_000;
        let end = Timestamp::from_secs((first + steps as i64) * 600 - 1);
        Self {
            window: Window::empty(&[], first, steps, 600, end),
        }
    }

    #[must_use]
    pub fn channel(mut self, kind: ChannelKind, name: &str, value: impl Fn(usize) -> f64) -> Self {
        let id = ChannelId(i32::try_from(self.window.series.len()).unwrap() + 1);
        let channel = AssetChannel {
            id,
            name: name.to_owned(),
            label: None,
            unit: "1".to_owned(),
            kind,
            cadence_s: Some(600.0),
            high_limit: None,
            low_limit: None,
        };
        let mut series = crate::window::Series::empty(channel, self.window.steps);
        for i in 0..self.window.steps {
            series.mean[i] = value(i);
        }
        self.window.series.push(series);
        self
    }

    #[must_use]
    pub fn measurement(self, name: &str, value: impl Fn(usize) -> f64) -> Self {
        self.channel(ChannelKind::Measurement, name, value)
    }

    #[must_use]
    pub fn setting(self, name: &str, value: impl Fn(usize) -> f64) -> Self {
        self.channel(ChannelKind::Setting, name, value)
    }

    #[must_use]
    pub fn state(self, name: &str, value: impl Fn(usize) -> f64) -> Self {
        self.channel(ChannelKind::State, name, value)
    }

    pub fn window(self) -> Window {
        self.window
    }
}
