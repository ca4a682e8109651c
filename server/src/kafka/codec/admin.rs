//! CreateTopics, DeleteTopics, CreatePartitions.

use tidelog_core::{
    ids::{NodeId, TopicId, TopicName},
    message::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteTopicsRequest, DeletedTopic, ErrorCode, NewPartitions, NewTopic, Request, TopicRef,
    },
    time::Duration,
};

use super::{
    Reader, Shape, Task, WireError, Writer, data::topic_name, id_of, name_or_empty, partition_id, write_error,
};

pub(super) fn decode_create_topics(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let topics = r.array(|r| {
        let name = topic_name(r)?;
        // -1 leaves the count to the broker (KIP-464); any other nonsense is the core's to refuse.
        let partitions = Some(r.i32()?).filter(|&count| count != -1);
        let replication_factor = Some(r.i16()?).filter(|&count| count != -1);
        let assignments = r.array(|r| {
            let assignment = (partition_id(r)?, r.array(node)?);
            r.end()?;
            Ok(assignment)
        })?;
        let configs = r.array(|r| {
            let config = (r.string()?.to_owned(), r.nullable_string()?.map(str::to_owned));
            r.end()?;
            Ok(config)
        })?;
        r.end()?;
        Ok(NewTopic { name, partitions, replication_factor, assignments, configs })
    })?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    let validate_only = r.bool()?;
    r.end()?;
    Ok(Task::Ask(Request::CreateTopics(CreateTopicsRequest { topics, validate_only, timeout }), Shape::Plain))
}

fn node(r: &mut Reader<'_>) -> Result<NodeId, WireError> {
    r.i32().map(NodeId)
}

pub(super) fn encode_create_topics(v: i16, response: &CreateTopicsResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    w.array(response.topics.iter(), |w, topic| {
        let is_created = topic.error.is_none();
        w.string(topic.name.as_str());
        if v >= 7 {
            w.topic_id(topic.id);
        }
        write_error(topic.error, w);
        w.nullable_string(topic.message.as_deref());
        if v >= 5 {
            w.i32(if is_created { topic.partitions } else { -1 });
            w.i16(if is_created { topic.replication_factor } else { -1 });
            w.array(topic.configs.iter(), |w, entry| {
                w.string(&entry.name);
                w.nullable_string(entry.value.as_deref());
                w.bool(entry.read_only);
                w.i8(entry.source as i8);
                w.bool(false); // sensitive
                w.end();
            });
        }
        w.end();
    });
    w.end();
}

pub(super) fn decode_delete_topics(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let mut topics = Vec::new();
    let mut refused = Vec::new();
    r.each(|r| {
        let name = if v >= 6 { r.nullable_string()? } else { Some(r.string()?) };
        let id = if v >= 6 { r.topic_id()? } else { TopicId::ZERO };
        if v >= 6 {
            r.end()?;
        }
        match (name.map(TopicName::new), id) {
            (Some(name), TopicId::ZERO) => topics.push(TopicRef::Name(name)),
            (None, id) if id != TopicId::ZERO => topics.push(TopicRef::Id(id)),
            (name, id) => {
                let refusal = DeletedTopic {
                    topic: TopicRef::Id(id),
                    name,
                    id,
                    error: ErrorCode::InvalidRequest,
                    message: Some("a topic to delete is given by its name or by its id".into()),
                };
                refused.push((topics.len() + refused.len(), refusal));
            }
        }
        Ok(())
    })?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    r.end()?;
    Ok(Task::Ask(Request::DeleteTopics(DeleteTopicsRequest { topics, timeout }), Shape::DeleteTopics(refused)))
}

pub(super) fn encode_delete_topics(v: i16, topics: &[DeletedTopic], w: &mut Writer) {
    w.i32(0); // throttle time
    w.array(topics.iter(), |w, topic| {
        let name = match &topic.topic {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => topic.name.as_ref(),
        };
        if v >= 6 {
            w.nullable_string(name.map(TopicName::as_str));
            w.topic_id(if topic.id == TopicId::ZERO { id_of(&topic.topic) } else { topic.id });
        } else {
            w.string(name_or_empty(name));
        }
        write_error(topic.error, w);
        if v >= 5 {
            w.nullable_string(topic.message.as_deref());
        }
        w.end();
    });
    w.end();
}

pub(super) fn decode_create_partitions(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let topics = r.array(|r| {
        let name = topic_name(r)?;
        let total = r.i32()?;
        let assignments = r.nullable_array(|r| {
            let nodes = r.array(node)?;
            r.end()?;
            Ok(nodes)
        })?;
        r.end()?;
        Ok(NewPartitions { name, total, assignments: assignments.unwrap_or_default() })
    })?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    let validate_only = r.bool()?;
    r.end()?;
    Ok(Task::Ask(Request::CreatePartitions(CreatePartitionsRequest { topics, validate_only, timeout }), Shape::Plain))
}

pub(super) fn encode_create_partitions(_v: i16, response: &CreatePartitionsResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    w.array(response.topics.iter(), |w, topic| {
        w.string(topic.name.as_str());
        write_error(topic.error, w);
        w.nullable_string(topic.message.as_deref());
        w.end();
    });
    w.end();
}
