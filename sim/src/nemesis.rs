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
        if let Some(blow) = blow(config, &mut random) {
            strikes.push(Strike { at, node, blow });
        }
        slot += 1;
        at += clock.exponential(config.strike_ms * MS);
    }
    strikes
}

fn blow(config: &Config, random: &mut Stream) -> Option<Blow> {
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
    let possible: Vec<Blow> = possible.into_iter().filter(|(on, _)| *on).map(|(_, blow)| blow).collect();
    (!possible.is_empty()).then(|| random.pick(&possible).clone())
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
