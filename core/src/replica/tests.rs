//! A leader and its followers without nodes: partitions, and a disk that answers when it is told to.

use alloc::{collections::VecDeque, vec::Vec};

use super::*;
use crate::{
    cluster::{self, MetadataRecord, PartitionChange},
    effect::{Effect, Effects},
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, JobId, LogId, NodeId, PartitionId, RequestId, TopicId, TopicName, TopicPartition},
    log::{Job, JobOutcome, LogConfig, LogError, LogState, ProducerTable, RecoveryReport},
    message::{Acks, AlteredPartition, ErrorCode, Records},
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::{Duration, Instant, Now, Timestamp},
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const LAG_MAX: Duration = Duration::from_secs(30);
const ID: TopicPartition = TopicPartition { topic: TopicId([7; 16]), partition: PartitionId(0) };

/// One replica and its orders to the disk.
struct Replica {
    partition: Partition,
    budget: TailBudget,
    effects: Effects,
    jobs: VecDeque<(JobId, Job)>,
    /// The batches of its log.
    log: Vec<Batch>,
    acks: Vec<(u64, ErrorCode)>,
    requests: u64,
    now: Now,
}

fn image(leader: NodeId, leader_epoch: i32, partition_epoch: i32, isr: &[NodeId]) -> cluster::Partition {
    let mut image = cluster::Image::default();
    image.apply(&MetadataRecord::TopicCreated { name: TopicName::new("t"), id: ID.topic });
    image.apply(&MetadataRecord::PartitionChanged(PartitionChange {
        leader: Some(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        ..PartitionChange::created(ID.topic, ID.partition, &[N1, N2, N3], isr.to_vec())
    }));
    image.partition(ID).expect("it was just made").clone()
}

fn batch(value: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1_000), None, Some(value.as_bytes()), []);
    builder.build(&BatchOptions::default())
}

impl Replica {
    fn new(me: NodeId, min_in_sync: u32) -> Self {
        let state = LogState {
            log_start: Offset::ZERO,
            log_end: Offset::ZERO,
            size: 0,
            high_watermark: Offset::ZERO,
            epochs: Vec::new(),
            producers: ProducerTable::new(),
            recovery: RecoveryReport::default(),
        };
        let config = LogConfig { min_insync_replicas: min_in_sync, ..LogConfig::default() };
        let opened = OpenedLog { id: ID, topic: TopicName::new("t"), log: LogId(1), config, state };
        Self {
            partition: Partition::open(me, opened),
            budget: TailBudget::default(),
            effects: Effects::new(),
            jobs: VecDeque::new(),
            log: Vec::new(),
            acks: Vec::new(),
            requests: 0,
            now: Now { mono: Instant::ZERO, wall: Timestamp(1_000) },
        }
    }

    fn led(me: NodeId, min_in_sync: u32, isr: &[NodeId]) -> Self {
        let mut replica = Self::new(me, min_in_sync);
        replica.apply(&image(me, 0, 0, isr));
        replica
    }

    fn apply(&mut self, image: &cluster::Partition) {
        let (_, completed) = self.partition.apply_image(self.now, image, &mut self.budget, &mut self.effects);
        self.note(completed);
        self.disk();
    }

    fn note(&mut self, completed: Completed) {
        self.acks.extend(completed.acks.into_iter().map(|(ack, error)| (ack.request.0, error)));
    }

    /// Produces without the disk having answered yet.
    fn admit(&mut self, value: &str, acks: Acks) -> Result<u64, ErrorCode> {
        self.requests += 1;
        let waiter = Ack { request: RequestId(self.requests), index: 0 };
        let (now, batch) = (self.now, batch(value));
        let admitted = self.partition.admit(now, batch, acks, waiter, &mut self.budget, &mut self.effects);
        admitted.map(|_| self.requests).map_err(|refusal| refusal.error)
    }

    fn produce(&mut self, value: &str) -> u64 {
        let request = self.admit(value, Acks::All).expect("it is admitted");
        self.disk();
        request
    }

    fn fill(&mut self, batches: usize) {
        for _ in 0..batches {
            self.produce("a");
        }
    }

    /// The disk does what was ordered.
    fn disk(&mut self) {
        self.collect();
        while let Some((job, order)) = self.jobs.pop_front() {
            self.answer(job, order, None);
        }
    }

    fn collect(&mut self) {
        while let Some(effect) = self.effects.pop() {
            if let Effect::Run { job, order, .. } = effect {
                self.jobs.push_back((job, order));
            }
        }
    }

    fn answer(&mut self, job: JobId, order: Job, error: Option<LogError>) {
        match order {
            Job::Append { batches, .. } => {
                let outcome = match error {
                    Some(error) => Err(error),
                    None => {
                        self.log.extend(batches);
                        Ok(JobOutcome::Appended { end: self.end(), size: 1 })
                    }
                };
                let completed = self.partition.append_ended(job, outcome, &mut self.budget);
                self.note(completed);
            }
            Job::Truncate { to } => {
                self.log.retain(|batch| batch.header().next_offset() <= to);
                let (end, producers) = (self.end(), ProducerTable::new());
                let outcome = JobOutcome::Truncated { log_start: Offset::ZERO, end, size: 1, producers };
                self.partition.cut_ended(outcome, &mut self.budget);
            }
            _ => {}
        }
    }

    fn end(&self) -> Offset {
        self.log.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }

    fn watermark(&self) -> i64 {
        self.partition.high_watermark().0
    }

    fn says(&mut self, node: NodeId, acknowledged: i64) {
        let broker_epoch = BrokerEpoch(i64::from(node.0));
        let (acknowledged, log_start) = (Offset(acknowledged), Offset::ZERO);
        let said = FollowerSays { node, broker_epoch, acknowledged, log_start };
        let completed = self.partition.follower_has(self.now.mono, said);
        self.note(completed);
    }

    fn wishes(&mut self, lag_max: Option<Duration>) -> Option<Vec<NodeId>> {
        self.partition.wish_isr(self.now.mono, lag_max, LAG_MAX, |_| true).then_some(())?;
        let wish = self.partition.wished_isr(BrokerEpoch(1)).expect("something is wished for");
        Some(wish.isr.into_iter().map(|(node, _)| node).collect())
    }

    fn altered(&mut self, error: ErrorCode, isr: &[NodeId], partition_epoch: i32) {
        let altered = AlteredPartition {
            id: ID,
            error,
            leader: Some(N1),
            leader_epoch: self.partition.leader_epoch(),
            isr: isr.to_vec(),
            partition_epoch: PartitionEpoch(partition_epoch),
        };
        let asked = self.partition.leader_epoch();
        let (_, completed) = self.partition.isr_altered(self.now.mono, asked, &altered);
        self.note(completed);
    }

    /// Pulls from the leader until there is nothing more, cutting where it says so. How often it cut.
    fn pull(&mut self, leader: &mut Self) -> usize {
        let mut cuts = 0;
        while let Some(ask) = self.partition.ask(true, 0) {
            assert!(ask.offset != Offset::NONE, "the leader owes nothing");
            match leader.partition.position(ask.leader_epoch, ask.offset, ask.last_epoch) {
                Position::Diverging(epoch, end) => {
                    let unclean = Some(self.partition.leader_epoch());
                    let divergence =
                        self.partition.diverged((epoch, end), leader.partition.log_start(), unclean, &mut self.effects);
                    assert!(matches!(divergence, Divergence::Cut(_)), "it can be cut");
                    cuts += 1;
                }
                Position::Failed(error) => panic!("{error}"),
                Position::Shared => {
                    let me = self.partition.me;
                    leader.says(me, ask.acknowledged.0);
                    let ReadPlan::Read { records: Records::Batches(batches), .. } =
                        leader.partition.read_for_follower(ask.offset, 1 << 20)
                    else {
                        break;
                    };
                    self.partition.answered(0);
                    let (budget, effects) = (&mut self.budget, &mut self.effects);
                    self.partition.replicate(self.now, batches.into_iter(), budget, effects).expect("it fits");
                }
            }
            self.disk();
        }
        self.partition.session_lost();
        cuts
    }

    fn epochs_of_records(&self) -> Vec<i32> {
        self.log.iter().map(|batch| batch.header().leader_epoch.0).collect()
    }
}

#[test]
fn what_every_replica_in_sync_has_is_committed_and_nothing_else() {
    let mut leader = Replica::led(N1, 1, &[N1, N2, N3]);
    let request = leader.produce("a");
    assert_eq!(leader.watermark(), 0, "nothing is known of the followers");
    leader.says(N2, 1);
    assert_eq!((leader.watermark(), leader.acks.len()), (0, 0));
    leader.says(N3, 1);
    assert_eq!((leader.watermark(), leader.acks.as_slice()), (1, &[(request, ErrorCode::None)][..]));
}

#[test]
fn followers_may_have_a_batch_before_the_leaders_disk_but_it_is_committed_on_all_of_them() {
    let mut leader = Replica::led(N1, 1, &[N1, N2, N3]);
    leader.admit("a", Acks::All).expect("it is admitted");
    let plan = leader.partition.read_for_follower(Offset::ZERO, 1 << 20);
    assert!(matches!(plan, ReadPlan::Read { records: Records::Batches(b), .. } if b.len() == 1));
    leader.says(N2, 1);
    leader.says(N3, 1);
    assert_eq!(leader.watermark(), 0, "the leader's own disk is missing");
    leader.disk();
    assert_eq!(leader.watermark(), 1);
}

#[test]
fn acks_of_one_do_not_wait_for_followers() {
    let mut leader = Replica::led(N1, 1, &[N1, N2, N3]);
    let request = leader.admit("a", Acks::Leader).expect("it is admitted");
    leader.disk();
    assert_eq!(leader.acks, [(request, ErrorCode::None)]);
    assert_eq!(leader.watermark(), 0);
}

#[test]
fn below_the_minimum_nothing_is_admitted_nor_committed() {
    let mut leader = Replica::led(N1, 2, &[N1, N2]);
    let request = leader.produce("a");
    leader.apply(&image(N1, 0, 1, &[N1]));
    assert_eq!(leader.acks, [(request, ErrorCode::NotEnoughReplicasAfterAppend)]);
    assert_eq!(leader.watermark(), 0, "the leader alone is not enough");
    assert_eq!(leader.admit("b", Acks::All), Err(ErrorCode::NotEnoughReplicas));
    let alone = leader.admit("b", Acks::Leader).expect("it asks for less");
    leader.disk();
    assert_eq!(leader.acks.last(), Some(&(alone, ErrorCode::None)));
    leader.says(N2, 2);
    leader.apply(&image(N1, 0, 2, &[N1, N2]));
    assert_eq!(leader.watermark(), 2);
}

#[test]
fn a_replica_that_lags_counts_until_the_controller_has_let_it_go() {
    let mut leader = Replica::led(N1, 1, &[N1, N2, N3]);
    let lag = Duration::from_secs(30);
    let request = leader.produce("a");
    leader.says(N2, 1);
    assert_eq!(leader.wishes(Some(lag)), None, "it has had no time yet");
    leader.now.mono = Instant::ZERO.after(Duration::from_secs(31));
    assert_eq!(leader.wishes(Some(lag)), Some(alloc::vec![N1, N2]));
    assert_eq!(leader.wishes(Some(lag)), None, "one wish at a time");
    assert_eq!(leader.watermark(), 0, "it may still be elected");
    leader.altered(ErrorCode::None, &[N1, N2], 1);
    assert_eq!((leader.watermark(), leader.acks.as_slice()), (1, &[(request, ErrorCode::None)][..]));
    leader.apply(&image(N1, 0, 0, &[N1, N2, N3]));
    assert_eq!(leader.partition.isr(), Some(&[N1, N2][..]), "older metadata is ignored");
}

/// What is committed stands still while too few are in sync, so that a replica whose log has failed has it all for ever.
#[test]
fn a_replica_that_was_let_go_for_its_lag_joins_only_once_it_has_caught_up() {
    let mut leader = Replica::led(N1, 3, &[N1, N2, N3]);
    leader.says(N3, 0);
    leader.produce("a");
    leader.says(N2, 1);
    leader.now.mono = Instant::ZERO.after(LAG_MAX).after(Duration::from_secs(1));
    assert_eq!(leader.wishes(Some(LAG_MAX)), Some(alloc::vec![N1, N2]));
    leader.altered(ErrorCode::None, &[N1, N2], 1);
    assert_eq!(leader.watermark(), 0);
    assert_eq!(leader.wishes(None), None, "it would have to leave at once");
    leader.says(N3, 1);
    assert_eq!(leader.wishes(None), Some(alloc::vec![N1, N2, N3]));
}

#[test]
fn a_replica_that_may_have_joined_counts_at_once() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    leader.produce("a");
    leader.says(N2, 1);
    leader.says(N3, 1);
    assert_eq!(leader.wishes(None), Some(alloc::vec![N1, N2, N3]));
    leader.produce("b");
    leader.says(N2, 2);
    assert_eq!(leader.watermark(), 1, "the third may be in already");
    leader.altered(ErrorCode::IneligibleReplica, &[], 0);
    assert_eq!(leader.watermark(), 2, "it is not");
    leader.says(N3, 1);
    assert_eq!(leader.wishes(None), None, "it is behind");
}

#[test]
fn a_refused_wish_stands_until_newer_metadata_comes() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    leader.produce("a");
    leader.says(N2, 1);
    leader.says(N3, 1);
    assert!(leader.wishes(None).is_some());
    leader.altered(ErrorCode::InvalidUpdateVersion, &[], 3);
    leader.produce("b");
    leader.says(N2, 2);
    assert_eq!(leader.watermark(), 1);
    assert!(leader.partition.wished_isr(BrokerEpoch(1)).is_none(), "asked again it would be refused again");
    leader.apply(&image(N1, 0, 3, &[N1, N2]));
    assert_eq!(leader.watermark(), 2);
}

#[test]
fn a_refusal_that_comes_after_its_explanation_is_no_refusal_of_the_next_wish() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    leader.produce("a");
    leader.says(N2, 1);
    leader.says(N3, 1);
    assert!(leader.wishes(None).is_some());
    leader.apply(&image(N1, 0, 3, &[N1, N2]));
    assert!(leader.wishes(None).is_some(), "the same wish, of newer metadata");
    leader.altered(ErrorCode::InvalidUpdateVersion, &[N1, N2], 3);
    assert!(leader.partition.wished_isr(BrokerEpoch(1)).is_some(), "it was not asked yet");
}

#[test]
fn an_idle_partitions_followers_do_not_lag_and_one_step_behind_is_not_behind() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    let lag = Some(Duration::from_secs(30));
    leader.produce("a");
    leader.says(N2, 1);
    leader.now.mono = leader.now.mono.after(Duration::from_secs(3_600));
    assert_eq!(leader.wishes(lag), None);
    leader.produce("b");
    assert_eq!(leader.wishes(lag), None, "until now it had everything");
    for end in 2..20 {
        leader.now.mono = leader.now.mono.after(Duration::from_secs(20));
        leader.says(N2, end - 1);
        leader.produce("c");
        assert_eq!(leader.wishes(lag), None, "it has what there was when it last asked");
    }
    leader.now.mono = leader.now.mono.after(Duration::from_secs(41));
    assert_eq!(leader.wishes(lag), Some(alloc::vec![N1]));
}

#[test]
fn a_new_leader_promises_nothing_until_its_epoch_is_committed() {
    let mut first = Replica::led(N1, 1, &[N1, N2]);
    let mut second = Replica::new(N2, 1);
    second.apply(&image(N1, 0, 0, &[N1, N2]));
    first.produce("a");
    second.pull(&mut first);
    assert_eq!((first.watermark(), second.watermark()), (1, 0));
    second.apply(&image(N2, 1, 1, &[N1, N2]));
    assert_eq!((second.watermark(), second.partition.settled_watermark()), (0, None));
    assert_eq!(second.partition.epochs(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(1), Offset(1))]);
    // A replica with everything up to the high watermark is not one with everything.
    second.says(N3, 0);
    assert_eq!(second.wishes(None), None);
    second.says(N1, 1);
    assert_eq!(second.partition.settled_watermark(), Some(Offset(1)));
    second.says(N3, 1);
    assert_eq!(second.wishes(None), Some(alloc::vec![N1, N2, N3]));
}

#[test]
fn a_leader_no_more_sends_everybody_on() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    let request = leader.produce("a");
    leader.partition.park_reader(RequestId(99));
    let next = image(N2, 1, 1, &[N1, N2]);
    let (_, completed) = leader.partition.apply_image(leader.now, &next, &mut leader.budget, &mut leader.effects);
    assert_eq!(completed.abandoned, [RequestId(99)]);
    leader.note(completed);
    assert_eq!(leader.acks, [(request, ErrorCode::NotLeaderOrFollower)]);
    assert_eq!(leader.admit("b", Acks::All), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(leader.partition.check_leader(LeaderEpoch(0)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(leader.partition.check_leader(LeaderEpoch(1)), ErrorCode::NotLeaderOrFollower);
    assert_eq!(leader.partition.check_leader(LeaderEpoch(2)), ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn a_follower_cuts_what_its_leader_never_had_over_a_chain_of_short_lived_leaders() {
    // KIP-279: each leads in turn, and nobody has heard of what the one before wrote.
    let mut replicas = [Replica::new(N1, 1), Replica::new(N2, 1), Replica::new(N3, 1)];
    for (epoch, who) in [(0, 0), (1, 1), (2, 0), (3, 1), (4, 2)] {
        let node = replicas[who].partition.me;
        for value in 0..=epoch {
            replicas[who].apply(&image(node, epoch, epoch, &[node]));
            replicas[who].produce(if value % 2 == 0 { "x" } else { "y" });
        }
    }
    let [mut one, mut two, mut three] = replicas;
    assert_eq!(one.epochs_of_records(), [0, 2, 2, 2]);
    assert_eq!(two.epochs_of_records(), [1, 1, 3, 3, 3, 3]);
    let last = image(N3, 5, 5, &[N3]);
    [&mut one, &mut two, &mut three].into_iter().for_each(|replica| replica.apply(&last));
    three.produce("z");
    assert!(one.pull(&mut three) >= 1);
    assert!(two.pull(&mut three) >= 1);
    assert_eq!(three.epochs_of_records(), [4, 4, 4, 4, 4, 5]);
    assert!(one.log == three.log && two.log == three.log);
    assert_eq!(one.partition.epochs(), three.partition.epochs());
}

#[test]
fn a_follower_keeps_what_it_shares_with_its_leader_however_old_its_watermark_is() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 0, 0, &[N1, N2]));
    leader.fill(5);
    follower.pull(&mut leader);
    assert_eq!((follower.watermark(), follower.end()), (0, Offset(5)));
    leader.apply(&image(N1, 1, 1, &[N1, N2]));
    follower.apply(&image(N1, 1, 1, &[N1, N2]));
    assert_eq!(follower.pull(&mut leader), 0, "nothing is cut");
    assert_eq!(follower.end(), Offset(5));
    drop(follower.partition.leader_committed(Offset(9)));
    assert_eq!(follower.watermark(), 5, "it is clamped to the log");
}

#[test]
fn below_its_watermark_a_follower_cuts_only_what_may_be_lost() {
    let mut leader = Replica::led(N1, 1, &[N1]);
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 0, 0, &[N1]));
    leader.fill(3);
    follower.pull(&mut leader);
    drop(follower.partition.leader_committed(Offset(3)));
    let (epoch, end) = (LeaderEpoch(0), Offset(1));
    follower.apply(&image(N1, 2, 1, &[N1]));
    let diverged = |follower: &mut Replica, unclean: Option<i32>| {
        follower.partition.diverged((epoch, end), Offset(0), unclean.map(LeaderEpoch), &mut follower.effects)
    };
    // No election at all, one before these records were written, and one that is still to come.
    for (unclean, is_news) in [(None, true), (Some(0), false), (Some(3), false)] {
        let refused = Divergence::Refused { at: Offset(1), is_news };
        assert_eq!(diverged(&mut follower, unclean), refused, "{unclean:?}");
    }
    assert!(matches!(diverged(&mut follower, Some(1)), Divergence::Cut(_)));
    assert_eq!(diverged(&mut follower, Some(1)), Divergence::Busy);
    assert_eq!(follower.partition.ask(true, 0), None, "nothing is asked while the log is cut");
    follower.disk();
    assert_eq!((follower.watermark(), follower.end()), (1, Offset(1)));
}

#[test]
fn a_follower_takes_nothing_of_a_later_epoch_or_behind_a_gap_in_front() {
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 3, 0, &[N1]));
    let stamped = |base: i64, epoch: i32| {
        let mut batch = batch("a");
        batch.stamp(Offset(base), LeaderEpoch(epoch));
        core::iter::once(batch)
    };
    let Replica { partition, budget, effects, now, .. } = &mut follower;
    assert_eq!(partition.replicate(*now, stamped(0, 4), budget, effects), Err(Unfit::Epoch));
    assert!(partition.replicate(*now, stamped(0, 2), budget, effects).is_ok());
    assert_eq!(partition.replicate(*now, stamped(0, 2), budget, effects), Ok(0), "it is there already");
    assert!(partition.replicate(*now, stamped(5, 3), budget, effects).is_ok(), "a compacted log has gaps");
    assert_eq!(partition.log_end(), Offset(6));
}

#[test]
fn a_late_answer_to_an_earlier_request_is_not_the_one_that_is_owed() {
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 3, 0, &[N1]));
    let stamped = |base: i64| {
        let mut batch = batch("a");
        batch.stamp(Offset(base), LeaderEpoch(3));
        core::iter::once(batch)
    };
    assert_eq!(follower.partition.ask(true, 7).map(|ask| ask.offset), Some(Offset(0)));
    assert!(follower.partition.answered(7));
    let Replica { partition, budget, effects, now, .. } = &mut follower;
    partition.replicate(*now, stamped(0), budget, effects).expect("it fits");
    assert_eq!(partition.ask(true, 8).map(|ask| ask.offset), Some(Offset(1)));
    follower.collect();
    let (job, order) = follower.jobs.pop_back().expect("an append was ordered");
    follower.answer(job, order, Some(LogError::DiskFull));
    assert!(!follower.partition.answered(7), "that was answered before");
    let again = follower.partition.ask(true, 9).map(|ask| ask.offset);
    assert_eq!(again, Some(Offset(0)), "what was asked for does not follow it any more");
    assert!(!follower.partition.answered(8), "nor does the answer");
    assert!(follower.partition.answered(9));
    let Replica { partition, budget, effects, now, .. } = &mut follower;
    partition.replicate(*now, stamped(0), budget, effects).expect("it fits once more");
    assert_eq!(partition.ask(true, 10).map(|ask| ask.offset), Some(Offset(1)));
}

/// The leader's log begins inside a batch.
#[test]
fn only_an_empty_log_takes_a_batch_that_begins_before_it() {
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 3, 0, &[N1]));
    let of_three = || {
        let mut builder = BatchBuilder::new();
        for delta in 0..3 {
            builder.append(delta, Timestamp(1_000), None, Some(b"a".as_slice()), []);
        }
        let mut batch = builder.build(&BatchOptions::default());
        batch.stamp(Offset(3), LeaderEpoch(3));
        core::iter::once(batch)
    };
    follower.partition.skip_to(Offset(4), &mut follower.effects).expect("its log ends before");
    let trimmed = JobOutcome::Trimmed { log_start: Offset(4), end: Offset(4), size: 0 };
    follower.partition.cut_ended(trimmed, &mut follower.budget);
    let Replica { partition, budget, effects, now, .. } = &mut follower;
    partition.replicate(*now, of_three(), budget, effects).expect("it begins anew inside it");
    assert_eq!((partition.log_start(), partition.log_end()), (Offset(4), Offset(6)));
    assert_eq!(partition.epochs(), [(LeaderEpoch(3), Offset(4))]);
    let mut other = Replica::new(N2, 1);
    other.apply(&image(N1, 3, 0, &[N1]));
    let Replica { partition, budget, effects, now, .. } = &mut other;
    let mut first = batch("a");
    first.stamp(Offset(3), LeaderEpoch(3));
    partition.replicate(*now, core::iter::once(first), budget, effects).expect("it fits");
    assert_eq!(partition.replicate(*now, of_three(), budget, effects), Err(Unfit::OutOfOrder));
}

#[test]
fn what_followers_may_have_is_appended_again_after_a_failure() {
    let mut leader = Replica::led(N1, 1, &[N1, N2]);
    let failed = leader.admit("a", Acks::All).expect("it is admitted");
    leader.collect();
    leader.jobs.retain(|(_, order)| matches!(order, Job::Append { .. }));
    let (job, order) = leader.jobs.pop_front().expect("an append was ordered");
    leader.answer(job, order, Some(LogError::DiskFull));
    assert_eq!(
        leader.acks,
        [],
        "whether it is in the log is not known yet: an error would make its producer send it anew"
    );
    assert_eq!(leader.partition.log_end(), Offset(1), "the offset is not given out twice");
    assert_eq!(leader.admit("b", Acks::All), Err(ErrorCode::KafkaStorageError));
    leader.partition.retry(leader.now, &mut leader.effects);
    leader.disk();
    leader.says(N2, 1);
    assert_eq!(leader.watermark(), 1);
    assert_eq!(leader.acks, [(failed, ErrorCode::None)]);
    leader.produce("b");
    assert_eq!(leader.end(), Offset(2));
}

#[test]
fn what_stands_before_the_leaders_log_start_is_kept_only_where_it_is_known_to_be_committed() {
    for (watermark, left) in [(2, 0), (3, 3)] {
        let (mut leader, mut follower) = (Replica::new(N1, 1), Replica::new(N2, 1));
        leader.apply(&image(N1, 0, 0, &[N1]));
        follower.apply(&image(N1, 0, 0, &[N1]));
        leader.fill(5);
        follower.pull(&mut leader);
        drop(follower.partition.leader_committed(Offset(watermark)));
        follower.apply(&image(N3, 1, 1, &[N3]));
        // The next leader wrote something else from 2 on, and has deleted it up to 3.
        let divergence =
            follower.partition.diverged((LeaderEpoch(0), Offset(3)), Offset(3), None, &mut follower.effects);
        assert!(matches!(divergence, Divergence::Cut(_)));
        follower.disk();
        assert_eq!(follower.end(), Offset(left), "committed up to {watermark}");
    }
}

#[test]
fn a_cut_that_has_failed_is_made_whoever_leads_by_then() {
    let (mut leader, mut follower) = (Replica::new(N1, 1), Replica::new(N2, 1));
    leader.apply(&image(N1, 0, 0, &[N1]));
    follower.apply(&image(N1, 0, 0, &[N1]));
    leader.fill(3);
    follower.pull(&mut leader);
    let divergence = follower.partition.diverged((LeaderEpoch(0), Offset(1)), Offset(0), None, &mut follower.effects);
    assert!(matches!(divergence, Divergence::Cut(_)));
    assert_eq!(follower.partition.cut_again(&mut follower.effects), None, "it is under way");
    while follower.effects.pop().is_some() {}
    follower.partition.cut_failed(false);
    follower.apply(&image(N3, 1, 1, &[N3]));
    assert_eq!(follower.partition.ask(true, 0), None, "part of what it would speak of may be gone");
    assert!(follower.partition.cut_again(&mut follower.effects).is_some());
    follower.disk();
    assert_eq!(follower.end(), Offset(1));
    assert!(follower.partition.ask(true, 0).is_some());
    assert_eq!(follower.partition.cut_again(&mut follower.effects), None, "it is done");
}

#[test]
fn a_log_that_is_being_cut_leads_only_afterwards() {
    let mut leader = Replica::led(N1, 1, &[N1]);
    let mut follower = Replica::new(N2, 1);
    follower.apply(&image(N1, 0, 0, &[N1]));
    leader.fill(3);
    follower.pull(&mut leader);
    let divergence = follower.partition.diverged((LeaderEpoch(0), Offset(1)), Offset(0), None, &mut follower.effects);
    assert!(matches!(divergence, Divergence::Cut(_)));
    let next = image(N2, 1, 1, &[N2]);
    drop(follower.partition.apply_image(follower.now, &next, &mut follower.budget, &mut follower.effects));
    assert!(!follower.partition.is_leader() && follower.partition.is_deferred());
    follower.disk();
    follower.apply(&next);
    assert!(follower.partition.is_leader());
    assert_eq!(follower.partition.epochs(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(1), Offset(1))]);
}
