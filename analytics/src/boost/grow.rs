//! Grows one tree, leaf by leaf, with the features spread over worker threads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::bins::{Column, Mapper};
use super::split::{Cut, Histogram, Range, Rules, Split, Sums, best};
use super::tree::{Child, Leaf, Node, Rule, Tree};
use super::{Feature, Monotone};

/// Rows of a leaf and their gradients, in the same order.
#[derive(Debug)]
pub(super) struct Rows {
    pub ids: Vec<u32>,
    pub gradients: Vec<[i32; 2]>,
}

impl Rows {
    fn sums(&self) -> Sums {
        let mut s = Sums {
            n: self.ids.len() as u32,
            ..Sums::default()
        };
        for [g, h] in &self.gradients {
            s.g += i64::from(*g);
            s.h += i64::from(*h);
        }
        s
    }
}

/// A leaf as a worker needs to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    slot: usize,
    sums: Sums,
    range: Range,
}

/// Work for the owners of the features.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// A new tree with these features, grown by these rules.
    Tree(Arc<Vec<usize>>, Rules),
    Root(Arc<Rows>, Open),
    /// A leaf was split: the histogram of the smaller child is made from its rows, that of the larger one is what
    /// remains of the parent, whose slot it keeps.
    Children {
        rows: Arc<Rows>,
        small: Open,
        large: Open,
    },
}

/// Best splits of the leaves named by a command: the root, or the small and the large child.
pub(super) type Answer = (Option<Split>, Option<Split>);

/// Owns every `of`-th drawn feature with the histograms of all open leaves.
pub(super) struct Worker<'a> {
    columns: &'a [Column],
    features: &'a [Feature],
    index: usize,
    of: usize,
    mine: Vec<usize>,
    rules: Rules,
    slots: Vec<Vec<Histogram>>,
}

impl<'a> Worker<'a> {
    pub fn new(columns: &'a [Column], features: &'a [Feature], index: usize, of: usize) -> Self {
        let rules = Rules {
            lambda: 0.0,
            min_leaf: 1,
            g_unit: 1.0,
            h_unit: 1.0,
        };
        Self {
            columns,
            features,
            index,
            of,
            mine: Vec::new(),
            rules,
            slots: Vec::new(),
        }
    }

    pub fn run(mut self, commands: Receiver<Command>, answers: SyncSender<Answer>) {
        for command in commands {
            if answers.send(self.obey(command)).is_err() {
                return;
            }
        }
    }

    fn obey(&mut self, command: Command) -> Answer {
        match command {
            Command::Tree(drawn, rules) => {
                self.mine.clear();
                self.mine.extend(drawn.iter().skip(self.index).step_by(self.of));
                self.rules = rules;
                (None, None)
            }
            Command::Root(rows, open) => {
                self.fill(open.slot, &rows);
                (self.search(open), None)
            }
            Command::Children { rows, small, large } => {
                self.fill(small.slot, &rows);
                let part = std::mem::take(&mut self.slots[small.slot]);
                for ((whole, part), feature) in self.slots[large.slot].iter_mut().zip(&part).zip(&self.mine) {
                    for bin in used(&self.columns[*feature]) {
                        whole[bin] = whole[bin].minus(part[bin]);
                    }
                }
                self.slots[small.slot] = part;
                (self.search(small), self.search(large))
            }
        }
    }

    fn fill(&mut self, slot: usize, rows: &Rows) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Vec::new);
        }
        let histograms = &mut self.slots[slot];
        histograms.resize(self.mine.len(), [Sums::default(); 256]);
        for (histogram, feature) in histograms.iter_mut().zip(&self.mine) {
            let column = &self.columns[*feature];
            histogram.fill(Sums::default());
            let bins = &column.bins[..];
            for (row, [g, h]) in rows.ids.iter().zip(&rows.gradients) {
                let bin = &mut histogram[bins[*row as usize] as usize];
                bin.g += i64::from(*g);
                bin.h += i64::from(*h);
                bin.n += 1;
            }
        }
    }

    fn search(&self, open: Open) -> Option<Split> {
        if open.sums.n < 2 * self.rules.min_leaf {
            return None;
        }
        let mut found = None;
        for (histogram, &f) in self.slots[open.slot].iter().zip(&self.mine) {
            let monotone = self.features[f].monotone;
            let split = best(
                f,
                &self.columns[f],
                monotone,
                histogram,
                open.sums,
                open.range,
                &self.rules,
            );
            found = Split::better(found, split);
        }
        found
    }
}

fn used(column: &Column) -> impl Iterator<Item = usize> + use<> {
    (0..column.mapper.len()).chain(column.has_missing.then_some(255))
}

/// The main thread's end: its own share of the features, and a channel pair per further worker.
pub(super) struct Crew<'a> {
    pub own: Worker<'a>,
    pub others: Vec<(SyncSender<Command>, Receiver<Answer>)>,
}

impl Crew<'_> {
    fn ask(&mut self, command: Command) -> Answer {
        for (send, _) in &self.others {
            // A closed channel means that the worker panicked; joining it reports that.
            let _ = send.send(command.clone());
        }
        let mut answer = self.own.obey(command);
        for (_, receive) in &self.others {
            if let Ok((first, second)) = receive.recv() {
                answer = (Split::better(answer.0, first), Split::better(answer.1, second));
            } else {
                panic!("a worker of the tree growing ended early");
            }
        }
        answer
    }
}

/// Limits of one tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub leaves: usize,
    /// 0 = none.
    pub max_depth: usize,
}

/// A leaf while the tree grows.
#[derive(Debug)]
pub(super) struct Grown {
    pub rows: Arc<Rows>,
    pub range: Range,
    sums: Sums,
    value: f64,
    depth: usize,
    /// Where the workers keep its histograms.
    slot: usize,
    split: Option<Split>,
    /// The node and side it hangs from.
    parent: Option<(usize, bool)>,
}

/// Grows a tree over `rows`; leaf values are not shrunk yet. Returns the tree and its leaves with their rows.
pub(super) fn grow(
    crew: &mut Crew,
    columns: &[Column],
    features: &[Feature],
    drawn: Vec<usize>,
    rows: Rows,
    rules: Rules,
    limits: Limits,
) -> (Tree, Vec<Grown>, Vec<Split>) {
    crew.ask(Command::Tree(Arc::new(drawn), rules));
    let rows = Arc::new(rows);
    let sums = rows.sums();
    let (split, _) = crew.ask(Command::Root(
        rows.clone(),
        Open {
            slot: 0,
            sums,
            range: Range::FREE,
        },
    ));
    let value = rules.value(sums, Range::FREE, 0.0);
    let mut leaves = vec![Grown {
        rows,
        range: Range::FREE,
        sums,
        value,
        depth: 0,
        slot: 0,
        split,
        parent: None,
    }];
    let mut tree = Tree::default();
    let mut splits = Vec::new();
    while leaves.len() < limits.leaves {
        let mut chosen: Option<(usize, Split)> = None;
        for (i, leaf) in leaves.iter().enumerate() {
            if let Some(split) = leaf.split
                && chosen.as_ref().is_none_or(|(_, c)| split.gain > c.gain)
            {
                chosen = Some((i, split));
            }
        }
        let Some((index, split)) = chosen else { break };
        let second = leaves.len();
        let node = tree.nodes.len();
        let parent = &leaves[index];
        tree.nodes.push(Node {
            feature: split.feature as u32,
            rule: rule(&split, &columns[split.feature]),
            missing_left: split.missing_left,
            left: Child::Leaf(index as u32),
            right: Child::Leaf(second as u32),
            gain: split.gain,
            cover: f64::from(parent.sums.n),
        });
        splits.push(split);
        if let Some((above, left)) = parent.parent {
            let side = Child::Node(node as u32);
            if left {
                tree.nodes[above].left = side
            } else {
                tree.nodes[above].right = side
            }
        }
        let (left_rows, right_rows) = partition(&parent.rows, &split, &columns[split.feature].bins);
        let (left_range, right_range) = child_ranges(features[split.feature].monotone, parent.range, &split);
        let (depth, slot) = (parent.depth + 1, parent.slot);
        let child = |rows, range, sums, value, left| Grown {
            rows: Arc::new(rows),
            range,
            sums,
            value,
            depth,
            slot,
            split: None,
            parent: Some((node, left)),
        };
        leaves[index] = child(left_rows, left_range, split.left, split.left_value, true);
        leaves.push(child(
            right_rows,
            right_range,
            split.right,
            split.right_value,
            false,
        ));
        let deep = limits.max_depth > 0 && depth >= limits.max_depth;
        if deep || leaves.len() >= limits.leaves {
            continue;
        }
        let (small, large) = if split.left.n <= split.right.n {
            (index, second)
        } else {
            (second, index)
        };
        leaves[small].slot = second;
        let open = |l: &Grown| Open {
            slot: l.slot,
            sums: l.sums,
            range: l.range,
        };
        let (a, b) = crew.ask(Command::Children {
            rows: leaves[small].rows.clone(),
            small: open(&leaves[small]),
            large: open(&leaves[large]),
        });
        leaves[small].split = a;
        leaves[large].split = b;
    }
    tree.leaves = leaves
        .iter()
        .map(|l| Leaf {
            value: l.value,
            cover: f64::from(l.sums.n),
        })
        .collect();
    (tree, leaves, splits)
}

fn partition(rows: &Rows, split: &Split, bins: &[u8]) -> (Rows, Rows) {
    let side = |n: u32| Rows {
        ids: Vec::with_capacity(n as usize),
        gradients: Vec::with_capacity(n as usize),
    };
    let (mut left, mut right) = (side(split.left.n), side(split.right.n));
    for (row, gradient) in rows.ids.iter().zip(&rows.gradients) {
        let to = if split.goes_left(bins[*row as usize]) {
            &mut left
        } else {
            &mut right
        };
        to.ids.push(*row);
        to.gradients.push(*gradient);
    }
    (left, right)
}

/// Below a split on a monotone feature no leaf of one side may pass the middle of the two values.
fn child_ranges(monotone: Monotone, range: Range, split: &Split) -> (Range, Range) {
    let middle = 0.5 * (split.left_value + split.right_value);
    match monotone {
        Monotone::Free => (range, range),
        Monotone::Increasing => (
            Range {
                high: middle,
                ..range
            },
            Range { low: middle, ..range },
        ),
        Monotone::Decreasing => (
            Range { low: middle, ..range },
            Range {
                high: middle,
                ..range
            },
        ),
    }
}

fn rule(split: &Split, column: &Column) -> Rule {
    match (&column.mapper, split.cut) {
        (Mapper::Numeric(edges), Cut::UpTo(bin)) => {
            // The cut after the last bin separates all values from the missing ones.
            Rule::AtMost(edges.get(bin as usize).copied().unwrap_or(f64::MAX))
        }
        (Mapper::Categorical(codes), _) => {
            let left = (0..codes.len()).filter(|b| split.goes_left(*b as u8));
            Rule::OneOf(left.map(|b| codes[b]).collect())
        }
        (Mapper::Numeric(edges), Cut::Set(_)) => Rule::AtMost(edges.last().copied().unwrap_or(f64::MAX)),
    }
}
