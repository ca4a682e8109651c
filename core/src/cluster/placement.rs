//! Which brokers get a new partition's replicas.
//!
//! Brokers take turns: partition `p` starts at broker `start + p`, its further replicas follow at a shift that grows
//! with every turn, so that one broker's partitions do not all have the same second replica. Racks alternate: the
//! brokers are first put into an order in which neighbours are in different racks wherever that is possible.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use crate::ids::NodeId;

/// Replicas for `partitions` new partitions, or `None` when there are fewer brokers than replicas.
pub(super) fn place(
    brokers: &[(NodeId, Option<String>)],
    partitions: usize,
    replicas: usize,
    start: usize,
) -> Option<Vec<Vec<NodeId>>> {
    if replicas == 0 || replicas > brokers.len() {
        return None;
    }
    let order = alternate_racks(brokers);
    let n = order.len();
    let place_one = |partition: usize| {
        let turn = (start + partition) / n;
        (0..replicas)
            .map(|replica| {
                // Replica 0 at the start; the others skip `turn` brokers, and never meet replica 0 again.
                let shift = if replica == 0 { 0 } else { 1 + (turn + replica - 1) % (n - 1) };
                order[(start + partition + shift) % n]
            })
            .collect()
    };
    Some((0..partitions).map(place_one).collect())
}

fn alternate_racks(brokers: &[(NodeId, Option<String>)]) -> Vec<NodeId> {
    let mut racks: BTreeMap<Option<&String>, Vec<NodeId>> = BTreeMap::new();
    for (node, rack) in brokers {
        racks.entry(rack.as_ref()).or_default().push(*node);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|i| racks.values().filter_map(move |nodes| nodes.get(i).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, string::ToString};

    fn brokers(racks: &[&str]) -> Vec<(NodeId, Option<String>)> {
        racks.iter().enumerate().map(|(i, r)| (NodeId(i as i32), Some(r.to_string()))).collect()
    }

    #[test]
    fn replicas_are_distinct_and_leaders_are_spread_evenly() {
        for n in 1..6 {
            let all: Vec<_> = (0..n).map(|i| (NodeId(i), None)).collect();
            for rf in 1..=n as usize {
                let placed = place(&all, 4 * n as usize, rf, 3).expect("enough brokers");
                let mut leaders = BTreeMap::new();
                for replicas in &placed {
                    assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), rf);
                    *leaders.entry(replicas[0]).or_insert(0) += 1;
                }
                assert!(leaders.values().all(|&count| count == 4), "{leaders:?}");
            }
        }
    }

    #[test]
    fn two_replicas_start_out_in_two_racks() {
        let placed = place(&brokers(&["a", "a", "b", "b"]), 4, 2, 0).expect("enough brokers");
        for replicas in &placed {
            assert_ne!(replicas[0].0 / 2, replicas[1].0 / 2, "{replicas:?}");
        }
    }

    #[test]
    fn too_few_brokers_place_nothing() {
        assert_eq!(place(&brokers(&["a"]), 1, 2, 0), None);
        assert_eq!(place(&[], 1, 1, 0), None);
    }
}
