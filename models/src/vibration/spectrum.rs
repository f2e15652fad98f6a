//! Discrete Fourier transform of a length that is a power of two, in place.

use std::f64::consts::TAU;

/// Real and imaginary parts.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    pub re: Vec<f64>,
    pub im: Vec<f64>,
}

impl Spectrum {
    /// Of real values, filled up with zeros to the next power of two.
    pub fn of(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let n = values.len().next_power_of_two();
        let mut re: Vec<f64> = values.collect();
        re.resize(n, 0.0);
        let mut spectrum = Self { im: vec![0.0; n], re };
        spectrum.transform();
        spectrum
    }

    pub fn len(&self) -> usize {
        self.re.len()
    }

    /// |X|² of a bin.
    pub fn power(&self, bin: usize) -> f64 {
        self.re[bin] * self.re[bin] + self.im[bin] * self.im[bin]
    }

    /// The way back.
    pub fn invert(&mut self) {
        std::mem::swap(&mut self.re, &mut self.im);
        self.transform();
        std::mem::swap(&mut self.re, &mut self.im);
        let n = self.len() as f64;
        self.re
            .iter_mut()
            .chain(&mut self.im)
            .for_each(|value| *value /= n);
    }

    /// Cooley and Tukey's decimation in time; a table of the factors keeps the rounding of long ones small.
    fn transform(&mut self) {
        let n = self.len();
        let mut twin = 0;
        for place in 1..n {
            let mut bit = n >> 1;
            while twin & bit != 0 {
                twin ^= bit;
                bit >>= 1;
            }
            twin |= bit;
            if place < twin {
                self.re.swap(place, twin);
                self.im.swap(place, twin);
            }
        }
        let factors: Vec<(f64, f64)> = (0..n / 2)
            .map(|k| (-TAU * k as f64 / n as f64).sin_cos())
            .map(|(sin, cos)| (cos, sin))
            .collect();
        let mut half = 1;
        while half < n {
            let every = n / (2 * half);
            for from in (0..n).step_by(2 * half) {
                for k in 0..half {
                    let (cos, sin) = factors[k * every];
                    let (a, b) = (from + k, from + k + half);
                    let re = self.re[b] * cos - self.im[b] * sin;
                    let im = self.re[b] * sin + self.im[b] * cos;
                    (self.re[b], self.im[b]) = (self.re[a] - re, self.im[a] - im);
                    self.re[a] += re;
                    self.im[a] += im;
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_sum_that_defines_it_and_comes_back() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17) - 6.0).collect();
        let spectrum = Spectrum::of(values.iter().copied());
        assert_eq!(spectrum.len(), 64);
        for k in 0..64 {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, value) in values.iter().enumerate() {
                let (sin, cos) = (-TAU * k as f64 * i as f64 / 64.0).sin_cos();
                re += value * cos;
                im += value * sin;
            }
            assert!((spectrum.re[k] - re).abs() < 1e-9 && (spectrum.im[k] - im).abs() < 1e-9);
            assert!((spectrum.power(k) - re * re - im * im).abs() < 1e-7);
        }
        let mut back = spectrum;
        back.invert();
        for i in 0..64 {
            let value = values.get(i).copied().unwrap_or(0.0);
            assert!((back.re[i] - value).abs() < 1e-12 && back.im[i].abs() < 1e-12);
        }
    }
}
