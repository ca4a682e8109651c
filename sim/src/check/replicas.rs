//! R12: at a quiet moment the replicas of a partition are equal byte for byte, up to what each takes for committed.

use std::collections::BTreeMap;

use tidelog_core::{ids::TopicPartition, offset::Offset, record::Batch};

use super::{Violation, violation};

/// The replicas looked at so far: the first one's batches stand for all.
#[derive(Debug, Default)]
pub struct Copies(BTreeMap<TopicPartition, (usize, Offset, BTreeMap<Offset, Batch>)>);

impl Copies {
    /// Compares a replica with those before, where both have something.
    pub fn compare(
        &mut self,
        id: TopicPartition,
        node: usize,
        start: Offset,
        batches: &[Batch],
    ) -> Result<(), Violation> {
        let mine = batches.iter().map(|batch| (batch.header().base_offset, batch.clone())).collect();
        let Some((other, its_start, its)) = self.0.get(&id) else {
            self.0.insert(id, (node, start, mine));
            return Ok(());
        };
        let from = start.max(*its_start);
        let end = |batches: &BTreeMap<Offset, Batch>| {
            batches.values().next_back().map_or(Offset::ZERO, |batch| batch.header().next_offset())
        };
        let bound = end(&mine).min(end(its));
        if bound <= from {
            return Ok(());
        }
        let differs = |(at, batch): &(&Offset, &Batch)| its.get(at).is_none_or(|b| b.to_bytes() != batch.to_bytes());
        if let Some((at, _)) = mine.range(from..bound).find(differs) {
            let why = format!("nodes {other} and {node} have different batches at {at}");
            return Err(violation("R12", "replicas-differ", format!("{id}@{at}"), why));
        }
        if mine.range(from..bound).count() != its.range(from..bound).count() {
            let why = format!("nodes {other} and {node} do not have the same batches from {from} to {bound}");
            return Err(violation("R12", "replicas-differ", id, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::ids::TopicId;

    use super::*;
    use crate::{check::samples::batch, history::partition};

    #[test]
    fn replicas_have_the_same_bytes_where_both_have_any() {
        let id = partition(TopicId([9; 16]), 0);
        let batches = [batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))])];
        let other = [batches[0].clone(), batch(1, None, &[(1, Some(9))])];
        let mut copies = Copies::default();
        assert!(copies.compare(id, 0, Offset(0), &batches).is_ok());
        assert!(copies.compare(id, 1, Offset(0), &batches[..1]).is_ok(), "it is behind");
        assert!(copies.compare(id, 1, Offset(1), &batches[1..]).is_ok(), "its beginning is gone");
        assert!(copies.compare(id, 2, Offset(0), &other).is_err());
        assert!(copies.compare(id, 2, Offset(0), &batches[1..]).is_err());
    }
}
