//! Who subscribed to what, as a tree of topic levels: finding the subscribers of a topic costs the
//! depth of the topic, however many subscriptions there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::session::{Session, Subscription};

/// One subscription of one session.
#[derive(Clone, Debug)]
pub struct Entry {
    pub session: Arc<Session>,
    pub subscription: Arc<Subscription>,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<Entry>,
    /// Whose turn it is.
    next: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    entries: Vec<Entry>,
    groups: HashMap<Box<str>, Group>,
}

#[derive(Debug, Default)]
pub struct Tree(Node);

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.entries.is_empty() && self.groups.is_empty()
    }

    fn remove(&mut self, mut levels: std::str::Split<'_, char>, session: u64, subscription: &Subscription) {
        match levels.next() {
            Some(level) => {
                if let Some(child) = self.children.get_mut(level) {
                    child.remove(levels, session, subscription);
                    if child.is_empty() {
                        self.children.remove(level);
                    }
                }
            }
            None => {
                let other = |entry: &Entry| {
                    entry.session.id != session || entry.subscription.given != subscription.given
                };
                match &subscription.group {
                    None => self.entries.retain(other),
                    Some(name) => {
                        if let Some(group) = self.groups.get_mut(name.as_str()) {
                            group.members.retain(other);
                            if group.members.is_empty() {
                                self.groups.remove(name.as_str());
                            }
                        }
                    }
                }
            }
        }
    }

    fn find(&mut self, mut levels: std::str::Split<'_, char>, first: Option<&str>, found: &mut Vec<Entry>) {
        // [MQTT-4.7.2-1]: a wildcard at the start doesn't match `$…`.
        let hidden = first.is_some_and(|topic| topic.starts_with('$'));
        if !hidden && let Some(all) = self.children.get_mut("#") {
            all.collect(found);
        }
        match levels.next() {
            None => self.collect(found),
            Some(level) => {
                if !hidden && let Some(any) = self.children.get_mut("+") {
                    any.find(levels.clone(), None, found);
                }
                if let Some(child) = self.children.get_mut(level) {
                    child.find(levels, None, found);
                }
            }
        }
    }

    fn any(&self, mut levels: std::str::Split<'_, char>, hidden: bool) -> bool {
        let here = |node: &Self| !node.entries.is_empty() || !node.groups.is_empty();
        if !hidden && self.children.get("#").is_some_and(here) {
            return true;
        }
        match levels.next() {
            None => here(self),
            Some(level) => {
                !hidden
                    && self
                        .children
                        .get("+")
                        .is_some_and(|node| node.any(levels.clone(), false))
                    || self
                        .children
                        .get(level)
                        .is_some_and(|node| node.any(levels, false))
            }
        }
    }

    fn collect(&mut self, found: &mut Vec<Entry>) {
        found.extend(self.entries.iter().cloned());
        for group in self.groups.values_mut() {
            found.extend(group.pick());
        }
    }
}

impl Group {
    /// The next member in turn, one that is connected if there is any.
    fn pick(&mut self) -> Option<Entry> {
        let n = self.members.len();
        let turns = (0..n).map(|i| (self.next + i) % n);
        let chosen = turns
            .clone()
            .find(|i| self.members[*i].session.is_connected())
            .or_else(|| turns.clone().next())?;
        self.next = chosen + 1;
        Some(self.members[chosen].clone())
    }
}

impl Tree {
    /// Adds a subscription; one of the same session with the same filter is replaced
    /// ([MQTT-3.8.4-3]).
    pub fn insert(&mut self, entry: Entry) {
        let mut node = &mut self.0;
        for level in entry.subscription.filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        let entries = match &entry.subscription.group {
            None => &mut node.entries,
            Some(name) => &mut node.groups.entry(name.as_str().into()).or_default().members,
        };
        let same = entries.iter_mut().find(|old| {
            old.session.id == entry.session.id && old.subscription.given == entry.subscription.given
        });
        match same {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }

    pub fn remove(&mut self, session: u64, subscription: &Subscription) {
        self.0
            .remove(subscription.filter.split('/'), session, subscription);
    }

    /// The subscriptions that `topic` matches; of each group of a shared subscription one.
    pub fn find(&mut self, topic: &str) -> Vec<Entry> {
        let mut found = Vec::new();
        // "#" at the root is hidden from `$…`, deeper ones are not.
        self.0.find(topic.split('/'), Some(topic), &mut found);
        found
    }

    /// Whether anybody gets `topic`; nobody's turn is used up.
    pub fn any(&self, topic: &str) -> bool {
        self.0.any(topic.split('/'), topic.starts_with('$'))
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::filter::matches;
    use super::*;

    fn entry(session: &Arc<Session>, filter: &str, group: Option<&str>) -> Entry {
        Entry {
            session: session.clone(),
            subscription: Arc::new(Subscription {
                given: filter.to_owned(),
                filter: filter.to_owned(),
                group: group.map(str::to_owned),
                ..Subscription::default()
            }),
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let (one, other) = (Session::for_test(1), Session::for_test(2));
        let mut tree = Tree::default();
        let all = [
            entry(&one, "a/+/c", None),
            entry(&one, "a/#", None),
            entry(&other, "a/#", None),
            entry(&other, "a/#", Some("g")),
        ];
        for entry in all.iter().chain(&all) {
            tree.insert(entry.clone());
        }
        assert_eq!(tree.find("a/b/c").len(), 4, "each once");
        for entry in &all {
            tree.remove(entry.session.id, &entry.subscription);
        }
        assert!(tree.is_empty());
    }

    #[test]
    fn a_group_takes_turns() {
        let mut tree = Tree::default();
        for id in 1..=3 {
            tree.insert(entry(&Session::for_test(id), "t", Some("g")));
        }
        let turns: Vec<u64> = (0..6).map(|_| tree.find("t")[0].session.id).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        // Two groups are two subscribers.
        tree.insert(entry(&Session::for_test(9), "t", Some("h")));
        assert_eq!(tree.find("t").len(), 2);
    }

    proptest! {
        /// The tree finds what comparing each filter finds.
        #[test]
        #[test]
        fn the_tree_agrees_with_the_definition(
            filters in prop::collection::vec("(a|b|\\$s|\\+)(/(a|b|\\+)){0,3}(/#)?|#", 0..12),
            topic in "(a|b|\\$s)(/(a|b|)){0,4}",
        ) {
            let session = Session::for_test(1);
            let mut tree = Tree::default();
            for filter in &filters {
                tree.insert(entry(&session, filter, None));
            }
            prop_assert_eq!(tree.any(&topic), !tree.find(&topic).is_empty());
            let mut found: Vec<String> =
                tree.find(&topic).into_iter().map(|entry| entry.subscription.filter.clone()).collect();
            let mut expected: Vec<String> =
                filters.into_iter().filter(|filter| matches(filter, &topic)).collect();
            found.sort();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(found, expected);
        }
    }
}
