use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn id(n: usize) -> AssetId {
    AssetId::from_uuid(Uuid::from_u128(n as u128 + 1))
}

fn site(n: u128) -> SiteId {
    SiteId::from_uuid(Uuid::from_u128(n))
}

/// A monitored, fresh, critical asset, `n` hours old.
fn node(n: usize, parent: Option<usize>, health: f64) -> Node {
    Node {
        id: id(n),
        name: n.to_string(),
        parent_id: parent.map(id),
        site_id: site(1),
        area_id: None,
        status: AssetStatus::Operational,
        criticality: Criticality::Critical,
        monitored: true,
        health: Some(health),
        as_of: Some(Timestamp::from_secs(-3600 * i64::try_from(n).unwrap())),
        stale: Some(false),
    }
}

fn unknown(node: Node, monitored: bool) -> Node {
    Node {
        health: None,
        as_of: None,
        stale: None,
        monitored,
        ..node
    }
}

#[test]
fn a_bearing_far_down_shows_at_the_top_with_the_way_to_it() {
    let tree = Tree::new(vec![
        node(0, None, 92.0),
        unknown(node(1, Some(0), 0.0), false),
        node(2, Some(1), 14.0),
        node(3, Some(0), 88.0),
    ]);
    let all = tree.roll_ups();
    let pump = all[&id(0)];
    assert_eq!(pump.health(), Some(14.0));
    assert_eq!(pump.worst.unwrap().part, id(2));
    let way = |from, to| -> Vec<&str> {
        tree.path(from, to)
            .iter()
            .map(|node| node.name.as_str())
            .collect()
    };
    assert_eq!(way(Some(id(0)), id(2)), ["1", "2"]);
    assert_eq!(way(None, id(2)), ["0", "1", "2"]);
    // The motor has no channels: its bearing speaks for it, and nothing is missing.
    assert_eq!((pump.parts, pump.coverage()), (2, Some(1.0)));
    assert_eq!(pump.oldest, Some(Timestamp::from_secs(-3 * 3600)));
    assert_eq!(all[&id(1)].health(), Some(14.0));
    assert_eq!(all[&id(3)].parts, 0);
}

#[test]
fn what_nobody_knows_is_missing_from_the_coverage() {
    let mut silent = node(2, Some(0), 95.0);
    silent.stale = Some(true);
    let nodes = vec![
        node(0, None, 90.0),
        unknown(node(1, Some(0), 0.0), true),
        silent,
        // A leaf that nothing measures.
        unknown(node(3, Some(0), 0.0), false),
        node(4, Some(0), 91.0),
    ];
    let all = Tree::new(nodes).roll_ups();
    assert_eq!(
        (all[&id(0)].health(), all[&id(0)].coverage()),
        (Some(90.0), Some(0.25))
    );
    assert!(!all[&id(0)].stale());
}

#[test]
fn what_is_in_storage_or_disposed_of_is_left_out_with_all_that_belongs_to_it() {
    for status in [AssetStatus::InStorage, AssetStatus::Disposed] {
        let mut stored = node(1, Some(0), 60.0);
        stored.status = status;
        let mut nodes = vec![node(0, None, 92.0), stored, node(2, Some(1), 14.0)];
        let tree = Tree::new(nodes.clone());
        let all = tree.roll_ups();
        assert_eq!((all[&id(0)].health(), all[&id(0)].parts), (Some(92.0), 0));
        // It still says how it is itself.
        assert_eq!(all[&id(1)].health(), Some(14.0));
        assert_eq!(tree.sites()[&site(1)].health(), Some(92.0));
        // A grouping whose only part is away is a leaf that nobody knows.
        nodes[0] = node(0, None, 92.0);
        nodes[1].parent_id = Some(id(3));
        nodes.push(unknown(node(3, Some(0), 0.0), false));
        let all = Tree::new(nodes).roll_ups();
        assert_eq!((all[&id(0)].parts, all[&id(0)].coverage()), (1, Some(0.0)));
    }
}

#[test]
fn a_part_lies_in_the_area_of_what_it_belongs_to() {
    let (hall, yard) = (AreaId::new(), AreaId::new());
    let mut nodes = vec![
        node(0, None, 92.0),
        node(1, Some(0), 40.0),
        node(2, Some(0), 20.0),
        node(3, Some(0), 5.0),
    ];
    nodes[0].area_id = Some(hall);
    nodes[2].area_id = Some(yard);
    // Lent to another site: no area of this one.
    nodes[3].site_id = site(2);
    let tree = Tree::new(nodes);
    let areas = tree.areas();
    assert_eq!((areas[&hall].health(), areas[&hall].parts), (Some(40.0), 2));
    assert_eq!((areas[&yard].health(), areas[&yard].parts), (Some(20.0), 1));
    let sites = tree.sites();
    assert_eq!((sites[&site(1)].health(), sites[&site(1)].parts), (Some(20.0), 3));
    assert_eq!(sites[&site(2)].health(), Some(5.0));
}

#[test]
fn a_circle_ends() {
    let nodes = vec![
        node(0, Some(1), 50.0),
        node(1, Some(0), 40.0),
        node(2, Some(1), 30.0),
    ];
    let all = Tree::new(nodes).roll_ups();
    assert_eq!(all[&id(0)].health(), Some(30.0));
}

proptest! {
    /// However the register groups machines: each sees exactly what lies below it.
    #[test]
    fn each_sees_what_lies_below_it(above in prop::collection::vec(0..100_usize, 1..30), health in prop::collection::vec(0.0..=100.0_f64, 30)) {
        // Each stands below one before it, or below nothing.
        let parent = |n: usize| above[n].checked_rem(n + 1).filter(|up| *up < n);
        let nodes: Vec<Node> = (0..above.len()).map(|n| node(n, parent(n), health[n])).collect();
        let all = Tree::new(nodes).roll_ups();
        let depth = |n: usize| successors(Some(n), |n| parent(*n)).count();
        prop_assume!((0..above.len()).all(|n| depth(n) <= DEEPEST + 1));
        for top in 0..above.len() {
            let below = |n: &usize| *n != top && successors(Some(*n), |n| parent(*n)).any(|up| up == top);
            let parts: Vec<usize> = (0..above.len()).filter(below).collect();
            let least = parts.iter().map(|n| health[*n]).fold(health[top], f64::min);
            prop_assert_eq!(all[&id(top)].health(), Some(least));
            prop_assert_eq!(all[&id(top)].parts, parts.len());
        }
    }
}
