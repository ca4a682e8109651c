//! What goes wrong and when: a list, made from the seed before the run begins.
//!
//! It is data. A strike can be taken out of the list without changing any of the others.

use crate::{
    actor::MS,
    config::Config,
    disk::Rot,
    rng::{Purpose, Stream},
};

/// One thing that goes wrong. Spans are nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The process is killed and started again after this long.
    Kill(u64),
    /// The machine loses its power and gets it back after this long.
    PowerLoss(u64),
    /// The process dies at its n-th disk call from now, by a kill or by power loss.
    Cut {
        /// How many calls still work.
        calls: u64,
        /// By power loss?
        power: bool,
        /// How long it stays down.
        down: u64,
    },
    /// The process is stopped in order and started again after this long.
    Stop(u64),
    /// The process does not run for this long.
    Pause(u64),
    /// Reads fail now and then, for this long.
    ReadErrors(u64),
    /// Writes fail now and then.
    WriteErrors(u64),
    /// Syncs fail now and then.
    SyncErrors(u64),
    /// Handles run out now and then.
    NoHandles(u64),
    /// So many more bytes fit, for this long.
    Full(u64, u64),
    /// The disk is read-only for this long.
    ReadOnly(u64),
    /// The disk is slow for this long.
    Slow(u64),
    /// Something rots.
    Rot(Rot),
    /// Connections stall for this long.
    Stall(u64),
    /// One connection is reset, or all of them.
    Reset {
        /// All?
        all: bool,
    },
    /// One connection dies without a sign.
    HalfOpen,
    /// The node's wall clock steps by so many milliseconds.
    ClockStep(i64),
    /// Links between nodes, or between nodes and clients, carry nothing.
    Split {
        /// Which links.
        shape: Shape,
        /// Are they blocked one way only, and which?
        one_way: Option<Way>,
        /// How long one split lasts.
        span: u64,
        /// It comes back so many times, with as long a pause between.
        again: u64,
    },
    /// Every node is killed, or loses its power, and starts again after up to this long.
    All {
        /// By power loss?
        power: bool,
        /// How long.
        down: u64,
    },
    /// The machine is replaced by one with an empty disk, which starts after this long.
    Wipe(u64),
    /// The process gets little of its processor: it pauses for `pause`, runs for `run`, and so on for `span`.
    Starve {
        /// How long each pause is.
        pause: u64,
        /// How long it runs between two.
        run: u64,
        /// How long all of it takes.
        span: u64,
    },
}

/// Which links of a cluster are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Between the nodes of this set, a bit each, and the others.
    Sides(u64),
    /// Between the struck node and all others.
    Alone,
    /// Between the leader of the metadata quorum and all others.
    Controller,
    /// Between the leader of some partition and all others.
    Leader,
    /// All but those to the neighbours in a ring.
    Ring,
    /// Between the struck node and the controller.
    FromController,
    /// Between the struck node and all clients.
    Clients,
}

/// Which way a one-sided split blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the struck side sends.
    Out,
    /// What is sent to it.
    In,
}

/// A blow and its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Virtual time.
    pub at: u64,
    /// The node.
    pub node: usize,
    /// What.
    pub blow: Blow,
}

/// Everything that goes wrong in a run.
pub fn plan(seed: u64, config: &Config) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let end = config.chaos_ms * MS;
    let mut clock = Stream::new(seed, Purpose::Nemesis, 0);
    let mut at = clock.exponential(config.strike_ms * MS);
    let mut slot = 1;
    while at < end {
        let mut random = Stream::new(seed, Purpose::Nemesis, slot);
        let node = random.below(config.nodes) as usize;
        let mut shapes = Stream::new(seed, Purpose::Nemesis, 1 << 32 | slot);
        if let Some(blow) = blow(config, &mut random, &mut shapes) {
            strikes.push(Strike { at, node, blow });
        }
        slot += 1;
        at += clock.exponential(config.strike_ms * MS);
    }
    strikes
}

fn blow(config: &Config, random: &mut Stream, shapes: &mut Stream) -> Option<Blow> {
    let down = if random.chance(300_000) { 0 } else { random.log_between(10, 4_000) * MS };
    let span = random.log_between(50, 4_000) * MS;
    let rot = *random.pick(&[Rot::Bit, Rot::Zeros, Rot::Stale, Rot::Misdirected, Rot::Truncated, Rot::Latent]);
    let hours = random.chance(200_000);
    let step = random.log_between(1, if hours { 3_600_000 } else { 5_000 }) as i64;
    let step = if random.chance(500_000) { -step } else { step };
    let possible = [
        (config.kill > 0, Blow::Kill(down)),
        (config.power_loss > 0, Blow::PowerLoss(down)),
        (
            config.cut_jobs > 0,
            Blow::Cut {
                calls: random.log_between(1, 200) - 1,
                power: config.power_loss > 0 && random.chance(600_000),
                down,
            },
        ),
        (
            config.cut_jobs > 0,
            Blow::Cut { calls: random.below(12), power: config.power_loss > 0 && random.chance(600_000), down },
        ),
        (config.stop > 0, Blow::Stop(down)),
        (config.pause > 0, Blow::Pause(span)),
        (config.read_errors_ppm > 0, Blow::ReadErrors(span)),
        (config.write_errors_ppm > 0, Blow::WriteErrors(span)),
        (config.sync_errors_ppm > 0, Blow::SyncErrors(span)),
        (config.no_handles_ppm > 0, Blow::NoHandles(span)),
        (config.disk_full > 0, Blow::Full(random.below(4_000), span)),
        (config.read_only > 0, Blow::ReadOnly(span)),
        (config.slow_disk > 0, Blow::Slow(span)),
        (config.catastrophe > 0, Blow::Rot(rot)),
        (config.stall > 0, Blow::Stall(span)),
        (config.reset > 0, Blow::Reset { all: random.chance(300_000) }),
        (config.half_open > 0, Blow::HalfOpen),
        (config.clock_steps > 0, Blow::ClockStep(step)),
    ];
    let mut possible: Vec<Blow> = possible.into_iter().filter(|(on, _)| *on).map(|(_, blow)| blow).collect();
    if config.nodes > 1 {
        possible.extend(cluster_blows(config, shapes));
    }
    (!possible.is_empty()).then(|| random.pick(&possible).clone())
}

/// What only happens where there are several nodes.
fn cluster_blows(config: &Config, random: &mut Stream) -> Vec<Blow> {
    let down = random.log_between(10, 6_000) * MS;
    let span = random.log_between(50, 8_000) * MS;
    let side = random.between(1, (1 << config.nodes) - 2);
    let one_way = *random.pick(&[Way::Out, Way::In]);
    let shape = *random.pick(&[Shape::Controller, Shape::Leader]);
    let times = random.between(2, 8);
    let (pause, run) = (random.log_between(1, 500) * MS, random.log_between(1, 100) * MS);
    let split = |shape, one_way, again: u64| Blow::Split {
        shape,
        one_way,
        span: span.checked_div(again).map_or(span, |each| each.max(20 * MS)),
        again,
    };
    let possible = [
        (config.split, split(Shape::Sides(side), None, 0)),
        (config.split, split(Shape::Alone, None, 0)),
        (config.split_one_way, split(Shape::Sides(side), Some(one_way), 0)),
        (config.split_one_way, split(Shape::FromController, Some(one_way), 0)),
        (config.split_leader, split(shape, None, 0)),
        (config.split_leader & config.split_one_way, split(shape, Some(one_way), 0)),
        (config.split_ring, split(Shape::Ring, None, 0)),
        (config.split_flapping, split(Shape::Alone, None, times)),
        (config.split_clients, split(Shape::Clients, None, 0)),
        (config.all_at_once, Blow::All { power: config.power_loss > 0 && random.chance(500_000), down }),
        (config.wipe, Blow::Wipe(down)),
        (config.starve, Blow::Starve { pause, run, span }),
    ];
    possible.into_iter().filter(|(on, _)| *on > 0).map(|(_, blow)| blow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_wrong_when_nothing_is_switched_on() {
        assert_eq!(plan(1, &Config::default()), []);
    }

    #[test]
    fn a_strike_does_not_depend_on_which_others_there_are() {
        let config = Config { kill: 1, ..Config::default() };
        let first = plan(3, &config);
        assert!(!first.is_empty());
        assert_eq!(plan(3, &Config { ghosts_ppm: 5, ..config }), first);
    }
}
