//! Who leads a partition, who is in sync, who else could lead: the rules for one partition (KIP-841, KIP-966, KIP-455).
//!
//! Everything that changes a partition goes through [`settle`]: it takes the partition as it is and a wish, and gives
//! the state that the rules allow under the brokers as they are now. So it can be asked again at any time: a partition
//! that is as it should be stays as it is.
//!
//! **A leader has every committed record**, unless nobody left has: it comes from the ISR, or from the ELR when the ISR
//! is empty. The ELR is sound because the high watermark does not move while the ISR is below `min.insync.replicas`; so
//! it is emptied as soon as the ISR is not.

use alloc::vec::Vec;

use super::{image::Partition, record::PartitionChange};
use crate::{
    ids::{NodeId, TopicPartition},
    log::{Durability, LogConfig},
    mutant,
};

/// What the rules need to know of a partition's topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `min.insync.replicas`
    pub(super) min_isr: usize,
    /// `durability`
    pub(super) durability: Durability,
    /// `unclean.leader.election.enable`
    pub(super) unclean: bool,
}

impl From<&LogConfig> for Rules {
    fn from(config: &LogConfig) -> Self {
        Self {
            min_isr: usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX),
            durability: config.durability,
            unclean: config.unclean_leader_election,
        }
    }
}

/// How a leader is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Election {
    /// The present one stays if it may, else the first that may lead.
    #[default]
    Any,
    /// The first replica if it may lead.
    Preferred,
    /// A replica that may lack records rather than none.
    Unclean,
}

/// What a broker's new registration says of the data on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It stopped uncleanly: what it had not synced may be gone.
    Unsynced,
    /// It has another disk.
    Everything,
}

impl Loss {
    /// Does a replica lose its right to lead by it? What a replica counts as had with `durability=fsync` is synced, so
    /// it has it still.
    fn counts(self, rules: &Rules) -> bool {
        match self {
            Self::Everything => true,
            Self::Unsynced => rules.durability != Durability::Fsync && !mutant!(X16),
        }
    }
}

/// What is wanted of a partition. The default is nothing but that the rules hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// These replicas in sync.
    pub(super) isr: Option<Vec<NodeId>>,
    /// These replicas.
    pub(super) assignment: Option<Assignment>,
    /// A leader found this way.
    pub(super) election: Election,
    /// This broker has lost data.
    pub(super) lost: Option<(NodeId, Loss)>,
    /// A new leader epoch, even if the leader stays: its log may have lost a tail.
    pub(super) new_epoch: bool,
}

/// Replicas on their way from one set to another (KIP-455).
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// All of them, those that go last.
    pub(super) replicas: Vec<NodeId>,
    /// Those that have yet to get in sync.
    pub(super) adding: Vec<NodeId>,
    /// Those that go once they have.
    pub(super) removing: Vec<NodeId>,
}

/// The partition's next state, or `None` where it stays as it is. `live` says which brokers may lead and be in sync.
pub(super) fn settle(
    id: TopicPartition,
    old: &Partition,
    wish: Wish,
    rules: &Rules,
    live: impl Fn(NodeId) -> bool,
) -> Option<PartitionChange> {
    let mut next = old.to_change(id);
    if let Some(Assignment { replicas, adding, removing }) = wish.assignment {
        (next.replicas, next.adding, next.removing) = (replicas, adding, removing);
    }
    let lost = wish.lost.filter(|(_, loss)| loss.counts(rules));
    let has_lost = |node: NodeId| lost.is_some_and(|(of, _)| of == node);

    let planted = mutant!(X15) && wish.isr.is_some();
    next.isr = wish.isr.unwrap_or_else(|| old.isr.clone());
    next.isr.retain(|n| next.replicas.contains(n) && (live(*n) || planted) && !has_lost(*n));
    complete_reassignment(&mut next, rules);
    next.isr.retain(|n| next.replicas.contains(n));

    // Whoever was in sync when the ISR fell below the minimum has every committed record until it is back.
    let candidates = old.isr.iter().chain(old.elr()).copied();
    let mut elr: Vec<NodeId> = Vec::new();
    for node in candidates {
        if next.replicas.contains(&node) && !next.isr.contains(&node) && !elr.contains(&node) && !has_lost(node) {
            elr.push(node);
        }
    }
    next.elr = elr;

    let elected = elect(old, &next, wish.election, rules, lost, &live);
    let unclean = elected.is_some_and(|e| e.unclean);
    next.leader = elected.map(|e| e.node);
    if let Some(leader) = next.leader.filter(|leader| !next.isr.contains(leader)) {
        next.isr = alloc::vec![leader];
        next.elr.retain(|n| *n != leader);
    }
    if unclean || next.isr.len() >= rules.min_isr.min(next.replicas.len()) {
        next.elr.clear();
    }
    next.last_known_leader = match next.leader {
        Some(_) => None,
        None => old.leader.or(old.last_known_leader()).filter(|n| next.replicas.contains(n) && !is_wiped(*n, lost)),
    };
    next.recovering = unclean || (next.recovering && next.leader == old.leader);

    let fewer = old.replicas.iter().any(|n| !next.replicas.contains(n));
    if next.leader != old.leader || fewer || wish.new_epoch || unclean {
        next.leader_epoch = next.leader_epoch.bump();
    }
    if unclean {
        next.unclean_epoch = Some(next.leader_epoch);
    }
    if mutant!(Y41) && !next.recovering {
        next.unclean_epoch = None;
    }
    if next == old.to_change(id) {
        return None;
    }
    next.partition_epoch = next.partition_epoch.bump();
    Some(next)
}

fn is_wiped(node: NodeId, lost: Option<(NodeId, Loss)>) -> bool {
    lost == Some((node, Loss::Everything))
}

/// The reassignment is over once all that it adds are in sync, and without those that it removes there are still as
/// many in sync as the topic demands, or as there were.
fn complete_reassignment(next: &mut PartitionChange, rules: &Rules) {
    if next.adding.is_empty() && next.removing.is_empty() {
        return;
    }
    let stays = |n: &&NodeId| !next.removing.contains(n);
    let replicas: Vec<NodeId> = next.replicas.iter().filter(stays).copied().collect();
    let isr: Vec<NodeId> = next.isr.iter().filter(stays).copied().collect();
    let enough = rules.min_isr.min(replicas.len()).min(next.isr.len()).max(1);
    if next.adding.iter().all(|n| isr.contains(n)) && isr.len() >= enough {
        (next.replicas, next.isr) = (replicas, isr);
        next.adding.clear();
        next.removing.clear();
    }
}

#[derive(Clone, Copy)]
struct Elected {
    node: NodeId,
    /// It may lack committed records.
    unclean: bool,
}

fn elect(
    old: &Partition,
    next: &PartitionChange,
    election: Election,
    rules: &Rules,
    lost: Option<(NodeId, Loss)>,
    live: &impl Fn(NodeId) -> bool,
) -> Option<Elected> {
    let in_sync = |n: NodeId| next.isr.contains(&n) || (next.isr.is_empty() && next.elr.contains(&n));
    let may_lead = |n: NodeId| live(n) && in_sync(n);
    let clean = |node| Elected { node, unclean: false };
    let preferred = next.replicas.first().copied().filter(|n| election == Election::Preferred && may_lead(*n));
    let present = old.leader.filter(|n| may_lead(*n));
    let any = next.replicas.iter().copied().find(|n| may_lead(*n));
    if let Some(node) = preferred.or(present).or(any) {
        return Some(clean(node));
    }
    // Nobody who is there is known to have everything.
    let nobody = next.isr.is_empty() && next.elr.is_empty();
    let last = old
        .leader
        .or(old.last_known_leader())
        .filter(|n| nobody && next.replicas.contains(n) && live(*n) && !is_wiped(*n, lost));
    let unclean = (rules.unclean || election == Election::Unclean)
        .then(|| next.replicas.iter().copied().find(|n| live(*n)))
        .flatten();
    last.or(unclean).map(|node| Elected { node, unclean: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Image, MetadataRecord},
        epoch::{LeaderEpoch, PartitionEpoch},
        ids::{PartitionId, TopicId, TopicName},
    };

    const ID: TopicPartition = TopicPartition { topic: TopicId([7; 16]), partition: PartitionId(0) };

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// One partition with the brokers that are up.
    struct Bench {
        image: Image,
        live: Vec<i32>,
        rules: Rules,
    }

    impl Bench {
        fn new(replicas: &[i32], min_isr: usize) -> Self {
            let mut image = Image::default();
            image.apply(&MetadataRecord::TopicCreated { name: TopicName::new("t"), id: ID.topic });
            let change = PartitionChange::created(ID.topic, ID.partition, &nodes(replicas), nodes(replicas));
            image.apply(&MetadataRecord::PartitionChanged(change));
            let rules = Rules { min_isr, durability: Durability::Replicated, unclean: false };
            Self { image, live: replicas.to_vec(), rules }
        }

        fn now(&self) -> &Partition {
            self.image.partition(ID).expect("created")
        }

        fn wish(&mut self, wish: Wish) -> &Partition {
            let live = |n: NodeId| self.live.contains(&n.0);
            if let Some(change) = settle(ID, self.now(), wish, &self.rules, live) {
                self.image.apply(&MetadataRecord::PartitionChanged(change));
            }
            let live = |n: NodeId| self.live.contains(&n.0);
            assert_eq!(settle(ID, self.now(), Wish::default(), &self.rules, live), None, "a settled partition stays");
            self.now()
        }

        fn up(&mut self, live: &[i32]) -> &Partition {
            self.live = live.to_vec();
            self.wish(Wish::default())
        }

        fn isr(&mut self, isr: &[i32]) -> &Partition {
            self.wish(Wish { isr: Some(nodes(isr)), ..Wish::default() })
        }

        fn lost(&mut self, node: i32, loss: Loss) -> &Partition {
            self.wish(Wish { lost: Some((NodeId(node), loss)), ..Wish::default() })
        }
    }

    #[test]
    fn the_next_replica_in_sync_leads_when_the_leader_goes() {
        let mut bench = Bench::new(&[1, 2, 3], 1);
        let p = bench.up(&[2, 3]);
        assert_eq!((p.leader, p.isr.clone(), p.leader_epoch), (Some(NodeId(2)), nodes(&[2, 3]), LeaderEpoch(1)));
        let p = bench.up(&[1, 2]);
        assert_eq!((p.leader, p.isr.clone()), (Some(NodeId(2)), nodes(&[2])), "who returns is not in sync by that");
        assert_eq!(p.leader_epoch, LeaderEpoch(1), "a follower's going is no new leader epoch");
        assert_eq!(p.partition_epoch, PartitionEpoch(2), "every change is a new partition epoch");
    }

    #[test]
    fn eligible_leaders_are_kept_below_the_minimum_and_lead_when_nobody_is_in_sync() {
        let mut bench = Bench::new(&[1, 2, 3], 2);
        assert_eq!(bench.up(&[2, 3]).elr(), [], "two in sync are enough");
        assert_eq!(bench.up(&[2]).elr(), nodes(&[3]));
        let p = bench.up(&[]);
        assert_eq!((p.leader, p.isr.clone(), p.elr().to_vec()), (None, nodes(&[]), nodes(&[2, 3])));
        assert_eq!(p.last_known_leader(), Some(NodeId(2)));
        let p = bench.up(&[1, 3]);
        assert_eq!((p.leader, p.isr.clone(), p.elr().to_vec()), (Some(NodeId(3)), nodes(&[3]), nodes(&[2])));
        assert!(!p.is_recovering());
        let p = bench.isr(&[1, 3]);
        assert_eq!((p.isr.clone(), p.elr().to_vec()), (nodes(&[1, 3]), nodes(&[])));
    }

    #[test]
    fn a_replica_that_may_have_lost_its_tail_leads_only_as_the_last_and_marked() {
        let mut bench = Bench::new(&[1, 2], 1);
        bench.up(&[1]);
        bench.up(&[]);
        assert_eq!(bench.now().elr(), nodes(&[1]));
        let p = bench.lost(1, Loss::Unsynced);
        assert_eq!((p.elr(), p.last_known_leader()), (&[][..], Some(NodeId(1))));
        assert_eq!(bench.up(&[2]).leader, None, "who was not in sync does not lead");
        let p = bench.up(&[1, 2]);
        assert_eq!((p.leader, p.is_recovering()), (Some(NodeId(1)), true));
    }

    #[test]
    fn a_replica_that_syncs_what_it_counts_keeps_its_place_over_a_crash_but_not_over_a_new_disk() {
        let mut bench = Bench::new(&[1, 2], 2);
        bench.rules.durability = Durability::Fsync;
        bench.up(&[1]);
        bench.up(&[]);
        assert_eq!(bench.lost(2, Loss::Unsynced).elr(), nodes(&[1, 2]));
        let p = bench.up(&[2]);
        assert_eq!((p.leader, p.is_recovering()), (Some(NodeId(2)), false));
        bench.up(&[]);
        bench.lost(1, Loss::Everything);
        let p = bench.lost(2, Loss::Everything);
        assert_eq!((p.elr(), p.last_known_leader()), (&[][..], None));
        assert_eq!(bench.up(&[1, 2]).leader, None, "nobody has the records");
    }

    #[test]
    fn an_unclean_leader_is_elected_only_where_it_is_wanted_and_is_marked_until_it_acts() {
        let mut bench = Bench::new(&[1, 2, 3], 1);
        bench.up(&[1]);
        assert_eq!(bench.up(&[2, 3]).leader, None);
        bench.rules.unclean = true;
        let p = bench.up(&[2, 3]);
        assert_eq!((p.leader, p.isr.clone(), p.is_recovering()), (Some(NodeId(2)), nodes(&[2]), true));
        assert_eq!(p.unclean_epoch(), Some(p.leader_epoch));
        assert_eq!(p.elr(), []);

        let mut bench = Bench::new(&[1, 2, 3], 1);
        bench.up(&[1]);
        bench.up(&[3]);
        let p = bench.wish(Wish { election: Election::Unclean, ..Wish::default() });
        assert_eq!((p.leader, p.is_recovering()), (Some(NodeId(3)), true));
    }

    #[test]
    fn the_preferred_leader_is_elected_on_request_and_only_if_in_sync() {
        let mut bench = Bench::new(&[1, 2, 3], 1);
        bench.up(&[2, 3]);
        bench.up(&[1, 2, 3]);
        let preferred = || Wish { election: Election::Preferred, ..Wish::default() };
        assert_eq!(bench.wish(preferred()).leader, Some(NodeId(2)));
        bench.isr(&[1, 2, 3]);
        let p = bench.wish(preferred());
        assert_eq!((p.leader, p.leader_epoch), (Some(NodeId(1)), LeaderEpoch(2)));
    }

    #[test]
    fn a_reassignment_ends_when_the_new_replicas_are_in_sync_and_moves_the_leader_off_the_old() {
        let mut bench = Bench::new(&[1, 2], 1);
        bench.live = alloc::vec![1, 2, 3, 4];
        let assignment =
            Assignment { replicas: nodes(&[3, 4, 1, 2]), adding: nodes(&[3, 4]), removing: nodes(&[1, 2]) };
        let p = bench.wish(Wish { assignment: Some(assignment), ..Wish::default() });
        assert!(p.is_reassigning() && p.leader == Some(NodeId(1)));
        assert!(bench.isr(&[1, 2, 3]).is_reassigning());
        let p = bench.isr(&[1, 2, 3, 4]);
        assert_eq!((p.replicas.clone(), p.isr.clone(), p.leader), (nodes(&[3, 4]), nodes(&[3, 4]), Some(NodeId(3))));
        assert!(!p.is_reassigning());
    }
}
