//! Which requests are served, in which versions, and how a request introduces itself.
//!
//! **Invariant:** the table is the truth: what ApiVersions tells a client, what is decoded and what the tests go
//! through is read from [`APIS`]. A version is in it once it is decoded, answered and tested.

use super::read::{Reader, WireError};

/// A request that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiKey {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    DeleteRecords,
    InitProducerId,
    OffsetForLeaderEpoch,
    DescribeConfigs,
    AlterConfigs,
    DescribeLogDirs,
    CreatePartitions,
    ElectLeaders,
    IncrementalAlterConfigs,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    DescribeQuorum,
    DescribeCluster,
    UnregisterBroker,
    DescribeTopicPartitions,
    AddRaftVoter,
    RemoveRaftVoter,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    pub(super) key: ApiKey,
    /// Its number on the wire.
    pub(super) code: i16,
    /// Oldest version served.
    pub(super) min: i16,
    /// Newest version served.
    pub(super) max: i16,
    /// First version with varint lengths and tagged fields.
    pub(super) flexible_from: i16,
}

const fn api(key: ApiKey, code: i16, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, code, min, max, flexible_from }
}

/// Every request served.
///
/// Produce ends at 11: from 12 on a producer expects the partition leader to join its transaction by itself
/// (KIP-890), which comes with transactions. Fetch ends at 17, ListOffsets at 10 and DescribeLogDirs at 4: the
/// versions after them carry what only followers, tiered storage and cordoned disks have.
pub(super) const APIS: [Api; 24] = [
    api(ApiKey::Produce, 0, 3, 11, 9),
    api(ApiKey::Fetch, 1, 4, 17, 12),
    api(ApiKey::ListOffsets, 2, 1, 10, 6),
    api(ApiKey::Metadata, 3, 0, 13, 9),
    api(ApiKey::ApiVersions, 18, 0, 4, 3),
    api(ApiKey::CreateTopics, 19, 2, 7, 5),
    api(ApiKey::DeleteTopics, 20, 1, 6, 4),
    api(ApiKey::DeleteRecords, 21, 0, 2, 2),
    api(ApiKey::InitProducerId, 22, 0, 5, 2),
    api(ApiKey::OffsetForLeaderEpoch, 23, 2, 4, 4),
    api(ApiKey::DescribeConfigs, 32, 1, 4, 4),
    api(ApiKey::AlterConfigs, 33, 0, 2, 2),
    api(ApiKey::DescribeLogDirs, 35, 1, 4, 2),
    api(ApiKey::CreatePartitions, 37, 0, 3, 2),
    api(ApiKey::ElectLeaders, 43, 0, 2, 2),
    api(ApiKey::IncrementalAlterConfigs, 44, 0, 1, 1),
    api(ApiKey::AlterPartitionReassignments, 45, 0, 1, 0),
    api(ApiKey::ListPartitionReassignments, 46, 0, 0, 0),
    api(ApiKey::DescribeQuorum, 55, 0, 2, 0),
    api(ApiKey::DescribeCluster, 60, 0, 2, 0),
    api(ApiKey::UnregisterBroker, 64, 0, 0, 0),
    api(ApiKey::DescribeTopicPartitions, 75, 0, 0, 0),
    api(ApiKey::AddRaftVoter, 80, 0, 0, 0),
    api(ApiKey::RemoveRaftVoter, 81, 0, 0, 0),
];

impl Api {
    /// The row of this number.
    pub(super) fn find(code: i16) -> Option<&'static Self> {
        APIS.iter().find(|api| api.code == code)
    }

    /// Is this version served?
    pub(super) fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The oldest version that clients are told of. librdkafka before 2.1 takes a Produce that begins above 0 for a
    /// broker that knows no compression (KAFKA-18659), so Kafka says 0 as well and serves 3.
    pub(super) fn advertised_min(&self) -> i16 {
        if self.key == ApiKey::Produce { 0 } else { self.min }
    }

    /// Are lengths varints in this version?
    pub(super) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Has the response header tagged fields? Never that of ApiVersions: who asks for the versions cannot know yet
    /// what the broker understands (KIP-511).
    pub(super) fn has_flexible_response_header(&self, version: i16) -> bool {
        self.is_flexible(version) && self.key != ApiKey::ApiVersions
    }
}

/// The start of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// Which request.
    pub(super) code: i16,
    /// In which version.
    pub(super) version: i16,
    /// Comes back in the response.
    pub(super) correlation: i32,
    /// What the client calls itself.
    pub(super) client: Option<&'a str>,
}

impl<'a> Header<'a> {
    /// Reads the fields that stand at the same place in every version of the header; [`Header::rest`] reads the
    /// others once it is known that the request is served.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { code: r.i16()?, version: r.i16()?, correlation: r.i32()?, client: None })
    }

    /// Reads what is left of the header and turns the reader to the body's encoding.
    pub(super) fn rest(&mut self, api: &Api, r: &mut Reader<'a>) -> Result<(), WireError> {
        // The client id stayed a classic string when headers became flexible.
        self.client = r.nullable_string()?;
        r.set_flexible(api.is_flexible(self.version));
        r.end()
    }
}

/// A client id for a log line or a metric: it comes from outside, so it is short and has no surprises in it.
pub(super) fn sanitised(client: Option<&str>) -> String {
    const CHARACTERS_MAX: usize = 64;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '?' };
    client.unwrap_or("-").chars().take(CHARACTERS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_is_said_to_begin_at_zero_but_does_not() {
        let produce = Api::find(0).expect("produce is served");
        assert_eq!(produce.advertised_min(), 0);
        assert!(!produce.serves(2) && produce.serves(3) && !produce.serves(12));
    }

    #[test]
    fn numbers_are_unique_and_in_order() {
        assert!(APIS.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(APIS.iter().all(|api| api.min <= api.max));
    }

    #[test]
    fn client_ids_lose_what_a_log_should_not_hold() {
        assert_eq!(sanitised(Some("rdkafka\n\x1b[31m")), "rdkafka???31m");
        assert_eq!(sanitised(Some(&"x".repeat(1000))).len(), 64);
        assert_eq!(sanitised(None), "-");
    }
}
