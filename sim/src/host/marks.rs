//! Rare states, seen at the border of the core: what it is told, what it answers, what it asks others.
//!
//! The core knows nothing of being watched, so none of this costs anything outside the simulator.

use tidelog_core::{
    effect::Effect,
    input::Input,
    message::{CallError, ErrorCode, PeerRequest, PeerResponse, Response},
};

use crate::{
    canon::{Canon, PartitionState},
    tally::{Mark, Tally},
};

/// A fact that a core is told.
pub(super) fn told(tally: &Tally, input: &Input) {
    let Input::CallEnded { outcome: Err(error), .. } = input else { return };
    let mark = match error {
        CallError::Refused => Mark::CallRefused,
        CallError::Lost => Mark::CallLost,
        CallError::TimedOut => Mark::CallTimedOut,
    };
    tally.sometimes(mark, true);
}

/// An order that a core gives.
pub(super) fn ordered(tally: &Tally, effect: &Effect) {
    match effect {
        Effect::Respond { response, .. } => answered(tally, response),
        Effect::LogFailed { .. } => tally.sometimes(Mark::LogOffline, true),
        Effect::Call { request, .. } => {
            tally.sometimes(Mark::LeaderResigned, matches!(request, PeerRequest::EndEpoch(_)));
            tally.sometimes(Mark::RequestForwarded, matches!(request, PeerRequest::Forward(_)));
            tally.sometimes(Mark::PeerProbed, matches!(request, PeerRequest::Ping));
            tally.sometimes(Mark::VoteAsked, matches!(request, PeerRequest::Vote(vote) if !vote.pre_vote));
        }
        _ => {}
    }
}

fn answered(tally: &Tally, response: &Response) {
    match response {
        Response::Produce(r) => r.partitions.iter().for_each(|p| refused(tally, p.error)),
        Response::Fetch(r) => {
            for partition in &r.partitions {
                refused(tally, partition.error);
                tally.sometimes(Mark::ReaderSentBack, partition.error == ErrorCode::OffsetNotAvailable);
            }
        }
        Response::ListOffsets(r) => r.partitions.iter().for_each(|p| refused(tally, p.error)),
        Response::Peer(PeerResponse::Fetch(r)) => {
            let lost = matches!(r.error, ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch);
            tally.sometimes(Mark::FetchSessionLost, lost);
            refused(tally, r.error);
            for partition in &r.partitions {
                refused(tally, partition.error);
                tally.sometimes(Mark::DivergenceTold, partition.diverging.is_some());
            }
        }
        Response::Peer(PeerResponse::Vote(r)) => {
            tally.sometimes(if r.granted { Mark::VoteGranted } else { Mark::VoteRefused }, true);
        }
        Response::Peer(PeerResponse::Heartbeat(r)) => {
            tally.sometimes(Mark::BrokerFenced, r.is_fenced && r.error.is_none());
            tally.sometimes(Mark::ShutdownAllowed, r.may_stop);
            refused(tally, r.error);
        }
        Response::Peer(PeerResponse::AlterPartition(r)) => {
            tally.sometimes(Mark::IsrWishRefused, r.partitions.iter().any(|p| !p.error.is_none()));
            refused(tally, r.error);
        }
        Response::Peer(PeerResponse::AllotProducerIds(r)) => {
            tally.sometimes(Mark::ProducerIdsAllotted, r.error.is_none());
        }
        _ => {}
    }
}

fn refused(tally: &Tally, error: ErrorCode) {
    let mark = match error {
        ErrorCode::NotLeaderOrFollower => Mark::NotLeaderAnswered,
        ErrorCode::FencedLeaderEpoch => Mark::FencedEpochAnswered,
        ErrorCode::UnknownLeaderEpoch => Mark::UnknownEpochAnswered,
        ErrorCode::NotEnoughReplicas => Mark::NotEnoughReplicas,
        ErrorCode::NotEnoughReplicasAfterAppend => Mark::NotEnoughAfterAppend,
        ErrorCode::KafkaStorageError => Mark::StorageErrorAnswered,
        ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => Mark::UnknownTopicAnswered,
        ErrorCode::StaleBrokerEpoch => Mark::StaleRegistration,
        ErrorCode::NotController => Mark::NotControllerAnswered,
        _ => return,
    };
    tally.sometimes(mark, true);
}

/// What partitions went through in a run, as the metadata tells it.
pub(crate) fn lived(tally: &Tally, canon: &Canon) {
    let of_metadata = canon.writers.keys().filter(|(id, _)| *id == super::metadata_partition());
    tally.sometimes(Mark::ControllerFailedOver, of_metadata.count() > 1);
    for states in canon.states.values() {
        for state in states.values() {
            tally.sometimes(Mark::IsrOfOne, state.isr.len() == 1 && state.replicas.len() > 1);
            tally.sometimes(Mark::ElrKept, !state.elr.is_empty());
            tally.sometimes(Mark::PartitionLeaderless, state.leader.is_none());
        }
        for (before, after) in states.values().zip(states.values().skip(1)) {
            changed(tally, before, after);
        }
    }
}

fn changed(tally: &Tally, before: &PartitionState, after: &PartitionState) {
    tally.sometimes(Mark::IsrShrank, before.isr.iter().any(|node| !after.isr.contains(node)));
    tally.sometimes(Mark::ReplicasMoved, before.replicas != after.replicas);
    let Some(leader) = after.leader.filter(|_| before.leader != after.leader) else { return };
    tally.sometimes(Mark::LeaderMoved, before.leader.is_some());
    tally.sometimes(Mark::ElrElected, before.elr.contains(&leader) && !before.isr.contains(&leader));
    tally.sometimes(Mark::PreferredLeaderBack, before.leader.is_some() && after.replicas.first() == Some(&leader));
    tally.sometimes(Mark::UncleanElection, after.unclean && !before.unclean);
}
