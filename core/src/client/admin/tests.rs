use super::*;
use crate::{
    client::metadata::tests::{answer, name, topic},
    message::{
        CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, IsolationLevel, ListOffsetsPartition, OffsetSpec,
    },
};
use alloc::vec;

struct World {
    admin: Admin,
    now: Instant,
    calls: VecDeque<crate::client::Call>,
    events: Vec<AdminEvent>,
}

impl World {
    fn new() -> Self {
        let admin = Admin::new(AdminConfig::default(), 1);
        Self { admin, now: Instant::ZERO, calls: VecDeque::new(), events: Vec::new() }
    }

    fn start(&mut self, request: Request) -> OperationId {
        let id = self.admin.start(self.now, request, None);
        self.poll();
        id
    }

    fn poll(&mut self) {
        while let Some(order) = self.admin.poll_order() {
            match order {
                Order::Call(call) => self.calls.push_back(call),
                Order::Abandon(_) => {}
                Order::Event(event) => self.events.push(event),
            }
        }
    }

    fn call(&mut self) -> crate::client::Call {
        self.calls.pop_front().expect("a call was ordered")
    }

    fn reply(&mut self, call: CallId, reply: Reply) {
        self.admin.on_reply(self.now, call, reply);
        self.poll();
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.admin.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.admin.on_time(self.now);
            self.poll();
        }
        self.now = until;
    }
}

fn create() -> Request {
    Request::CreateTopics(CreateTopicsRequest {
        topics: Vec::new(),
        validate_only: false,
        timeout: Duration::from_secs(30),
    })
}

fn created(error: ErrorCode) -> Reply {
    Reply::Answered(Response::CreateTopics(CreateTopicsResponse {
        topics: vec![CreatedTopic {
            name: name("t"),
            error,
            message: None,
            id: crate::ids::TopicId::ZERO,
            partitions: 1,
            replication_factor: 1,
            configs: Vec::new(),
        }],
    }))
}

fn latest(partitions: &[i32]) -> Request {
    let partitions = partitions.iter().map(|&p| ListOffsetsPartition {
        topic: TopicRef::Name(name("t")),
        partition: PartitionId(p),
        current_leader_epoch: LeaderEpoch::NONE,
        spec: OffsetSpec::Latest,
    });
    Request::ListOffsets(ListOffsetsRequest {
        isolation: IsolationLevel::ReadUncommitted,
        partitions: partitions.collect(),
    })
}

/// Answers each partition asked for with an offset of a hundred times its number.
fn listed(request: &Request, error: ErrorCode) -> Reply {
    let Request::ListOffsets(request) = request else { panic!("asked for offsets") };
    let partitions = request.partitions.iter().map(|p| ListedOffset {
        topic: p.topic.clone(),
        partition: p.partition,
        error,
        offset: Offset(i64::from(p.partition.0) * 100),
        timestamp: Timestamp::NONE,
        leader_epoch: LeaderEpoch::NONE,
    });
    Reply::Answered(Response::ListOffsets(ListOffsetsResponse { partitions: partitions.collect() }))
}

fn offsets(event: &AdminEvent) -> Vec<(i32, i64, ErrorCode)> {
    let Ok(Response::ListOffsets(response)) = &event.outcome else { panic!("offsets were asked for: {event:?}") };
    response.partitions.iter().map(|p| (p.partition.0, p.offset.0, p.error)).collect()
}

#[test]
fn a_change_goes_to_any_node_and_to_the_controller_when_told() {
    let mut world = World::new();
    let id = world.start(create());
    let call = world.call();
    assert_eq!(call.to, Target::Any);
    world.reply(call.id, created(ErrorCode::NotController));
    let metadata = world.call();
    world.reply(metadata.id, Reply::Answered(Response::Metadata(answer(Vec::new()))));
    world.pass(Duration::from_millis(200));
    let call = world.call();
    world.reply(call.id, created(ErrorCode::None));
    assert_eq!(world.events[0].operation, id);
    assert!(world.events[0].outcome.is_ok() && !world.events[0].repeated);
    assert!(world.admin.is_idle());
}

#[test]
fn a_change_repeated_after_a_lost_answer_says_so() {
    let mut world = World::new();
    world.start(create());
    let call = world.call();
    world.reply(call.id, Reply::Lost);
    world.pass(Duration::from_millis(200));
    let call = world.call();
    world.reply(call.id, created(ErrorCode::TopicAlreadyExists));
    assert!(world.events[0].outcome.is_ok() && world.events[0].repeated);
}

#[test]
fn an_operation_that_nobody_answers_ends_at_its_deadline() {
    let mut world = World::new();
    world.start(create());
    world.pass(Duration::from_secs(61));
    assert_eq!(world.events[0].outcome, Err(AdminError::TimedOut { may_have_applied: true }));
    let mut world = World::new();
    world.start(Request::DescribeCluster);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.events[0].outcome, Err(AdminError::TimedOut { may_have_applied: false }));
}

#[test]
fn offsets_are_asked_of_each_leader_and_put_together_in_order() {
    let mut world = World::new();
    world.start(latest(&[2, 0, 1]));
    let call = world.call();
    let known = answer(vec![topic("t", 1, &[(1, 0), (2, 0), (1, 0)])]);
    world.reply(call.id, Reply::Answered(Response::Metadata(known)));
    let (one, two) = (world.call(), world.call());
    assert_eq!((one.to, two.to), (Target::Node(NodeId(1)), Target::Node(NodeId(2))));
    world.reply(two.id, listed(&two.request, ErrorCode::None));
    assert!(world.events.is_empty());
    world.reply(one.id, listed(&one.request, ErrorCode::None));
    let none = ErrorCode::None;
    assert_eq!(offsets(&world.events[0]), [(2, 200, none), (0, 0, none), (1, 100, none)]);
}

#[test]
fn a_leader_that_moved_is_found_and_only_its_partitions_are_asked_again() {
    let mut world = World::new();
    world.start(latest(&[0, 1]));
    let call = world.call();
    let known = answer(vec![topic("t", 1, &[(1, 0), (2, 0)])]);
    world.reply(call.id, Reply::Answered(Response::Metadata(known)));
    let (one, two) = (world.call(), world.call());
    world.reply(one.id, listed(&one.request, ErrorCode::NotLeaderOrFollower));
    world.reply(two.id, listed(&two.request, ErrorCode::None));
    let metadata = world.call();
    let moved = answer(vec![topic("t", 1, &[(3, 1), (2, 0)])]);
    world.reply(metadata.id, Reply::Answered(Response::Metadata(moved)));
    world.pass(Duration::from_millis(200));
    let again = world.calls.iter().position(|c| matches!(c.request, Request::ListOffsets(_))).expect("asked again");
    let again = world.calls.remove(again).expect("found there");
    assert_eq!(again.to, Target::Node(NodeId(3)));
    world.reply(again.id, listed(&again.request, ErrorCode::None));
    assert_eq!(offsets(&world.events[0]), [(0, 0, ErrorCode::None), (1, 100, ErrorCode::None)]);
}

#[test]
fn a_partition_that_is_not_there_is_told_after_a_few_tries() {
    let mut world = World::new();
    world.start(latest(&[0, 7]));
    for _ in 0..40 {
        while let Some(call) = world.calls.pop_front() {
            let reply = match &call.request {
                Request::Metadata(_) => Reply::Answered(Response::Metadata(answer(vec![topic("t", 1, &[(1, 0)])]))),
                request => listed(request, ErrorCode::None),
            };
            world.reply(call.id, reply);
        }
        world.pass(Duration::from_millis(250));
    }
    assert_eq!(offsets(&world.events[0]), [(0, 0, ErrorCode::None), (7, -1, ErrorCode::UnknownTopicOrPartition)]);
}

#[test]
fn an_answer_of_another_kind_ends_the_operation() {
    let mut world = World::new();
    world.start(Request::DescribeCluster);
    let call = world.call();
    world.reply(call.id, created(ErrorCode::None));
    assert_eq!(world.events[0].outcome, Err(AdminError::WrongAnswer));
}
