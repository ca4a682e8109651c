//! The border between core and driver: a fact goes in, orders come out and are carried out.

use tidelog_core::{
    effect::Effect,
    ids::{PartitionId, TopicPartition},
    input::Input,
    log::Job,
    message::{Records, Request, Response},
};

use super::{
    End, Env, Host, marks,
    text::{label, order_text, peer_text},
};
use crate::{
    actor::CallId,
    check::{self, Bounds, Load, Seen, Violation, shared_log},
    digest,
    ledger::Ledger,
    net::ConnId,
    tally::{Fault, Mark},
    worker::{self, Order},
    world::Outgoing,
};

impl Host {
    /// The core takes a fact and gives its orders.
    pub(super) fn input(&mut self, env: &mut Env<'_>, input: Input) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let at = env.queue.now();
        env.trace.event(at, &[self.index as u64, digest::input(&input)]);
        marks::told(env.tally, &input);
        process.node.handle(self.clock.now(at), input);
        let mut effects = 0;
        while let Some(process) = &mut self.process
            && let Some(effect) = process.node.poll_effect()
        {
            effects += 1;
            env.trace.fold(digest::effect(&effect));
            marks::ordered(env.tally, &effect);
            self.watch_order(env, &effect)?;
            self.watch_snapshot_order(env, &effect)?;
            self.carry_out(env, effect)?;
        }
        self.watch_marks(env)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        env.tally.faults(Fault::Buggified, process.node.take_buggified());
        let load = Load { effects, jobs: process.jobs, requests: process.requests.len() as u64, ..Load::default() };
        Bounds::default().check(format_args!("n{}", self.index), &load)?;
        self.work(env);
        self.arm(env);
        Ok(())
    }

    pub(super) fn carry_out(&mut self, env: &mut Env<'_>, effect: Effect) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let (at, name) = (env.queue.now(), self.index);
        match effect {
            Effect::Respond { id, response } => {
                let committed = process.lookups.remove(&id);
                let repeated = process.repeated.remove(&id).unwrap_or_default();
                let Some((conn, call, request)) = process.requests.remove(&id) else { return Ok(()) };
                if let (Some(committed), Request::ListOffsets(asked), Response::ListOffsets(answer)) =
                    (committed, &request, &response)
                {
                    self.looked_up(env, committed, asked, answer)?;
                }
                if let (Request::Produce(asked), Response::Produce(answer)) = (&request, &response) {
                    self.repeated_answered(env, &repeated, asked, answer)?;
                }
                self.respond(env, conn, call, &request, response)
            }
            Effect::Run { log, job, order } => {
                process.jobs += 1;
                if let Job::Open { dir, topic_id, .. } = &order {
                    let number = dir.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
                    let id = TopicPartition { topic: *topic_id, partition: PartitionId(number) };
                    process.logs.insert(log, id);
                    env.oracle.folders.insert((name, dir.clone()), id);
                    env.oracle.ledger(name, id);
                }
                let id = process.logs.get(&log).copied();
                env.trace.line(at, || format!("n{name} {} order {job} {}", label(log, id), order_text(&order)));
                if let Some(id) = id {
                    if matches!(order, Job::Delete) {
                        if self.node().is_some_and(|node| node.image().partition(id).is_none()) {
                            env.oracle.canon.spared.insert(id);
                        }
                        env.oracle.bury(name, id);
                        env.oracle.canon.removed(name, id);
                    } else {
                        let seen = Seen::Ordered { job, order: &order };
                        let is_copy = env.config.nodes > 1 && self.is_copy(id);
                        let ledger = env.oracle.ledgers.entry((name, id)).or_insert_with(|| Ledger::new(id));
                        let checked = match is_copy {
                            true => check::watch_copy(ledger, &seen),
                            false => check::watch(ledger, &env.oracle.history, &seen),
                        };
                        ledger.ordered(job, &order);
                        checked?;
                    }
                }
                self.process.as_mut().expect("as above").worker.order(Order::Run { log, job, order });
                Ok(())
            }
            Effect::Ready => {
                process.is_ready = true;
                env.trace.line(at, || format!("n{name} ready"));
                Ok(())
            }
            Effect::LogFailed { dir, reason } => {
                env.trace.line(at, || format!("n{name} {dir} failed: {reason}"));
                let id = env.oracle.folders.get(&(name, dir)).copied();
                let ledger = id.map(|id| env.oracle.ledger(name, id));
                // A passing error of the disk at the wrong moment: the operator tries again. Rot does not pass.
                self.is_offline |= !ledger.as_ref().is_some_and(|ledger| ledger.rotten);
                if let Some(ledger) = ledger {
                    ledger.reported = true;
                }
                Ok(())
            }
            Effect::LeaderLacks { dir, from, to } => {
                env.trace.line(at, || format!("n{name} {dir} has {from} to {to} committed, its leader lacks them"));
                let id = env.oracle.folders.get(&(name, dir)).copied();
                // A leader whose log was damaged may lack what it had, and was elected when it had it.
                let damaged = |id: &TopicPartition| env.oracle.history.rotten.contains(id);
                match id.filter(|id| !env.oracle.canon.spared.contains(id) && !damaged(id)) {
                    Some(id) => Err(shared_log::unmarked(self.id(), id, from, to)),
                    None => Ok(()),
                }
            }
            Effect::DirectoryFailed { reason } => {
                env.trace.line(at, || format!("n{name} directory failed: {reason}"));
                self.is_offline = true;
                Ok(())
            }
            Effect::Halt { reason } => {
                env.trace.line(at, || format!("n{name} halts: {reason}"));
                self.end = End::Halted(reason);
                Ok(())
            }
            Effect::Call { call, to, request, timeout } => {
                env.trace.line(at, || format!("n{name} call {call} to n{to}: {}", peer_text(&request)));
                let address = process.addresses.get(&to).cloned();
                env.calls.push(Outgoing { call, to, address, request, timeout });
                Ok(())
            }
            Effect::PeerMoved { node, endpoints } => {
                process.addresses.insert(node, endpoints.native);
                Ok(())
            }
            Effect::Stopped => {
                process.worker.order(Order::Close);
                Ok(())
            }
        }
    }

    pub(super) fn respond(
        &mut self,
        env: &mut Env<'_>,
        conn: ConnId,
        call: CallId,
        request: &Request,
        response: Response,
    ) -> Result<(), Violation> {
        if let Response::Fetch(fetch) = &response {
            for answer in &fetch.partitions {
                let Some(id) = self.resolve(answer) else { continue };
                let leads = self.leads(id);
                let read = answer.error.is_none() && answer.records != Records::Empty;
                env.tally.sometimes(Mark::ReadFromFollower, read && !leads);
                env.tally.sometimes(Mark::ReaderSentOn, answer.preferred_read_replica.is_some());
                let Some(ledger) = env.oracle.ledgers.get_mut(&(self.index, id)) else { continue };
                if !leads {
                    // What a follower knows to be committed it may know no more after a restart.
                    continue;
                }
                check::watch(ledger, &env.oracle.history, &Seen::Answered { answer })?;
                if answer.error.is_none() {
                    ledger.told_high_watermark = ledger.told_high_watermark.max(answer.high_watermark);
                }
            }
        }
        if worker::wants_log(&response) {
            let process = self.process.as_mut().expect("the caller has one");
            process.worker.order(Order::Read { conn, call, response });
            return Ok(());
        }
        if let Response::Fetch(fetch) = &response {
            let tail = fetch.partitions.iter().any(|partition| matches!(partition.records, Records::Batches(_)));
            env.tally.sometimes(Mark::ReadFromTail, tail);
        }
        self.answer(env, conn, call, Some(request), response)
    }

    pub(super) fn answer(
        &mut self,
        env: &mut Env<'_>,
        conn: ConnId,
        call: CallId,
        request: Option<&Request>,
        response: Response,
    ) -> Result<(), Violation> {
        let silent = matches!(request, Some(Request::Produce(r)) if r.acks == tidelog_core::message::Acks::None);
        if let Response::Fetch(fetch) = &response {
            self.served(env, fetch)?;
        }
        if !silent {
            env.replies.push((conn, call, response));
        }
        Ok(())
    }
}
