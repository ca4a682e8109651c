//! Voters of the metadata quorum that come and go (KIP-853).
//!
//! A change of the voters is a decision like any other: taken by the controller, one at a time, once all before are committed, and
//! told when it is committed itself. Only what is appended is another kind of record.

use alloc::{string::String, vec::Vec};

use super::{Node, decisions::Reply};
use crate::{
    effect::Effect,
    epoch::LeaderEpoch,
    ids::{NodeId, RequestId},
    message::{Endpoints, ErrorCode, Request, Response, VotersChanged},
    quorum::{Quorum, VotersUnchanged},
    record::{Batch, Voter},
};

impl Node {
    /// Adds or removes a voter. Nothing else is being decided.
    pub(super) fn change_voters(&mut self, id: RequestId, request: Request) {
        match self.changed_voters(&request) {
            Ok(voters) => {
                let batch = Batch::voters(&voters, self.now.wall);
                let response = answer(&request, ErrorCode::None, None);
                self.append_control(batch, Reply::Response(id, request, response));
            }
            Err(VotersUnchanged { error, reason }) => self.respond(id, answer(&request, error, Some(reason))),
        }
    }

    fn changed_voters(&self, request: &Request) -> Result<Vec<Voter>, VotersUnchanged> {
        let quorum = self.quorum().expect("a controller leads the quorum");
        let (Request::AddVoter(crate::message::AddVoterRequest { cluster_id, .. })
        | Request::RemoveVoter(crate::message::RemoveVoterRequest { cluster_id, .. })) = request
        else {
            unreachable!("{request:?} is about no voter")
        };
        if cluster_id.as_ref().is_some_and(|id| *id != self.config.cluster_id) {
            let reason = "another cluster is meant".into();
            return Err(VotersUnchanged { error: ErrorCode::InconsistentClusterId, reason });
        }
        let mut voters = match request {
            Request::AddVoter(r) => {
                let endpoint = r.endpoint.clone().unwrap_or_default();
                quorum.with_voter(self.now.mono, Voter { node: r.node, directory: r.directory, endpoint })?
            }
            Request::RemoveVoter(r) => quorum.without_voter(r.node, r.directory)?,
            _ => unreachable!("one of the two"),
        };
        // From the first change on it is written down on which disks the voters are, and where they are reached.
        let replicas = quorum.replicas();
        for voter in &mut voters {
            if let Some(known) = replicas.iter().find(|replica| replica.node == voter.node)
                && voter.directory.is_any()
            {
                voter.directory = known.directory;
            }
            if let Some(broker) = self.image.broker(voter.node)
                && voter.endpoint.is_empty()
            {
                voter.endpoint.clone_from(&broker.endpoints.native);
            }
        }
        // Those of the configured list have their addresses there.
        let is_lost = |voter: &Voter| voter.endpoint.is_empty() && !self.config.voters.contains(&voter.node);
        if let Request::AddVoter(r) = request
            && voters.iter().any(|voter| voter.node == r.node && is_lost(voter))
        {
            let reason = "nobody knows where the node is reached: name its native listener".into();
            return Err(VotersUnchanged { error: ErrorCode::InvalidRequest, reason });
        }
        Ok(voters)
    }

    /// A batch of the metadata log that may name voters.
    pub(super) fn meet_voters(&mut self, batch: &Batch) {
        if let Some(voters) = batch.as_voters() {
            self.meet(&voters);
        }
    }

    /// Where the leader that an answer names is reached, for a node that may never have heard of it. `None` where this node does
    /// not know, and where it leads itself: it has been found then.
    pub(super) fn leader_endpoint(&self, leader: Option<NodeId>) -> Option<String> {
        let leader = leader.filter(|leader| *leader != self.config.node)?;
        let registered = self.image.broker(leader).map(|broker| &broker.endpoints.native);
        let voters = self.metadata.view().map_or(&[][..], Quorum::voter_set);
        let voter = voters.iter().find(|voter| voter.node == leader).map(|voter| &voter.endpoint);
        [registered, voter].into_iter().flatten().find(|endpoint| !endpoint.is_empty()).cloned()
    }

    /// The leader of the quorum, which this node's own metadata may not have, or have at an address of old.
    pub(super) fn meet_leader(&mut self, leader: Option<NodeId>, epoch: LeaderEpoch, endpoint: Option<&str>) {
        let Some(leader) = leader.filter(|leader| *leader != self.config.node) else { return };
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else { return };
        let is_news = self.metadata.view().is_some_and(|quorum| {
            epoch > quorum.epoch() || (epoch == quorum.epoch() && quorum.leader() != Some(leader))
        });
        if is_news {
            let endpoints = Endpoints { native: endpoint.into(), ..Endpoints::default() };
            self.effects.push(Effect::PeerMoved { node: leader, endpoints });
        }
    }

    /// Voters, some of whom may never have registered as brokers.
    pub(super) fn meet(&mut self, voters: &[Voter]) {
        for Voter { node, endpoint, .. } in voters {
            if !endpoint.is_empty() && *node != self.config.node && self.image.broker(*node).is_none() {
                let endpoints = Endpoints { native: endpoint.clone(), ..Endpoints::default() };
                self.effects.push(Effect::PeerMoved { node: *node, endpoints });
            }
        }
    }
}

fn answer(request: &Request, error: ErrorCode, message: Option<String>) -> Response {
    let changed = VotersChanged { error, message };
    match request {
        Request::AddVoter(_) => Response::AddVoter(changed),
        _ => Response::RemoveVoter(changed),
    }
}
