//! The phases of a run: when one is over, what heals between two, and the judgement at the end.

use super::{Event, Failure, World};
use tidelog_core::{log::LogError, offset::Offset};

use crate::{
    actor::{MS, Phase},
    check::{self, Bounds, Load, replicas::Copies},
    host::{Host, marks::lived},
    ledger::{Ending, Held, Open},
    net::{Stage, Way},
    tally::Mark,
};

/// How long everything may take to get well again.
const SETTLE_MAX: u64 = 90_000 * MS;
/// How often the world looks whether a phase is over.
const LOOK_EVERY: u64 = 50 * MS;

impl World {
    /// Is the phase over? The world heals at the end of chaos, and the last reader begins when all is quiet.
    pub(super) fn look(&mut self) -> Result<bool, Failure> {
        let now = self.queue.now();
        match self.phase {
            Phase::Chaos => {
                self.heal();
                self.enter(Phase::Settle)?;
            }
            Phase::Settle | Phase::FinalRead => {
                self.thaw_the_needed();
                // Where data has rotted writers may wait for ever; the last reader knows which partitions to spare.
                let lost = !self.oracle.rotten().is_empty() || self.has_spared_lost;
                let judged = if lost { self.clients.len() - 1 } else { 0 };
                let waits = self.clients[judged..].iter().find_map(|client| client.actor.unfinished(self.phase));
                let is_client = waits.is_some();
                let waits = waits.or_else(|| self.down()).or_else(|| self.unsettled());
                match waits {
                    Some(_) if now - self.phase_began > SETTLE_MAX && self.spare_the_lost() => self.phase_began = now,
                    Some(why) if now - self.phase_began > SETTLE_MAX => {
                        let reasons = self.explain_unrecoverable();
                        let more = self.unsettled().map(|more| format!("; {more}")).unwrap_or_default();
                        let why = format!("{why} {} s after all was healed; {reasons}{more}", SETTLE_MAX / 1_000 / MS);
                        return Err(if is_client { Failure::Stuck(why) } else { Failure::Unsettled(why) });
                    }
                    Some(_) => {}
                    None if self.phase == Phase::FinalRead => return Ok(true),
                    None if self.config.final_crash == 1 && !self.crashed_at_end => {
                        self.crashed_at_end = true;
                        let ending = if self.config.power_loss == 1 { Ending::PowerLost } else { Ending::Killed };
                        for node in 0..self.hosts.len() {
                            if self.is_inside(node) {
                                self.crash(node, ending, 0);
                            }
                        }
                    }
                    None => self.enter(Phase::FinalRead)?,
                }
                for node in 0..self.hosts.len() {
                    if self.hosts[node].is_offline && self.is_inside(node) {
                        self.crash(node, Ending::Killed, 100 * MS);
                    }
                }
            }
        }
        self.queue.after(LOOK_EVERY, Event::Look);
        Ok(false)
    }

    /// Asks nothing more of partitions that went with the disks of all who could lead them: only a person who decides to do
    /// without what they held can bring them back. Returns whether there were any that nobody had thought of.
    fn spare_the_lost(&mut self) -> bool {
        let now = self.queue.now();
        let canon = &self.oracle.canon;
        let lost = canon.states.keys().filter(|id| !canon.spared.contains(id) && canon.went_with_disks(**id));
        let lost: Vec<_> = lost.copied().collect();
        for id in &lost {
            self.trace.line(now, || format!("-- {id} went with its disks --"));
            self.oracle.canon.spared.insert(*id);
            self.oracle.history.rotten.insert(*id);
            self.oracle.history.reported_corrupt.insert(*id);
        }
        self.has_spared_lost |= !lost.is_empty();
        !lost.is_empty()
    }

    /// What the oracle knows that could stand in the way (simulation.md §1.8).
    fn explain_unrecoverable(&self) -> String {
        let mut reasons = Vec::new();
        for host in &self.hosts {
            if let Some(failure) = &host.start_failure {
                reasons.push(format!("n{} cannot start: {failure}", host.index));
            }
            if host.is_offline {
                reasons.push(format!("n{} has its directory or a log offline", host.index));
            }
        }
        for ledger in self.oracle.ledgers.values().filter(|ledger| ledger.rotten) {
            let said = if ledger.reported { "said so" } else { "said nothing" };
            reasons.push(format!("{} was damaged {} times and has {said}", ledger.id, ledger.rots));
        }
        if reasons.is_empty() { "nothing explains it".to_owned() } else { reasons.join("; ") }
    }

    pub(super) fn down(&self) -> Option<String> {
        let down = self.hosts.iter().find(|host| self.is_inside(host.index) && !host.is_ready())?;
        Some(format!("node {} is not up", down.index))
    }

    pub(super) fn enter(&mut self, phase: Phase) -> Result<(), Failure> {
        let now = self.queue.now();
        self.trace.line(now, || format!("-- {phase:?} --"));
        self.trace.show(|film| film.moment(now, None, "phase", format!("{phase:?}")));
        (self.phase, self.phase_began) = (phase, now);
        for client in 0..self.clients.len() {
            self.act(client, |actor, scene| actor.on_time(scene))?;
        }
        Ok(())
    }

    pub(super) fn heal(&mut self) {
        self.net.calm = true;
        self.hosts.iter_mut().for_each(Host::calm);
        self.net.unblock_all();
        self.freeze();
        for id in self.net.all() {
            if let Some(conn) = self.net.get(id) {
                conn.stalled_until = 0;
                if conn.stage == Stage::Silent {
                    self.queue.after(MS, Event::ClientGone(id));
                } else {
                    self.queue.after(0, Event::Pump(id, Way::Up));
                    self.queue.after(0, Event::Pump(id, Way::Down));
                }
            }
        }
        for node in 0..self.hosts.len() {
            if !self.is_inside(node) {
                continue;
            }
            self.heal_host(node);
        }
    }

    /// What is wrong with this machine is put right.
    pub(super) fn heal_host(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.disk.set_weather(|weather| *weather = Default::default());
        host.disk.die_after(u64::MAX / 2);
        host.disk.hurry();
        host.clock.correct();
        if host.paused_until.is_some() {
            self.queue.after(0, Event::Resume(node));
        }
        if self.hosts[node].is_offline {
            self.crash(node, Ending::Killed, 0);
        } else if !self.hosts[node].is_up() {
            self.queue.after(0, Event::Start(node));
        }
    }

    /// What is looked at after every event.
    pub(super) fn after(&mut self) -> Result<(), Failure> {
        self.film();
        let now = self.queue.now();
        let (second, events) = &mut self.second;
        if now / 1_000_000_000 == *second {
            *events += 1;
        } else {
            (*second, *events) = (now / 1_000_000_000, 1);
            let used = self.hosts.iter().map(|host| host.disk.used()).max().unwrap_or(0);
            let load = Load { disk_bytes: used, ..Load::default() };
            Bounds::default().check("disk", &load).map_err(Failure::Broken)?;
        }
        let load = Load { events_per_second: self.second.1, ..Load::default() };
        Bounds::default().check("world", &load).map_err(Failure::Broken)
    }

    /// The end: every log against its book, and the clients' history.
    pub(super) fn judge(&mut self) -> Result<(), Failure> {
        lived(&self.tally, &self.oracle.canon);
        let mut copies = Copies::default();
        if let Some(node) = self.controller().and_then(|node| self.hosts[node].node()) {
            self.oracle.admin.judge(node.image()).map_err(Failure::Broken)?;
        }
        check::h2::check(&self.oracle.history).map_err(Failure::Broken)?;
        for host in &mut self.hosts {
            for (log, id, start, committed) in host.logs() {
                let (held, unreadable) = host.read_through(log, start, committed);
                let Some(ledger) = self.oracle.ledgers.get(&(host.index, id)) else { continue };
                if let Some(error) = unreadable {
                    // The log has moved its start, and the core has not heard of it yet.
                    let moves = |open: &Open| matches!(open, Open::Retain { .. } | Open::Raise { .. });
                    let moved = matches!(error, LogError::OutOfRange { .. }) && ledger.open.values().any(moves);
                    // The weather outside the core is as it was.
                    let outside = self.frozen[host.index].is_some();
                    if !ledger.rotten && !moved && !outside {
                        let why = format!("{id} cannot be read at the end: {error}");
                        return Err(Failure::Stuck(why));
                    }
                    continue;
                }
                // Who was left out when an unclean leader was elected still has what that one lacks.
                let differs = self.oracle.canon.unclean.contains_key(&id) && self.frozen[host.index].is_some();
                if !ledger.compacted && !self.oracle.canon.spared.contains(&id) && !differs {
                    // What a leader has let go nobody answers for: a crash may bring it back, and a replica that was away
                    // may have had something else there.
                    let let_go = self.oracle.canon.committed.get(&id).map_or(Offset::ZERO, |committed| committed.start);
                    copies.compare(id, host.index, start.max(let_go), &held).map_err(Failure::Broken)?;
                }
                let held: Vec<Held> = held.iter().map(Held::of).collect();
                let left: usize = held.iter().map(|held| held.notes.len()).sum();
                let written: usize =
                    ledger.held.range(start..committed.max(start)).map(|(_, held)| held.notes.len()).sum();
                self.tally.sometimes(Mark::RecordCompacted, ledger.compacted && left < written);
                check::read_through(ledger, start, &held).map_err(Failure::Broken)?;
            }
        }
        self.oracle.history.short_of_replicas.extend(self.short_of_replicas());
        check::h1::check(&self.oracle.history).map_err(Failure::Broken)
    }
}
