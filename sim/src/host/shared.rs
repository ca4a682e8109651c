//! What checkers are shown of a host that keeps logs together with others.

use tidelog_core::{
    effect::Effect,
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, JobId, LogId, NodeId, TopicPartition},
    log::{Durability, Job, JobOutcome, LogError},
    message::{Acks, PeerRequest, PeerResponse, ProduceRequest, ProduceResponse, Request, Response},
    offset::Offset,
    quorum::{Quorum, RoleName},
};

use super::{Env, Host, Look, metadata_partition};
use crate::{
    canon::{Canon, Print},
    check::{Violation, m_votes, m10, r9, shared_image, shared_log, violation},
    digest,
    history::Void,
    ledger::{Held, Ledger},
    oracle::Oracle,
    tally::Mark,
};

impl Host {
    /// An order that is about to go out.
    pub(super) fn watch_order(&mut self, env: &mut Env<'_>, effect: &Effect) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if env.config.nodes == 1 {
            return Ok(());
        }
        let me = NodeId(self.index as i32);
        match effect {
            Effect::Run { log, job, order } => {
                if let Job::SaveVote(vote) = order {
                    process.votes.insert(*job, *vote);
                }
                let Some(&id) = process.logs.get(log) else { return Ok(()) };
                let Oracle { ledgers, canon, history, .. } = &mut *env.oracle;
                let Some(ledger) = ledgers.get_mut(&(self.index, id)) else { return Ok(()) };
                if matches!(order, Job::StartEpoch { .. }) {
                    // What was told in an earlier epoch binds nobody in this one.
                    ledger.told_high_watermark = Offset::ZERO;
                }
                if let Job::Append { batches, .. } = order
                    && let Some(begun) = ledger.begun_anew
                    && process.node.image().partition(id).is_some_and(|partition| partition.leader == Some(me))
                {
                    let notes = batches.iter().flat_map(|batch| Held::of(batch).notes);
                    let values = notes.filter_map(|note| Some((note.value?, note.offset)));
                    history.begun_anew.extend(values.map(|copy| (copy, begun)));
                }
                if let Job::Truncate { to } = order
                    && *to < ledger.told_high_watermark
                    && ledger.config.durability != Durability::Fsync
                {
                    // The leader has lost what this replica has shown to readers, and so it is void here, too.
                    let at = env.queue.now() + ON_ITS_WAY;
                    history.voids.push(Void { partition: id, from: *to, at });
                }
                if ledger.rotten || canon.spared.contains(&id) {
                    return Ok(());
                }
                if let Job::Truncate { to } = order {
                    let mark = canon.marks.get(&(self.index, id)).copied().unwrap_or(Offset::ZERO);
                    env.tally.sometimes(Mark::FollowerTruncated, *to < ledger.end);
                    if *log != LogId::METADATA {
                        env.tally.sometimes(Mark::CommittedCut, *to < mark);
                        // What its leader has let go nobody misses.
                        let gone = canon.committed.get(&id).map_or(Offset::ZERO, |committed| committed.start);
                        shared_log::cut(me, ledger, gone.max(*to), mark, canon.unclean.get(&id).copied())?;
                    }
                }
                if is_loose(ledger) {
                    return Ok(());
                }
                match order {
                    Job::Append { batches, .. } => {
                        let last = ledger.held.values().next_back();
                        let mut before = last.map(|held| Print::of(&held.header));
                        for batch in batches {
                            let header = batch.header();
                            shared_log::follows(canon, me, id, header, before.replace(Print::of(header)))?;
                            let takes_office = !canon.writers.contains_key(&(id, header.leader_epoch));
                            shared_log::appended(canon, me, ledger, header)?;
                            if takes_office && *log == LogId::METADATA {
                                env.tally.sometimes(Mark::ControllerElected, true);
                                let voters = process.node.quorum().map(|quorum| quorum.voters().to_vec());
                                let voters = voters.unwrap_or_default();
                                let voters: Vec<_> = voters.iter().map(|n| env.directories[n.0 as usize]).collect();
                                m_votes::leads(canon, me, header.leader_epoch, &voters)?;
                            } else if takes_office {
                                env.tally.sometimes(Mark::LeaderElected, true);
                            }
                        }
                    }
                    Job::Truncate { to } if !canon.unclean.contains_key(&id) => {
                        let mark = canon.marks.get(&(self.index, id)).copied().unwrap_or(Offset::ZERO);
                        let partition = process.node.partitions().find(|partition| partition.id == id);
                        let epoch = partition.map(|partition| partition.leader_epoch());
                        let epoch = epoch.or_else(|| process.node.quorum().map(Quorum::epoch));
                        let epoch = epoch.unwrap_or(LeaderEpoch(i32::MAX));
                        shared_log::truncated(canon, (me, epoch), ledger, *to, mark)?;
                    }
                    _ => {}
                }
                Ok(())
            }
            Effect::Respond { id, response } => {
                let Some((.., request)) = process.requests.get(id) else { return Ok(()) };
                match (request, response) {
                    (Request::Peer(PeerRequest::Vote(asked)), Response::Peer(PeerResponse::Vote(vote)))
                        if vote.granted && !asked.pre_vote =>
                    {
                        let directory = env.directories[self.index];
                        m_votes::given(&env.oracle.canon, me, directory, asked.epoch, asked.candidate)
                    }
                    (
                        Request::Peer(PeerRequest::AlterPartition(asked)),
                        Response::Peer(PeerResponse::AlterPartition(answer)),
                    ) => shared_image::granted(process.node.image(), asked, answer),
                    (
                        Request::CreateTopics(_) | Request::DeleteTopics(_) | Request::CreatePartitions(_),
                        Response::CreateTopics(_) | Response::DeleteTopics(_) | Response::CreatePartitions(_),
                    ) => {
                        process.confirmed.push((request.clone(), response.clone()));
                        Ok(())
                    }
                    (Request::Produce(asked), Response::Produce(answer)) if asked.acks == Acks::All => {
                        // Judged once the marks are seen that moved with it.
                        process.acks.push((asked.clone(), answer.clone()));
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A job is over.
    pub(super) fn watch_end(
        &mut self,
        env: &mut Env<'_>,
        job: JobId,
        outcome: &Result<JobOutcome, LogError>,
    ) -> Result<(), Violation> {
        let Some(vote) = self.process.as_mut().and_then(|process| process.votes.remove(&job)) else { return Ok(()) };
        if outcome.is_err() || env.config.nodes == 1 {
            return Ok(());
        }
        let directory = env.directories[self.index];
        m_votes::saved(&mut env.oracle.canon, NodeId(self.index as i32), directory, vote)
    }

    /// Is this order of another's making: a follower appends what its leader has admitted?
    pub(super) fn is_copy(&self, id: TopicPartition) -> bool {
        let leader = self.node().and_then(|node| node.image().partition(id)).and_then(|partition| partition.leader);
        id != metadata_partition() && leader != Some(self.id())
    }

    /// What has moved with the last input.
    pub(super) fn watch_marks(&mut self, env: &mut Env<'_>) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if env.config.nodes == 1 {
            return Ok(());
        }
        let me = NodeId(self.index as i32);
        let Oracle { ledgers, canon, admin, history, .. } = &mut *env.oracle;
        if let Some(quorum) = process.node.quorum() {
            m_votes::remembers(canon, me, env.directories[self.index], quorum.epoch())?;
            let view = m10::View {
                me,
                epoch: quorum.epoch(),
                leads: quorum.is_leader().then(|| quorum.epoch()),
                stops: quorum.role() == RoleName::Resigned,
                voters: quorum.voters(),
                at: env.queue.now(),
                runs_since: process.began.max(self.resumed_at),
                patience: env.config.waits().quorum_fetch_timeout.0,
            };
            process.contact.check(&view)?;
        }
        let (_, applied) = process.node.applied_metadata();
        let look = (process.node.quorum().map_or(Offset::NONE, Quorum::high_watermark), applied);
        let has_moved = std::mem::replace(&mut process.metadata_look, look) != look;
        if has_moved && let Some(quorum) = process.node.quorum() {
            let (id, mark) = (metadata_partition(), quorum.high_watermark());
            let before = canon.marks.insert((self.index, id), mark).unwrap_or(Offset::ZERO);
            if mark < before {
                let why = format!("node {me} goes from high watermark {before} back to {mark}");
                return Err(violation("M6", "watermark-went-back", me, why));
            }
            if mark > before && quorum.is_leader() {
                let ledger = ledgers.get(&(self.index, id));
                let last = ledger.and_then(|ledger| ledger.held.range(..mark).next_back());
                if let Some((_, held)) = last.filter(|(_, held)| held.header.leader_epoch != quorum.epoch()) {
                    let (epoch, of) = (quorum.epoch(), held.header.leader_epoch);
                    let why = format!("epoch {epoch} commits up to {mark} with a record of {of}");
                    return Err(violation("M6", "committed-by-an-old-epoch", me, why));
                }
            }
            if mark > before
                && let Some(ledger) = ledgers.get(&(self.index, id))
                && shared_log::marked(canon, me, ledger, mark, quorum.epoch())?
            {
                // Those by whom it was reached: the next change may have come with the same input.
                let voters = match quorum.voters_at(mark) {
                    Some(voters) => voters.iter().map(|voter| voter.node).collect(),
                    None => super::voters(env.config),
                };
                let books = voters.iter().map(|voter| ledgers.get(&(voter.0 as usize, id)));
                shared_log::replicated(canon, id, books, voters.len() / 2 + 1)?;
            }
        }
        if has_moved && canon.applied.insert(self.index, applied).unwrap_or(Offset::ZERO) != applied {
            let image = process.node.image();
            shared_image::folded(canon, self.index, applied, digest::image(image))?;
            admin.folded(image)?;
            for change in shared_image::seen(canon, image)? {
                if let Some((leader, epoch)) = change.unclean {
                    let from = kept_by(canon, ledgers.get(&(leader.0 as usize, change.id)));
                    canon.unclean.insert(change.id, epoch);
                    // Its predecessor may go on until it hears of it: whenever, what it says counts for nothing.
                    history.voids.push(Void { partition: change.id, from, at: u64::MAX });
                }
                env.tally.sometimes(Mark::IsrGrew, !change.joined.is_empty());
                for node in change.joined {
                    shared_image::may_be_in_sync(image, node, change.id)?;
                    let Some(ledger) = ledgers.get(&(node.0 as usize, change.id)) else { continue };
                    if !is_loose(ledger) && canon.is_answered_for(change.id) {
                        let has = canon.agreement(ledger).min(ledger.promised.max(ledger.log_start));
                        shared_image::joined(canon, node, change.id, has)?;
                    }
                }
            }
        }
        let confirmed = std::mem::take(&mut process.confirmed);
        confirmed.iter().try_for_each(|(asked, answer)| admin.confirmed(asked, answer))?;
        self.watch_partitions(env)?;
        let acks = self.process.as_mut().map(|process| std::mem::take(&mut process.acks)).unwrap_or_default();
        acks.iter().try_for_each(|(asked, answer)| self.acknowledged(env, asked, answer))
    }

    fn watch_partitions(&mut self, env: &mut Env<'_>) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let me = NodeId(self.index as i32);
        let Oracle { ledgers, canon, .. } = &mut *env.oracle;
        for partition in process.node.partitions() {
            let (id, mark) = (partition.id, partition.high_watermark());
            let look = Look {
                id,
                high_watermark: mark,
                log_start: partition.log_start(),
                leader_epoch: partition.leader_epoch(),
                is_leader: partition.is_leader(),
            };
            if partition.is_leader() {
                let least = (partition.config.min_insync_replicas as usize).min(partition.replicas().len());
                let alone = partition.is_alone_in_sync() && least <= 1 && !partition.is_offline();
                let (at, runs_since) = (env.queue.now(), self.resumed_at);
                process.stuck.look(id, (at, runs_since), alone, mark, partition.durable_end())?;
                // Whom it wants in sync counts from now on (R6); a leader whose time is over wants in vain.
                let wished: Vec<NodeId> = partition.wished_isr(BrokerEpoch::NONE).map_or(Vec::new(), |wish| {
                    let is_new = |node: &NodeId| partition.isr().is_some_and(|isr| !isr.contains(node));
                    wish.isr.into_iter().map(|(node, _)| node).filter(is_new).collect()
                });
                let before = process.wished.remove(&id).unwrap_or_default();
                let newest = canon.states.get(&id).and_then(|states| states.values().next_back());
                let is_newest = newest.is_some_and(|newest| newest.leader_epoch == partition.leader_epoch());
                for node in wished.iter().filter(|node| is_newest && !before.contains(node)) {
                    let Some(ledger) = ledgers.get(&(node.0 as usize, id)) else { continue };
                    if !is_loose(ledger) && canon.is_answered_for(id) {
                        let has = canon.agreement(ledger).min(ledger.promised.max(ledger.log_start));
                        shared_image::joined(canon, *node, id, has)?;
                    }
                }
                if !wished.is_empty() {
                    process.wished.insert(id, wished);
                }
                r9::leading(id, partition.leader_epoch(), partition.epochs())?;
            }
            if process.looks.insert(partition.log, look) == Some(look) {
                continue;
            }
            if partition.is_leader() {
                let committed = canon.committed.entry(id).or_default();
                committed.start = committed.start.max(partition.log_start());
            }
            let before = canon.marks.insert((self.index, id), mark);
            let epoch = partition.leader_epoch();
            let looked = canon.looked.insert((self.index, id), epoch).unwrap_or(epoch);
            if before.is_some_and(|before| mark <= before) || !canon.is_answered_for(id) {
                continue;
            }
            let Some(ledger) = ledgers.get(&(self.index, id)).filter(|ledger| !is_loose(ledger)) else { continue };
            let Some(state) = process.node.image().partition(id) else { continue };
            if shared_log::marked(canon, me, ledger, mark, epoch)? {
                // The leader may know of a change of its in-sync replicas before its image has it; and one that learns of much
                // at once may have led, committed, and be a follower by now.
                let led = canon.led(me, id, if partition.is_leader() { epoch..=epoch } else { looked..=epoch });
                if led.is_none() && !partition.is_leader() {
                    let why = format!("node {me} commits up to {mark} before its leader {:?} does", state.leader);
                    return Err(violation("R4", "follower-ahead", id, why));
                }
                let isr = led.map_or(&state.isr, |state| &state.isr);
                let isr = canon.answering(isr, id, mark, epoch);
                let books = isr.iter().map(|replica| ledgers.get(&(replica.0 as usize, id)));
                shared_log::replicated(canon, id, books, isr.len())?;
            }
        }
        Ok(())
    }

    /// R8: what is acknowledged to somebody who asked for all replicas is on enough of them.
    fn acknowledged(
        &self,
        env: &mut Env<'_>,
        asked: &ProduceRequest,
        answer: &ProduceResponse,
    ) -> Result<(), Violation> {
        let Some(process) = &self.process else { return Ok(()) };
        let me = NodeId(self.index as i32);
        for (asked, answer) in asked.partitions.iter().zip(&answer.partitions) {
            let (Some(topic), Ok(batch)) = (process.node.image().resolve(&asked.topic), &asked.batch) else { continue };
            let id = TopicPartition { topic: topic.id, partition: asked.partition };
            let Some(ledger) = env.oracle.ledgers.get(&(self.index, id)) else { continue };
            let is_new = answer.error.is_none() && answer.base_offset >= ledger.log_start;
            if !is_new || is_loose(ledger) || !env.oracle.canon.is_answered_for(id) {
                continue;
            }
            // Nobody can ask for more than there are, on their way to other nodes, too.
            let mine = process.node.partitions().find(|partition| partition.id == id);
            let there = mine.map_or(usize::MAX, |partition| partition.replicas().len());
            let there = there.min(env.oracle.canon.replica_count(id));
            let least = (ledger.config.min_insync_replicas as usize).min(there);
            let next = answer.base_offset.forward(i64::from(batch.header().last_offset_delta) + 1);
            if !process.node.partitions().any(|partition| partition.id == id)
                && let Some(state) = process.node.image().partition(id)
            {
                // A node that stops acknowledges its last append and closes the log at once: its mark was not seen to move.
                let Oracle { ledgers, canon, .. } = &mut *env.oracle;
                let Some(ledger) = ledgers.get(&(self.index, id)) else { continue };
                if shared_log::marked(canon, me, ledger, next, state.leader_epoch)? {
                    let isr = canon.answering(&state.isr, id, next, state.leader_epoch);
                    let books = isr.iter().map(|replica| ledgers.get(&(replica.0 as usize, id)));
                    shared_log::replicated(canon, id, books, isr.len())?;
                }
            }
            let committed = env.oracle.canon.end(id);
            if committed < next {
                let why = format!("acknowledged up to {next}, but only what is below {committed} is committed");
                return Err(violation("R8", "acknowledged-before-committed", id, why));
            }
            let copies = env.oracle.ledgers.iter().filter(|((_, of), ledger)| {
                *of == id && ledger.promised >= next && env.oracle.canon.has_last(ledger, next)
            });
            let taken = env.oracle.canon.taken.iter().filter(|((_, of), had)| *of == id && **had >= next);
            let copies = copies.count() + taken.count();
            if copies < least {
                let why =
                    format!("acknowledged up to {next} with {copies} durable copies, min.insync.replicas={least}");
                return Err(violation("R8", "too-few-copies", id, why));
            }
        }
        Ok(())
    }
}

/// How long an answer may be on its way to a reader, in nanoseconds.
const ON_ITS_WAY: u64 = 2_000_000_000;

/// May this log lose what is committed, or hold other batches than were written?
pub(super) fn is_loose(ledger: &Ledger) -> bool {
    ledger.compacted || ledger.rotten || ledger.config.durability != Durability::Fsync
}

/// Up to where a leader that was elected without a promise surely has what is committed: the rest may lawfully be gone.
fn kept_by(canon: &Canon, ledger: Option<&Ledger>) -> Offset {
    match ledger {
        Some(ledger) if !is_loose(ledger) => canon.agreement(ledger).min(ledger.promised),
        _ => Offset::ZERO,
    }
}
