//! Planted bugs, to prove that the checkers can see.
//!
//! `if mutant!(X81) { bad } else { good }` compiles to `good` alone in a normal build. With the feature
//! `mutants` the simulator switches one id on at run time and demands that a checker named for it reports it.

/// The bugs that this build can plant. The ids are those of the catalogue in `sim/MUTANTS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// An I/O error of fsync is retried and the retry trusted (fsyncgate).
    X81,
    /// Producers' batches are judged without those still on their way to the disk.
    Y11,
    /// A batch that repeats one in flight is acknowledged at once, before the one in flight is durable.
    Y12,
    /// The producer table is changed when a batch is admitted, not when its append has succeeded (KAFKA-6683).
    X62,
    /// Every 64th acknowledged batch is dropped instead of appended: the canary of the whole pipeline.
    X87,
}

/// Is this planted bug switched on? A constant `false` without the feature `mutants`.
#[macro_export]
macro_rules! mutant {
    ($id:ident) => {
        $crate::mutant::is_on($crate::mutant::Mutant::$id)
    };
}

/// Always false: this build plants no bugs.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_on(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// 0 is none; otherwise the mutant's ordinal plus one. One process runs one mutant at a time.
    static ACTIVE: AtomicU32 = AtomicU32::new(0);

    /// Is this planted bug switched on?
    pub fn is_on(mutant: Mutant) -> bool {
        ACTIVE.load(Ordering::Relaxed) == mutant as u32 + 1
    }

    /// Switches one planted bug on, or all off.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(0, |m| m as u32 + 1), Ordering::Relaxed);
    }
}
#[cfg(feature = "mutants")]
pub use switch::{is_on, set};
