use std::f64::consts::TAU;

use super::*;

const RATE: f64 = 20_000.0;
const FAULTS: FaultFrequencies = FaultFrequencies {
    ftf: 14.8,
    bpfo: 236.4,
    bpfi: 296.9,
    bsf: 139.9,
};

/// Even noise, -0.5 to 0.5, the same in every run.
fn noise(i: usize) -> f64 {
    let mut x = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

/// Noise, and a structure that rings at 4 kHz when it is struck `every` seconds.
fn struck(n: usize, every: f64, strength: f64) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let since = (i as f64 / RATE) % every;
            0.2 * noise(i) + strength * (-since * 1500.0).exp() * (TAU * 4000.0 * since).sin()
        })
        .collect()
}

fn features(samples: &[f64]) -> Features {
    Snapshot::new(samples, RATE).unwrap().features()
}

#[test]
fn shape_of_known_signals() {
    let sine: Vec<f64> = (0..20_000)
        .map(|i| 3.0 + 2.0 * (TAU * 50.0 * i as f64 / RATE).sin())
        .collect();
    let f = features(&sine);
    assert!(
        (f.mean - 3.0).abs() < 1e-9 && (f.rms - 2.0_f64.sqrt()).abs() < 1e-9,
        "{f:?}"
    );
    assert!((f.crest.unwrap() - 2.0_f64.sqrt()).abs() < 1e-6 && (f.kurtosis.unwrap() - 1.5).abs() < 1e-9);
    assert!(f.skewness.unwrap().abs() < 1e-9 && f.bands[0] > 0.999 * f.rms);
    let even: Vec<f64> = (0..50_000).map(noise).collect();
    assert!((features(&even).kurtosis.unwrap() - 1.8).abs() < 0.02);
}

#[test]
fn the_energy_of_the_octaves_is_that_of_the_whole() {
    for n in [64, 1000, 1024, 20_480] {
        let signal: Vec<f64> = (0..n).map(|i| noise(i) + (i as f64 * 0.9).sin()).collect();
        let f = features(&signal);
        let sum: f64 = f.bands.iter().map(|band| band * band).sum();
        assert!((sum - f.rms * f.rms).abs() < 1e-9, "{n}: {f:?}");
    }
    // 20 kHz: octaves end at 1250, 2500, 5000 and 10,000 Hz.
    for (hz, octave) in [(400.0, 0), (1800.0, 1), (4000.0, 2), (7000.0, 3)] {
        let tone: Vec<f64> = (0..8192).map(|i| (TAU * hz * i as f64 / RATE).sin()).collect();
        let f = features(&tone);
        assert!(f.bands[octave] > 0.97 * f.rms, "{hz}: {f:?}");
    }
}

#[test]
fn a_struck_race_shows_at_its_own_lines_only() {
    let quiet = struck(20_480, 1.0, 0.0);
    let lines = Snapshot::new(&quiet, RATE).unwrap().fault_lines(&FAULTS);
    assert_eq!(lines.named().len(), 4);
    assert!(lines.named().iter().all(|(_, line)| *line < 4.0), "{lines:?}");
    // Two per cent slower than the geometry says: rolling elements slip.
    for (hz, name) in [(0.98 * FAULTS.bpfo, "bpfo"), (FAULTS.bpfi, "bpfi")] {
        let signal = struck(20_480, 1.0 / hz, 1.0);
        let found = Snapshot::new(&signal, RATE).unwrap().fault_lines(&FAULTS).named();
        for (fault, line) in found {
            assert_eq!(
                line >= CLEAR,
                fault == name,
                "{fault} {line} of a defect at {hz} Hz"
            );
        }
    }
}

#[test]
fn a_signal_that_stands_still_has_no_shape() {
    for level in [0.0, 0.1, -7.3] {
        let f = features(&[level; 100]);
        assert_eq!((f.crest, f.skewness, f.kurtosis), (None, None, None));
        assert!(
            f.rms < 1e-12 && f.named().iter().all(|(_, value, _)| value.is_finite()),
            "{f:?}"
        );
        let lines = Snapshot::new(&[level; 5000], RATE).unwrap().fault_lines(&FAULTS);
        assert!(
            lines
                .named()
                .iter()
                .all(|(_, line)| line.is_finite() && *line < CLEAR),
            "{lines:?}"
        );
    }
}

#[test]
fn what_is_no_snapshot_is_said() {
    let refused = |samples: &[f64], rate| Snapshot::new(samples, rate).unwrap_err().to_string();
    assert_eq!(
        refused(&[1.0; 10], RATE),
        "10 samples: a snapshot has 64 to 262144"
    );
    assert_eq!(
        refused(&vec![1.0; MOST_SAMPLES + 1], RATE),
        "262145 samples: a snapshot has 64 to 262144"
    );
    let mut one = [0.0; 100];
    one[7] = f64::NAN;
    assert_eq!(refused(&one, RATE), "sample 7 is not a number");
    for rate in [0.0, -1.0, f64::NAN] {
        assert!(refused(&[1.0; 100], rate).contains("is not above 0"));
    }
    let short: Vec<f64> = (0..200).map(noise).collect();
    assert_eq!(
        Snapshot::new(&short, RATE).unwrap().fault_lines(&FAULTS).named(),
        []
    );
    let bearing = BearingGeometry {
        rolling_elements: 0,
        element_diameter: 1.0,
        pitch_diameter: 9.0,
        contact_angle: 0.0,
    };
    let why = bearing.fault_frequencies(30.0).unwrap_err().to_string();
    assert_eq!(why, "the number of rolling elements must be above 0, got 0");
}
