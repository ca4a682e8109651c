//! Rare but legal behaviour, on purpose.
//!
//! Much of what goes wrong in a cluster is nobody's fault: an answer is lost, a timer fires early, a fetch brings one batch, a
//! segment is rolled though it is not full. Code must be right then, too, but a simulated network and disk do each of
//! these things far too seldom. So there are sites that do them themselves, from a seed: each site is in force in one
//! run of four and then fires with a rate of its own. In production there is no seed, and a site is one test of a bit.

use crate::prng::Prng;

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $rate:literal,)*) => {
        /// Where something rare can be had on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Site { $($(#[$doc])* $name,)* }

        impl Site {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How often it fires where it is in force, in a million.
            fn rate(self) -> u64 {
                match self { $(Self::$name => $rate,)* }
            }
        }
    };
}

sites! {
    /// The answer of another node is taken for lost though it came, and the caller tries again.
    AnswerLost = 10_000,
    /// It is taken for late: a timeout without a reason.
    AnswerLate = 5_000,
    /// What the controller said of in-sync replicas is lost.
    AlterPartitionLost = 200_000,
    /// A follower gets one batch and no more.
    TinyReplicaFetch = 50_000,
    /// A follower that could wait is answered at once.
    EarlyReplicaAnswer = 20_000,
    /// A client gets one batch of one partition and no more.
    TinyFetch = 50_000,
    /// A client that could wait is answered at once.
    EarlyAnswer = 20_000,
    /// What recent batches are in memory is dropped: their readers go to the disk.
    TailDropped = 10_000,
    /// Replicas that lag at all are taken for lagging too long.
    EagerShrink = 5_000,
    /// A segment is closed though it is not full. The driver's, as are those below.
    EarlyRoll = 30_000,
    /// A sync takes its time.
    LateSync = 20_000,
    /// The checkpoints are written though they are not due.
    EarlyCheckpoint = 10_000,
    /// The disk dawdles between the bytes of a log and their index.
    SlowIndexWrite = 20_000,
}

const _: () = assert!(Site::ALL.len() <= 32, "a site is a bit of 32");

/// What a node does on purpose.
#[derive(Clone, Debug)]
pub struct Buggify {
    /// The sites in force, a bit each; none in production.
    sites: u32,
    prng: Prng,
    fired: u64,
}

impl Buggify {
    /// With a seed, a quarter of all sites is in force; without, none is.
    pub fn new(seed: Option<u64>) -> Self {
        let mut prng = Prng::new(seed.unwrap_or(0));
        let mut sites = 0;
        if seed.is_some() {
            for site in Site::ALL {
                sites |= u32::from(prng.chance(1, 4)) << *site as u32;
            }
        }
        Self { sites, prng, fired: 0 }
    }

    /// Nothing is done on purpose any more.
    pub fn calm(&mut self) {
        self.sites = 0;
    }

    /// Is it to be done now?
    pub fn fires(&mut self, site: Site) -> bool {
        if self.sites & 1 << site as u32 == 0 {
            return false;
        }
        let fires = self.prng.chance(site.rate(), 1_000_000);
        self.fired += u64::from(fires);
        fires
    }

    /// One of `0..count`, for a site that has fired and must choose.
    pub fn choose(&mut self, count: usize) -> usize {
        self.prng.below(count as u64) as usize
    }

    /// How often sites have fired since this was asked last.
    pub fn take_fired(&mut self) -> u64 {
        core::mem::take(&mut self.fired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_fires_without_a_seed_or_after_calm() {
        let fired = |buggify: &mut Buggify| {
            for _ in 0..2_000 {
                Site::ALL.iter().for_each(|site| {
                    buggify.fires(*site);
                });
            }
            buggify.take_fired()
        };
        assert_eq!(fired(&mut Buggify::new(None)), 0);
        let total: u64 = (0..8).map(|seed| fired(&mut Buggify::new(Some(seed)))).sum();
        assert!(total > 100, "{total}");
        let mut calmed = Buggify::new(Some(3));
        calmed.calm();
        assert_eq!(fired(&mut calmed), 0);
    }

    #[test]
    fn a_seed_fires_alike_every_time() {
        let fires = |seed| {
            let mut buggify = Buggify::new(Some(seed));
            (0..5_000).map(|n| buggify.fires(Site::ALL[n % Site::ALL.len()])).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(fires(5), fires(5));
        assert_ne!(fires(5), fires(6));
    }
}
