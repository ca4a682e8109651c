//! ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments, DescribeQuorum, UnregisterBroker: what
//! operators ask of a cluster.

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, DescribeQuorumResponse,
        ElectLeadersRequest, ElectLeadersResponse, ElectionKind, ErrorCode, ListPartitionReassignmentsRequest,
        ListPartitionReassignmentsResponse, QuorumReplica, Reassignment, Request, UnregisterBrokerRequest,
        UnregisterBrokerResponse,
    },
    time::Duration,
};

use super::{
    Reader, Shape, Task, WireError, Writer, data::topic_name, partition_id, partitions, write_error, write_nodes,
};

/// The metadata log as a topic: the one that a quorum is described of.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Writes what is said of partitions, neighbours nested in their topic.
fn by_topic<T>(
    all: &[T],
    place: impl Fn(&T) -> (&TopicName, PartitionId),
    w: &mut Writer,
    write: impl Fn(&mut Writer, &T),
) {
    w.groups(
        all,
        |of| place(of).0.clone(),
        |w, of_topic| {
            w.string(place(&of_topic[0]).0.as_str());
            w.array(of_topic.iter(), |w, of| {
                w.i32(place(of).1.0);
                write(w, of);
                w.end();
            });
            w.end();
        },
    );
}

pub(super) fn decode_elect_leaders(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let kind = match if v >= 1 { r.i8()? } else { 0 } {
        0 => Some(ElectionKind::Preferred),
        1 => Some(ElectionKind::Unclean),
        _ => None,
    };
    let partitions = partitions(r)?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    r.end()?;
    let request = Request::ElectLeaders(ElectLeadersRequest {
        kind: kind.unwrap_or(ElectionKind::Preferred),
        partitions,
        timeout,
    });
    Ok(match kind {
        Some(_) => Task::Ask(request, Shape::Plain),
        None => Task::Answer(request.refuse(ErrorCode::InvalidRequest), Shape::Plain),
    })
}

pub(super) fn encode_elect_leaders(v: i16, response: &ElectLeadersResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    if v >= 1 {
        write_error(response.error, w);
    }
    by_topic(
        &response.partitions,
        |of| (&of.topic, of.partition),
        w,
        |w, of| {
            write_error(of.error, w);
            w.nullable_string(of.message.as_deref());
        },
    );
    w.end();
}

pub(super) fn decode_alter_reassignments(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let timeout = Duration::from_wire_millis(r.i32()?);
    let allow_replication_factor_change = if v >= 1 { r.bool()? } else { true };
    let mut partitions = Vec::new();
    r.each(|r| {
        let topic = topic_name(r)?;
        r.each(|r| {
            let partition = partition_id(r)?;
            let replicas = r.nullable_array(|r| r.i32().map(NodeId))?;
            r.end()?;
            partitions.push(Reassignment { topic: topic.clone(), partition, replicas });
            Ok(())
        })?;
        r.end()
    })?;
    r.end()?;
    let request = AlterPartitionReassignmentsRequest { partitions, allow_replication_factor_change, timeout };
    Ok(Task::Ask(
        Request::AlterPartitionReassignments(request),
        Shape::AlterReassignments { allow_replication_factor_change },
    ))
}

pub(super) fn encode_alter_reassignments(
    v: i16,
    response: &AlterPartitionReassignmentsResponse,
    allow_replication_factor_change: bool,
    w: &mut Writer,
) {
    w.i32(0); // throttle time
    if v >= 1 {
        w.bool(allow_replication_factor_change);
    }
    write_error(response.error, w);
    w.nullable_string(response.message.as_deref());
    by_topic(
        &response.partitions,
        |of| (&of.topic, of.partition),
        w,
        |w, of| {
            write_error(of.error, w);
            w.nullable_string(of.message.as_deref());
        },
    );
    w.end();
}

pub(super) fn decode_list_reassignments(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    r.i32()?; // the answer is at hand: it needs no timeout
    let partitions = partitions(r)?;
    r.end()?;
    let request = ListPartitionReassignmentsRequest { partitions };
    Ok(Task::Ask(Request::ListPartitionReassignments(request), Shape::Plain))
}

pub(super) fn encode_list_reassignments(_v: i16, response: &ListPartitionReassignmentsResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    write_error(response.error, w);
    w.nullable_string(None);
    by_topic(
        &response.partitions,
        |of| (&of.topic, of.partition),
        w,
        |w, of| {
            write_nodes(&of.replicas, w);
            write_nodes(&of.adding, w);
            write_nodes(&of.removing, w);
        },
    );
    w.end();
}

/// There is one quorum; which topic it is asked by is all the same.
pub(super) fn decode_describe_quorum(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    r.each(|r| {
        topic_name(r)?;
        r.each(|r| {
            partition_id(r)?;
            r.end()
        })?;
        r.end()
    })?;
    r.end()?;
    Ok(Task::Ask(Request::DescribeQuorum, Shape::Plain))
}

pub(super) fn encode_describe_quorum(v: i16, response: &DescribeQuorumResponse, w: &mut Writer) {
    let replica = |w: &mut Writer, replica: &QuorumReplica| {
        w.i32(replica.node.0);
        if v >= 2 {
            w.topic_id(TopicId(replica.directory.0));
        }
        w.i64(replica.log_end.0);
        if v >= 1 {
            w.i64(replica.last_fetch.0);
            w.i64(replica.last_caught_up.0);
        }
        w.end();
    };
    write_error(response.error, w);
    if v >= 2 {
        w.nullable_string(None);
    }
    let topics = if response.error.is_none() { Some(METADATA_TOPIC) } else { None };
    w.array(topics.into_iter().collect::<Vec<_>>().into_iter(), |w, topic| {
        w.string(topic);
        w.array([response].into_iter(), |w, quorum| {
            w.i32(0); // the one partition
            write_error(quorum.error, w);
            if v >= 2 {
                w.nullable_string(None);
            }
            w.i32(quorum.leader.map_or(-1, |node| node.0));
            w.i32(quorum.epoch.0);
            w.i64(quorum.high_watermark.0);
            w.array(quorum.voters.iter(), replica);
            w.array(quorum.observers.iter(), replica);
            w.end();
        });
        w.end();
    });
    if v >= 2 {
        // Controllers have no listeners of their own here; where nodes are reached is in the metadata.
        write_nodes(&[], w);
    }
    w.end();
}

pub(super) fn decode_unregister_broker(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let node = NodeId(r.i32()?);
    r.end()?;
    Ok(Task::Ask(Request::UnregisterBroker(UnregisterBrokerRequest { node }), Shape::Plain))
}

pub(super) fn encode_unregister_broker(_v: i16, response: &UnregisterBrokerResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    write_error(response.error, w);
    w.nullable_string(response.message.as_deref());
    w.end();
}
