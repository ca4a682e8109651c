//! Decisions about brokers: registration, fencing, controlled shutdown (KIP-631, KIP-841, KIP-966).
//!
//! A broker's coming or going changes every partition that it leads or is in sync for. One decision changes a bounded
//! number of them; a decision without an answer is to be committed and taken again, and goes on where it ended. At
//! every point in between the cluster is in order: **a broker is out of service before its partitions change**, and
//! **a registration is recorded only after all that it costs the broker's replicas**, so that a new controller that finds
//! half of the work done has all it needs to do the rest.

use alloc::{collections::BTreeSet, format, vec::Vec};

use super::{
    configs,
    controller::{Controller, Decision},
    election::{self, Loss, Rules, Wish},
    image::{Broker, Image, Partition},
    record::{MetadataRecord, Registration},
};
use crate::{
    ids::{BrokerEpoch, DirectoryId, NodeId, TopicId, TopicPartition},
    limits,
    message::{
        ConfigResource, ErrorCode, RegisterRequest, RegisterResponse, UnregisterBrokerRequest, UnregisterBrokerResponse,
    },
};

/// A decision that may take several rounds: without a response it is to be taken again once its records are committed.
pub type Round<R> = Decision<Option<R>>;

/// What a registration is judged by besides the image.
#[derive(Clone, Copy, Debug)]
pub struct Registrar {
    /// Where the next batch of the metadata log begins.
    pub next: BrokerEpoch,
    /// The controller's own broker registers. It has applied all there is, so it need not be fenced until it has.
    pub own: bool,
    /// The registration that there is may be that of a process that runs.
    pub in_session: bool,
}

/// Which brokers are active, with what is being decided about one of them.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    image: &'a Image,
    decided: Option<(NodeId, bool)>,
}

impl<'a> Live<'a> {
    pub(super) fn now(image: &'a Image) -> Self {
        Self { image, decided: None }
    }

    fn with(image: &'a Image, node: NodeId, active: bool) -> Self {
        Self { image, decided: Some((node, active)) }
    }

    pub(super) fn is(&self, node: NodeId) -> bool {
        match self.decided {
            Some((decided, active)) if decided == node => active,
            _ => self.image.broker(node).is_some_and(Broker::is_active),
        }
    }
}

/// Looks up topics' rules; partitions of one topic come one after the other.
pub(super) struct RulesOf<'a> {
    controller: &'a Controller,
    image: &'a Image,
    last: Option<(TopicId, Rules)>,
}

impl<'a> RulesOf<'a> {
    pub(super) fn new(controller: &'a Controller, image: &'a Image) -> Self {
        Self { controller, image, last: None }
    }

    pub(super) fn topic(&mut self, id: TopicId) -> Rules {
        if let Some((last, rules)) = self.last
            && last == id
        {
            return rules;
        }
        let name = self.image.topic(id).map(|topic| ConfigResource::Topic(topic.name.clone()));
        let overrides = name.and_then(|name| self.image.overrides(&name));
        let rules = Rules::from(&configs::log_config(&self.controller.log_defaults, overrides));
        self.last = Some((id, rules));
        rules
    }
}

impl Controller {
    /// A broker registers. The same process gets the registration that it has; another one on the same disk proves
    /// that the one before is gone, since a data directory is locked; one on another disk has to wait until the session
    /// of the one before is over.
    pub fn register(&self, image: &Image, request: &RegisterRequest, registrar: Registrar) -> Round<RegisterResponse> {
        let answer = |error, epoch| Some(RegisterResponse { error, epoch });
        let old = image.broker(request.node);
        if let Some(old) = old.filter(|old| old.incarnation == request.incarnation && request.incarnation != 0) {
            return Decision { records: Vec::new(), response: answer(ErrorCode::None, old.epoch) };
        }
        // Nobody's directory is all zero: it was not recorded, or not told.
        let unknown = DirectoryId([0; 16]);
        let same_disk = old.is_some_and(|o| o.directory == request.directory || o.directory == unknown);
        if old.is_some_and(|old| !old.fenced) && !same_disk && registrar.in_session {
            let response = answer(ErrorCode::DuplicateBrokerRegistration, BrokerEpoch::NONE);
            return Decision { records: Vec::new(), response };
        }
        let clean = old.is_some_and(|old| old.epoch == request.previous_epoch);
        let loss = match (same_disk, clean) {
            (false, _) => Some(Loss::Everything),
            (true, false) => Some(Loss::Unsynced),
            (true, true) => None,
        };
        let (mut records, more) = self.take_out(image, request.node, loss, registrar.own);
        if more {
            records.splice(0..0, old.filter(|old| !old.fenced).map(|old| fenced(request.node, old, true)));
            return Decision { records, response: None };
        }
        let registration = Registration {
            node: request.node,
            epoch: registrar.next,
            incarnation: request.incarnation,
            directory: request.directory,
            rack: request.rack.clone(),
            endpoints: request.endpoints.clone(),
            fenced: !registrar.own,
        };
        // It begins the batch, whose offset is its epoch.
        records.insert(0, MetadataRecord::BrokerRegistered(registration));
        Decision { records, response: answer(ErrorCode::None, registrar.next) }
    }

    /// What a new registration of `node` means for its replicas: those of the old one lead nothing and are not in sync,
    /// and may have lost data. The controller's `own` broker goes on leading what nobody else can lead.
    fn take_out(&self, image: &Image, node: NodeId, loss: Option<Loss>, own: bool) -> (Vec<MetadataRecord>, bool) {
        let mut rules = RulesOf::new(self, image);
        let mut records = Vec::new();
        for id in self.index().of_broker(node) {
            if records.len() == limits::DECISION_PARTITIONS_MAX && !own {
                return (records, true);
            }
            let partition = image.partition(id).expect("what is indexed is there");
            let rules = rules.topic(id.topic);
            let lost = loss.map(|loss| (node, loss));
            let wish = Wish { lost, ..Wish::default() };
            let out = Live::with(image, node, false);
            let mut change = election::settle(id, partition, wish.clone(), &rules, |n| out.is(n));
            let nobody = change.as_ref().map_or(partition.leader, |change| change.leader).is_none();
            if own && nobody {
                let back = Live::with(image, node, true);
                let new_epoch = loss.is_some() && partition.leader == Some(node);
                change = election::settle(id, partition, Wish { new_epoch, ..wish }, &rules, |n| back.is(n));
            }
            records.extend(change.map(MetadataRecord::PartitionChanged));
        }
        (records, false)
    }

    /// A broker's session is over: it leads nothing and is in sync with nobody until it is heard of again.
    pub fn fence(&self, image: &Image, node: NodeId, epoch: BrokerEpoch) -> Round<()> {
        let Some(broker) = registered(image, node, epoch) else {
            return Decision { records: Vec::new(), response: Some(()) };
        };
        let record = (!broker.fenced).then(|| fenced(node, broker, true));
        self.settle_broker(image, node, false, record)
    }

    /// A broker has caught up with the metadata: it may lead and be in sync.
    pub fn unfence(&self, image: &Image, node: NodeId, epoch: BrokerEpoch) -> Round<()> {
        let Some(broker) = registered(image, node, epoch) else {
            return Decision { records: Vec::new(), response: Some(()) };
        };
        let record = (!broker.is_active()).then_some(MetadataRecord::BrokerChanged {
            node,
            epoch,
            fenced: false,
            in_controlled_shutdown: false,
        });
        self.settle_broker(image, node, true, record)
    }

    /// A broker wants to stop: others take over what it leads (KIP-841). The last one just stops.
    pub fn leave(&self, image: &Image, node: NodeId, epoch: BrokerEpoch) -> Round<()> {
        let broker = registered(image, node, epoch);
        let others = image.brokers().any(|(other, broker)| other != node && broker.is_active());
        let Some(broker) = broker.filter(|_| others) else {
            return Decision { records: Vec::new(), response: Some(()) };
        };
        let fenced = broker.fenced;
        let record = (!broker.in_controlled_shutdown).then_some(MetadataRecord::BrokerChanged {
            node,
            epoch,
            fenced,
            in_controlled_shutdown: true,
        });
        self.settle_broker(image, node, false, record)
    }

    /// A broker is not part of the cluster any more.
    pub fn unregister(&self, image: &Image, request: &UnregisterBrokerRequest) -> Round<UnregisterBrokerResponse> {
        let node = request.node;
        let Some(broker) = image.broker(node) else {
            let (error, message) = (ErrorCode::BrokerIdNotRegistered, Some(format!("there is no broker {node}")));
            return Decision { records: Vec::new(), response: Some(UnregisterBrokerResponse { error, message }) };
        };
        let Decision { mut records, response } = self.fence(image, node, broker.epoch);
        let response = response.map(|()| {
            records.push(MetadataRecord::BrokerUnregistered { node, epoch: broker.epoch });
            UnregisterBrokerResponse { error: ErrorCode::None, message: None }
        });
        Decision { records, response }
    }

    /// What a controller before may have left undone: partitions of brokers that are not active, and without a leader.
    pub fn tend(&self, image: &Image) -> Round<()> {
        let live = Live::now(image);
        let gone = self.index().brokers().filter(|node| !live.is(*node));
        let of_gone = gone.flat_map(|node| self.index().of_broker(node));
        self.settle_all(image, of_gone.chain(self.index().leaderless().iter().copied()), live, None)
    }

    fn settle_broker(&self, image: &Image, node: NodeId, active: bool, first: Option<MetadataRecord>) -> Round<()> {
        let live = Live::with(image, node, active);
        let concerns = |id: &TopicPartition, wanted: fn(&Partition, NodeId) -> bool| {
            image.partition(*id).is_some_and(|p| wanted(p, node))
        };
        let (led, followed) = if active {
            // Nobody joins an ISR by being there; but who has no leader may have one now.
            let mine = |id: &TopicPartition| concerns(id, |p, _| p.leader.is_none());
            (self.index().of_broker(node).filter(mine).collect::<Vec<_>>(), Vec::new())
        } else {
            // Those without a leader wait, so they come first.
            self.index().of_broker(node).partition(|id| concerns(id, |p, node| p.leader == Some(node)))
        };
        self.settle_all(image, led.into_iter().chain(followed), live, first)
    }

    /// Takes partitions to where the rules have them, as many as one decision may.
    fn settle_all(
        &self,
        image: &Image,
        ids: impl Iterator<Item = TopicPartition>,
        live: Live<'_>,
        first: Option<MetadataRecord>,
    ) -> Round<()> {
        let mut rules = RulesOf::new(self, image);
        let mut records: Vec<_> = first.into_iter().collect();
        let mut seen = BTreeSet::new();
        let mut changed = 0;
        for id in ids {
            let partition = image.partition(id).expect("what is indexed is there");
            let rules = rules.topic(id.topic);
            let Some(change) = election::settle(id, partition, Wish::default(), &rules, |n| live.is(n)) else {
                continue;
            };
            if !seen.insert(id) {
                continue;
            }
            if changed == limits::DECISION_PARTITIONS_MAX {
                return Decision { records, response: None };
            }
            changed += 1;
            records.push(MetadataRecord::PartitionChanged(change));
        }
        Decision { records, response: Some(()) }
    }
}

fn registered(image: &Image, node: NodeId, epoch: BrokerEpoch) -> Option<&Broker> {
    image.broker(node).filter(|broker| broker.epoch == epoch)
}

fn fenced(node: NodeId, broker: &Broker, fenced: bool) -> MetadataRecord {
    let in_controlled_shutdown = broker.in_controlled_shutdown;
    MetadataRecord::BrokerChanged { node, epoch: broker.epoch, fenced, in_controlled_shutdown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::bench::Bench, ids::PartitionId};

    #[test]
    fn a_process_registers_once_and_another_on_the_same_disk_takes_its_place() {
        let mut bench = Bench::new(1);
        let first = bench.epoch(1);
        assert_eq!(bench.register_at(1, 1, BrokerEpoch::NONE, false, true), (ErrorCode::None, first));
        assert_eq!(bench.register(1, 100, BrokerEpoch::NONE), ErrorCode::DuplicateBrokerRegistration);
        let (error, second) = bench.register_at(1, 2, BrokerEpoch::NONE, false, true);
        assert!(error.is_none() && second > first);
        assert!(bench.image.broker(NodeId(1)).expect("registered").fenced);
        bench.unfence(1);
        let after = bench.register_at(1, 101, BrokerEpoch::NONE, false, false).0;
        assert_eq!(after, ErrorCode::None, "the session of the one before is over");
    }

    #[test]
    fn leaders_move_off_a_fenced_broker_and_it_does_not_return_to_the_isr_by_itself() {
        let mut bench = Bench::new(3);
        bench.topic("t", &[&[1, 2, 3], &[2, 3, 1]], &[]);
        bench.fence(1);
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2, 3]));
        assert_eq!(bench.partition("t", 1).isr, [NodeId(2), NodeId(3)]);
        bench.unfence(1);
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2, 3]));
    }

    #[test]
    fn a_broker_on_a_new_disk_loses_every_right_to_lead() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2")]);
        bench.fence(1);
        bench.fence(2);
        assert_eq!(bench.partition("t", 0).elr(), [NodeId(2), NodeId(1)]);
        bench.register_at(2, 100, BrokerEpoch::NONE, false, false);
        bench.unfence(2);
        assert_eq!((bench.state("t"), bench.partition("t", 0).elr()), ((None, Vec::new()), &[NodeId(1)][..]));
        let epoch = bench.epoch(1);
        bench.register(1, 2, epoch);
        bench.unfence(1);
        assert_eq!(bench.state("t"), (Some(1), alloc::vec![1]));
    }

    #[test]
    fn an_unclean_stop_costs_the_right_to_lead_only_what_had_not_to_be_synced() {
        for (durability, elr) in [("fsync", &[NodeId(2)][..]), ("replicated", &[])] {
            let mut bench = Bench::new(2);
            bench.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2"), ("durability", durability)]);
            bench.register(2, 2, BrokerEpoch::NONE);
            assert_eq!((bench.state("t"), bench.partition("t", 0).elr()), ((Some(1), alloc::vec![1]), elr));
        }
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2"), ("durability", "replicated")]);
        let epoch = bench.epoch(2);
        bench.register(2, 2, epoch);
        assert_eq!(bench.partition("t", 0).elr(), [NodeId(2)], "a clean stop costs nothing");
    }

    #[test]
    fn a_node_alone_goes_on_leading_and_notes_an_unclean_stop_in_the_epoch() {
        let mut bench = Bench::new(1);
        bench.topic("t", &[&[1]], &[]);
        let before = (bench.partition("t", 0).leader_epoch, bench.epoch(1));
        bench.register_at(1, 2, before.1, true, true);
        assert_eq!((bench.state("t"), bench.partition("t", 0).leader_epoch), ((Some(1), alloc::vec![1]), before.0));
        bench.register_at(1, 3, BrokerEpoch::NONE, true, true);
        let p = bench.partition("t", 0);
        assert_eq!((p.leader_epoch, p.is_recovering()), (before.0.bump(), false));
        bench.set("t", "durability", "replicated");
        bench.register_at(1, 4, BrokerEpoch::NONE, true, true);
        let p = bench.partition("t", 0);
        assert_eq!((p.leader, p.leader_epoch, p.is_recovering()), (Some(NodeId(1)), before.0.bump().bump(), true));
    }

    #[test]
    fn a_broker_that_stops_hands_over_and_the_last_one_just_stops() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[]);
        bench.leave(1);
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2]));
        bench.leave(2);
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2]), "nobody is left to take over");
    }

    #[test]
    fn what_a_broker_leads_is_moved_in_bounded_rounds_and_a_new_controller_can_go_on() {
        let mut bench = Bench::new(2);
        let all: Vec<&[i32]> = alloc::vec![&[1, 2]; limits::DECISION_PARTITIONS_MAX + 10];
        bench.topic("t", &all, &[]);
        let epoch = bench.epoch(1);
        let Decision { records, response } = bench.controller.fence(&bench.image, NodeId(1), epoch);
        assert_eq!((records.len(), response), (limits::DECISION_PARTITIONS_MAX + 1, None));
        bench.commit(&records);
        // The controller dies here; the next one finds the rest.
        bench.controller.take_over(&bench.image);
        bench.rounds(|b| b.controller.tend(&b.image));
        let led =
            |node| (0..all.len()).filter(|p| bench.partition("t", *p as i32).leader == Some(NodeId(node))).count();
        assert_eq!((led(1), led(2)), (0, all.len()));
        let last = i32::try_from(all.len()).expect("few") - 1;
        assert_eq!(bench.id("t", last).partition, PartitionId(last));
    }

    #[test]
    fn a_registration_is_recorded_after_all_that_it_costs() {
        let mut bench = Bench::new(2);
        let all: Vec<&[i32]> = alloc::vec![&[1, 2]; limits::DECISION_PARTITIONS_MAX + 1];
        bench.topic("t", &all, &[]);
        let before = bench.epoch(1);
        let request = RegisterRequest {
            node: NodeId(1),
            incarnation: 99,
            directory: DirectoryId([9; 16]),
            rack: None,
            endpoints: crate::message::Endpoints::default(),
            previous_epoch: BrokerEpoch::NONE,
        };
        let registrar = Registrar { next: BrokerEpoch(100_000), own: false, in_session: false };
        let Decision { records, response } = bench.controller.register(&bench.image, &request, registrar);
        assert_eq!(response, None);
        bench.commit(&records);
        let broker = bench.image.broker(NodeId(1)).expect("registered");
        assert!(broker.fenced && broker.epoch == before);
        let Decision { records, response } = bench.controller.register(&bench.image, &request, registrar);
        assert!(response.is_some() && matches!(&records[0], MetadataRecord::BrokerRegistered(r) if r.fenced));
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn an_unregistered_broker_is_gone_and_an_unknown_one_an_error() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[]);
        let unregister = |b: &Bench| b.controller.unregister(&b.image, &UnregisterBrokerRequest { node: NodeId(1) });
        assert_eq!(bench.rounds(unregister).0.error, ErrorCode::None);
        assert!(bench.image.broker(NodeId(1)).is_none());
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2]));
        assert_eq!(bench.rounds(unregister).0.error, ErrorCode::BrokerIdNotRegistered);
    }

    #[test]
    fn eligible_leaders_are_forgotten_when_the_watermark_can_move_without_them() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2")]);
        bench.fence(2);
        assert_eq!(bench.partition("t", 0).elr(), [NodeId(2)]);
        bench.set("t", "min.insync.replicas", "1");
        assert_eq!(bench.partition("t", 0).elr(), []);
        bench.fence(1);
        bench.unfence(2);
        assert_eq!(bench.state("t"), (None, Vec::new()));
        bench.set("t", "unclean.leader.election.enable", "true");
        assert_eq!(bench.state("t"), (Some(2), alloc::vec![2]));
        assert!(bench.partition("t", 0).is_recovering());
    }
}
