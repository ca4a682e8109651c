//! The machine by itself; the cluster that it makes is tested in `node/metadata_log/tests.rs`.

use super::*;
use crate::{
    ids::BrokerEpoch,
    log::{ProducerTable, RecoveryReport},
    message::{
        BeginEpochRequest, EndEpochRequest, Records, ReplicaFetchPartition, ReplicaFetchResponse, ReplicaFetched,
        VoteRequest, VoteResponse,
    },
    record::{BatchBuilder, BatchOptions},
    time::Timestamp,
};

mod voters;

const ME: NodeId = NodeId(1);
const START: Instant = Instant(1_000_000_000);

fn waits() -> QuorumWaits {
    let ms = Duration::from_millis;
    QuorumWaits { election: ms(1_000), fetch: ms(2_000), request: ms(2_000), poll: ms(500), piece_bytes: 100 }
}

/// A voter among so many whose log has records of these epochs, one each.
fn voter(voters: i32, log: &[i32], vote: Option<Vote>) -> Quorum {
    let mut epochs = EpochCache::default();
    for (offset, &epoch) in (0..).zip(log) {
        epochs.assign(LeaderEpoch(epoch), Offset(offset));
    }
    let state = LogState {
        log_start: Offset::ZERO,
        log_end: Offset(log.len() as i64),
        size: 0,
        high_watermark: Offset::ZERO,
        epochs: epochs.entries().to_vec(),
        producers: ProducerTable::new(),
        recovery: RecoveryReport::default(),
    };
    let voters = (1..=voters).map(NodeId).collect();
    let snapshots = Snapshots { newest: None, start_epoch: LeaderEpoch::NONE, voters: None };
    let mut quorum = Quorum::new((ME, DirectoryId([1; 16])), voters, waits(), vote, &state, snapshots, Prng::new(1));
    quorum.start(START);
    quorum
}

fn orders(quorum: &mut Quorum) -> Vec<Order> {
    core::iter::from_fn(|| quorum.next_order()).collect()
}

/// Those whom it asks, and what.
fn calls(quorum: &mut Quorum) -> Vec<(i32, PeerRequest)> {
    let call = |order| match order {
        Order::Call { to, request, .. } => Some((to.0, request)),
        _ => None,
    };
    orders(quorum).into_iter().filter_map(call).collect()
}

/// A vote that is given in this epoch.
fn granted(epoch: LeaderEpoch) -> PeerResponse {
    PeerResponse::Vote(VoteResponse {
        error: ErrorCode::None,
        epoch,
        leader: None,
        granted: true,
        leader_endpoint: None,
    })
}

/// None is given, as that epoch has a leader.
fn refused(epoch: i32, leader: i32) -> PeerResponse {
    let (epoch, leader) = (LeaderEpoch(epoch), Some(NodeId(leader)));
    PeerResponse::Vote(VoteResponse { error: ErrorCode::None, epoch, leader, granted: false, leader_endpoint: None })
}

fn grant(quorum: &mut Quorum, from: i32) {
    quorum.answered(START, NodeId(from), quorum.turn(), Ok(granted(quorum.epoch())));
}

fn vote(epoch: i32, voted_for: i32) -> Vote {
    Vote { epoch: LeaderEpoch(epoch), voted_for: Some(NodeId(voted_for)) }
}

/// Makes it the leader.
fn elect(quorum: &mut Quorum) {
    quorum.on_time(quorum.next_deadline().expect("it will stand"));
    (2..=quorum.majority() as i32).for_each(|other| grant(quorum, other));
    assert_eq!(quorum.role(), RoleName::Candidate);
    quorum.vote_saved(START, Vote { epoch: quorum.epoch(), voted_for: Some(ME) });
    (2..=quorum.majority() as i32).for_each(|other| grant(quorum, other));
    assert_eq!(quorum.role(), RoleName::Leader);
    orders(quorum);
}

fn asks(epoch: i32, last_epoch: i32, log_end: i64, pre_vote: bool) -> VoteRequest {
    let (epoch, last_epoch, log_end) = (LeaderEpoch(epoch), LeaderEpoch(last_epoch), Offset(log_end));
    let (directory, voter_directory) = (DirectoryId([2; 16]), DirectoryId::ANY);
    VoteRequest { candidate: NodeId(2), directory, voter_directory, epoch, last_epoch, log_end, pre_vote }
}

fn is_granted(answer: &VoteAnswer) -> bool {
    match answer {
        VoteAnswer::Now(response) | VoteAnswer::OnceSaved(_, response) => response.granted,
    }
}

fn pull(quorum: &Quorum, offset: i64, acknowledged: i64) -> ReplicaFetchPartition {
    ReplicaFetchPartition {
        id: follower::METADATA,
        current_leader_epoch: quorum.epoch(),
        offset: Offset(offset),
        acknowledged: Offset(acknowledged),
        last_fetched_epoch: quorum.epochs().last_epoch(Offset(offset)),
        log_start: Offset::ZERO,
        high_watermark: Offset::ZERO,
    }
}

/// What the leader, node 2, answers.
fn fetched(epoch: i32, committed: i64, diverging: Option<(i32, i64)>, records: Records) -> PeerResponse {
    let fetched = ReplicaFetched {
        id: follower::METADATA,
        error: ErrorCode::None,
        leader: Some(NodeId(2)),
        leader_epoch: LeaderEpoch(epoch),
        high_watermark: Offset(committed),
        log_start: Offset::ZERO,
        diverging: diverging.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end))),
        snapshot: None,
        records,
        leader_endpoint: None,
    };
    let (error, session, partitions) = (ErrorCode::None, 0, alloc::vec![fetched]);
    PeerResponse::Fetch(ReplicaFetchResponse { error, session, partitions })
}

fn record(base: i64, epoch: i32) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1), None, Some(b"v"), []);
    let mut batch = builder.build(&BatchOptions::default());
    batch.stamp(Offset(base), LeaderEpoch(epoch));
    batch
}

/// The leader appends up to there.
fn append(quorum: &mut Quorum, end: i64) {
    while quorum.log_end() < Offset(end) {
        quorum.appended(START, &record(quorum.log_end().0, quorum.epoch().0));
    }
}

/// Makes it follow node 2 in an epoch.
fn follow(quorum: &mut Quorum, epoch: i32) {
    let begin = BeginEpochRequest { leader: NodeId(2), epoch: LeaderEpoch(epoch), leader_endpoint: None };
    assert_eq!(quorum.on_begin_epoch(START, &begin).error, ErrorCode::None);
    assert_eq!(quorum.leader(), Some(NodeId(2)));
}

#[test]
fn a_single_voter_leads_once_its_vote_is_durable_and_commits_what_it_has_synced() {
    let mut quorum = voter(1, &[4; 10], None);
    assert_eq!(orders(&mut quorum), [Order::SaveVote(vote(5, 1))]);
    assert!(!quorum.is_leader());
    quorum.vote_saved(START, vote(5, 1));
    assert_eq!(orders(&mut quorum), [Order::Lead { granting: alloc::vec![ME] }]);
    assert_eq!(quorum.next_deadline(), None, "whoever is alone waits for nobody");
    append(&mut quorum, 12);
    quorum.persisted(START, Offset(10), 0);
    assert_eq!(quorum.high_watermark(), Offset(0), "records of older epochs do not commit by themselves");
    quorum.persisted(START, Offset(12), 0);
    assert_eq!(quorum.high_watermark(), Offset(12));
}

#[test]
fn a_node_stands_only_when_a_majority_would_vote_for_it_and_leads_when_it_has() {
    let mut quorum = voter(5, &[1, 1], None);
    quorum.on_time(quorum.next_deadline().expect("it stands soon"));
    assert!(calls(&mut quorum).iter().all(|(_, r)| matches!(r, PeerRequest::Vote(r) if r.pre_vote)));
    grant(&mut quorum, 2);
    assert_eq!((quorum.role(), quorum.epoch()), (RoleName::Prospective, LeaderEpoch(1)), "no epoch is used up");
    grant(&mut quorum, 2);
    assert_eq!(quorum.role(), RoleName::Prospective, "one voice counts once");
    grant(&mut quorum, 3);
    assert_eq!((quorum.role(), quorum.epoch()), (RoleName::Candidate, LeaderEpoch(2)));
    grant(&mut quorum, 2);
    grant(&mut quorum, 3);
    assert_eq!(quorum.role(), RoleName::Candidate, "its own vote is not durable yet");
    quorum.vote_saved(START, vote(2, 1));
    assert_eq!(quorum.role(), RoleName::Leader);
}

#[test]
fn an_answer_to_an_earlier_election_counts_no_more_and_a_newer_epoch_ends_one() {
    let mut quorum = voter(3, &[1], None);
    quorum.on_time(quorum.next_deadline().expect("it stands soon"));
    let before = quorum.turn();
    quorum.on_time(quorum.next_deadline().expect("it stands again"));
    quorum.answered(START, NodeId(2), before, Ok(granted(LeaderEpoch(1))));
    assert_eq!(quorum.role(), RoleName::Prospective);
    quorum.answered(START, NodeId(2), quorum.turn(), Ok(granted(LeaderEpoch(7))));
    assert_eq!((quorum.role(), quorum.epoch()), (RoleName::Unattached, LeaderEpoch(7)));
}

#[test]
fn one_vote_is_given_in_an_epoch_and_only_to_a_log_that_is_complete() {
    let mut quorum = voter(3, &[1, 2], None);
    assert!(!is_granted(&quorum.on_vote_request(START, &asks(3, 2, 1, false))), "it is shorter");
    assert!(!is_granted(&quorum.on_vote_request(START, &asks(3, 1, 9, false))), "its last record is older");
    let answer = quorum.on_vote_request(START, &asks(3, 2, 2, false));
    assert!(matches!(&answer, VoteAnswer::OnceSaved(saved, r) if r.granted && *saved == vote(3, 2)));
    assert!(orders(&mut quorum).contains(&Order::SaveVote(vote(3, 2))));
    let other = VoteRequest { candidate: NodeId(3), ..asks(3, 2, 9, false) };
    assert!(!is_granted(&quorum.on_vote_request(START, &other)), "the vote is given");
    assert!(is_granted(&quorum.on_vote_request(START, &asks(3, 2, 2, false))), "to ask again is no harm");
    let mistaken = VoteRequest { voter_directory: DirectoryId([9; 16]), ..asks(4, 2, 9, false) };
    assert!(!is_granted(&quorum.on_vote_request(START, &mistaken)), "another disk is meant");
    assert_eq!(quorum.epoch(), LeaderEpoch(3));
    let stranger = VoteRequest { candidate: NodeId(9), ..asks(4, 2, 9, false) };
    assert!(is_granted(&quorum.on_vote_request(START, &stranger)), "that it votes may be in the longer log");
}

#[test]
fn a_vote_is_remembered_over_a_restart() {
    let mut quorum = voter(3, &[1], Some(vote(3, 3)));
    assert!(!is_granted(&quorum.on_vote_request(START, &asks(3, 1, 1, false))));
    assert!(is_granted(&quorum.on_vote_request(START, &asks(4, 1, 1, false))));
    let mut quorum = voter(3, &[5], Some(vote(3, 3)));
    assert_eq!(quorum.epoch(), LeaderEpoch(5), "the log knows a newer epoch");
    assert!(is_granted(&quorum.on_vote_request(START, &asks(5, 5, 1, false))));
}

#[test]
fn whoever_hears_of_a_leader_promises_its_vote_to_nobody() {
    let mut quorum = voter(3, &[1], None);
    assert!(is_granted(&quorum.on_vote_request(START, &asks(1, 1, 1, true))));
    follow(&mut quorum, 2);
    assert!(!is_granted(&quorum.on_vote_request(START, &asks(2, 1, 1, true))));
    let turn = quorum.turn();
    quorum.answered(START, NodeId(2), turn, Err(CallError::Refused));
    assert!(is_granted(&quorum.on_vote_request(START, &asks(2, 1, 1, true))), "the leader is gone");
    assert!(quorum.next_deadline().is_some_and(|at| at.since(START) < Duration::from_millis(50)), "it stands soon");
}

#[test]
fn two_that_do_not_hear_the_leader_do_not_assure_each_other_of_it() {
    let mut quorum = voter(3, &[1], None);
    follow(&mut quorum, 2);
    quorum.on_time(START.after(Duration::from_millis(2_000)));
    assert_eq!(quorum.role(), RoleName::Prospective, "it has been silent for too long");
    let turn = quorum.turn();
    quorum.answered(START, NodeId(3), turn, Ok(refused(2, 2)));
    assert_eq!(quorum.leader(), Some(NodeId(2)), "the other hears it: it is asked once more");
    let ask = VoteRequest { candidate: NodeId(3), ..asks(2, 1, 1, true) };
    assert!(is_granted(&quorum.on_vote_request(START, &ask)), "when the other hears it no more, it may stand");
}

#[test]
fn a_leader_commits_what_a_majority_has_durably_with_a_record_of_its_epoch() {
    let mut quorum = voter(3, &[1, 1], None);
    elect(&mut quorum);
    append(&mut quorum, 3);
    quorum.persisted(START, Offset(2), 0);
    quorum.on_fetch(START, (NodeId(2), DirectoryId([2; 16])), &pull(&quorum, 2, 2));
    assert_eq!(quorum.high_watermark(), Offset(0), "two have both, but no record of this epoch");
    quorum.persisted(START, Offset(3), 0);
    quorum.on_fetch(START, (NodeId(2), DirectoryId([2; 16])), &pull(&quorum, 3, 2));
    assert_eq!(quorum.high_watermark(), Offset(0), "what is not durable does not count");
    quorum.on_fetch(START, (NodeId(9), DirectoryId([9; 16])), &pull(&quorum, 3, 3));
    assert_eq!((quorum.high_watermark(), quorum.established()), (Offset(0), None), "an observer does not count");
    quorum.on_fetch(START, (NodeId(2), DirectoryId([2; 16])), &pull(&quorum, 3, 3));
    assert_eq!((quorum.high_watermark(), quorum.established()), (Offset(3), Some(Offset(3))));
    let states: Vec<_> = quorum.replicas().iter().map(|r| (r.node.0, r.acknowledged.0, r.is_voter)).collect();
    assert_eq!(states, [(1, 3, true), (2, 3, true), (3, -1, true), (9, 3, false)]);
}

#[test]
fn a_follower_that_parted_is_told_where_and_acknowledges_nothing() {
    let mut quorum = voter(3, &[1, 1, 3], None);
    elect(&mut quorum);
    append(&mut quorum, 4);
    let asked = ReplicaFetchPartition { last_fetched_epoch: LeaderEpoch(2), ..pull(&quorum, 4, 4) };
    let verdict = quorum.on_fetch(START, (NodeId(2), DirectoryId([2; 16])), &asked);
    assert_eq!(verdict, FetchVerdict::Diverging(LeaderEpoch(1), Offset(2)));
    quorum.persisted(START, Offset(4), 0);
    assert_eq!(quorum.high_watermark(), Offset(0));
    let stale = ReplicaFetchPartition { current_leader_epoch: LeaderEpoch(3), ..pull(&quorum, 3, 3) };
    assert_eq!(
        quorum.on_fetch(START, (NodeId(2), DirectoryId([2; 16])), &stale),
        FetchVerdict::Refused(ErrorCode::FencedLeaderEpoch)
    );
}

#[test]
fn a_leader_that_hears_of_no_majority_resigns() {
    let mut quorum = voter(5, &[1], None);
    elect(&mut quorum);
    let later = |ms| START.after(Duration::from_millis(ms));
    quorum.on_fetch(later(1_500), (NodeId(2), DirectoryId([2; 16])), &pull(&quorum, 1, 1));
    quorum.on_fetch(later(1_600), (NodeId(3), DirectoryId([3; 16])), &pull(&quorum, 1, 1));
    quorum.on_time(later(3_499));
    assert!(quorum.is_leader(), "two of the others are a majority with it");
    quorum.on_time(later(3_500));
    assert!(!quorum.is_leader(), "one is not");
    assert!(orders(&mut quorum).contains(&Order::Resign));
}

#[test]
fn a_follower_cuts_off_what_parts_from_the_leader_but_nothing_committed() {
    let mut quorum = voter(3, &[1, 1, 2, 2], None);
    follow(&mut quorum, 3);
    let answer = |quorum: &mut Quorum, response| {
        let turn = quorum.turn();
        orders(quorum);
        quorum.answered(START, NodeId(2), turn, Ok(response));
    };
    answer(&mut quorum, fetched(3, 1, Some((1, 2)), Records::Empty));
    assert_eq!(orders(&mut quorum), [Order::Truncate { to: Offset(2) }]);
    let generation = quorum.generation();
    quorum.truncated(START, Offset(2), generation);
    assert_eq!((quorum.log_end(), quorum.durable_end()), (Offset(2), Offset(2)));
    assert_eq!(quorum.high_watermark(), Offset(0), "nothing is known to be committed before the logs agree");
    answer(&mut quorum, fetched(3, 2, None, Records::Batches(alloc::vec![record(2, 3)])));
    assert!(matches!(orders(&mut quorum)[..], [Order::Append(_)]));
    quorum.persisted(START, Offset(3), generation - 1);
    assert_eq!(quorum.durable_end(), Offset(2), "a job from before the cut says nothing");
    quorum.persisted(START, Offset(3), generation);
    assert_eq!(quorum.high_watermark(), Offset(2));
    answer(&mut quorum, fetched(3, 3, Some((1, 1)), Records::Empty));
    assert!(matches!(orders(&mut quorum)[..], [Order::Halt(_)]));
}

#[test]
fn a_follower_takes_only_what_continues_its_log() {
    for (records, why) in [
        (record(2, 3), "a gap"),
        (record(0, 3), "what it has"),
        (record(1, 4), "an epoch above the leader's (KAFKA-18723)"),
        (record(1, 0), "an older epoch"),
    ] {
        let mut quorum = voter(3, &[1], None);
        follow(&mut quorum, 3);
        orders(&mut quorum);
        let turn = quorum.turn();
        quorum.answered(START, NodeId(2), turn, Ok(fetched(3, 0, None, Records::Batches(alloc::vec![records]))));
        assert_eq!((orders(&mut quorum), quorum.log_end()), (alloc::vec![], Offset(1)), "{why}");
        assert!(quorum.next_deadline().is_some_and(|at| at.since(START) <= RETRY), "it asks again: {why}");
    }
}

#[test]
fn a_leader_that_stops_names_those_who_have_most_first() {
    let mut quorum = voter(3, &[1], None);
    elect(&mut quorum);
    quorum.on_fetch(START, (NodeId(3), DirectoryId([3; 16])), &pull(&quorum, 1, 1));
    quorum.resign();
    let told = calls(&mut quorum);
    let PeerRequest::EndEpoch(EndEpochRequest { successors, .. }) = &told[0].1 else { panic!("{told:?}") };
    assert_eq!((told.len(), successors.as_slice()), (2, &[NodeId(3), NodeId(2)][..]));
    assert_eq!((quorum.role(), quorum.next_deadline()), (RoleName::Resigned, None));
    assert!(!is_granted(&quorum.on_vote_request(START, &asks(9, 9, 9, false))));
    let end = EndEpochRequest { leader: NodeId(2), epoch: LeaderEpoch(9), successors: alloc::vec![ME] };
    quorum.on_end_epoch(START, &end);
    assert_eq!(quorum.role(), RoleName::Resigned, "it takes part no more, whatever it is told");
}

#[test]
fn an_append_that_failed_ends_the_lead_as_followers_may_have_it() {
    let mut quorum = voter(3, &[1], None);
    elect(&mut quorum);
    append(&mut quorum, 2);
    quorum.append_failed(START, Offset(1), 0);
    assert_eq!((quorum.role(), quorum.log_end()), (RoleName::Unattached, Offset(1)));
    quorum.append_failed(START, Offset(2), 0);
    assert_eq!(quorum.generation(), 1, "what followed the failed append failed with it");
}

#[test]
fn what_was_on_its_way_before_an_append_that_failed_arrives() {
    let mut quorum = voter(3, &[1], None);
    elect(&mut quorum);
    append(&mut quorum, 2);
    append(&mut quorum, 3);
    quorum.append_failed(START, Offset(2), 0);
    assert_eq!(quorum.log_end(), Offset(2), "only a write is refused at once, and the first was not");
    quorum.persisted(START, Offset(2), 0);
    assert_eq!((quorum.log_end(), quorum.log.durable), (Offset(2), Offset(2)));
}

#[test]
fn a_node_without_a_vote_looks_for_the_leader_and_follows() {
    let mut quorum = voter(3, &[], None);
    quorum.me = NodeId(9);
    quorum.on_time(quorum.next_deadline().expect("it looks"));
    let asked = calls(&mut quorum);
    let PeerRequest::Fetch(request) = &asked[0].1 else { panic!("{asked:?}") };
    assert_eq!((asked.len(), request.broker_epoch), (1, BrokerEpoch::NONE));
    let turn = quorum.turn();
    quorum.answered(START, NodeId(asked[0].0), turn, Ok(fetched(3, 0, None, Records::Empty)));
    assert_eq!((quorum.leader(), quorum.epoch()), (Some(NodeId(2)), LeaderEpoch(3)));
    assert!(
        is_granted(&quorum.on_vote_request(START, &asks(9, 9, 9, false))),
        "the candidate may know better who votes"
    );
}
