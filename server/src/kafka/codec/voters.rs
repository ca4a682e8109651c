//! AddRaftVoter, RemoveRaftVoter: voters of the metadata quorum that come and go (KIP-853).

use tidelog_core::{
    ids::{DirectoryId, NodeId},
    message::{AddVoterRequest, RemoveVoterRequest, Request, VotersChanged},
};

use super::{Shape, Task};
use crate::kafka::{
    read::{Reader, WireError},
    write::Writer,
};

pub(super) fn decode_add(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let cluster_id = r.nullable_string()?.map(str::to_owned);
    let _timeout = r.i32()?;
    let node = NodeId(r.i32()?);
    let directory = DirectoryId(r.topic_id()?.0);
    // Kafka names controllers' listeners; which of them is ours nobody can say, so that the node's registration decides. A
    // single one is taken at its word.
    let mut endpoints = Vec::new();
    r.each(|r| {
        let _name = r.string()?;
        let host = r.string()?.to_owned();
        endpoints.push(format!("{host}:{}", r.i16()?.cast_unsigned()));
        r.end()
    })?;
    r.end()?;
    let endpoint = if endpoints.len() == 1 { endpoints.pop() } else { None };
    Ok(Task::Ask(Request::AddVoter(AddVoterRequest { cluster_id, node, directory, endpoint }), Shape::Plain))
}

pub(super) fn decode_remove(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let cluster_id = r.nullable_string()?.map(str::to_owned);
    let node = NodeId(r.i32()?);
    let directory = DirectoryId(r.topic_id()?.0);
    r.end()?;
    Ok(Task::Ask(Request::RemoveVoter(RemoveVoterRequest { cluster_id, node, directory }), Shape::Plain))
}

pub(super) fn encode(_v: i16, response: &VotersChanged, w: &mut Writer) {
    w.i32(0); // throttle time
    w.i16(response.error.code());
    w.nullable_string(response.message.as_deref());
    w.end();
}
