//! Windows of a column that look back: what serving ([`super::kernel`]), training and backtests are made of.
//!
//! Every number is summed afresh from the rows of its own window, oldest first, so that it is the same bits
//! wherever the column began and however many rows are asked for. NaN is a row without a value: it is left out,
//! never bridged.

/// The rows from `row - size + 1` to `row`, as far as there are any.
pub(crate) fn back(values: &[f64], row: usize, size: usize) -> &[f64] {
    &values[(row + 1).saturating_sub(size)..=row]
}

/// Count, mean and sample deviation (NaN below two values).
pub(crate) fn moments(values: &[f64]) -> (f64, f64, f64) {
    let (mut n, mut sum) = (0.0, 0.0);
    for value in values.iter().filter(|value| value.is_finite()) {
        n += 1.0;
        sum += value;
    }
    if n == 0.0 {
        return (0.0, f64::NAN, f64::NAN);
    }
    let mean = sum / n;
    if n < 2.0 {
        return (n, mean, f64::NAN);
    }
    let squares: f64 = values
        .iter()
        .filter(|value| value.is_finite())
        .map(|value| (value - mean) * (value - mean))
        .sum();
    (n, mean, (squares / (n - 1.0)).sqrt())
}

/// Mean over the last `size` rows.
pub(crate) fn mean(values: &[f64], row: usize, size: usize) -> f64 {
    moments(back(values, row, size)).1
}

/// Sample deviation over the last `size` rows; NaN below two values.
pub(crate) fn deviation(values: &[f64], row: usize, size: usize) -> f64 {
    moments(back(values, row, size)).2
}

/// Least-squares slope a row over the last `size` rows; NaN below `least` values.
pub(crate) fn slope(values: &[f64], row: usize, size: usize, least: usize) -> f64 {
    let window = back(values, row, size);
    let (mut n, mut t, mut x) = (0.0, 0.0, 0.0);
    for (place, value) in window.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        n += 1.0;
        t += place as f64;
        x += value;
    }
    if n < least as f64 {
        return f64::NAN;
    }
    let (t, x) = (t / n, x / n);
    let (mut tt, mut tx) = (0.0, 0.0);
    for (place, value) in window.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        let dt = place as f64 - t;
        tt += dt * dt;
        tx += dt * (value - x);
    }
    if tt > 0.5 * n { tx / tt } else { f64::NAN }
}

/// The mean of all rows so far, NaN at a row without a value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expanding {
    n: f64,
    sum: f64,
}

impl Expanding {
    pub(crate) fn push(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return f64::NAN;
        }
        self.n += 1.0;
        self.sum += value;
        self.sum / self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_match_the_definition() {
        let v: Vec<f64> = (0..50).map(|i| 1e6 + f64::from(i * i % 17)).collect();
        let mut expanding = Expanding::default();
        for at in 0..50_usize {
            let all = expanding.push(v[at]);
            assert_eq!(all, mean(&v, at, 1000));
            for width in [1, 3, 10, 100] {
                let w = &v[(at + 1).saturating_sub(width)..=at];
                let n = w.len() as f64;
                let expect = w.iter().sum::<f64>() / n;
                assert!((mean(&v, at, width) - expect).abs() < 1e-6);
                assert_eq!(deviation(&v, at, width).is_nan(), w.len() < 2);
                assert_eq!(slope(&v, at, width, 3).is_nan(), w.len() < 3);
                if w.len() > 2 {
                    let sd = (w.iter().map(|x| (x - expect).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
                    assert!((deviation(&v, at, width) - sd).abs() < 1e-6);
                    let centre = (n - 1.0) / 2.0;
                    let up: f64 = w
                        .iter()
                        .enumerate()
                        .map(|(i, x)| (i as f64 - centre) * (x - expect))
                        .sum();
                    let down: f64 = (0..w.len()).map(|i| (i as f64 - centre).powi(2)).sum();
                    assert!((slope(&v, at, width, 3) - up / down).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_row_without_a_value_is_left_out() {
        let v = [1.0, f64::NAN, 3.0, f64::NAN];
        assert_eq!(mean(&v, 3, 4), 2.0);
        assert_eq!(slope(&v, 3, 4, 2), 1.0);
        assert!(mean(&v, 3, 1).is_nan());
    }
}
