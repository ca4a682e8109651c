//! What clients did and saw: the only thing that the black-box checker reads.
//!
//! Every record carries a value that no other has. A send is acknowledged, has failed for certain, or nobody knows;
//! a poll is what one fetch brought, in order. Values are dense, so they index a vector.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::{
    ids::{PartitionId, TopicId, TopicPartition},
    message::Acks,
    offset::Offset,
};

/// What tells one record from all others.
pub type Value = u64;

/// What became of a send, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody knows: no answer came, or one that leaves it open.
    Open,
    /// Acknowledged, at this offset where one was named.
    Acknowledged(Option<Offset>),
    /// Refused for certain; it must never be seen.
    Failed,
}

/// One record sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub to: TopicPartition,
    /// Which producer session sent it: within one, sends to a partition are ordered.
    pub session: u64,
    /// Its key.
    pub key: Option<u16>,
    /// No payload: a tombstone.
    pub tombstone: bool,
    /// What was asked for.
    pub acks: Acks,
    /// Does its producer promise that it is there once, and in order?
    pub exactly_once: bool,
    /// What became of it.
    pub fate: Fate,
    /// When its fate was settled.
    pub settled_at: u64,
}

/// One fetch of one partition that brought records or moved the position.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Who.
    pub reader: u32,
    /// Changes with every seek: positions of two assignments have nothing to do with each other.
    pub assignment: u32,
    /// Where.
    pub from: TopicPartition,
    /// The position before.
    pub position: Offset,
    /// What came, in order.
    pub seen: Vec<(Offset, Value)>,
    /// When.
    pub at: u64,
}

/// What a fresh reader found at the end.
#[derive(Clone, Debug, Default)]
pub struct FinalRead {
    /// The log start offset it was told.
    pub start: Option<Offset>,
    /// Where it ended: the high watermark.
    pub end: Option<Offset>,
    /// When the question was sent whose answer said so: what is acknowledged later may lie behind.
    pub asked_at: u64,
    /// All records in order.
    pub seen: Vec<(Offset, Value)>,
}

/// Offsets that may lawfully have been taken twice: everything from here on was lost in a crash under a rule that
/// promises nothing, so what was seen there before `at` is void.
#[derive(Clone, Copy, Debug)]
pub struct Void {
    /// Where.
    pub partition: TopicPartition,
    /// From this offset on.
    pub from: Offset,
    /// What was seen before this time.
    pub at: u64,
}

/// What a client that asks leaders alone was told of a partition's end.
#[derive(Clone, Copy, Debug)]
pub struct ToldEnd {
    /// Who.
    pub client: u32,
    /// Of which partition.
    pub of: TopicPartition,
    /// The answer.
    pub end: Offset,
}

/// A reader was told that its place is not in the log.
#[derive(Clone, Copy, Debug)]
pub struct LostPlace {
    /// Who.
    pub reader: u32,
    /// In which partition.
    pub of: TopicPartition,
    /// Its place.
    pub position: Offset,
    /// Where the log begins, as it was told.
    pub log_start: Offset,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By value.
    pub sends: Vec<Sent>,
    /// In order of time.
    pub polls: Vec<Poll>,
    /// Places of readers that were refused.
    pub lost_places: Vec<LostPlace>,
    /// Offsets that a repeated send was answered with: they must be those of the first.
    pub echoes: Vec<(Value, Offset, u64)>,
    /// In order of time, one question of a client and partition after the other.
    pub ends: Vec<ToldEnd>,
    /// One for each partition alive at the end.
    pub finals: BTreeMap<TopicPartition, FinalRead>,
    /// Do partitions have several replicas?
    pub replicated: bool,
    /// Is nothing ever taken away on purpose? Then an acknowledgement that names no offset is a promise, too.
    pub keeps_all: bool,
    /// Partitions from which compaction may take records.
    pub compacted: BTreeSet<TopicId>,
    /// Lawful losses.
    pub voids: Vec<Void>,
    /// What leaders have written whose log had begun anew as followers, by value and offset, and where it had: of producers
    /// they know what stands from there on, and a batch that is sent again whose first copy stood before is new to them.
    pub begun_anew: BTreeMap<(Value, Offset), Offset>,
    /// Partitions of which the only copy was damaged (catastrophe only): they may be lost, but not in silence.
    pub rotten: BTreeSet<TopicPartition>,
    /// Those of them that have told the last reader so.
    pub reported_corrupt: BTreeSet<TopicPartition>,
    /// Those of them of which too few replicas are in sync at the end: there, what a new leader finds that was committed is
    /// not served before there are enough.
    pub short_of_replicas: BTreeSet<TopicPartition>,
}

impl History {
    /// A record is about to be sent.
    pub fn send(&mut self, sent: Sent) -> Value {
        self.sends.push(sent);
        self.sends.len() as Value - 1
    }

    /// A send was acknowledged.
    pub fn acknowledged(&mut self, value: Value, offset: Option<Offset>, at: u64) {
        let sent = &mut self.sends[value as usize];
        if self.replicated && sent.acks == Acks::Leader {
            // One leader alone has promised nothing that its successor must keep.
            return;
        }
        sent.fate = Fate::Acknowledged(offset);
        sent.settled_at = at;
    }

    /// A repeated send was acknowledged: as good as the first's own acknowledgement, if that never came.
    pub fn echo(&mut self, value: Value, offset: Offset, at: u64) {
        self.echoes.push((value, offset, at));
        if self.sends[value as usize].fate == Fate::Open {
            self.acknowledged(value, Some(offset), at);
        }
    }

    /// A send was refused and is nowhere.
    pub fn failed(&mut self, value: Value, at: u64) {
        let sent = &mut self.sends[value as usize];
        sent.fate = Fate::Failed;
        sent.settled_at = at;
    }
}

/// A partition, for tests and reports.
pub fn partition(topic: TopicId, number: i32) -> TopicPartition {
    TopicPartition { topic, partition: PartitionId(number) }
}
