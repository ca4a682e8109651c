//! Voters of the metadata quorum that come and go (KIP-853).
//!
//! A change of the voters is a decision like any other: taken by the controller, one at a time, once all before are committed, and
//! told when it is committed itself. Only what is appended is another kind of record.

use super::{Node, decisions::Reply};
use crate::{
    effect::Effect,
    ids::RequestId,
    message::{Endpoints, ErrorCode, Request, Response, VotersChanged},
    quorum::VotersUnchanged,
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

    fn changed_voters(&self, request: &Request) -> Result<alloc::vec::Vec<Voter>, VotersUnchanged> {
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

fn answer(request: &Request, error: ErrorCode, message: Option<alloc::string::String>) -> Response {
    let changed = VotersChanged { error, message };
    match request {
        Request::AddVoter(_) => Response::AddVoter(changed),
        _ => Response::RemoveVoter(changed),
    }
}
