//! M1 and M2: one vote per data directory and epoch, durable before it is given, and nobody leads without a majority.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId},
    log::Vote,
};

use super::{Violation, violation};
use crate::canon::Canon;

/// A vote has become durable.
pub fn saved(canon: &mut Canon, node: NodeId, directory: DirectoryId, vote: Vote) -> Result<(), Violation> {
    let newest = canon.epochs.entry(directory).or_insert(vote.epoch);
    if vote.epoch < *newest {
        let why = format!("node {node} goes from epoch {newest} back to {}", vote.epoch);
        return Err(violation("M2", "epoch-went-back", node, why));
    }
    *newest = vote.epoch;
    let Some(candidate) = vote.voted_for else { return Ok(()) };
    let former = *canon.votes.entry((directory, vote.epoch)).or_insert(candidate);
    if former != candidate {
        let why = format!("node {node} votes for {candidate} in epoch {}, having voted for {former}", vote.epoch);
        return Err(violation("M2", "voted-twice", node, why));
    }
    Ok(())
}

/// A node is in this epoch, be it that it has just started: what its disk says of epochs it must know.
pub fn remembers(canon: &Canon, node: NodeId, directory: DirectoryId, epoch: LeaderEpoch) -> Result<(), Violation> {
    match canon.epochs.get(&directory) {
        Some(durable) if epoch < *durable => {
            let why = format!("node {node} is in epoch {epoch}, and its disk knows of {durable}");
            Err(violation("M2", "epoch-went-back", node, why))
        }
        _ => Ok(()),
    }
}

/// A vote is given.
pub fn given(
    canon: &Canon,
    node: NodeId,
    directory: DirectoryId,
    epoch: LeaderEpoch,
    candidate: NodeId,
) -> Result<(), Violation> {
    let durable = canon.votes.get(&(directory, epoch));
    if durable != Some(&candidate) {
        let why = format!(
            "node {node} gives {candidate} its vote in epoch {epoch}, but its disk has {}",
            durable.map_or_else(|| "none".to_owned(), |other| format!("one for {other}"))
        );
        return Err(violation("M2", "vote-before-durable", node, why));
    }
    Ok(())
}

/// A node acts as the leader of the metadata quorum.
pub fn leads(canon: &Canon, node: NodeId, epoch: LeaderEpoch, voters: &[DirectoryId]) -> Result<(), Violation> {
    let votes = voters.iter().filter(|voter| canon.votes.get(&(**voter, epoch)) == Some(&node)).count();
    if votes * 2 <= voters.len() {
        let why = format!("node {node} leads epoch {epoch} with {votes} durable votes of {}", voters.len());
        return Err(violation("M1", "leader-without-majority", node, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: DirectoryId = DirectoryId([1; 16]);
    const THERE: DirectoryId = DirectoryId([2; 16]);

    fn vote(epoch: i32, candidate: i32) -> Vote {
        Vote { epoch: LeaderEpoch(epoch), voted_for: Some(NodeId(candidate)) }
    }

    #[test]
    fn a_directory_votes_once_in_an_epoch_and_never_goes_back() {
        let mut canon = Canon::default();
        let mut save = |vote| saved(&mut canon, NodeId(0), HERE, vote).err().map(|violation| violation.anomaly);
        assert_eq!(save(vote(3, 1)), None);
        assert_eq!(save(vote(3, 1)), None, "the same vote again is the same vote");
        assert_eq!(save(vote(3, 2)), Some("voted-twice"));
        assert_eq!(save(vote(2, 1)), Some("epoch-went-back"));
        assert_eq!(save(Vote { epoch: LeaderEpoch(4), voted_for: None }), None);
        assert!(remembers(&canon, NodeId(0), HERE, LeaderEpoch(4)).is_ok());
        assert!(remembers(&canon, NodeId(0), HERE, LeaderEpoch(3)).is_err());
        assert!(remembers(&canon, NodeId(0), THERE, LeaderEpoch(3)).is_ok());
    }

    #[test]
    fn a_vote_counts_once_it_is_durable() {
        let mut canon = Canon::default();
        let give = |canon: &Canon| given(canon, NodeId(0), HERE, LeaderEpoch(3), NodeId(1)).is_ok();
        assert!(!give(&canon));
        saved(&mut canon, NodeId(0), HERE, vote(3, 1)).expect("it is the first");
        assert!(give(&canon));
        assert!(leads(&canon, NodeId(1), LeaderEpoch(3), &[HERE]).is_ok());
        assert!(leads(&canon, NodeId(1), LeaderEpoch(3), &[HERE, THERE]).is_err(), "one of two is no majority");
        assert!(leads(&canon, NodeId(0), LeaderEpoch(3), &[HERE]).is_err());
    }
}
