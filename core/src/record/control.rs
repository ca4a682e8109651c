//! Control records: what the system writes into logs for itself. Clients never see them.
//!
//! ```text
//! key:    version 0 (2 bytes) | type (2 bytes)
//! value:  a transaction's end     version 0 (2) | coordinator epoch (4)
//!         a snapshot's begin      version 0 (2) | time of the last record in it (8) | no tagged fields
//!         a snapshot's end        version 0 (2) | no tagged fields
//!         a change of leader      version 0 (2) | leader (4) | voters | those who voted for it | no tagged fields
//!         the voters              version 0 (2) | count + 1 (varint) | for each: node (4) | directory (16) | endpoints | versions
//!                                 of the protocol, least and most (2 + 2) | no tagged fields, twice | no tagged fields
//!                                 endpoints: count + 1 | for each: name, host (texts) | port (2) | no tagged fields
//!         of which a list is      count + 1 (varint, unsigned) | for each: node (4) | no tagged fields (one byte 0)
//! ```
//!
//! A control batch has the control bit and exactly one record.

use alloc::{string::String, vec::Vec};

use super::{Batch, BatchBuilder, BatchError, BatchOptions};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, ProducerEpoch, ProducerId},
    offset::Offset,
    time::Timestamp,
};

/// What a control batch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A transaction of the batch's producer ends here (KIP-98).
    EndTransaction {
        /// Committed, or aborted?
        commit: bool,
        /// Which coordinator decided it.
        coordinator_epoch: i32,
    },
    /// A node leads the metadata quorum from here on (KIP-595).
    LeaderChange {
        /// Who.
        leader: NodeId,
        /// Who could vote.
        voters: Vec<NodeId>,
        /// Who voted for it.
        granting: Vec<NodeId>,
    },
    /// A snapshot of the metadata begins (KIP-630).
    SnapshotHeader {
        /// Of the snapshot's format.
        version: i16,
        /// When the last record that it stands for was appended.
        last_contained: Timestamp,
    },
    /// A snapshot of the metadata is whole (KIP-630).
    SnapshotFooter {
        /// Of the snapshot's format.
        version: i16,
    },
    /// From here on these vote in the metadata quorum (KIP-853).
    Voters(Vec<Voter>),
    /// A type that means nothing to us, or one that is yet to come.
    Other {
        /// The type in the key.
        kind: i16,
    },
}

/// A member of the metadata quorum whose vote and log count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Who.
    pub node: NodeId,
    /// On which disk; all zero where any will do.
    pub directory: DirectoryId,
    /// `host:port` of its native listener; empty where it is not known.
    pub endpoint: String,
}

impl Voter {
    /// Is it this node, on this disk?
    pub fn is(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.node == node && (self.directory.is_any() || directory.is_any() || self.directory == directory)
    }
}

/// What the endpoint of a voter is called in its record.
const LISTENER: &str = "NATIVE";
const KEY_VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
const LEADER_CHANGE: i16 = 2;
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;
const VOTERS: i16 = 6;

impl Batch {
    /// The marker that ends a producer's transaction.
    pub fn end_transaction(
        commit: bool,
        coordinator_epoch: i32,
        producer: ProducerId,
        epoch: ProducerEpoch,
        timestamp: Timestamp,
    ) -> Self {
        let control = Control::EndTransaction { commit, coordinator_epoch };
        let producer = Some((producer, epoch, -1));
        control_batch(&control, timestamp, &BatchOptions { producer, transactional: true, ..BatchOptions::default() })
    }

    /// The first batch of every leader of the metadata quorum.
    pub fn leader_change(leader: NodeId, voters: &[NodeId], granting: &[NodeId], timestamp: Timestamp) -> Self {
        let control = Control::LeaderChange { leader, voters: voters.to_vec(), granting: granting.to_vec() };
        control_batch(&control, timestamp, &BatchOptions::default())
    }

    /// The first batch of a snapshot of the metadata.
    pub fn snapshot_header(last_contained: Timestamp) -> Self {
        let control = Control::SnapshotHeader { version: 0, last_contained };
        control_batch(&control, last_contained, &BatchOptions::default())
    }

    /// The last batch of a snapshot of the metadata.
    pub fn snapshot_footer(last_contained: Timestamp) -> Self {
        control_batch(&Control::SnapshotFooter { version: 0 }, last_contained, &BatchOptions::default())
    }

    /// The record by which these become the voters of the metadata quorum.
    pub fn voters(voters: &[Voter], timestamp: Timestamp) -> Self {
        control_batch(&Control::Voters(voters.to_vec()), timestamp, &BatchOptions::default())
    }

    /// The voters that this batch makes, if it does.
    pub fn as_voters(&self) -> Option<Vec<Voter>> {
        if !self.header().is_control() {
            return None;
        }
        match self.control() {
            Ok(Some(Control::Voters(voters))) => Some(voters),
            _ => None,
        }
    }

    /// What a control batch says; `None` when compaction has emptied it. Panics on a batch that is no control batch.
    pub fn control(&self) -> Result<Option<Control>, BatchError> {
        assert!(self.header().is_control(), "only control batches have control records");
        let open = self.open()?;
        let Some(record) = open.iter().next() else {
            return Ok(None);
        };
        let record = record?;
        Control::read(record.key, record.value).map(Some).ok_or(BatchError::Record { index: 0 })
    }
}

fn control_batch(control: &Control, timestamp: Timestamp, options: &BatchOptions) -> Batch {
    let (kind, value) = control.write();
    let mut key = [0; 4];
    key[..2].copy_from_slice(&KEY_VERSION.to_be_bytes());
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut builder = BatchBuilder::with_capacity(key.len() + value.len() + 16);
    builder.append(0, timestamp, Some(&key), Some(&value), []);
    builder.build(&BatchOptions {
        control: true,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::NONE,
        ..*options
    })
}

impl Control {
    /// The type in the key, and the value.
    fn write(&self) -> (i16, Vec<u8>) {
        let mut value = Vec::new();
        match self {
            Self::EndTransaction { commit, coordinator_epoch } => {
                value.extend_from_slice(&0i16.to_be_bytes());
                value.extend_from_slice(&coordinator_epoch.to_be_bytes());
                (if *commit { COMMIT } else { ABORT }, value)
            }
            Self::LeaderChange { leader, voters, granting } => {
                value.extend_from_slice(&0i16.to_be_bytes());
                value.extend_from_slice(&leader.0.to_be_bytes());
                for list in [voters, granting] {
                    put_unsigned(&mut value, list.len() + 1);
                    for voter in list {
                        value.extend_from_slice(&voter.0.to_be_bytes());
                        value.push(0);
                    }
                }
                value.push(0);
                (LEADER_CHANGE, value)
            }
            Self::SnapshotHeader { version, last_contained } => {
                value.extend_from_slice(&version.to_be_bytes());
                value.extend_from_slice(&last_contained.0.to_be_bytes());
                value.push(0);
                (SNAPSHOT_HEADER, value)
            }
            Self::SnapshotFooter { version } => {
                value.extend_from_slice(&version.to_be_bytes());
                value.push(0);
                (SNAPSHOT_FOOTER, value)
            }
            Self::Voters(voters) => {
                value.extend_from_slice(&0i16.to_be_bytes());
                put_unsigned(&mut value, voters.len() + 1);
                for voter in voters {
                    put_voter(&mut value, voter);
                }
                value.push(0);
                (VOTERS, value)
            }
            Self::Other { kind } => unreachable!("control records of type {kind} are never written"),
        }
    }

    /// Reads a record's key and value. Versions to come add to the end of a value (KIP-98), so that is not judged.
    pub fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let mut key = key?;
        let _version = take_i16(&mut key)?;
        let kind = take_i16(&mut key)?;
        Some(match kind {
            ABORT | COMMIT => {
                let mut value = value?;
                let _version = take_i16(&mut value)?;
                Self::EndTransaction { commit: kind == COMMIT, coordinator_epoch: take_i32(&mut value)? }
            }
            LEADER_CHANGE => {
                let mut value = value?;
                let version = take_i16(&mut value)?;
                let leader = NodeId(take_i32(&mut value)?);
                Self::LeaderChange {
                    leader,
                    voters: take_voters(&mut value, version)?,
                    granting: take_voters(&mut value, version)?,
                }
            }
            SNAPSHOT_HEADER => {
                let mut value = value?;
                let version = take_i16(&mut value)?;
                let last_contained = Timestamp(take_i64(&mut value)?);
                Self::SnapshotHeader { version, last_contained }
            }
            SNAPSHOT_FOOTER => Self::SnapshotFooter { version: take_i16(&mut value?)? },
            VOTERS => {
                let mut value = value?;
                let _version = take_i16(&mut value)?;
                let count = take_unsigned(&mut value)?.checked_sub(1)?;
                Self::Voters((0..count).map(|_| take_voter(&mut value)).collect::<Option<_>>()?)
            }
            kind => Self::Other { kind },
        })
    }
}

/// From version 1 on a voter also has a directory id (KIP-853).
fn take_voters(bytes: &mut &[u8], version: i16) -> Option<Vec<NodeId>> {
    let count = take_unsigned(bytes)?.checked_sub(1)?;
    let mut voters = Vec::new();
    for _ in 0..count {
        voters.push(NodeId(take_i32(bytes)?));
        if version >= 1 {
            *bytes = bytes.get(16..)?;
        }
        skip_tagged(bytes)?;
    }
    Some(voters)
}

fn put_voter(value: &mut Vec<u8>, voter: &Voter) {
    value.extend_from_slice(&voter.node.0.to_be_bytes());
    value.extend_from_slice(&voter.directory.0);
    match voter.endpoint.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
        Some((host, port)) => {
            put_unsigned(value, 2);
            put_text(value, LISTENER);
            put_text(value, host);
            value.extend_from_slice(&port.to_be_bytes());
            value.push(0);
        }
        None => put_unsigned(value, 1),
    }
    // There is one version of the protocol, and it knows this record.
    value.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
}

fn take_voter(bytes: &mut &[u8]) -> Option<Voter> {
    let node = NodeId(take_i32(bytes)?);
    let (directory, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let mut endpoint = String::new();
    for _ in 0..take_unsigned(bytes)?.checked_sub(1)? {
        let _name = take_text(bytes)?;
        let host = take_text(bytes)?;
        let port = take_i16(bytes)?.cast_unsigned();
        if endpoint.is_empty() {
            endpoint = alloc::format!("{host}:{port}");
        }
        skip_tagged(bytes)?;
    }
    let _versions = (take_i16(bytes)?, take_i16(bytes)?);
    skip_tagged(bytes)?;
    skip_tagged(bytes)?;
    Some(Voter { node, directory: DirectoryId(*directory), endpoint })
}

fn put_text(buf: &mut Vec<u8>, text: &str) {
    put_unsigned(buf, text.len() + 1);
    buf.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take_unsigned(bytes)?.checked_sub(1)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    core::str::from_utf8(text).ok()
}

fn skip_tagged(bytes: &mut &[u8]) -> Option<()> {
    for _ in 0..take_unsigned(bytes)? {
        let _tag = take_unsigned(bytes)?;
        let size = usize::try_from(take_unsigned(bytes)?).ok()?;
        *bytes = bytes.get(size..)?;
    }
    Some(())
}

fn put_unsigned(buf: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        buf.push(value as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

fn take_unsigned(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_i16(bytes: &mut &[u8]) -> Option<i16> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i16::from_be_bytes(*taken))
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*taken))
}

fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i64::from_be_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn voters() -> Vec<Voter> {
        let voter = |node, directory, endpoint: &str| Voter {
            node: NodeId(node),
            directory: DirectoryId([directory; 16]),
            endpoint: endpoint.to_string(),
        };
        alloc::vec![voter(1, 0, ""), voter(2, 7, "host:9192"), voter(300, 9, "::1:1")]
    }

    #[test]
    fn voters_round_trip_and_what_is_cut_off_is_refused() {
        let (kind, value) = Control::Voters(voters()).write();
        let key = [0, 0, 0, kind as u8];
        assert_eq!(Control::read(Some(&key), Some(&value)), Some(Control::Voters(voters())));
        // Only the end, which says that nothing was added yet, may be missing.
        for cut in 0..value.len() - 1 {
            assert_eq!(Control::read(Some(&key), Some(&value[..cut])), None, "cut to {cut}");
        }
        assert_eq!(Batch::voters(&voters(), Timestamp(1)).as_voters(), Some(voters()));
    }

    #[test]
    fn a_voter_without_a_disk_is_on_any() {
        let [any, on, _] = &voters()[..] else { panic!("there are three") };
        assert!(any.is(NodeId(1), DirectoryId([3; 16])) && !any.is(NodeId(2), DirectoryId([3; 16])));
        assert!(on.is(NodeId(2), DirectoryId([7; 16])) && !on.is(NodeId(2), DirectoryId([3; 16])));
    }
}
