//! Voters that come and go while disks refuse and leaders change.

use super::*;

fn set(nodes: &[i32]) -> Vec<Voter> {
    let voter = |&node: &i32| Voter { node: NodeId(node), directory: DirectoryId::ANY, endpoint: String::new() };
    nodes.iter().map(voter).collect()
}

fn voters(base: i64, epoch: i32, nodes: &[i32]) -> Batch {
    let mut batch = Batch::voters(&set(nodes), Timestamp(1));
    batch.stamp(Offset(base), LeaderEpoch(epoch));
    batch
}

/// The leader's answer to the fetch on its way.
fn receive(quorum: &mut Quorum, committed: i64, batch: Batch) {
    let (epoch, turn, records) = (quorum.epoch().0, quorum.turn(), Records::Batches(alloc::vec![batch]));
    quorum.answered(START, NodeId(2), turn, Ok(fetched(epoch, committed, None, records)));
}

/// The leader falls silent, and the node does what it then does.
fn lose_leader(quorum: &mut Quorum) {
    let silent = START.after(quorum.waits.fetch);
    quorum.on_time(silent);
}

#[test]
fn who_asks_for_votes_with_a_log_that_then_is_shorter_stands_no_more() {
    let mut quorum = voter(3, &[1], None);
    follow(&mut quorum, 2);
    receive(&mut quorum, 0, record(1, 2));
    lose_leader(&mut quorum);
    grant(&mut quorum, 2);
    assert_eq!(quorum.role(), RoleName::Candidate);
    let turn = quorum.turn();
    quorum.append_failed(START, Offset(1), quorum.generation());
    assert_eq!((quorum.role(), quorum.log_end()), (RoleName::Unattached, Offset(1)));
    quorum.answered(START, NodeId(2), turn, Ok(granted(quorum.epoch())));
    quorum.vote_saved(START, vote(quorum.epoch().0, 1));
    assert!(!quorum.is_leader(), "those votes were for a longer log");
}

#[test]
fn a_leader_alone_whose_disk_refuses_another_voter_leads_no_more_as_the_other_may_have_it() {
    let mut quorum = voter(1, &[1], None);
    let epoch = quorum.epoch();
    quorum.vote_saved(START, vote(epoch.0, 1));
    append(&mut quorum, 2);
    quorum.persisted(START, Offset(2), 0);
    quorum.appended(START, &voters(2, epoch.0, &[1, 2]));
    assert!(!quorum.is_alone(), "it counts from the moment on at which it is written");
    quorum.append_failed(START, Offset(2), 0);
    assert_eq!((quorum.role(), quorum.voters()), (RoleName::Unattached, &[ME][..]));
    // What it may have let go is no reason to go on either.
    let mut quorum = voter(2, &[1], None);
    elect(&mut quorum);
    append(&mut quorum, 2);
    quorum.persisted(START, Offset(2), 0);
    quorum.appended(START, &voters(2, quorum.epoch().0, &[1]));
    quorum.append_failed(START, Offset(2), 0);
    assert_eq!((quorum.role(), quorum.voters()), (RoleName::Unattached, &[ME, NodeId(2)][..]));
}

#[test]
fn who_is_let_go_may_have_to_lead_until_that_is_committed() {
    for (committed, role) in [(1, RoleName::Prospective), (2, RoleName::Unattached)] {
        let mut quorum = voter(4, &[1], None);
        follow(&mut quorum, 2);
        receive(&mut quorum, committed, voters(1, 2, &[2, 3, 4]));
        quorum.persisted(START, Offset(2), 0);
        assert!(!quorum.is_voter());
        lose_leader(&mut quorum);
        assert_eq!(quorum.role(), role, "committed up to {committed}");
    }
    let mut quorum = voter(4, &[1], None);
    follow(&mut quorum, 2);
    receive(&mut quorum, 1, voters(1, 2, &[2, 3, 4]));
    quorum.persisted(START, Offset(2), 0);
    lose_leader(&mut quorum);
    grant(&mut quorum, 3);
    assert_eq!(quorum.role(), RoleName::Prospective, "it does not count itself");
    grant(&mut quorum, 4);
    assert_eq!(quorum.role(), RoleName::Candidate);
    quorum.vote_saved(START, vote(quorum.epoch().0, 1));
    grant(&mut quorum, 3);
    assert!(!quorum.is_leader());
    grant(&mut quorum, 4);
    assert!(quorum.is_leader());
    // It goes once the set without it is committed.
    append(&mut quorum, 3);
    quorum.persisted(START, Offset(3), 0);
    for other in [3, 4] {
        assert!(!quorum.must_leave());
        quorum.on_fetch(START, (NodeId(other), DirectoryId([3; 16])), &pull(&quorum, 3, 3));
    }
    assert_eq!(quorum.high_watermark(), Offset(3));
    assert!(quorum.must_leave());
    quorum.leave_office(START);
    assert_eq!(quorum.role(), RoleName::Unattached);
}

#[test]
fn a_node_on_another_disk_than_its_voters_never_asks_itself() {
    let mut quorum = voter(1, &[], None);
    orders(&mut quorum);
    let elsewhere = Voter { directory: DirectoryId([9; 16]), ..set(&[1]).remove(0) };
    quorum.sets.start_over(Some(alloc::vec![elsewhere]));
    quorum.take_voters();
    quorum.search(START);
    assert_eq!(calls(&mut quorum), []);
    assert!(!quorum.is_alone() && quorum.next_deadline().is_some(), "it waits for somebody who tells it");
}

#[test]
fn a_voter_whose_set_is_out_of_date_asks_those_of_the_first_one_too() {
    let mut quorum = voter(3, &[1], None);
    follow(&mut quorum, 2);
    receive(&mut quorum, 1, voters(1, 2, &[1, 2]));
    quorum.persisted(START, Offset(2), 0);
    lose_leader(&mut quorum);
    let asked: Vec<i32> =
        calls(&mut quorum).iter().filter(|(_, r)| matches!(r, PeerRequest::Vote(_))).map(|(to, _)| *to).collect();
    assert_eq!((quorum.role(), asked), (RoleName::Prospective, alloc::vec![2, 3]));
    grant(&mut quorum, 3);
    assert_eq!(quorum.role(), RoleName::Prospective, "it does not vote");
    quorum.answered(START, NodeId(3), quorum.turn(), Ok(refused(5, 3)));
    assert_eq!((quorum.leader(), quorum.epoch()), (Some(NodeId(3)), LeaderEpoch(5)));
}
