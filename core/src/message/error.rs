//! The one table of error codes.

use core::fmt;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal $(, $retriable:ident)?;)*) => {
        /// Kafka's error codes: the number, the name and whether trying again can help.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $name = $code,)*
        }

        impl ErrorCode {
            /// The code of this number; what this build does not know is [`ErrorCode::UnknownServerError`].
            pub fn from_code(code: i16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::UnknownServerError,
                }
            }

            /// Can the same request succeed later, as it is?
            pub fn is_retriable(self) -> bool {
                match self {
                    $(Self::$name => error_codes!(@retriable $($retriable)?),)*
                }
            }

            /// One sentence for a person.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*),)*
                }
            }
        }
    };
    (@retriable retriable) => { true };
    (@retriable) => { false };
}

error_codes! {
    #[doc = "Something went wrong that no other code names."]
    UnknownServerError = -1;
    #[doc = "No error."]
    None = 0;
    #[doc = "The offset is below the log start or past the log end."]
    OffsetOutOfRange = 1;
    #[doc = "The bytes are not a valid batch."]
    CorruptMessage = 2, retriable;
    #[doc = "No such topic or partition here."]
    UnknownTopicOrPartition = 3, retriable;
    #[doc = "The partition has no leader at the moment."]
    LeaderNotAvailable = 5, retriable;
    #[doc = "This node does not lead the partition."]
    NotLeaderOrFollower = 6, retriable;
    #[doc = "The wait ended before the work did; it may still be done."]
    RequestTimedOut = 7, retriable;
    #[doc = "The replica is not here."]
    ReplicaNotAvailable = 9, retriable;
    #[doc = "The batch exceeds `max.message.bytes`."]
    MessageTooLarge = 10;
    #[doc = "The connection went before the answer came."]
    NetworkException = 13, retriable;
    #[doc = "The coordinator is not there."]
    CoordinatorNotAvailable = 15, retriable;
    #[doc = "A name that no topic may have."]
    InvalidTopic = 17;
    #[doc = "The batch exceeds the segment size."]
    RecordListTooLarge = 18;
    #[doc = "Fewer replicas are in sync than `min.insync.replicas`; nothing was appended."]
    NotEnoughReplicas = 19, retriable;
    #[doc = "Appended, but fewer replicas than `min.insync.replicas` have it."]
    NotEnoughReplicasAfterAppend = 20, retriable;
    #[doc = "Acks other than -1, 0 and 1."]
    InvalidRequiredAcks = 21;
    #[doc = "Not allowed on this topic."]
    TopicAuthorizationFailed = 29;
    #[doc = "Not allowed on the cluster."]
    ClusterAuthorizationFailed = 31;
    #[doc = "A record's timestamp is outside what the topic accepts."]
    InvalidTimestamp = 32;
    #[doc = "This version of the request is not served."]
    UnsupportedVersion = 35;
    #[doc = "There is a topic of that name."]
    TopicAlreadyExists = 36;
    #[doc = "A partition count that cannot be."]
    InvalidPartitions = 37;
    #[doc = "More replicas than brokers, or fewer than one."]
    InvalidReplicationFactor = 38;
    #[doc = "Replicas that do not exist, or twice the same."]
    InvalidReplicaAssignment = 39;
    #[doc = "A setting that does not exist, or a value that it cannot have."]
    InvalidConfig = 40;
    #[doc = "This node is not the controller."]
    NotController = 41, retriable;
    #[doc = "The request contradicts itself."]
    InvalidRequest = 42;
    #[doc = "The message format cannot carry that."]
    UnsupportedForMessageFormat = 43;
    #[doc = "The topic's policy forbids it."]
    PolicyViolation = 44;
    #[doc = "A producer's sequence has a gap."]
    OutOfOrderSequenceNumber = 45;
    #[doc = "A producer's batch was already appended."]
    DuplicateSequenceNumber = 46;
    #[doc = "An older incarnation of the producer."]
    InvalidProducerEpoch = 47;
    #[doc = "The transaction is not in a state for that."]
    InvalidTxnState = 48;
    #[doc = "The producer's former transaction is still ending."]
    ConcurrentTransactions = 51, retriable;
    #[doc = "Not allowed to use this transactional id."]
    TransactionalIdAuthorizationFailed = 53;
    #[doc = "The disk failed; the log directory is offline."]
    KafkaStorageError = 56, retriable;
    #[doc = "Nothing is known of this producer."]
    UnknownProducerId = 59;
    #[doc = "The group has members."]
    NonEmptyGroup = 68;
    #[doc = "The fetch session is gone (KIP-227)."]
    FetchSessionIdNotFound = 70, retriable;
    #[doc = "The fetch session is at another epoch (KIP-227)."]
    InvalidFetchSessionEpoch = 71, retriable;
    #[doc = "The requester's leader epoch is older than the broker's."]
    FencedLeaderEpoch = 74, retriable;
    #[doc = "The requester's leader epoch is newer than the broker's."]
    UnknownLeaderEpoch = 75, retriable;
    #[doc = "The codec cannot be used by this version of the request."]
    UnsupportedCompressionType = 76;
    #[doc = "An older registration of the broker."]
    StaleBrokerEpoch = 77;
    #[doc = "The new leader's high watermark has not caught up (KIP-207)."]
    OffsetNotAvailable = 78, retriable;
    #[doc = "The preferred leader is not in sync."]
    PreferredLeaderNotAvailable = 80, retriable;
    #[doc = "No replica may lead."]
    EligibleLeadersNotAvailable = 83, retriable;
    #[doc = "The leader is already the one."]
    ElectionNotNeeded = 84, retriable;
    #[doc = "There is no reassignment to cancel."]
    NoReassignmentInProgress = 85;
    #[doc = "A record that the topic does not accept."]
    InvalidRecord = 87;
    #[doc = "Too much was asked for in too little time."]
    ThrottlingQuotaExceeded = 89, retriable;
    #[doc = "A newer producer has taken over the transactional id."]
    ProducerFenced = 90;
    #[doc = "The partition has changed since."]
    InvalidUpdateVersion = 95;
    #[doc = "There is no such snapshot (any more)."]
    SnapshotNotFound = 98;
    #[doc = "The snapshot has no such byte."]
    PositionOutOfRange = 99;
    #[doc = "No topic has this id."]
    UnknownTopicId = 100, retriable;
    #[doc = "A broker of that id is alive."]
    DuplicateBrokerRegistration = 101;
    #[doc = "No broker of that id has registered."]
    BrokerIdNotRegistered = 102;
    #[doc = "The id is that of another incarnation of the topic."]
    InconsistentTopicId = 103, retriable;
    #[doc = "The request is for another cluster."]
    InconsistentClusterId = 104;
    #[doc = "The fetch session mixes names and ids."]
    FetchSessionTopicIdError = 106, retriable;
    #[doc = "The replica may not join the ISR."]
    IneligibleReplica = 107;
    #[doc = "This listener serves another kind of node."]
    MismatchedEndpointType = 114;
    #[doc = "The voter is on another disk, or cannot be one."]
    InvalidVoterKey = 125;
    #[doc = "The node is a voter of the metadata quorum."]
    DuplicateVoter = 126;
    #[doc = "The node is no voter of the metadata quorum."]
    VoterNotFound = 127;
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Not an error?
    pub fn is_none(self) -> bool {
        self == Self::None
    }
}

impl fmt::Display for ErrorCode {
    /// Kafka's own spelling: `NOT_LEADER_OR_FOLLOWER`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        struct Upper<'a, 'b>(&'a mut fmt::Formatter<'b>, bool);
        impl Write for Upper<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    if c.is_ascii_uppercase() && self.1 {
                        self.0.write_char('_')?;
                    }
                    self.0.write_char(c.to_ascii_uppercase())?;
                    self.1 = true;
                }
                Ok(())
            }
        }
        write!(Upper(f, false), "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(ErrorCode::NotLeaderOrFollower.to_string(), "NOT_LEADER_OR_FOLLOWER");
        assert_eq!(ErrorCode::None.to_string(), "NONE");
    }

    #[test]
    fn codes_round_trip_and_unknown_ones_are_unknown() {
        for code in -1..=130 {
            let error = ErrorCode::from_code(code);
            assert!(error.code() == code || error == ErrorCode::UnknownServerError);
        }
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        assert!(!ErrorCode::MessageTooLarge.is_retriable());
    }
}
