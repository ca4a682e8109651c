//! H2: a client that asks leaders where a partition ends is never told less than before.
//!
//! It names the newest epoch that it has heard of, so that a leader whose time is over turns it away (KIP-320); and a new
//! leader must not answer before it knows what was committed (KIP-207), or the client goes back in time.

use std::collections::BTreeMap;

use tidelog_core::{ids::TopicPartition, offset::Offset};

use super::{Violation, violation};
use crate::history::History;

const CODE: &str = "H2";

/// Judges a whole history.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut before: BTreeMap<(u32, TopicPartition), Offset> = BTreeMap::new();
    for told in &history.ends {
        let last = before.entry((told.client, told.of)).or_insert(told.end);
        let is_void = history.voids.iter().any(|void| void.partition == told.of);
        if told.end < *last && !is_void {
            let why = format!("client {} is told {} after {last}", told.client, told.end);
            return Err(violation(CODE, "end-went-back", told.of, why));
        }
        *last = told.end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::ids::TopicId;

    use super::*;
    use crate::history::{ToldEnd, Void, partition};

    #[test]
    fn a_client_never_goes_back_in_time() {
        let of = partition(TopicId([7; 16]), 0);
        let mut history = History::default();
        let tell = |history: &mut History, client, end| history.ends.push(ToldEnd { client, of, end: Offset(end) });
        tell(&mut history, 1, 3);
        tell(&mut history, 2, 2);
        tell(&mut history, 1, 3);
        assert_eq!(check(&history), Ok(()), "another client may know less");
        tell(&mut history, 1, 2);
        assert_eq!(check(&history).map_err(|violation| violation.anomaly), Err("end-went-back"));
        history.voids.push(Void { partition: of, from: Offset(2), at: 9 });
        assert_eq!(check(&history), Ok(()), "what is lost lawfully is lost");
    }
}
