//! M10: a leader of the metadata quorum that a majority does not hear of resigns, and nobody else does.
//!
//! An isolated leader that goes on would show its clients a cluster that is no more. A single voter is a majority.

use std::collections::BTreeMap;

use tidelog_core::{epoch::LeaderEpoch, ids::NodeId};

use super::{Violation, violation};

const CODE: &str = "M10";
/// What a leader may take beyond its patience, in nanoseconds: clocks differ, and a timer has to be served.
const SLACK: u64 = 1_000_000_000;

/// Whom one process has heard of, and since when it leads. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    leads: Option<(LeaderEpoch, u64)>,
    /// Who voted when it was last looked at, and since when.
    voters: (Vec<NodeId>, u64),
    heard: BTreeMap<NodeId, u64>,
}

/// The process as it is now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Who it is.
    pub me: NodeId,
    /// The newest epoch that it knows.
    pub epoch: LeaderEpoch,
    /// The epoch it leads in, if it leads.
    pub leads: Option<LeaderEpoch>,
    /// Is it on its way out?
    pub stops: bool,
    /// Who votes.
    pub voters: &'a [NodeId],
    /// The present.
    pub at: u64,
    /// It has run without a pause since.
    pub runs_since: u64,
    /// How long it may go on without a majority.
    pub patience: u64,
}

impl Contact {
    /// This replica has pulled.
    pub fn fetched(&mut self, replica: NodeId, at: u64) {
        self.heard.insert(replica, at);
    }

    /// Looks at the process after an input.
    pub fn check(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let before = self.leads;
        let was_alone = self.voters.0 == [view.me];
        if self.voters.0 != view.voters {
            self.voters = (view.voters.to_vec(), view.at);
        }
        self.leads = view.leads.map(|epoch| match before {
            Some((same, since)) if same == epoch => (epoch, since),
            _ => (epoch, view.at),
        });
        let Some((epoch, since)) = self.leads else {
            return match before {
                // A voter of before may know of a newer epoch: one that this node, which has lost power since, helped to begin.
                Some((epoch, _)) if was_alone && view.voters == [view.me] && !view.stops && view.epoch == epoch => {
                    let why = format!("node {} is the only voter and leads epoch {epoch} no longer", view.me);
                    Err(violation(CODE, "resigned-alone", view.me, why))
                }
                _ => Ok(()),
            };
        };
        let others = view.voters.iter().filter(|voter| **voter != view.me);
        // A majority of others may be another one, of whom nobody has had a reason to wait for it yet.
        let floor = since.max(view.runs_since).max(self.voters.1);
        let mut heard: Vec<u64> = others.map(|voter| self.heard.get(voter).copied().unwrap_or(0).max(floor)).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        // With itself so many make a majority.
        let Some(needed) = (view.voters.len() / 2).checked_sub(1) else { return Ok(()) };
        let Some(contact) = heard.get(needed) else { return Ok(()) };
        let limit = view.patience + view.patience / 10 + SLACK;
        if view.at - contact > limit {
            let ms = (view.at - contact) / 1_000_000;
            let why = format!("node {} leads epoch {epoch} though it has heard of no majority for {ms} ms", view.me);
            return Err(violation(CODE, "leads-unheard", view.me, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn view(voters: &[NodeId], leads: bool, at: u64) -> View<'_> {
        let leads = leads.then_some(LeaderEpoch(3));
        let epoch = LeaderEpoch(3);
        View { me: NodeId(0), epoch, leads, stops: false, voters, at: at * SECOND, runs_since: 0, patience: 2 * SECOND }
    }

    #[test]
    fn a_leader_without_a_majority_resigns() {
        let voters = [NodeId(0), NodeId(1), NodeId(2)];
        let mut contact = Contact::default();
        let look = |contact: &mut Contact, leads, at| contact.check(&view(&voters, leads, at)).is_ok();
        assert!(look(&mut contact, true, 1));
        assert!(look(&mut contact, true, 4));
        contact.fetched(NodeId(2), 4 * SECOND);
        assert!(look(&mut contact, true, 7), "one other and itself are a majority");
        assert!(!look(&mut contact, true, 8));
        assert!(look(&mut contact, false, 9), "it has resigned");
        let paused = View { runs_since: 20 * SECOND, ..view(&voters, true, 21) };
        assert!(contact.check(&paused).is_ok(), "it has only just woken up");
    }

    #[test]
    fn a_single_voter_never_resigns() {
        let voters = [NodeId(0)];
        let mut contact = Contact::default();
        assert!(contact.check(&view(&voters, true, 1)).is_ok());
        assert!(contact.check(&view(&voters, true, 100)).is_ok());
        assert!(contact.clone().check(&View { stops: true, ..view(&voters, false, 101) }).is_ok());
        let alone = contact.clone().check(&view(&voters, false, 101)).map_err(|violation| violation.anomaly);
        assert_eq!(alone, Err("resigned-alone"));
        let newer = View { epoch: LeaderEpoch(4), ..view(&voters, false, 101) };
        assert!(contact.check(&newer).is_ok(), "somebody who voted before has told it of another epoch");
    }
}
