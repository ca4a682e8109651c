//! Blows that only a cluster takes: splits, all nodes at once, empty disks, starving processes.

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::PartitionEpoch,
    ids::NodeId,
    quorum::{Quorum, RoleName},
};

use super::{Event, World};
use crate::{
    actor::{MS, Phase},
    canon::PartitionState,
    check::m9,
    host::{Host, metadata_partition, voters},
    ledger::Ending,
    nemesis::{Shape, Way},
    net::Party,
    tally::Fault,
};

/// How long a machine is out at the least before its disk is replaced: longer than any process pauses, in nanoseconds.
const OUT: u64 = 5_000 * MS;

/// A link, one way.
pub type Link = (Party, Party);

impl World {
    /// Blocks the links of a shape for a while, and again after as long a pause if it is to come back.
    pub(super) fn split(&mut self, node: usize, shape: Shape, one_way: Option<Way>, span: u64, again: u64) {
        let links = self.links_of(node, shape, one_way);
        if links.is_empty() {
            return;
        }
        self.tally.fault(match shape {
            Shape::Controller | Shape::FromController => Fault::SplitController,
            Shape::Leader => Fault::SplitLeader,
            Shape::Ring => Fault::SplitRing,
            Shape::Clients => Fault::SplitClients,
            Shape::Sides(_) | Shape::Alone if again > 0 => Fault::SplitAgain,
            Shape::Sides(_) | Shape::Alone => Fault::Split,
        });
        if one_way.is_some() {
            self.tally.fault(Fault::SplitOneWay);
        }
        for turn in 0..=again {
            let begin = turn * 2 * span;
            self.queue.after(begin, Event::Block(links.clone(), span));
        }
    }

    /// Nothing moves on these links for a while.
    pub(super) fn block(&mut self, links: Vec<Link>, span: u64) {
        let now = self.queue.now();
        self.trace.line(now, || format!("-- blocked for {} ms: {links:?} --", span / MS));
        for &(from, to) in &links {
            self.net.block(from, to);
        }
        self.queue.after(span, Event::Unblock(links));
    }

    /// One reason fewer; what waited arrives after a while, if its connection lives.
    pub(super) fn unblock(&mut self, links: &[Link]) {
        let now = self.queue.now();
        self.trace.line(now, || format!("-- open again: {links:?} --"));
        for &(from, to) in links {
            self.net.unblock(from, to);
            if !self.net.is_blocked(from, to) {
                self.resume_link(from, to);
            }
        }
    }

    fn links_of(&self, node: usize, shape: Shape, one_way: Option<Way>) -> Vec<Link> {
        let nodes = self.hosts.len();
        let (out, into) = (one_way != Some(Way::In), one_way != Some(Way::Out));
        let between = |inside: &dyn Fn(usize) -> bool| {
            let mut links = Vec::new();
            for a in (0..nodes).filter(|&a| inside(a)) {
                for b in (0..nodes).filter(|&b| !inside(b)) {
                    links.extend(out.then_some((Party::Node(a), Party::Node(b))));
                    links.extend(into.then_some((Party::Node(b), Party::Node(a))));
                }
            }
            links
        };
        match shape {
            Shape::Sides(side) => between(&|n| side >> n & 1 == 1),
            Shape::Alone => between(&|n| n == node),
            Shape::Controller => self.controller().map(|leader| between(&|n| n == leader)).unwrap_or_default(),
            Shape::Leader => self.some_leader(node).map(|leader| between(&|n| n == leader)).unwrap_or_default(),
            Shape::FromController => {
                let Some(controller) = self.controller().filter(|&controller| controller != node) else {
                    return Vec::new();
                };
                let (a, b) = (Party::Node(node), Party::Node(controller));
                [out.then_some((a, b)), into.then_some((b, a))].into_iter().flatten().collect()
            }
            Shape::Ring => {
                let is_far = |a: usize, b: usize| a != b && (a + 1) % nodes != b && (b + 1) % nodes != a;
                let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
                pairs.filter(|&(a, b)| is_far(a, b)).map(|(a, b)| (Party::Node(a), Party::Node(b))).collect()
            }
            Shape::Clients => {
                let clients = (0..self.clients.len()).map(Party::Client);
                clients.flat_map(|client| [(client, Party::Node(node)), (Party::Node(node), client)]).collect()
            }
        }
    }

    /// Who leads the metadata quorum, of those that think so the one in the newest epoch.
    pub(super) fn controller(&self) -> Option<usize> {
        let leads = |host: &&crate::host::Host| host.quorum().is_some_and(tidelog_core::quorum::Quorum::is_leader);
        let epoch = |host: &&crate::host::Host| host.quorum().map(tidelog_core::quorum::Quorum::epoch);
        self.hosts.iter().filter(leads).max_by_key(epoch).map(|host| host.index)
    }

    /// The leader of some partition, chosen by `salt`, as some node sees it.
    fn some_leader(&self, salt: usize) -> Option<usize> {
        let image = self.hosts.iter().find_map(|host| host.node())?.image();
        let leaders: Vec<usize> = image
            .topics()
            .flat_map(|topic| topic.partitions.iter().filter_map(|partition| partition.leader))
            .map(|leader| leader.0 as usize)
            .collect();
        leaders.get(salt % leaders.len().max(1)).copied()
    }

    /// Every node goes at once, and comes back in its own time.
    pub(super) fn all_at_once(&mut self, power: bool, down: u64) {
        self.tally.fault(Fault::AllAtOnce);
        for node in 0..self.hosts.len() {
            let down = self.random.below(down + 1);
            self.tally.fault(if power { Fault::PowerLoss } else { Fault::Kill });
            self.crash(node, if power { Ending::PowerLost } else { Ending::Killed }, down);
        }
    }

    /// A machine is replaced by an empty one of the same name.
    pub(super) fn wipe(&mut self, node: usize, down: u64) {
        if !self.may_wipe(node) {
            return self.tally.fault(Fault::Vetoed);
        }
        self.crash(node, Ending::Killed, down);
        self.take_disk(node);
    }

    fn take_disk(&mut self, node: usize) {
        self.tally.fault(Fault::Wiped);
        self.hosts[node].wipe();
        self.directories[node] = self.hosts[node].directory();
        let canon = &mut self.oracle.canon;
        canon.wiped(NodeId(node as i32), self.directories[node]);
        for ((_, id), ledger) in self.oracle.ledgers.extract_if(.., |(of, _), _| *of == node) {
            canon.removed(node, id);
            canon.taken.insert((node, id), ledger.promised);
        }
        self.oracle.folders.retain(|(of, _), _| *of != node);
    }

    /// A machine is shut down for as long as the cluster takes to let go of it, and its disk is replaced then.
    pub(super) fn take_out(&mut self, node: usize, down: u64) {
        if !self.hosts[node].is_up() {
            return self.tally.fault(Fault::Vetoed);
        }
        let waits = self.config.waits();
        // Whoever is paused while it goes may hear of it that much later.
        let wait = OUT + waits.broker_session_timeout.0.max(waits.quorum_fetch_timeout.0) * 6 / 5;
        self.crash(node, Ending::Killed, wait + down);
        self.queue.after(wait, Event::Replace(node, self.hosts[node].incarnation));
    }

    /// The disk of a node that was taken out goes, if nobody counts on it any more.
    pub(super) fn replace(&mut self, node: usize, incarnation: u32) {
        let is_out = !self.hosts[node].is_up() && self.hosts[node].incarnation == incarnation;
        if self.phase != Phase::Chaos || !is_out || !self.is_let_go(node) {
            return self.tally.fault(Fault::Vetoed);
        }
        let now = self.queue.now();
        self.trace.line(now, || format!("n{node} gets an empty disk"));
        self.take_disk(node);
    }

    /// Has the cluster let go of a node? It is fenced, by a controller whose image has everything that is decided. It is in sync
    /// nowhere, so that no partition can be moved to it, or elect it, before it has fetched anew. It votes in no set that counts or
    /// may come to, and has been silent for too long to become a voter on its old disk. And it was no voter at first: started with an
    /// empty disk it would go by the first set, and a majority of those on empty disks would begin another cluster.
    fn is_let_go(&self, node: usize) -> bool {
        let (me, canon) = (self.hosts[node].id(), &self.oracle.canon);
        let Some(controller) = self.controller().and_then(|controller| self.hosts[controller].node()) else {
            return false;
        };
        let decided = controller.quorum().and_then(|quorum| quorum.established().filter(|at| *at == quorum.log_end()));
        let knows_all = decided == Some(controller.applied_metadata().1);
        let is_fenced = controller.image().broker(me).is_some_and(|broker| broker.fenced);
        let at_first = voters(&self.config);
        let votes = m9::standing(canon, metadata_partition(), &at_first).iter().any(|set| set.contains(&me));
        let newest = |states: &BTreeMap<PartitionEpoch, PartitionState>| states.values().next_back().cloned();
        let counts = |state: PartitionState| state.isr.contains(&me) || state.elr.contains(&me);
        let is_counted_on = canon.states.values().filter_map(newest).any(counts);
        knows_all && is_fenced && !votes && !at_first.contains(&me) && !is_counted_on
    }

    /// May a node's disk go? A voter's only at a calm moment: a vote that is forgotten can be given twice. And of each
    /// partition there must be another replica that counts as in sync and whose disk has everything that was ever
    /// acknowledged.
    fn may_wipe(&self, node: usize) -> bool {
        let is_voter =
            |host: &crate::host::Host| host.quorum().is_some_and(|quorum| quorum.voters().contains(&host.id()));
        let Some(controller) = self.controller() else { return false };
        if self.hosts.len() == 1 || !self.hosts[node].is_up() {
            return false;
        }
        if is_voter(&self.hosts[node]) && (self.config.wipe_voters == 0 || !self.can_do_without_vote(node)) {
            return false;
        }
        let Some(image) = self.hosts[controller].node().map(tidelog_core::node::Node::image) else { return false };
        let me = self.hosts[node].id();
        image.topics().flat_map(|topic| &topic.partitions).all(|partition| {
            !partition.replicas.contains(&me)
                || partition.isr.iter().any(|&other| other != me && self.hosts[other.0 as usize].is_ready())
        })
    }

    /// Do all other voters agree on who leads, and have everything that is committed? Then nobody is elected in this epoch
    /// any more, and what is committed is on a majority without this one.
    fn can_do_without_vote(&self, node: usize) -> bool {
        let id = metadata_partition();
        let canon = &self.oracle.canon;
        let Some(epoch) = self.hosts[node].quorum().map(Quorum::epoch) else { return false };
        let settled =
            |quorum: &Quorum| quorum.epoch() == epoch && matches!(quorum.role(), RoleName::Leader | RoleName::Follower);
        let complete = |host: &Host| {
            let ledger = self.oracle.ledgers.get(&(host.index, id));
            ledger.is_some_and(|ledger| ledger.promised >= canon.end(id) && canon.has_last(ledger, canon.end(id)))
        };
        let voters = self.hosts[node].quorum().map_or(&[][..], Quorum::voters);
        voters
            .iter()
            .map(|voter| &self.hosts[voter.0 as usize])
            .all(|host| host.quorum().is_some_and(settled) && (host.index == node || complete(host)))
    }

    /// A process that gets little of its processor.
    pub(super) fn starve(&mut self, node: usize, pause: u64, run: u64, span: u64) {
        self.tally.fault(Fault::Starved);
        let mut at = 0;
        while at < span {
            self.queue.after(at, Event::Freeze(node, pause));
            at += pause + run;
        }
    }
}
