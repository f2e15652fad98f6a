//! Features of a snapshot of vibration: some thousand samples at a high rate, taken now and then.
//!
//! The one function for ingest (which stores the features as channels of their own, so that everything behind sees
//! readings like any others) and for backtests. Shape: RMS, peak, crest factor, skewness, kurtosis. Energy: RMS within
//! four octaves up to half the rate; their squares add up to that of the whole. Bearings: a defect that is rolled over
//! strikes the structure at a frequency that follows from the geometry ([`BearingGeometry`]) and lets it ring at one
//! that doesn't, and so the fault frequency stands in the spectrum of the *envelope* of what is above the shaft's
//! harmonics (Randall and Antoni 2011, doi:10.1016/j.ymssp.2010.07.017).

mod bearing;
mod spectrum;

use spectrum::Spectrum;

pub use bearing::{BearingError, BearingGeometry, FaultFrequencies};

/// Samples of a snapshot.
pub const LEAST_SAMPLES: usize = 64;
pub const MOST_SAMPLES: usize = 1 << 18;
/// Octaves up to half the rate, lowest first: 0 to 1/8 of it, to 1/4, to 1/2, to the whole.
pub const BANDS: usize = 4;
/// From this prominence on a fault's lines are clear: noise stays near 2.5, and a mean of three lines rarely leaves 2 to 4.
pub const CLEAR: f64 = 5.0;
/// Rolling elements slip, and the speed is known so well only.
const SLIP: f64 = 0.03;
/// Part of the fault frequency on either side of a line that says how high its surroundings are.
const AROUND: f64 = 0.35;
/// Bins on either side below which a line can't be told from its surroundings.
const LEAST_BINS: f64 = 8.0;
const HARMONICS: usize = 3;

/// Why there are no features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    #[error("{0} samples: a snapshot has {LEAST_SAMPLES} to {MOST_SAMPLES}")]
    Samples(usize),
    #[error("sample {0} is not a number")]
    NotFinite(usize),
    #[error("the rate {0} Hz is not above 0")]
    Rate(f64),
}

/// Samples at an even rate, checked.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    samples: &'a [f64],
    rate_hz: f64,
}

/// Units: those of the signal, or none where it says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features {
    pub mean: f64,
    /// Of the deviation from the mean, as everything below.
    pub rms: f64,
    pub peak: f64,
    /// Peak over RMS, no unit; `None` here and below = a signal that stands still has no shape.
    pub crest: Option<f64>,
    pub skewness: Option<f64>,
    /// Normal = 3.
    pub kurtosis: Option<f64>,
    /// RMS within each octave.
    pub bands: [f64; BANDS],
}

/// How far the lines of each fault stand out of the envelope's spectrum: mean over harmonics of the highest amplitude near
/// the line over the median around it. No unit; see [`CLEAR`]. `None` = the snapshot is too short to tell, or the
/// lines lie above half the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultLines {
    pub ftf: Option<f64>,
    pub bpfo: Option<f64>,
    pub bpfi: Option<f64>,
    pub bsf: Option<f64>,
}

impl<'a> Snapshot<'a> {
    /// # Errors
    /// Too few samples or too many, one that is no number, a rate that is none.
    pub fn new(samples: &'a [f64], rate_hz: f64) -> Result<Self, SnapshotError> {
        if !(LEAST_SAMPLES..=MOST_SAMPLES).contains(&samples.len()) {
            return Err(SnapshotError::Samples(samples.len()));
        }
        if let Some(place) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(SnapshotError::NotFinite(place));
        }
        if !(rate_hz.is_finite() && rate_hz > 0.0) {
            return Err(SnapshotError::Rate(rate_hz));
        }
        Ok(Self { samples, rate_hz })
    }

    fn mean(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }

    /// The spectrum of the deviations from the mean.
    fn spectrum(&self) -> Spectrum {
        let mean = self.mean();
        Spectrum::of(self.samples.iter().map(|sample| sample - mean))
    }

    pub fn features(&self) -> Features {
        let (n, mean) = (self.samples.len() as f64, self.mean());
        let moment = |power: i32| self.samples.iter().map(|s| (s - mean).powi(power)).sum::<f64>() / n;
        let square = moment(2);
        let rms = square.sqrt();
        let peak = self
            .samples
            .iter()
            .fold(0.0, |peak: f64, s| peak.max((s - mean).abs()));
        // Rounding of the mean is no vibration.
        let moves = rms > 1e-12 * mean.abs().max(f64::MIN_POSITIVE);
        let shape = |value: f64| moves.then_some(value).filter(|value| value.is_finite());
        let spectrum = self.spectrum();
        let half = spectrum.len() / 2;
        let mut energy = [0.0; BANDS];
        for bin in 1..=half {
            let octave = (0..BANDS - 1).find(|octave| bin < half >> (BANDS - 1 - octave));
            // Both signs of a frequency; half the rate has one.
            let sides = if bin == half { 1.0 } else { 2.0 };
            energy[octave.unwrap_or(BANDS - 1)] += sides * spectrum.power(bin);
        }
        energy[0] += spectrum.power(0);
        Features {
            mean,
            rms,
            peak,
            crest: shape(peak / rms),
            skewness: shape(moment(3) / square.powf(1.5)),
            kurtosis: shape(moment(4) / (square * square)),
            bands: energy.map(|energy| (energy / (spectrum.len() as f64 * n)).sqrt()),
        }
    }

    /// How clearly the bearing's faults show. `faults` in Hz.
    pub fn fault_lines(&self, faults: &FaultFrequencies) -> FaultLines {
        let envelope = self.envelope();
        let hz = self.rate_hz / (2.0 * (envelope.len() - 1) as f64);
        let line = |fault: f64| prominence(&envelope, fault / hz);
        FaultLines {
            ftf: line(faults.ftf),
            bpfo: line(faults.bpfo),
            bpfi: line(faults.bpfi),
            bsf: line(faults.bsf),
        }
    }

    /// Amplitudes of the squared envelope's spectrum, from 0 to half the rate: of what is above the lowest octave, where
    /// shaft, gears and their harmonics are.
    fn envelope(&self) -> Vec<f64> {
        let mut analytic = self.spectrum();
        let half = analytic.len() / 2;
        for bin in 0..analytic.len() {
            let factor = if (half >> (BANDS - 1)..half).contains(&bin) {
                2.0
            } else {
                0.0
            };
            analytic.re[bin] *= factor;
            analytic.im[bin] *= factor;
        }
        analytic.invert();
        let n = self.samples.len();
        let square: Vec<f64> = (0..n).map(|i| analytic.power(i)).collect();
        let mean = square.iter().sum::<f64>() / n as f64;
        let turn = std::f64::consts::TAU / (n - 1) as f64;
        let spectrum = Spectrum::of(
            square
                .iter()
                .enumerate()
                .map(|(i, value)| (value - mean) * (0.5 - 0.5 * (turn * i as f64).cos())),
        );
        (0..=half).map(|bin| spectrum.power(bin).sqrt()).collect()
    }
}

/// Mean over the harmonics of a line at `fault` bins.
fn prominence(envelope: &[f64], fault: f64) -> Option<f64> {
    let around = AROUND * fault;
    if around.is_nan()
        || around < LEAST_BINS
        || fault * HARMONICS as f64 + around > (envelope.len() - 1) as f64
    {
        return None;
    }
    let mut sum = 0.0;
    for harmonic in 1..=HARMONICS {
        let line = fault * harmonic as f64;
        let slip = (SLIP * line).max(1.0).min(around / 2.0);
        let (mut highest, mut others) = (0.0_f64, Vec::new());
        let (first, last) = ((line - around).ceil() as usize, (line + around) as usize);
        for (bin, &height) in (first..).zip(&envelope[first..=last]) {
            if (bin as f64 - line).abs() <= slip {
                highest = highest.max(height);
            } else {
                others.push(height);
            }
        }
        others.sort_by(f64::total_cmp);
        let usual = others[others.len() / 2];
        if usual <= 0.0 {
            return None;
        }
        sum += highest / usual;
    }
    Some(sum / HARMONICS as f64)
}

impl Features {
    /// Names of channels with their values; whether each has the signal's unit or none. What a signal that stands still
    /// doesn't have is left out.
    pub fn named(&self) -> Vec<(&'static str, f64, bool)> {
        let mut named = vec![
            ("mean", self.mean, true),
            ("rms", self.rms, true),
            ("peak", self.peak, true),
        ];
        let shape = [
            ("crest", self.crest),
            ("skewness", self.skewness),
            ("kurtosis", self.kurtosis),
        ];
        named.extend(
            shape
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?, false))),
        );
        let bands = ["band_1", "band_2", "band_3", "band_4"];
        named.extend(
            bands
                .into_iter()
                .zip(self.bands)
                .map(|(name, value)| (name, value, true)),
        );
        named
    }
}

impl FaultLines {
    /// As [`Features::named`]; none of them has a unit.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("ftf", self.ftf),
            ("bpfo", self.bpfo),
            ("bpfi", self.bpfi),
            ("bsf", self.bsf),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
