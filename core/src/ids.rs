//! Identities: every number or name with a meaning is a type of its own.
//!
//! None of these derefs to its inner value or does arithmetic; `Display` shows the bare value, as logs and
//! Kafka's tools do.

use alloc::{string::String, sync::Arc};
use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A node of the cluster: Kafka's `node.id`. Non-negative.
    NodeId(i32)
);
id!(
    /// The number of a partition within its topic, from 0.
    PartitionId(i32)
);
id!(
    /// An idempotent or transactional producer (KIP-98). Allotted by the controller in blocks.
    ProducerId(i64)
);
id!(
    /// Fences older incarnations of one [`ProducerId`] (KIP-98, KIP-360).
    ProducerEpoch(i16)
);
id!(
    /// One registration of a broker with the controller (KIP-841, KIP-903).
    BrokerEpoch(i64)
);
id!(
    /// A request that a driver handed to the core and that waits for one [`crate::effect::Effect::Respond`].
    /// The upper half of the numbers is the core's own, for what it asks itself.
    RequestId(u64)
);
id!(
    /// A request that the core makes of a peer; its outcome comes back under the same id.
    CallId(u64)
);
id!(
    /// A job that the core ordered; its outcome comes back under the same id.
    JobId(u64)
);
id!(
    /// The handle of one open log in this process. Dense, reused never; means nothing after a restart.
    LogId(u32)
);

impl LogId {
    /// The metadata log, `__cluster_metadata-0`, is the first log that every node opens.
    pub const METADATA: Self = Self(0);
}

impl RequestId {
    /// The first number that no driver uses.
    pub const OWN: Self = Self(1 << 63);
}

impl BrokerEpoch {
    /// Not registered.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// What a batch of a producer without idempotence carries.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// What a batch of a producer without idempotence carries.
    pub const NONE: Self = Self(-1);
}

/// A topic's identity over its whole life (KIP-516): a name may be deleted and created again, an id never is.
///
/// `Display` and [`TopicId::parse`] use Kafka's form: 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id": what a request carries that names its topic.
    pub const ZERO: Self = Self([0; 16]);
    /// Kafka's fixed id of the metadata topic, `__cluster_metadata`.
    pub const METADATA: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Reads Kafka's 22-character form.
    pub fn parse(text: &str) -> Option<Self> {
        base64_decode(text).map(Self)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base64_encode(&self.0, f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// One data directory's identity (KIP-858), written when it is formatted; a wiped disk gets a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DirectoryId(pub [u8; 16]);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base64_encode(&self.0, f)
    }
}

impl DirectoryId {
    /// All zero: not known, or any.
    pub const ANY: Self = Self([0; 16]);

    /// Is it not known, or does any do?
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }

    /// Reads Kafka's 22-character form.
    pub fn parse(text: &str) -> Option<Self> {
        base64_decode(text).map(Self)
    }
}

/// A topic's name as somebody gave it. Any text can be asked for; [`TopicName::check`] says what can be created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Wraps a name without judging it: unknown names are looked up and not found.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Kafka's rule for names that may be created: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
    pub fn check(&self) -> Result<(), InvalidTopicName> {
        let name = self.as_str();
        if name.is_empty() {
            Err(InvalidTopicName::Empty)
        } else if name == "." || name == ".." {
            Err(InvalidTopicName::Dots)
        } else if name.len() > crate::limits::TOPIC_NAME_BYTES_MAX {
            Err(InvalidTopicName::TooLong)
        } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            Err(InvalidTopicName::Character)
        } else {
            Ok(())
        }
    }
}

impl core::borrow::Borrow<str> for TopicName {
    /// So that a map keyed by names can be asked with a `&str`.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a topic name cannot be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// No character at all.
    #[error("a topic name cannot be empty")]
    Empty,
    /// `.` or `..`, which are folders.
    #[error("a topic name cannot be \".\" or \"..\"")]
    Dots,
    /// Over 249 characters.
    #[error("a topic name has at most 249 characters")]
    TooLong,
    /// Something other than a letter, a digit, `.`, `_` or `-`.
    #[error("a topic name is made of ASCII letters, digits, '.', '_' and '-'")]
    Character,
}

/// One partition of one incarnation of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's id, not its name: a recreated topic is another topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The folder of a partition below the data directory: Kafka's `topic-partition`.
pub fn partition_dir(topic: &TopicName, partition: PartitionId) -> String {
    alloc::format!("{topic}-{partition}")
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64_encode(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |w, (i, &b)| w | u32::from(b) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            f.write_char(char::from(BASE64[(word >> (18 - 6 * i)) as usize & 63]))?;
        }
    }
    Ok(())
}

fn base64_decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0u128;
    for (i, b) in text.bytes().enumerate() {
        let digit = BASE64.iter().position(|&c| c == b)? as u128;
        // 22 digits hold 132 bits: the last digit gives its upper two only.
        bits = if i < 21 { bits << 6 | digit } else { bits << 2 | digit >> 4 };
    }
    Some(bits.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn topic_id_text_round_trips_and_is_kafkas() {
        let id =
            TopicId([0xe4, 0xbe, 0xa0, 0xde, 0x09, 0xe1, 0x4f, 0xe3, 0x9a, 0xe8, 0x2b, 0x4a, 0xff, 0x3f, 0x3a, 0xc0]);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::parse("too short"), None);
        assert_eq!(TopicId::parse("AAAAAAAAAAAAAAAAAAAA!Q"), None);
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        assert_eq!(TopicName::new("orders.v1_eu-west").check(), Ok(()));
        assert_eq!(TopicName::new("").check(), Err(InvalidTopicName::Empty));
        assert_eq!(TopicName::new("..").check(), Err(InvalidTopicName::Dots));
        assert_eq!(TopicName::new("a/b").check(), Err(InvalidTopicName::Character));
        assert_eq!(TopicName::new(&"x".repeat(250)).check(), Err(InvalidTopicName::TooLong));
    }
}
