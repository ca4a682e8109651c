//! M9: voters come and go one at a time, and the next change waits for the one before to be committed.
//!
//! So any two sets that count one after the other have a node in common in each of their majorities. A leader changes nothing before
//! it has committed something of its own epoch (the bug of single-server changes in Raft).

use tidelog_core::{
    ids::{NodeId, TopicPartition},
    offset::Offset,
    record::{BatchHeader, Voter},
};

use super::{Violation, violation};
use crate::{canon::Canon, ledger::Ledger};

const CODE: &str = "M9";

/// A node orders the append of a record that makes these the voters; `configured` are those before any record, `ledger` is the
/// node's book before that, and `mark` its high watermark: of what is committed below it others may not know yet.
pub fn changed(
    canon: &mut Canon,
    (node, mark): (NodeId, Offset),
    ledger: &Ledger,
    header: &BatchHeader,
    voters: &[Voter],
    configured: &[NodeId],
) -> Result<(), Violation> {
    let mut now: Vec<NodeId> = voters.iter().map(|voter| voter.node).collect();
    now.sort_unstable();
    let (at, epoch) = (header.base_offset, header.leader_epoch);
    if let Some(known) = canon.voters.get(&(at, epoch)) {
        return if *known == now { Ok(()) } else { Err(other(node, at, known, &now)) };
    }
    let committed = canon.committed.get(&ledger.id);
    let in_log = |&(&(offset, of), _): &(&(Offset, _), &Vec<NodeId>)| {
        let own = ledger.held.get(&offset).map(|held| held.header.leader_epoch);
        let shared = committed.and_then(|it| it.batches.get(&offset)).map(|print| print.epoch);
        own.or(shared) == Some(of)
    };
    let last = canon.voters.iter().rev().filter(|((offset, _), _)| *offset < at).find(in_log);
    let end = canon.end(ledger.id).max(mark);
    if let Some(((before, _), _)) = last.filter(|((offset, _), _)| *offset >= end) {
        let why = format!("node {node} changes the voters at {at}; what it changed at {before} is not committed yet");
        return Err(violation(CODE, "two-changes", node, why));
    }
    let mut of_epoch = committed.into_iter().flat_map(|it| it.batches.values()).rev();
    let mut own = ledger.held.range(..mark).rev().map(|(_, held)| held.header.leader_epoch);
    if !of_epoch.any(|print| print.epoch == epoch) && !own.any(|of| of == epoch) {
        let why = format!("node {node} changes the voters at {at} before anything of its epoch {epoch} is committed");
        return Err(violation(CODE, "too-early", node, why));
    }
    let mut former = last.map_or_else(|| configured.to_vec(), |(_, voters)| voters.clone());
    former.sort_unstable();
    let gone = former.iter().filter(|voter| !now.contains(voter)).count();
    let come = now.iter().filter(|voter| !former.contains(voter)).count();
    if gone + come != 1 {
        let why = format!("at {at} {former:?} become {now:?}");
        return Err(violation(CODE, "not-one-at-a-time", node, why));
    }
    canon.voters.insert((at, epoch), now);
    Ok(())
}

/// The sets that count, or may come to: the committed one and what is on its way.
pub fn standing(canon: &Canon, id: TopicPartition, configured: &[NodeId]) -> Vec<Vec<NodeId>> {
    let end = canon.end(id);
    let epoch = |at: &Offset| canon.committed.get(&id).and_then(|it| it.batches.get(at)).map(|print| print.epoch);
    let committed = canon.voters.iter().rev().find(|((at, of), _)| *at < end && epoch(at) == Some(*of));
    let open = canon.voters.iter().filter(|((at, _), _)| *at >= end).map(|(_, voters)| voters.clone());
    let committed = committed.map_or_else(|| configured.to_vec(), |(_, voters)| voters.clone());
    [committed].into_iter().chain(open).collect()
}

fn other(node: NodeId, at: Offset, known: &[NodeId], now: &[NodeId]) -> Violation {
    let why = format!("at {at} they are {now:?} to node {node} and {known:?} to another");
    violation(CODE, "voters-differ", node, why)
}

#[cfg(test)]
mod tests {
    use tidelog_core::{epoch::LeaderEpoch, ids::DirectoryId, record::Batch, time::Timestamp};

    use super::*;
    use crate::check::{
        samples::{batch, book},
        shared_log::marked,
    };

    const NODE: NodeId = NodeId(0);

    fn set(nodes: &[i32]) -> Vec<Voter> {
        let voter = |&node: &i32| Voter { node: NodeId(node), directory: DirectoryId::ANY, endpoint: String::new() };
        nodes.iter().map(voter).collect()
    }

    fn record(at: i64, nodes: &[i32]) -> Batch {
        let mut batch = Batch::voters(&set(nodes), Timestamp(1));
        batch.stamp(Offset(at), LeaderEpoch::FIRST);
        batch
    }

    fn change(canon: &mut Canon, ledger: &Ledger, at: i64, nodes: &[i32]) -> Option<&'static str> {
        let configured = [1, 2, 3].map(NodeId);
        let changed =
            changed(canon, (NODE, Offset::ZERO), ledger, record(at, nodes).header(), &set(nodes), &configured);
        changed.err().map(|violation| violation.anomaly)
    }

    #[test]
    fn one_comes_or_goes_once_the_epoch_and_the_change_before_are_committed() {
        let mut canon = Canon::default();
        let mut log = vec![batch(0, None, &[(1, Some(0))])];
        assert_eq!(change(&mut canon, &book(&log), 1, &[1, 2, 3, 4]), Some("too-early"));
        marked(&mut canon, NODE, &book(&log), Offset(1), LeaderEpoch::FIRST).expect("it is the first");
        assert_eq!(change(&mut canon, &book(&log), 1, &[1, 2, 4]), Some("not-one-at-a-time"));
        assert_eq!(change(&mut canon, &book(&log), 1, &[1, 2, 3, 4]), None);
        assert_eq!(change(&mut canon, &book(&log), 1, &[1, 2, 3, 4]), None, "the others write the same");
        assert_eq!(change(&mut canon, &book(&log), 1, &[1, 2]), Some("voters-differ"));
        log.push(record(1, &[1, 2, 3, 4]));
        assert_eq!(change(&mut canon, &book(&log), 2, &[1, 2, 3]), Some("two-changes"));
        marked(&mut canon, NODE, &book(&log), Offset(2), LeaderEpoch::FIRST).expect("it is the first");
        assert_eq!(change(&mut canon, &book(&log), 2, &[2, 3, 4]), None);
    }
}
