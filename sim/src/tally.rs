//! What was injected and what was reached, counted.
//!
//! A fault class that was switched on but never struck tests nothing, and a rare state that no seed ever enters is
//! a hole in the workload: both are counted per run and summed over a sweep.

use std::{cell::RefCell, rc::Rc};

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$item])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is reported.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

counted! {
    /// A kind of injected fault.
    Fault {
        /// A process killed; the page cache survives.
        Kill = "kill",
        /// A machine without power; what was not synced is at the mercy of the disk.
        PowerLoss = "power-loss",
        /// A job cut off between two of its disk calls.
        CutJob = "cut-job",
        /// A graceful stop.
        Stop = "stop",
        /// A process that does not run for a while.
        Pause = "pause",
        /// A restart with other settings.
        Reconfigured = "restart-reconfigured",
        /// A page that power loss took.
        PageLost = "page-lost",
        /// A page of which power loss left some sectors.
        PageTorn = "page-torn",
        /// A size that became durable without its data.
        SizeWithoutData = "size-without-data",
        /// A truncation that power loss undid.
        TruncateUndone = "truncate-undone",
        /// A name that power loss took back.
        NameLost = "name-op-lost",
        /// A rename that left both names.
        RenameBoth = "rename-both",
        /// An error of reading.
        ReadError = "eio-read",
        /// An error of writing.
        WriteError = "eio-write",
        /// An error of syncing; the dirty pages are dropped and marked clean.
        SyncError = "eio-sync",
        /// No space.
        DiskFull = "enospc",
        /// No file handles.
        TooManyFiles = "emfile",
        /// The disk went read-only.
        ReadOnly = "read-only",
        /// An episode of slow calls.
        SlowDisk = "slow-disk",
        /// A bit flipped in what was durable.
        BitRot = "bit-rot",
        /// A sector of zeros in what was durable.
        ZeroedSector = "zeroed-sector",
        /// A sector that returned to what it held before.
        StaleSector = "stale-sector",
        /// A page that landed elsewhere.
        Misdirected = "misdirected-write",
        /// A file that lost its end.
        TruncatedFile = "truncated-file",
        /// A sector that answers with an error until it is written again.
        LatentError = "latent-sector-error",
        /// A delay from the long tail.
        LongDelay = "net-long-delay",
        /// A connection on which nothing moved for a while.
        Stall = "net-stall",
        /// A connection torn down with data in flight.
        Reset = "net-reset",
        /// A connection whose other end went without a sign.
        HalfOpen = "net-half-open",
        /// A connection refused.
        Refused = "net-refused",
        /// A step of the wall clock.
        ClockStep = "clock-step",
        /// Messages went through the wire codec.
        WireCodec = "wire-codec",
        /// Nodes split from each other.
        Split = "split",
        /// Nodes split one way.
        SplitOneWay = "split-one-way",
        /// A controller cut off.
        SplitController = "split-controller",
        /// A leader cut off.
        SplitLeader = "split-leader",
        /// Nodes that reach only their neighbours.
        SplitRing = "split-ring",
        /// A split that came back.
        SplitAgain = "split-flapping",
        /// A node cut off from clients.
        SplitClients = "split-clients",
        /// All nodes gone at once.
        AllAtOnce = "all-at-once",
        /// An empty disk in place of a full one.
        Wiped = "wiped",
        /// A process with little of its processor.
        Starved = "starved",
        /// Something rare but legal done on purpose.
        Buggified = "buggified",
        /// A blow not struck, for it would have left no whole copy of something.
        Vetoed = "vetoed",
    }
}

counted! {
    /// A rare state worth reaching.
    Mark {
        /// Recovery cut off a torn tail.
        TornTailCut = "recovery-torn-tail",
        /// Recovery rebuilt an index.
        IndexRebuilt = "recovery-rebuilt-index",
        /// A start after a clean stop.
        CleanStart = "clean-start",
        /// A start after an unclean stop.
        UncleanStart = "unclean-start",
        /// A start that failed on the disk.
        FailedStart = "failed-start",
        /// A duplicate batch acknowledged with its first place.
        DuplicateAcknowledged = "duplicate-acknowledged",
        /// A duplicate sent while the first was in flight.
        DuplicateInFlight = "duplicate-in-flight",
        /// A sequence went over the end.
        SequenceWrapped = "sequence-wrapped",
        /// A producer refused for its sequence.
        OutOfOrderSequence = "out-of-order-sequence",
        /// A producer fenced for its epoch.
        OldEpochFenced = "old-epoch-fenced",
        /// Retention moved a log's start.
        RetentionTrimmed = "retention-trimmed",
        /// DeleteRecords moved a log's start.
        RecordsDeleted = "records-deleted",
        /// Compaction removed a record.
        RecordCompacted = "record-compacted",
        /// Several appends shared one sync.
        GroupCommit = "group-commit",
        /// Batches came from the log's files.
        ReadFromLog = "read-from-log",
        /// Batches came from the tail in memory.
        ReadFromTail = "read-from-tail",
        /// A follower served a reader.
        ReadFromFollower = "read-from-follower",
        /// A leader sent a reader to a follower in its rack.
        ReaderSentOn = "reader-sent-on",
        /// A follower sent a reader back to the leader.
        ReaderSentBack = "reader-sent-back",
        /// A reader fell off the log's start.
        OffsetOutOfRange = "offset-out-of-range",
        /// The directory went offline.
        DirectoryOffline = "directory-offline",
        /// A log was reported corrupt.
        CorruptReported = "corrupt-reported",
        /// A full disk refused a write.
        WriteRefusedFull = "write-refused-full",
        /// A topic was created under the name of a deleted one.
        TopicRecreated = "topic-recreated",
        /// Partitions were added.
        PartitionsAdded = "partitions-added",
        /// A topic's settings changed.
        ConfigChanged = "config-changed",
        /// A write timed out.
        ProduceTimedOut = "produce-timed-out",
        /// A crash while a log was being cleaned.
        CrashWhileCleaning = "crash-while-cleaning",
        /// A crash while a log was being recovered.
        CrashWhileRecovering = "crash-while-recovering",
        /// A batch over the size limit was refused.
        MessageTooLarge = "message-too-large",
        /// Somebody began to lead the metadata quorum.
        ControllerElected = "controller-elected",
        /// Somebody wrote first in a new epoch of a partition.
        LeaderElected = "leader-elected",
        /// A follower cut off what its leader does not have.
        FollowerTruncated = "follower-truncated",
        /// A replica joined those in sync.
        IsrGrew = "isr-grew",
        /// A replica left those in sync.
        IsrShrank = "isr-shrank",
        /// One replica alone was in sync.
        IsrOfOne = "isr-of-one",
        /// A replica out of sync kept its right to lead (KIP-966).
        ElrKept = "elr-kept",
        /// Such a replica was elected.
        ElrElected = "elr-elected",
        /// A partition had no leader.
        PartitionLeaderless = "partition-leaderless",
        /// A partition's lead passed from one node to another.
        LeaderMoved = "leader-moved",
        /// It passed back to the preferred one.
        PreferredLeaderBack = "preferred-leader-back",
        /// A leader was elected without the promise that it has everything.
        UncleanElection = "unclean-election",
        /// What it had lost of what was committed was cut off by somebody who had it.
        CommittedCut = "committed-cut",
        /// A partition moved to other nodes.
        ReplicasMoved = "replicas-moved",
        /// The metadata quorum had a second leader.
        ControllerFailedOver = "controller-failed-over",
        /// Somebody stood for election.
        VoteAsked = "vote-asked",
        /// A vote, or the promise of one, was given.
        VoteGranted = "vote-granted",
        /// One was refused.
        VoteRefused = "vote-refused",
        /// A leader of the metadata quorum said that it goes.
        LeaderResigned = "leader-resigned",
        /// A request went to a node that does not lead.
        NotLeaderAnswered = "not-leader-answered",
        /// A request came with an older leader epoch.
        FencedEpochAnswered = "fenced-leader-epoch",
        /// A request came with a newer leader epoch.
        UnknownEpochAnswered = "unknown-leader-epoch",
        /// A write was refused because too few replicas were in sync.
        NotEnoughReplicas = "not-enough-replicas",
        /// Too few were left when it had been appended.
        NotEnoughAfterAppend = "not-enough-after-append",
        /// A failing disk was told of.
        StorageErrorAnswered = "storage-error-answered",
        /// A topic was asked for that is not there.
        UnknownTopicAnswered = "unknown-topic-answered",
        /// A broker spoke under a registration that is over.
        StaleRegistration = "stale-registration",
        /// A controller was asked that is none.
        NotControllerAnswered = "not-controller-answered",
        /// A follower learned where its log parts from the leader's.
        DivergenceTold = "divergence-told",
        /// A follower's fetch session was gone.
        FetchSessionLost = "fetch-session-lost",
        /// A living broker learned that it is out of service.
        BrokerFenced = "broker-fenced",
        /// A broker was let go in order.
        ShutdownAllowed = "shutdown-allowed",
        /// A leader's wish for its in-sync replicas was refused.
        IsrWishRefused = "isr-wish-refused",
        /// A block of producer ids was given out.
        ProducerIdsAllotted = "producer-ids-allotted",
        /// A client's request was handed on to the controller.
        RequestForwarded = "request-forwarded",
        /// A silent peer was asked whether it is there.
        PeerProbed = "peer-probed",
        /// A call met a node that was not there.
        CallRefused = "call-refused",
        /// A call was lost with its connection.
        CallLost = "call-lost",
        /// A call took too long.
        CallTimedOut = "call-timed-out",
        /// One log failed and the others went on.
        LogOffline = "log-offline",
        /// Recovery cut off whole batches and kept them aside.
        TailKeptAside = "recovery-kept-aside",
        /// A node wrote a snapshot of the metadata.
        SnapshotTaken = "snapshot-taken",
        /// A node fetched a snapshot in place of its metadata log.
        SnapshotInstalled = "snapshot-installed",
        /// A node started from a snapshot.
        SnapshotLoaded = "snapshot-loaded",
        /// A node became a voter of the metadata quorum.
        VoterAdded = "voter-added",
        /// A node votes in the metadata quorum no more.
        VoterRemoved = "voter-removed",
        /// A partition that was on its way to other nodes was called back.
        ReassignmentCancelled = "reassignment-cancelled",
        /// A leader was elected because somebody asked for it.
        LeaderElectedOnDemand = "leader-elected-on-demand",
    }
}

/// The counts of one run.
#[derive(Clone, Debug)]
pub struct Counts {
    /// By [`Fault`].
    pub faults: Vec<u64>,
    /// By [`Mark`].
    pub marks: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { faults: vec![0; Fault::ALL.len()], marks: vec![0; Mark::ALL.len()] }
    }
}

impl Counts {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.faults.iter_mut().zip(&other.faults) {
            *sum += count;
        }
        for (sum, count) in self.marks.iter_mut().zip(&other.marks) {
            *sum += count;
        }
    }
}

/// The shared counters of one run.
#[derive(Clone, Debug, Default)]
pub struct Tally(Rc<RefCell<Counts>>);

impl Tally {
    /// Counts one injected fault.
    pub fn fault(&self, fault: Fault) {
        self.0.borrow_mut().faults[fault as usize] += 1;
    }

    /// Counts so many.
    pub fn faults(&self, fault: Fault, count: u64) {
        if count > 0 {
            self.0.borrow_mut().faults[fault as usize] += count;
        }
    }

    /// Counts one visit of a rare state if `condition` holds.
    pub fn sometimes(&self, mark: Mark, condition: bool) {
        if condition {
            self.0.borrow_mut().marks[mark as usize] += 1;
        }
    }

    /// How often a fault struck so far.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.borrow().faults[fault as usize]
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.0.borrow().clone()
    }
}
