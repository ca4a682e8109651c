//! The nemesis's blows, carried out.

use super::{Event, Failure, World};
use crate::{
    actor::{MS, Phase},
    disk::Rot,
    host::{End, Happening},
    ledger::Ending,
    nemesis::{Blow, Strike},
    net::Stage,
    tally::Fault,
};

impl World {
    pub(super) fn strike(&mut self, strike: &Strike) -> Result<(), Failure> {
        let node = strike.node;
        let now = self.queue.now();
        self.trace.event(now, &[2 << 32 | node as u64]);
        self.trace.line(now, || format!("n{node} strike {:?}", strike.blow));
        self.trace.show(|film| film.moment(now, Some(node), "strike", format!("{:?}", strike.blow)));
        let up = self.hosts[node].is_up();
        let config = self.config.clone();
        let disk = self.hosts[node].disk.clone();
        let mut spell = None;
        match &strike.blow {
            Blow::Kill(down) if up => {
                self.tally.fault(Fault::Kill);
                self.reconfigure(node);
                self.crash(node, Ending::Killed, *down);
            }
            Blow::PowerLoss(down) => {
                self.tally.fault(Fault::PowerLoss);
                self.reconfigure(node);
                self.crash(node, Ending::PowerLost, *down);
            }
            Blow::Cut { calls, power, .. } if up => {
                self.hosts[node].cut_is_power_loss = *power;
                disk.die_after(*calls);
            }
            Blow::Stop(_) if up => {
                self.tally.fault(Fault::Stop);
                self.reconfigure(node);
                let incarnation = self.hosts[node].incarnation;
                self.queue.after(0, Event::Host(node, incarnation, Happening::Stop));
                // An operator does not wait for ever.
                self.queue.after(20_000 * MS, Event::Clear(node, strike.blow.clone()));
            }
            Blow::Pause(span) if up && self.hosts[node].paused_until.is_none() => {
                self.tally.fault(Fault::Pause);
                self.hosts[node].paused_until = Some(now + span);
                self.queue.after(*span, Event::Resume(node));
            }
            Blow::ReadErrors(span) => {
                disk.set_weather(|weather| weather.read_errors_ppm = config.read_errors_ppm);
                spell = Some(*span);
            }
            Blow::WriteErrors(span) => {
                disk.set_weather(|weather| weather.write_errors_ppm = config.write_errors_ppm);
                spell = Some(*span);
            }
            Blow::SyncErrors(span) => {
                disk.set_weather(|weather| {
                    weather.sync_errors_ppm = config.sync_errors_ppm;
                    weather.evict_on_sync_error = config.evict_on_sync_error == 1;
                });
                spell = Some(*span);
            }
            Blow::NoHandles(span) => {
                disk.set_weather(|weather| weather.no_handles_ppm = config.no_handles_ppm);
                spell = Some(*span);
            }
            Blow::Full(room, span) => {
                let capacity = disk.used() + room;
                disk.set_weather(|weather| weather.capacity = Some(capacity));
                spell = Some(*span);
            }
            Blow::ReadOnly(span) => {
                disk.set_weather(|weather| weather.read_only = true);
                spell = Some(*span);
            }
            Blow::Slow(span) => {
                self.tally.fault(Fault::SlowDisk);
                disk.set_weather(|weather| weather.slow = config.slow_disk);
                spell = Some(*span);
            }
            Blow::Rot(rot) => self.rot(node, *rot),
            Blow::Stall(span) => {
                for id in self.net.to(node) {
                    self.tally.fault(Fault::Stall);
                    let half = self.random.chance(500_000);
                    if let Some(conn) = self.net.get(id).filter(|_| half) {
                        conn.stalled_until = now + span;
                    }
                }
            }
            Blow::Reset { all } => {
                let conns = self.net.to(node);
                for id in conns {
                    if *all || self.random.chance(300_000) {
                        self.tally.fault(Fault::Reset);
                        let (up, down) = (self.random.below(20 * MS), self.random.below(20 * MS));
                        self.cut(id, now + up, now + down);
                        self.queue.after(down, Event::ClientGone(id));
                    }
                }
            }
            Blow::HalfOpen => {
                for id in self.net.to(node) {
                    let hit = self.random.chance(400_000);
                    if let Some(conn) = self.net.get(id).filter(|conn| conn.stage == Stage::Open && hit) {
                        conn.stage = Stage::Silent;
                        self.tally.fault(Fault::HalfOpen);
                    }
                }
            }
            Blow::ClockStep(ms) => {
                self.tally.fault(Fault::ClockStep);
                self.hosts[node].clock.step(*ms);
            }
            Blow::Split { shape, one_way, span, again } => self.split(node, *shape, *one_way, *span, *again),
            Blow::All { power, down } => self.all_at_once(*power, *down),
            Blow::Wipe(down) if config.waits_with_disks() => self.take_out(node, *down),
            Blow::Wipe(down) => self.wipe(node, *down),
            Blow::Starve { pause, run, span } if up => self.starve(node, *pause, *run, *span),
            _ => {}
        }
        if let Some(span) = spell {
            self.queue.after(span, Event::Clear(node, strike.blow.clone()));
        }
        Ok(())
    }

    pub(super) fn stop_delay(&self, node: usize) -> u64 {
        let last = |strike: &&Strike| strike.node == node && strike.at <= self.queue.now();
        match self.strikes.iter().map(|staged| &staged.strike).rev().filter(last).find_map(|strike| match strike.blow {
            Blow::Stop(down) => Some(down),
            _ => None,
        }) {
            Some(down) if self.phase == Phase::Chaos => down,
            _ => 0,
        }
    }

    pub(super) fn reconfigure(&mut self, node: usize) {
        if self.config.reconfigure == 1 && self.random.chance(400_000) {
            self.tally.fault(Fault::Reconfigured);
            self.hosts[node].reconfigure();
        }
    }

    /// Something that was durable and acknowledged is damaged where damage can be told from a torn end: whole
    /// batches follow.
    pub(super) fn rot(&mut self, node: usize, rot: Rot) {
        let disk = self.hosts[node].disk.clone();
        let logs: Vec<(String, u64)> = disk.files().into_iter().filter(|(path, _)| is_segment(path)).collect();
        if logs.is_empty() {
            return;
        }
        let (path, _) = self.random.pick(&logs).clone();
        let folder = path.split('/').next().unwrap_or_default().to_owned();
        let Some(&id) = self.oracle.folders.get(&(node, folder.clone())) else { return };
        let later = |other: &(String, u64)| other.0.starts_with(&format!("{folder}/")) && other.0 > path && other.1 > 0;
        let is_last = !logs.iter().any(later);
        let durable = disk.durable_len(&path).unwrap_or(0);
        if durable < 2_048 || is_last && rot == Rot::Truncated {
            return;
        }
        let at = self.random.below(durable / 2);
        if disk.rot(&path, rot, at) {
            let now = self.queue.now();
            self.trace.line(now, || format!("n{node} {path} rots at {at}: {rot:?}"));
            if let Some(ledger) = self.oracle.ledgers.get_mut(&(node, id)) {
                ledger.rotten = true;
                ledger.rots += 1;
                ledger.vanished += if rot == Rot::Truncated { durable - at } else { 0 };
            }
            self.oracle.history.rotten.insert(id);
            self.oracle.canon.spared.insert(id);
        }
    }

    pub(super) fn clear(&mut self, node: usize, blow: &Blow) {
        if let Blow::Stop(down) = blow {
            if self.hosts[node].is_up() && self.hosts[node].end == End::None && !self.hosts[node].is_ready() {
                self.crash(node, Ending::Killed, *down);
            }
            return;
        }
        self.hosts[node].disk.set_weather(|weather| match blow {
            Blow::ReadErrors(_) => weather.read_errors_ppm = 0,
            Blow::WriteErrors(_) => weather.write_errors_ppm = 0,
            Blow::SyncErrors(_) => weather.sync_errors_ppm = 0,
            Blow::NoHandles(_) => weather.no_handles_ppm = 0,
            Blow::Full(..) => weather.capacity = None,
            Blow::ReadOnly(_) => weather.read_only = false,
            Blow::Slow(_) => weather.slow = 0,
            _ => {}
        });
        if self.hosts[node].is_offline {
            // The operator has been called.
            let down = self.random.log_between(10, 2_000) * MS;
            self.tally.fault(Fault::Kill);
            self.crash(node, Ending::Killed, down);
        }
    }
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".log") && path.contains('/') && !path.starts_with("__cluster_metadata")
}
