//! Profiles of a sweep: how many nodes, how rough, how long, how often a seed is run twice.
//!
//! | profile | nodes | faults | chaos | run twice | budget | for |
//! |---|---|---|---|---|---|---|
//! | smoke | 1 or 3 | as drawn | at most 20 s | none | 60 s | while one works |
//! | pr | 1, 3 or 5 | as drawn | as drawn | every 8th | 90 s | every change |
//! | nightly | 1, 3 or 5 | one seed in eight four times as dense | as drawn | every 8th | 2 h | every night |
//!
//! In pr and nightly half of the seeds do rare things on purpose, and some have partitions moved, unclean leaders allowed,
//! and clients that only ask.

use std::time::Duration;

use crate::{
    config::Config,
    rng::{Purpose, Stream},
};

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A minute while one works.
    Smoke,
    /// Every change.
    Pr,
    /// Every night.
    Nightly,
}

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Smoke, Self::Pr, Self::Nightly].into_iter().find(|profile| profile.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Pr => "pr",
            Self::Nightly => "nightly",
        }
    }

    /// No new seed is begun after this, unless the command line says otherwise.
    pub fn budget(self) -> Duration {
        Duration::from_secs(match self {
            Self::Smoke => 60,
            Self::Pr => 90,
            Self::Nightly => 2 * 60 * 60,
        })
    }

    /// Seeds that must have been run when the budget is spent; fewer prove too little.
    pub fn seeds_min(self) -> u64 {
        match self {
            Self::Smoke => 20,
            Self::Pr => 100,
            Self::Nightly => 10_000,
        }
    }

    /// Every so many seeds run twice; 0 is none.
    pub fn twice_every(self) -> u64 {
        match self {
            Self::Smoke => 0,
            Self::Pr | Self::Nightly => 8,
        }
    }

    /// Must every mark have been reached?
    pub fn wants_all_marks(self) -> bool {
        self == Self::Nightly
    }

    /// The configuration of a seed.
    pub fn draw(self, seed: u64) -> Config {
        let mut config = Config::draw(seed);
        config.nodes = Config::draw_nodes(seed);
        let mut random = Stream::new(seed, Purpose::Config, 1_001);
        match self {
            Self::Smoke => {
                config.nodes = config.nodes.min(3);
                config.chaos_ms = config.chaos_ms.min(20_000);
            }
            Self::Pr => {
                config.buggify = u64::from(random.chance(500_000));
                whims(seed, &mut config);
            }
            Self::Nightly => {
                config.buggify = u64::from(random.chance(500_000));
                whims(seed, &mut config);
                if random.below(8) == 0 {
                    config.strike_ms = (config.strike_ms / 4).max(200);
                }
            }
        }
        config
    }
}

/// What an operator may do with a cluster, in some of the seeds: move partitions, let anybody lead, and have clients that
/// only ask.
fn whims(seed: u64, config: &mut Config) {
    let mut random = Stream::new(seed, Purpose::Config, 1_002);
    let mut is_on = |ppm| random.chance(ppm);
    let (moves, allows, asks) = (is_on(300_000), is_on(100_000), is_on(80_000));
    if config.nodes == 1 {
        return;
    }
    config.movers = u64::from(moves);
    config.unclean = u64::from(allows);
    config.askers = u64::from(asks);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_a_name_and_its_seeds_have_one_configuration() {
        for profile in [Profile::Smoke, Profile::Pr, Profile::Nightly] {
            assert_eq!(Profile::named(profile.name()), Some(profile));
            assert_eq!(profile.draw(5), profile.draw(5));
        }
        assert_eq!(Profile::named("daily"), None);
        assert!((0..200).all(|seed| Profile::Smoke.draw(seed).nodes <= 3));
        let nightly: Vec<Config> = (0..200).map(|seed| Profile::Nightly.draw(seed)).collect();
        assert!(nightly.iter().any(|config| config.movers == 1) && nightly.iter().any(|config| config.unclean == 1));
        assert!(nightly.iter().any(|config| config.voters > 0 && config.wipe == 1), "a disk can be taken away");
        assert!(nightly.iter().any(|config| config.wipe == 1 && config.movers == 1 && config.changes_voters()));
        assert!(nightly.iter().all(|config| config.nodes > 1 || config.movers == 0));
        assert!((0..200).any(|seed| Profile::Nightly.draw(seed).strike_ms < Profile::Pr.draw(seed).strike_ms));
    }
}
