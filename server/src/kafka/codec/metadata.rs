//! ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions, DescribeLogDirs: what is where.

use tidelog_core::{
    ids::{PartitionId, TopicId, TopicName},
    message::{
        BrokerInfo, DescribeClusterResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ErrorCode, MetadataRequest, MetadataResponse,
        Request, Response, TopicMetadata, TopicRef,
    },
};

use super::{
    super::api::APIS, Place, Reader, Shape, Task, WireError, Writer, data::topic_name, name_or_empty, partition_id,
    partitions, write_error, write_nodes,
};
use crate::listener::HostPort;

/// "Operations were not asked for."
const NO_OPERATIONS: i32 = i32::MIN;
/// Every operation on a topic: without authorisation everybody may do everything. Bits are Kafka's AclOperation:
/// read, write, create, delete, alter, describe, describe configs, alter configs.
const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// Every operation on a cluster: create, alter, describe, cluster action, describe configs, alter configs,
/// idempotent write.
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Partitions in one page of DescribeTopicPartitions (`max.request.partition.size.limit`).
const PAGE_PARTITIONS_MAX: usize = 2_000;
/// Kafka's number for "the endpoint is a broker's".
const ENDPOINT_BROKER: i8 = 1;

/// The answer to ApiVersions: the version it is written in is not always the one that was asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct VersionsAnswer {
    /// Why the table may not be of use.
    pub(in super::super) error: ErrorCode,
}

pub(super) fn decode_api_versions(v: i16, r: &mut Reader<'_>) -> Result<VersionsAnswer, WireError> {
    let mut error = ErrorCode::None;
    if v >= 3 {
        let (name, version) = (r.string()?, r.string()?);
        if !is_software_word(name) || !is_software_word(version) {
            error = ErrorCode::InvalidRequest;
        }
    }
    r.end()?;
    Ok(VersionsAnswer { error })
}

/// KIP-511's rule for a client software's name and version: letters, digits, and between them `-` and `.`.
fn is_software_word(word: &str) -> bool {
    let inner = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    inner && ends(word.bytes().next()) && ends(word.bytes().last())
}

/// Writes the table. With [`ErrorCode::UnsupportedVersion`] only the row of ApiVersions itself, for the client to
/// choose from (KIP-511); with any other error none.
pub(in super::super) fn encode_api_versions(v: i16, answer: VersionsAnswer, w: &mut Writer) {
    write_error(answer.error, w);
    let rows: Vec<_> = APIS
        .iter()
        .filter(|api| match answer.error {
            ErrorCode::None => true,
            ErrorCode::UnsupportedVersion => api.key == super::ApiKey::ApiVersions,
            _ => false,
        })
        .collect();
    w.array(rows.into_iter(), |w, api| {
        w.i16(api.code);
        w.i16(api.advertised_min());
        w.i16(api.max);
        w.end();
    });
    if v >= 1 {
        w.i32(0); // throttle time
    }
    w.end();
}

pub(super) fn decode_metadata(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let mut topics = r.nullable_array(|r| {
        let id = if v >= 10 { r.topic_id()? } else { TopicId::ZERO };
        let name = if v >= 10 { r.nullable_string()? } else { Some(r.string()?) };
        r.end()?;
        Ok(match name {
            // A name beside an id is only said for people to read.
            Some(name) if id == TopicId::ZERO => TopicRef::Name(TopicName::new(name)),
            _ => TopicRef::Id(id),
        })
    })?;
    if v == 0 && topics.as_ref().is_some_and(Vec::is_empty) {
        // Version 0 has no null: no topic is all topics.
        topics = None;
    }
    let allow_auto_topic_creation = if v >= 4 { r.bool()? } else { true };
    let cluster_operations = if (8..=10).contains(&v) { r.bool()? } else { false };
    let topic_operations = if v >= 8 { r.bool()? } else { false };
    r.end()?;
    Ok(Task::Ask(
        Request::Metadata(MetadataRequest { topics, allow_auto_topic_creation }),
        Shape::Metadata { cluster_operations, topic_operations },
    ))
}

pub(super) fn encode_metadata(
    v: i16,
    response: &MetadataResponse,
    cluster_operations: bool,
    topic_operations: bool,
    place: &Place<'_>,
    w: &mut Writer,
) {
    if v >= 3 {
        w.i32(0); // throttle time
    }
    write_brokers(&response.brokers, place, w, |w, broker| {
        if v >= 1 {
            w.nullable_string(broker.rack.as_deref());
        }
    });
    if v >= 2 {
        w.nullable_string(Some(&response.cluster_id));
    }
    if v >= 1 {
        w.i32(response.controller.0);
    }
    w.array(response.topics.iter(), |w, topic| {
        write_error(topic.error, w);
        let name = topic.name.as_ref();
        if v >= 12 {
            w.nullable_string(name.map(TopicName::as_str))
        } else {
            w.string(name_or_empty(name))
        }
        if v >= 10 {
            w.topic_id(topic.id);
        }
        if v >= 1 {
            w.bool(topic.is_internal);
        }
        w.array(topic.partitions.iter(), |w, partition| {
            write_error(partition.error, w);
            w.i32(partition.partition.0);
            w.i32(partition.leader.map_or(-1, |node| node.0));
            if v >= 7 {
                w.i32(partition.leader_epoch.0);
            }
            write_nodes(&partition.replicas, w);
            write_nodes(&partition.isr, w);
            if v >= 5 {
                write_nodes(&partition.offline, w);
            }
            w.end();
        });
        if v >= 8 {
            w.i32(operations(topic_operations && topic.error.is_none(), TOPIC_OPERATIONS));
        }
        w.end();
    });
    if (8..=10).contains(&v) {
        w.i32(operations(cluster_operations, CLUSTER_OPERATIONS));
    }
    if v >= 13 {
        write_error(ErrorCode::None, w);
    }
    w.end();
}

fn operations(asked: bool, all: i32) -> i32 {
    if asked { all } else { NO_OPERATIONS }
}

/// Brokers with the addresses at which this listener's clients reach them; `rest` writes what follows the port.
fn write_brokers(
    brokers: &[BrokerInfo],
    place: &Place<'_>,
    w: &mut Writer,
    mut rest: impl FnMut(&mut Writer, &BrokerInfo),
) {
    // Each is where it says that it is; this one knows best of itself. Who has not said it cannot be reached.
    let address = |broker: &BrokerInfo| match broker.node == place.node {
        true => Some(HostPort { host: place.host.to_owned(), port: place.port }),
        false => HostPort::parse(&broker.endpoints.kafka),
    };
    let reachable: Vec<_> = brokers.iter().filter_map(|broker| Some((broker, address(broker)?))).collect();
    w.array(reachable.into_iter(), |w, (broker, HostPort { host, port })| {
        w.i32(broker.node.0);
        w.string(&host);
        w.i32(i32::from(port));
        rest(w, broker);
        w.end();
    });
}

pub(super) fn decode_describe_cluster(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let cluster_operations = r.bool()?;
    let endpoint = if v >= 1 { r.i8()? } else { ENDPOINT_BROKER };
    let fenced = if v >= 2 { r.bool()? } else { false };
    r.end()?;
    let shape = Shape::DescribeCluster { cluster_operations, fenced };
    if endpoint != ENDPOINT_BROKER {
        return Ok(Task::Answer(
            Response::DescribeCluster(DescribeClusterResponse {
                cluster_id: String::new(),
                controller: NO_NODE,
                brokers: Vec::new(),
            }),
            Shape::DescribeCluster { cluster_operations: false, fenced: false },
        ));
    }
    Ok(Task::Ask(Request::DescribeCluster, shape))
}

/// What Kafka writes where there is no node.
const NO_NODE: tidelog_core::ids::NodeId = tidelog_core::ids::NodeId(-1);

pub(super) fn encode_describe_cluster(
    v: i16,
    response: &DescribeClusterResponse,
    cluster_operations: bool,
    fenced: bool,
    place: &Place<'_>,
    w: &mut Writer,
) {
    w.i32(0); // throttle time
    // Who asks a broker for the controllers' endpoints has the wrong listener.
    let mismatched = response.controller == NO_NODE;
    let (error, message) = if mismatched {
        (ErrorCode::MismatchedEndpointType, Some("this listener is a broker's, not a controller's"))
    } else {
        (ErrorCode::None, None)
    };
    write_error(error, w);
    w.nullable_string(message);
    if v >= 1 {
        w.i8(ENDPOINT_BROKER);
    }
    w.string(&response.cluster_id);
    w.i32(response.controller.0);
    let brokers: Vec<_> = response.brokers.iter().filter(|broker| fenced || !broker.fenced).cloned().collect();
    write_brokers(&brokers, place, w, |w, broker| {
        w.nullable_string(broker.rack.as_deref());
        if v >= 2 {
            w.bool(broker.fenced);
        }
    });
    w.i32(operations(cluster_operations, CLUSTER_OPERATIONS));
    w.end();
}

pub(super) fn decode_describe_topic_partitions(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let mut topics = r.array(|r| {
        let name = topic_name(r)?;
        r.end()?;
        Ok(name)
    })?;
    let limit = usize::try_from(r.i32()?).unwrap_or(0).clamp(1, PAGE_PARTITIONS_MAX);
    // A structure that may be null begins with a byte: -1 for null.
    let cursor = if r.i8()? < 0 {
        None
    } else {
        let at = (topic_name(r)?, partition_id(r)?);
        r.end()?;
        Some(at)
    };
    r.end()?;
    topics.sort_unstable();
    topics.dedup();
    Ok(Task::Ask(
        Request::DescribeTopicPartitions(DescribeTopicPartitionsRequest { topics, limit, cursor }),
        Shape::Plain,
    ))
}

pub(super) fn encode_describe_topic_partitions(_v: i16, response: &DescribeTopicPartitionsResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    w.array(response.topics.iter(), |w, topic: &TopicMetadata| {
        write_error(topic.error, w);
        w.nullable_string(topic.name.as_ref().map(TopicName::as_str));
        w.topic_id(topic.id);
        w.bool(topic.is_internal);
        w.array(topic.partitions.iter(), |w, partition| {
            write_error(partition.error, w);
            w.i32(partition.partition.0);
            w.i32(partition.leader.map_or(-1, |node| node.0));
            w.i32(partition.leader_epoch.0);
            write_nodes(&partition.replicas, w);
            write_nodes(&partition.isr, w);
            write_nodes(&partition.elr, w);
            write_nodes(&[], w); // last known ELR
            write_nodes(&partition.offline, w);
            w.end();
        });
        w.i32(operations(topic.error.is_none(), TOPIC_OPERATIONS));
        w.end();
    });
    match &response.next {
        None => w.i8(-1),
        Some((name, PartitionId(partition))) => {
            w.i8(1);
            w.string(name.as_str());
            w.i32(*partition);
            w.end();
        }
    }
    w.end();
}

pub(super) fn decode_describe_log_dirs(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let partitions = partitions(r)?;
    r.end()?;
    Ok(Task::Ask(Request::DescribeLogDirs(DescribeLogDirsRequest { partitions }), Shape::Plain))
}

pub(super) fn encode_describe_log_dirs(v: i16, response: &DescribeLogDirsResponse, place: &Place<'_>, w: &mut Writer) {
    w.i32(0); // throttle time
    if v >= 3 {
        write_error(ErrorCode::None, w);
    }
    w.array([response].into_iter(), |w, dir| {
        write_error(dir.error, w);
        w.string(place.log_dir);
        w.groups(
            &dir.logs,
            |log| log.topic.clone(),
            |w, of_topic| {
                w.string(of_topic[0].topic.as_str());
                w.array(of_topic.iter(), |w, log| {
                    w.i32(log.partition.0);
                    w.i64(i64::try_from(log.bytes).unwrap_or(i64::MAX));
                    w.i64(log.lag);
                    w.bool(false); // a future log
                    w.end();
                });
                w.end();
            },
        );
        if v >= 4 {
            let disk = (place.disk)(place.log_dir);
            let bytes = |count: Option<u64>| count.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
            w.i64(bytes(disk.map(|(size, _)| size)));
            w.i64(bytes(disk.map(|(_, free)| free)));
        }
        w.end();
    });
    w.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_words_follow_kip_511() {
        assert!(["librdkafka", "apache-kafka-java", "2.0.2", "v1.0-rc1"].iter().all(|word| is_software_word(word)));
        assert!(!["", "-a", "a-", "a b", "a\n", "é"].iter().any(|word| is_software_word(word)));
    }
}
