//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use tidelog_core::{
    ids::{NodeId, TopicName},
    message::{
        AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, ConfigChange, ConfigOperation, ConfigResource,
        DescribeConfigsRequest, DescribeConfigsResponse, ErrorCode, Request,
    },
};

use super::{Reader, Shape, Task, WireError, Writer, write_error};

/// Kafka's numbers for what has settings.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// The resources of a request as it named them, with those that the core has no word for.
#[derive(Debug)]
pub(in super::super) struct ConfigsShape {
    resources: Vec<Named>,
    /// Write where values come from (DescribeConfigs).
    synonyms: bool,
    /// Write what settings mean (DescribeConfigs).
    documentation: bool,
}

#[derive(Debug)]
struct Named {
    kind: i8,
    name: String,
    /// Why the core was not asked about it.
    refused: Option<Refusal>,
}

/// An error and the reason in words.
type Refusal = (ErrorCode, &'static str);

/// Reads a resource's type and name.
fn resource(r: &mut Reader<'_>) -> Result<(Named, Option<ConfigResource>), WireError> {
    let (kind, name) = (r.i8()?, r.string()?);
    let found = match kind {
        TOPIC => Ok(ConfigResource::Topic(TopicName::new(name))),
        BROKER if name.is_empty() => Ok(ConfigResource::Broker(None)),
        BROKER => match name.parse() {
            Ok(node) => Ok(ConfigResource::Broker(Some(NodeId(node)))),
            Err(_) => Err((ErrorCode::InvalidRequest, "a broker is named by its number")),
        },
        _ => Err((ErrorCode::InvalidRequest, "only topics and brokers have settings here")),
    };
    let named = Named { kind, name: name.to_owned(), refused: found.as_ref().err().copied() };
    Ok((named, found.ok()))
}

pub(super) fn decode_describe(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let mut asked = Vec::new();
    let mut resources = Vec::new();
    r.each(|r| {
        let (named, resource) = resource(r)?;
        let keys = r.nullable_array(|r| r.string().map(str::to_owned))?;
        r.end()?;
        asked.extend(resource.map(|resource| (resource, keys)));
        resources.push(named);
        Ok(())
    })?;
    let synonyms = r.bool()?;
    let documentation = if v >= 3 { r.bool()? } else { false };
    r.end()?;
    let shape = Shape::DescribeConfigs(ConfigsShape { resources, synonyms, documentation });
    Ok(Task::Ask(Request::DescribeConfigs(DescribeConfigsRequest { resources: asked }), shape))
}

pub(super) fn encode_describe(v: i16, shape: &ConfigsShape, response: DescribeConfigsResponse, w: &mut Writer) {
    let mut answers = response.resources.into_iter();
    w.i32(0); // throttle time
    w.array(shape.resources.iter(), |w, named| {
        let answer = named.refused.is_none().then(|| answers.next().expect("the core answers what it was asked"));
        let (error, message) = match (&answer, named.refused) {
            (Some(answer), _) => (answer.error, answer.message.as_deref()),
            (None, refused) => refused.map_or((ErrorCode::None, None), |(error, message)| (error, Some(message))),
        };
        write_error(error, w);
        w.nullable_string(message);
        w.i8(named.kind);
        w.string(&named.name);
        let entries = answer.map(|answer| answer.entries).unwrap_or_default();
        w.array(entries.iter(), |w, entry| {
            w.string(&entry.name);
            w.nullable_string(entry.value.as_deref());
            w.bool(entry.read_only);
            w.i8(entry.source as i8);
            w.bool(false); // sensitive
            let synonyms = if shape.synonyms { std::slice::from_ref(entry) } else { &[] };
            w.array(synonyms.iter(), |w, synonym| {
                w.string(&synonym.name);
                w.nullable_string(synonym.value.as_deref());
                w.i8(synonym.source as i8);
                w.end();
            });
            if v >= 3 {
                w.i8(entry.kind as i8);
                w.nullable_string(shape.documentation.then_some(entry.documentation.as_str()));
            }
            w.end();
        });
        w.end();
    });
    w.end();
}

pub(super) fn decode_alter(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    decode_changes(r, true, |r| {
        let (name, value) = (r.string()?.to_owned(), r.nullable_string()?);
        // The older request says what shall be; what it leaves out, or says null to, has its default.
        Ok(Ok(ConfigChange {
            name,
            operation: value.map_or(ConfigOperation::Delete, |v| ConfigOperation::Set(v.into())),
        }))
    })
}

pub(super) fn decode_incremental(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    decode_changes(r, false, |r| {
        let (name, operation, value) = (r.string()?.to_owned(), r.i8()?, r.nullable_string()?.map(str::to_owned));
        let null = (ErrorCode::InvalidRequest, "a setting's new value is null");
        let operation = match (operation, value) {
            (0, value) => value.map(ConfigOperation::Set).ok_or(null),
            (1, _) => Ok(ConfigOperation::Delete),
            (2, value) => value.map(ConfigOperation::Append).ok_or(null),
            (3, value) => value.map(ConfigOperation::Subtract).ok_or(null),
            _ => Err((ErrorCode::InvalidRequest, "an operation on a setting is 0 to 3")),
        };
        Ok(operation.map(|operation| ConfigChange { name, operation }))
    })
}

/// Reads either request; `change` reads one setting up to its end.
fn decode_changes(
    r: &mut Reader<'_>,
    replace_all: bool,
    mut change: impl FnMut(&mut Reader<'_>) -> Result<Result<ConfigChange, Refusal>, WireError>,
) -> Result<Task, WireError> {
    let mut asked = Vec::new();
    let mut resources = Vec::new();
    r.each(|r| {
        let (mut named, resource) = resource(r)?;
        let changes = r.array(|r| {
            let one = change(r)?;
            r.end()?;
            Ok(one)
        })?;
        r.end()?;
        match (resource, changes.into_iter().collect::<Result<Vec<_>, _>>()) {
            (Some(resource), Ok(changes)) => asked.push(AlterConfigsResource { resource, replace_all, changes }),
            (None, _) => {}
            (_, Err(refusal)) => named.refused = Some(refusal),
        }
        resources.push(named);
        Ok(())
    })?;
    let validate_only = r.bool()?;
    r.end()?;
    let shape = Shape::AlterConfigs(ConfigsShape { resources, synonyms: false, documentation: false });
    Ok(Task::Ask(Request::AlterConfigs(AlterConfigsRequest { resources: asked, validate_only }), shape))
}

pub(super) fn encode_alter(_v: i16, shape: &ConfigsShape, response: AlterConfigsResponse, w: &mut Writer) {
    let mut answers = response.resources.into_iter();
    w.i32(0); // throttle time
    w.array(shape.resources.iter(), |w, named| {
        let answer = named.refused.is_none().then(|| answers.next().expect("the core answers what it was asked"));
        let (error, message) = match (&answer, named.refused) {
            (Some(answer), _) => (answer.error, answer.message.as_deref()),
            (None, refused) => refused.map_or((ErrorCode::None, None), |(error, message)| (error, Some(message))),
        };
        write_error(error, w);
        w.nullable_string(message);
        w.i8(named.kind);
        w.string(&named.name);
        w.end();
    });
    w.end();
}
