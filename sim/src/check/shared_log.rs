//! What holds of a log that several nodes keep, be it the metadata log or a partition's.
//!
//! - M1, R1: one writer in an epoch.
//! - M3, R2: the same offset and epoch are the same batch, on all nodes.
//! - M4, R3: who begins to lead has everything that is committed.
//! - M5, R2: what is committed at an offset is the same for all who know of it.
//! - M6, R4: nothing is committed before enough replicas have it.
//! - M7, R10: what is committed is not cut off.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, TopicId, TopicPartition},
    offset::Offset,
    record::BatchHeader,
};

use super::{Violation, violation};
use crate::{
    canon::{Canon, Print},
    ledger::Ledger,
};

/// The checker that speaks: there is a name for each kind of log.
fn code(id: TopicPartition, metadata: &'static str, partition: &'static str) -> &'static str {
    if id.topic == TopicId::METADATA { metadata } else { partition }
}

/// A node orders an append; `ledger` is its book before that.
pub fn appended(canon: &mut Canon, node: NodeId, ledger: &Ledger, header: &BatchHeader) -> Result<(), Violation> {
    let (id, print) = (ledger.id, Print::of(header));
    // Cleaned logs hold other batches than were written.
    if ledger.compacted {
        return Ok(());
    }
    let key = (id, print.base, print.epoch);
    let holders = canon.holders.entry(key).or_default();
    let is_free = holders.is_empty() && canon.writers.get(&(id, print.epoch)) == Some(&node);
    holders.insert(node.0 as usize);
    if let Some(known) = canon.written.insert(key, print) {
        if known != print && !is_free {
            let why = format!("node {node} writes {print:?} where another wrote {known:?}");
            return Err(violation(code(id, "M3", "R2"), "diverged", format!("{id}@{}", print.base), why));
        }
        return Ok(());
    }
    let is_first = !canon.writers.contains_key(&(id, print.epoch));
    let writer = *canon.writers.entry((id, print.epoch)).or_insert(node);
    if writer != node {
        let why = format!("node {node} writes in epoch {} at {}, as node {writer} did", print.epoch, print.base);
        return Err(violation(code(id, "M1", "R1"), "two-leaders", id, why));
    }
    if is_first && !canon.unclean.contains_key(&id) { leads(canon, node, ledger, print.epoch) } else { Ok(()) }
}

/// A node orders this batch behind that one: so has everybody who has it, and by that all before are the same as well.
pub fn follows(
    canon: &mut Canon,
    node: NodeId,
    id: TopicPartition,
    header: &BatchHeader,
    before: Option<Print>,
) -> Result<(), Violation> {
    let Some(before) = before.filter(|before| before.next == header.base_offset) else { return Ok(()) };
    let key = (id, header.base_offset, header.leader_epoch);
    let is_held = canon.holders.get(&key).is_some_and(|holders| !holders.is_empty());
    if !is_held && canon.writers.get(&(id, header.leader_epoch)) == Some(&node) {
        // Its writer has given up what it wrote there, and perhaps what stood before.
        canon.before.insert(key, before);
        return Ok(());
    }
    if canon.committed.get(&id).is_some_and(|committed| before.next <= committed.start) {
        // The leader has nothing before this any more, and cannot tell that a follower has something else there. That one
        // shows it to nobody: its log is raised to the leader's start with the same answer.
        return Ok(());
    }
    let known = *canon.before.entry(key).or_insert(before);
    if known != before {
        let why = format!(
            "node {node} writes a batch of epoch {} behind {before:?}, another behind {known:?}",
            header.leader_epoch
        );
        return Err(violation(code(id, "M3", "R2"), "another-past", format!("{id}@{}", header.base_offset), why));
    }
    Ok(())
}

/// A node begins to lead, perhaps late: what a newer epoch has committed meanwhile it cannot know, and it commits nothing.
pub fn leads(canon: &Canon, node: NodeId, ledger: &Ledger, epoch: LeaderEpoch) -> Result<(), Violation> {
    let (has, committed) = (canon.agreement(ledger), canon.end_before(ledger.id, epoch));
    if has < committed {
        let why = format!("node {node} leads with a log that lacks what is committed from {has} to {committed}");
        let anomaly = "leader-lacks-committed";
        return Err(violation(code(ledger.id, "M4", "R3"), anomaly, format!("{}@{has}", ledger.id), why));
    }
    Ok(())
}

/// A node's high watermark has moved in a leader's epoch; returns whether that committed anything that nobody knew to be
/// committed.
pub fn marked(
    canon: &mut Canon,
    node: NodeId,
    ledger: &Ledger,
    mark: Offset,
    epoch: LeaderEpoch,
) -> Result<bool, Violation> {
    let id = ledger.id;
    if mark > ledger.end {
        let why = format!("node {node} commits up to {mark}, its log ends at {}", ledger.end);
        return Err(violation(code(id, "M6", "R4"), "committed-past-end", id, why));
    }
    if ledger.compacted {
        let committed = canon.committed.entry(id).or_default();
        committed.end = committed.end.max(mark);
        return Ok(false);
    }
    let committed = canon.committed.entry(id).or_default();
    let before = committed.end;
    if mark <= before {
        // Known already: it is enough that the last batch is the one that was committed.
        let last = committed.batches.range(..mark).next_back().map(|(_, print)| *print);
        let from = ledger.log_start.max(committed.start);
        let Some(print) = last.filter(|print| print.base >= from) else { return Ok(false) };
        let mine = ledger.held.get(&print.base).map(|held| Print::of(&held.header));
        if mine != Some(print) {
            let why = format!("node {node} takes {mine:?} for committed, but that is {print:?}");
            return Err(violation(code(id, "M5", "R2"), "committed-differs", format!("{id}@{}", print.base), why));
        }
        return Ok(false);
    }
    for held in ledger.held.range(before..mark).map(|(_, held)| held) {
        let print = Print::of(&held.header);
        if print.next > mark {
            let why = format!("node {node} commits up to {mark}, in the middle of {print:?}");
            return Err(violation(code(id, "M6", "R4"), "committed-in-a-batch", id, why));
        }
        committed.batches.insert(print.base, print);
    }
    committed.end = mark;
    committed.ends.insert(epoch, mark);
    Ok(true)
}

/// Something was committed that nobody knew to be: these books must have it, `enough` of them.
pub fn replicated<'a>(
    canon: &Canon,
    id: TopicPartition,
    replicas: impl Iterator<Item = Option<&'a Ledger>>,
    enough: usize,
) -> Result<(), Violation> {
    let end = canon.end(id);
    let has = |ledger: &&Ledger| ledger.promised.max(ledger.log_start) >= end && canon.has_last(ledger, end);
    let (mut count, mut missing) = (0, Vec::new());
    for replica in replicas {
        match replica.filter(has) {
            Some(_) => count += 1,
            None => {
                missing.push(replica.map_or_else(|| "nothing".to_owned(), |l| format!("durable to {}", l.promised)))
            }
        }
    }
    if count < enough {
        let why = format!("committed up to {end} with {count} durable copies where it takes {enough}: {missing:?}");
        return Err(violation(code(id, "M6", "R4"), "committed-too-early", format!("{id}@{end}"), why));
    }
    Ok(())
}

/// A node orders a truncation; `mark` is its own high watermark, `epoch` the newest that it knows.
pub fn truncated(
    canon: &Canon,
    (node, epoch): (NodeId, LeaderEpoch),
    ledger: &Ledger,
    to: Offset,
    mark: Offset,
) -> Result<(), Violation> {
    if ledger.compacted {
        return Ok(());
    }
    if let Some(keep) = canon.loses(ledger, to, epoch) {
        let why = format!("node {node} cuts at {to} what is committed up to {keep}");
        return Err(violation(code(ledger.id, "M7", "R10"), "committed-cut-off", format!("{}@{to}", ledger.id), why));
    }
    let gone = canon.committed.get(&ledger.id).map_or(Offset::ZERO, |committed| committed.start);
    if to.max(gone) < mark {
        let why = format!("node {node} cuts at {to}, below its high watermark {mark}");
        return Err(violation(code(ledger.id, "M7", "R10"), "cut-below-watermark", format!("{}@{to}", ledger.id), why));
    }
    Ok(())
}

/// A node orders a truncation of a partition's log; `mark` is its own high watermark. Below that it may cut only what was
/// committed before the newest `unclean` election, whatever there is to be had of it elsewhere.
pub fn cut(
    node: NodeId,
    ledger: &Ledger,
    to: Offset,
    mark: Offset,
    unclean: Option<LeaderEpoch>,
) -> Result<(), Violation> {
    let last = ledger.batch_at(Offset(mark.0 - 1)).map(|held| held.header.leader_epoch);
    let may_lose = unclean.is_some_and(|unclean| last.is_none_or(|last| last < unclean));
    if to < mark && !may_lose { Err(unmarked(node, ledger.id, to, mark)) } else { Ok(()) }
}

/// A node has something committed that its leader lacks, and no unclean election accounts for it.
pub fn unmarked(node: NodeId, id: TopicPartition, from: Offset, to: Offset) -> Violation {
    let why =
        format!("node {node} has {from} to {to} committed, its leader lacks that, and no election is marked unclean");
    violation("R10", "unmarked-loss", format!("{id}@{from}"), why)
}

#[cfg(test)]
mod tests {
    use tidelog_core::record::Batch;

    use super::*;
    use crate::check::samples::{batch, book};

    const NEXT: LeaderEpoch = LeaderEpoch(9);

    fn stamped(mut batch: Batch, epoch: i32) -> Batch {
        batch.stamp(batch.header().base_offset, LeaderEpoch(epoch));
        batch
    }

    fn three() -> [Batch; 3] {
        [batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))]), batch(2, None, &[(1, Some(2))])]
    }

    fn anomaly<T>(result: Result<T, Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.anomaly)
    }

    #[test]
    fn an_epoch_has_one_writer_and_an_offset_one_batch_in_it() {
        let mut canon = Canon::default();
        let (a, b) = (NodeId(0), NodeId(1));
        let empty = book(&[]);
        let first = stamped(batch(0, None, &[(1, Some(0))]), 1);
        assert_eq!(anomaly(appended(&mut canon, a, &empty, first.header())), None);
        assert_eq!(anomaly(appended(&mut canon, b, &empty, first.header())), None, "a follower writes what it is told");
        let other = stamped(batch(0, None, &[(1, Some(7))]), 1);
        assert_eq!(anomaly(appended(&mut canon, b, &empty, other.header())), Some("diverged"));
        let next = stamped(batch(1, None, &[(1, Some(7))]), 1);
        assert_eq!(anomaly(appended(&mut canon, b, &empty, next.header())), Some("two-leaders"));
        let later = stamped(batch(1, None, &[(1, Some(7))]), 2);
        assert_eq!(anomaly(appended(&mut canon, b, &empty, later.header())), None);
    }

    #[test]
    fn what_a_leader_has_given_up_a_follower_may_have_been_given() {
        let mut canon = Canon::default();
        let (leader, follower, third) = (NodeId(0), NodeId(1), NodeId(2));
        let (ledger, id) = (book(&[]), book(&[]).id);
        let [first, _, _] = three();
        let (first, other) = (stamped(first, 1), stamped(batch(0, None, &[(1, Some(7))]), 1));
        assert_eq!(anomaly(appended(&mut canon, leader, &ledger, first.header())), None);
        canon.given_up(0, id, first.header());
        assert_eq!(anomaly(appended(&mut canon, follower, &ledger, first.header())), None, "it was on its way");
        let rewritten = appended(&mut canon.clone(), leader, &ledger, other.header());
        assert_eq!(anomaly(rewritten), Some("diverged"), "a follower has the other");
        canon.given_up(1, id, first.header());
        let elsewhere = appended(&mut canon.clone(), third, &ledger, other.header());
        assert_eq!(anomaly(elsewhere), Some("diverged"), "only the leader writes anew");
        assert_eq!(anomaly(appended(&mut canon, leader, &ledger, other.header())), None, "nobody has it");
        assert_eq!(anomaly(appended(&mut canon, follower, &ledger, first.header())), Some("diverged"), "it came late");
    }

    #[test]
    fn who_has_a_batch_has_the_one_before() {
        let mut canon = Canon::default();
        let [first, second, _] = three();
        let other = batch(0, None, &[(1, Some(9))]);
        let id = book(&[]).id;
        let mut follow = |node, before: Option<&Batch>| {
            let before = before.map(|batch| Print::of(batch.header()));
            anomaly(follows(&mut canon, NodeId(node), id, second.header(), before))
        };
        assert_eq!(follow(0, Some(&first)), None);
        assert_eq!(follow(1, Some(&first)), None);
        assert_eq!(follow(2, None), None, "what was before is gone");
        assert_eq!(follow(2, Some(&other)), Some("another-past"));
        canon.committed.entry(id).or_default().start = second.header().base_offset;
        let before = Some(Print::of(other.header()));
        assert_eq!(anomaly(follows(&mut canon, NodeId(2), id, second.header(), before)), None, "that is gone");
    }

    #[test]
    fn what_stood_before_a_batch_that_was_given_up_binds_nobody() {
        let mut canon = Canon::default();
        let (leader, follower) = (NodeId(0), NodeId(1));
        let [first, second, third] = three().map(|batch| stamped(batch, 1));
        let other = stamped(batch(1, None, &[(1, Some(9))]), 1);
        let (ledger, id) = (book(std::slice::from_ref(&first)), book(&[]).id);
        let mut write = |node, batch: &Batch, before: &Batch| {
            let before = Some(Print::of(before.header()));
            let follows = follows(&mut canon, node, id, batch.header(), before);
            follows.and_then(|()| appended(&mut canon, node, &ledger, batch.header()))
        };
        assert_eq!(write(leader, &second, &first), Ok(()));
        assert_eq!(write(leader, &third, &second), Ok(()));
        canon.given_up(0, id, second.header());
        canon.given_up(0, id, third.header());
        let mut write = |node, batch: &Batch, before: &Batch| {
            let before = Some(Print::of(before.header()));
            anomaly(follows(&mut canon, node, id, batch.header(), before))
        };
        assert_eq!(write(leader, &third, &other), None);
        assert_eq!(write(follower, &third, &other), None);
        assert_eq!(write(follower, &third, &second), Some("another-past"), "its leader has another");
    }

    #[test]
    fn a_new_leader_has_what_is_committed() {
        let mut canon = Canon::default();
        let batches = three();
        assert_eq!(marked(&mut canon, NodeId(0), &book(&batches), Offset(2), LeaderEpoch::FIRST), Ok(true));
        assert_eq!(anomaly(leads(&canon, NodeId(1), &book(&batches[..2]), NEXT)), None);
        assert_eq!(anomaly(leads(&canon, NodeId(1), &book(&batches[..1]), NEXT)), Some("leader-lacks-committed"));
        let other = [batches[0].clone(), batch(1, None, &[(1, Some(9))])];
        assert_eq!(anomaly(leads(&canon, NodeId(1), &book(&other), NEXT)), Some("leader-lacks-committed"));
    }

    #[test]
    fn a_leader_that_begins_late_cannot_have_what_a_newer_one_has_committed() {
        let mut canon = Canon::default();
        let [first, second, _] = three();
        let committed = [stamped(first.clone(), 1), stamped(second, 3)];
        assert_eq!(marked(&mut canon, NodeId(0), &book(&committed[..1]), Offset(1), LeaderEpoch(1)), Ok(true));
        assert_eq!(marked(&mut canon, NodeId(0), &book(&committed), Offset(2), LeaderEpoch(3)), Ok(true));
        let late = |has: &[Batch]| anomaly(leads(&canon, NodeId(1), &book(has), LeaderEpoch(2)));
        assert_eq!(late(&committed[..1]), None);
        assert_eq!(late(&[]), Some("leader-lacks-committed"), "that was committed before it was elected");
    }

    #[test]
    fn all_nodes_commit_the_same() {
        let mut canon = Canon::default();
        let batches = three();
        let other = [batches[0].clone(), batch(1, None, &[(1, Some(9))])];
        assert_eq!(marked(&mut canon, NodeId(0), &book(&batches), Offset(2), LeaderEpoch::FIRST), Ok(true));
        assert_eq!(marked(&mut canon, NodeId(1), &book(&batches[..2]), Offset(2), LeaderEpoch::FIRST), Ok(false));
        assert_eq!(
            anomaly(marked(&mut canon, NodeId(1), &book(&other), Offset(2), LeaderEpoch::FIRST)),
            Some("committed-differs")
        );
        assert_eq!(
            anomaly(marked(&mut canon, NodeId(1), &book(&batches[..2]), Offset(3), LeaderEpoch::FIRST)),
            Some("committed-past-end")
        );
    }

    #[test]
    fn enough_replicas_have_what_is_committed() {
        let mut canon = Canon::default();
        let batches = three();
        let (whole, part) = (book(&batches), book(&batches[..1]));
        marked(&mut canon, NodeId(0), &whole, Offset(3), LeaderEpoch::FIRST).expect("it is the first");
        let id = whole.id;
        let check = |books: [Option<&Ledger>; 3]| anomaly(replicated(&canon, id, books.into_iter(), 2));
        assert_eq!(check([Some(&whole), Some(&whole), Some(&part)]), None);
        assert_eq!(check([Some(&whole), Some(&part), None]), Some("committed-too-early"));
    }

    #[test]
    fn below_its_watermark_a_follower_cuts_what_was_committed_before_an_unclean_election() {
        let [first, second, third] = three();
        let ledger = book(&[stamped(first, 1), stamped(second, 2), stamped(third, 3)]);
        let judge = |to, mark, unclean: Option<i32>| {
            anomaly(cut(NodeId(1), &ledger, Offset(to), Offset(mark), unclean.map(LeaderEpoch)))
        };
        assert_eq!(judge(2, 2, None), None);
        assert_eq!(judge(1, 2, None), Some("unmarked-loss"));
        assert_eq!(judge(1, 2, Some(2)), Some("unmarked-loss"), "it was committed since");
        assert_eq!(judge(1, 2, Some(3)), None);
    }

    #[test]
    fn what_is_committed_is_not_cut_off_but_what_differs_from_it_is() {
        let mut canon = Canon::default();
        let batches = three();
        let whole = book(&batches);
        marked(&mut canon, NodeId(0), &whole, Offset(2), LeaderEpoch::FIRST).expect("it is the first");
        let me = (NodeId(1), LeaderEpoch::FIRST);
        let cut = |ledger: &Ledger, to, mark| anomaly(truncated(&canon, me, ledger, Offset(to), Offset(mark)));
        assert_eq!(cut(&whole, 2, 0), None);
        assert_eq!(cut(&whole, 1, 0), Some("committed-cut-off"));
        assert_eq!(cut(&whole, 2, 3), Some("cut-below-watermark"));
        let other = book(&[batches[0].clone(), batch(1, None, &[(1, Some(9))])]);
        assert_eq!(cut(&other, 1, 1), None, "its end is not what was committed there");
        assert_eq!(cut(&other, 0, 0), Some("committed-cut-off"));
        canon.committed.get_mut(&whole.id).expect("marked above").start = Offset(2);
        assert_eq!(
            anomaly(truncated(&canon, me, &whole, Offset(1), Offset(0))),
            None,
            "nobody answers for what a leader has let go"
        );
    }

    #[test]
    fn what_a_newer_epoch_has_committed_an_older_one_may_cut_off() {
        let mut canon = Canon::default();
        let whole = book(&three());
        marked(&mut canon, NodeId(0), &whole, Offset(1), LeaderEpoch(1)).expect("it is the first");
        marked(&mut canon, NodeId(0), &whole, Offset(3), LeaderEpoch(3)).expect("there is no other");
        let cut =
            |epoch, to| anomaly(truncated(&canon, (NodeId(1), LeaderEpoch(epoch)), &whole, Offset(to), Offset(0)));
        assert_eq!(cut(2, 1), None, "it does not count on this copy");
        assert_eq!(cut(2, 0), Some("committed-cut-off"));
        assert_eq!(cut(3, 1), Some("committed-cut-off"));
    }
}
