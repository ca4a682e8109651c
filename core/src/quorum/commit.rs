//! What a majority has is committed, once it includes the leader's own epoch.

use alloc::vec::Vec;

use crate::offset::Offset;

/// The high watermark, given how far each voter's log is durable: the greatest offset that a majority has reached, but
/// `current` while that does not cover a record of the leader's epoch, which begins at `epoch_start`.
pub fn committed(durable: &[Offset], epoch_start: Offset, current: Offset) -> Offset {
    assert!(!durable.is_empty(), "a quorum has voters");
    let mut ends: Vec<Offset> = durable.to_vec();
    ends.sort_unstable();
    // Of n sorted ends, the one at (n - 1) / 2 and all above it are a majority.
    let reached = ends[(ends.len() - 1) / 2];
    if reached > epoch_start { reached.max(current) } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule, said slowly: the greatest offset that more than half have reached.
    fn slowly(durable: &[Offset], epoch_start: Offset, current: Offset) -> Offset {
        let reached = |at: Offset| durable.iter().filter(|end| **end >= at).count() * 2 > durable.len();
        let best = durable.iter().copied().filter(|at| reached(*at)).max().unwrap_or(Offset::ZERO);
        if best > epoch_start { best.max(current) } else { current }
    }

    #[test]
    fn it_is_the_majoritys_offset_for_every_small_quorum() {
        for voters in 1..=5u32 {
            for code in 0..4u32.pow(voters) {
                let durable: Vec<_> = (0..voters).map(|v| Offset(i64::from(code / 4u32.pow(v) % 4))).collect();
                for start in 0..4 {
                    let (start, current) = (Offset(start), Offset(0));
                    assert_eq!(committed(&durable, start, current), slowly(&durable, start, current), "{durable:?}");
                }
            }
        }
    }
}
