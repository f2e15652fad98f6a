//! Exact Shapley values of trees (Lundberg et al. 2018, path-dependent): the value of a set of features is the tree's
//! expectation when the others are unknown and unknown splits are followed by the share of training rows.

use super::Booster;
use super::tree::{Child, Tree};

/// One distinct feature on the path from the root.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: usize,
    /// Share of rows that follow when the feature is unknown.
    zero: f64,
    /// 1 if the row itself follows, else 0.
    one: f64,
    /// Weight of the subsets of the path of this size.
    weight: f64,
}

const NO_FEATURE: usize = usize::MAX;

impl Booster {
    /// Contribution of each feature to the raw score of a row (log odds for the logistic loss), and the expectation
    /// they start from: expectation + sum of contributions = [`Booster::raw`].
    pub fn explain(&self, row: &[f64]) -> (f64, Vec<f64>) {
        let row = self.clean(row);
        let mut phi = vec![0.0; self.features.len()];
        let mut expectation = self.base;
        for tree in &self.trees {
            expectation += tree.expectation();
            if !tree.nodes.is_empty() {
                let mut path = Vec::with_capacity(16);
                descend(
                    tree,
                    &row,
                    tree.root(),
                    &mut path,
                    (1.0, 1.0, NO_FEATURE),
                    &mut phi,
                );
            }
        }
        (expectation, phi)
    }
}

fn extend(path: &mut Vec<Step>, (zero, one, feature): (f64, f64, usize)) {
    let depth = path.len();
    path.push(Step {
        feature,
        zero,
        one,
        weight: if depth == 0 { 1.0 } else { 0.0 },
    });
    let size = depth as f64 + 1.0;
    for i in (0..depth).rev() {
        path[i + 1].weight += one * path[i].weight * (i as f64 + 1.0) / size;
        path[i].weight = zero * path[i].weight * (depth - i) as f64 / size;
    }
}

/// Takes step `index` out of the path again.
fn unwind(path: &mut Vec<Step>, index: usize) {
    let depth = path.len() - 1;
    let size = depth as f64 + 1.0;
    let Step { zero, one, .. } = path[index];
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        if one != 0.0 {
            let kept = path[i].weight;
            path[i].weight = next * size / ((i as f64 + 1.0) * one);
            next = kept - path[i].weight * zero * (depth - i) as f64 / size;
        } else {
            path[i].weight = path[i].weight * size / (zero * (depth - i) as f64);
        }
    }
    for i in index..depth {
        let Step {
            feature, zero, one, ..
        } = path[i + 1];
        path[i] = Step {
            feature,
            zero,
            one,
            weight: path[i].weight,
        };
    }
    path.pop();
}

/// Sum of the weights with step `index` taken out.
fn unwound_sum(path: &[Step], index: usize) -> f64 {
    let depth = path.len() - 1;
    let size = depth as f64 + 1.0;
    let Step { zero, one, .. } = path[index];
    let mut next = path[depth].weight;
    let mut sum = 0.0;
    for i in (0..depth).rev() {
        if one != 0.0 {
            let w = next * size / ((i as f64 + 1.0) * one);
            sum += w;
            next = path[i].weight - w * zero * (depth - i) as f64 / size;
        } else {
            sum += path[i].weight * size / (zero * (depth - i) as f64);
        }
    }
    sum
}

fn descend(
    tree: &Tree,
    row: &[f64],
    at: Child,
    path: &mut Vec<Step>,
    step: (f64, f64, usize),
    phi: &mut [f64],
) {
    extend(path, step);
    match at {
        Child::Leaf(leaf) => {
            let value = tree.leaves[leaf as usize].value;
            for i in 1..path.len() {
                let Step {
                    feature, zero, one, ..
                } = path[i];
                phi[feature] += unwound_sum(path, i) * (one - zero) * value;
            }
        }
        Child::Node(n) => {
            let node = &tree.nodes[n as usize];
            let feature = node.feature as usize;
            let left = node.goes_left(row[feature]);
            let (hot, cold) = if left {
                (node.left, node.right)
            } else {
                (node.right, node.left)
            };
            let (mut zero, mut one) = (1.0, 1.0);
            if let Some(i) = path.iter().position(|s| s.feature == feature) {
                (zero, one) = (path[i].zero, path[i].one);
                unwind(path, i);
            }
            let share = |child| tree.cover(child) / node.cover;
            let saved = path.clone();
            descend(tree, row, hot, path, (zero * share(hot), one, feature), phi);
            path.clone_from(&saved);
            descend(tree, row, cold, path, (zero * share(cold), 0.0, feature), phi);
            path.clone_from(&saved);
        }
    }
}
