use ndarray::ArrayView2;

use super::{Feature, thread_count};

/// Bin of a missing value.
pub(super) const MISSING: u8 = 255;
/// Most bins of a feature beside the missing one.
const MAX_BINS: usize = 255;

/// Ranks at which bins should end: half of them evenly spread, half of them dense towards both ends. Failures announce
/// themselves in the tails, where bins of equal count would blur the limit that matters.
fn edge_ranks(rows: usize) -> Vec<usize> {
    let tail = MAX_BINS / 4;
    let even = MAX_BINS - 1 - 2 * tail;
    let mut ranks: Vec<usize> = (1..=even).map(|i| i * rows / (even + 1)).collect();
    let grow = (rows as f64 / 2.0).powf(1.0 / tail as f64);
    for i in 0..tail {
        let from_end = grow.powi(i as i32).round() as usize;
        ranks.extend([from_end, rows - from_end]);
    }
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

/// How the values of one feature map to bins.
#[derive(Debug, Clone)]
pub(super) enum Mapper {
    /// Ascending upper edges; bin b holds values above edge b-1 and up to edge b, the last bin those above all.
    Numeric(Vec<f64>),
    /// Codes in ascending order, one per bin; a code not listed is treated as missing.
    Categorical(Vec<f64>),
}

impl Mapper {
    fn learn(mut values: Vec<f64>, categorical: bool) -> Self {
        values.retain(|v| v.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let mut distinct: Vec<(f64, usize)> = Vec::new();
        for v in values.iter().map(|v| v + 0.0) {
            match distinct.last_mut() {
                Some((last, n)) if *last == v => *n += 1,
                _ => distinct.push((v, 1)),
            }
        }
        if categorical {
            // The most frequent codes get bins of their own.
            distinct.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.total_cmp(&b.0)));
            distinct.truncate(MAX_BINS);
            let mut codes: Vec<f64> = distinct.into_iter().map(|d| d.0).collect();
            codes.sort_unstable_by(f64::total_cmp);
            return Mapper::Categorical(codes);
        }
        let middle = |a: f64, b: f64| {
            let m = a + (b - a) * 0.5;
            if m < b { m } else { a }
        };
        let mut edges = Vec::new();
        if distinct.len() <= MAX_BINS {
            edges.extend(distinct.windows(2).map(|w| middle(w[0].0, w[1].0)));
        } else {
            let mut targets = edge_ranks(values.len()).into_iter().peekable();
            let mut seen = 0;
            for pair in distinct.windows(2) {
                seen += pair[0].1;
                let mut wanted = false;
                while targets.next_if(|t| *t <= seen).is_some() {
                    wanted = true;
                }
                if wanted {
                    edges.push(middle(pair[0].0, pair[1].0));
                }
            }
        }
        Mapper::Numeric(edges)
    }

    fn bin(&self, value: f64) -> u8 {
        if !value.is_finite() {
            return MISSING;
        }
        match self {
            Mapper::Numeric(edges) => edges.partition_point(|e| *e < value) as u8,
            Mapper::Categorical(codes) => match codes.binary_search_by(|c| c.total_cmp(&(value + 0.0))) {
                Ok(i) => i as u8,
                Err(_) => MISSING,
            },
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Mapper::Numeric(edges) => edges.len() + 1,
            Mapper::Categorical(codes) => codes.len(),
        }
    }
}

/// One feature in bins, one byte a row.
#[derive(Debug)]
pub(super) struct Column {
    pub mapper: Mapper,
    pub bins: Vec<u8>,
    pub has_missing: bool,
}

/// Bins every column, columns spread over threads.
pub(super) fn bin_columns(x: ArrayView2<f64>, features: &[Feature], threads: usize) -> Vec<Column> {
    let threads = thread_count(threads, features.len());
    let make = |f: usize| {
        let values = x.column(f);
        let mapper = Mapper::learn(values.to_vec(), features[f].categorical);
        let bins: Vec<u8> = values.iter().map(|v| mapper.bin(*v)).collect();
        let has_missing = bins.contains(&MISSING);
        Column {
            mapper,
            bins,
            has_missing,
        }
    };
    let mut parts: Vec<Vec<Column>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|t| scope.spawn(move || (t..features.len()).step_by(threads).map(make).collect()))
            .collect();
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    let mut parts: Vec<_> = parts.iter_mut().map(|p| p.drain(..)).collect();
    (0..features.len())
        .filter_map(|f| parts[f % threads].next())
        .collect()
}
