use serde::{Deserialize, Serialize};

/// Where a row goes at a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    /// Left if the value is at most this.
    AtMost(f64),
    /// Left if the code is listed (ascending).
    OneOf(Vec<f64>),
}

/// A child: another node, or a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Child {
    Node(u32),
    Leaf(u32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    pub feature: u32,
    pub rule: Rule,
    /// Side of a missing value or an unknown category.
    pub missing_left: bool,
    pub left: Child,
    pub right: Child,
    pub gain: f64,
    /// Rows seen here while growing.
    pub cover: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Leaf {
    pub value: f64,
    pub cover: f64,
}

/// A tree; node 0 is the root unless there is one leaf only.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    pub leaves: Vec<Leaf>,
}

impl Node {
    pub fn goes_left(&self, value: f64) -> bool {
        if !value.is_finite() {
            return self.missing_left;
        }
        match &self.rule {
            Rule::AtMost(edge) => value <= *edge,
            // A category never seen at this node is as good as missing: the learned side decides.
            Rule::OneOf(codes) => codes.binary_search_by(|c| c.total_cmp(&(value + 0.0))).is_ok(),
        }
    }
}

impl Tree {
    pub fn root(&self) -> Child {
        if self.nodes.is_empty() {
            Child::Leaf(0)
        } else {
            Child::Node(0)
        }
    }

    pub fn value(&self, row: &[f64]) -> f64 {
        let mut at = self.root();
        loop {
            match at {
                Child::Leaf(leaf) => return self.leaves[leaf as usize].value,
                Child::Node(n) => {
                    let node = &self.nodes[n as usize];
                    at = if node.goes_left(row[node.feature as usize]) {
                        node.left
                    } else {
                        node.right
                    };
                }
            }
        }
    }

    pub fn cover(&self, child: Child) -> f64 {
        match child {
            Child::Node(n) => self.nodes[n as usize].cover,
            Child::Leaf(l) => self.leaves[l as usize].cover,
        }
    }

    /// Mean value over the rows seen while growing.
    pub fn expectation(&self) -> f64 {
        let total: f64 = self.leaves.iter().map(|l| l.cover).sum();
        self.leaves.iter().map(|l| l.value * l.cover).sum::<f64>() / total
    }
}
