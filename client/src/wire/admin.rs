//! Administration's messages: topics that come, grow and go, and settings.

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::*,
};
use tidelog_schemas::native_capnp as schema;

use super::twin::*;

// ------------------------------------------------------------------------------------------------ topics

impl Twin for CreateTopicsRequest {
    type Wire = schema::create_topics_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_validate_only(self.validate_only);
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.topics, to.init_topics(len(&self.topics)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topics: read_list(from.get_topics()?, source)?,
            validate_only: from.get_validate_only(),
            timeout: duration(from.get_timeout_ms()),
        })
    }
}

impl Twin for NewTopic {
    type Wire = schema::new_topic::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(self.name.as_str());
        to.set_partitions(self.partitions.unwrap_or(-1));
        to.set_replication_factor(self.replication_factor.unwrap_or(-1));
        write_list(&self.assignments, to.reborrow().init_assignments(len(&self.assignments)));
        write_list(&self.configs, to.init_configs(len(&self.configs)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            name: read_name(from.get_name()?)?,
            // Only -1 is "none": any other nonsense is for the controller to refuse.
            partitions: (from.get_partitions() != -1).then_some(from.get_partitions()),
            replication_factor: (from.get_replication_factor() != -1).then_some(from.get_replication_factor()),
            assignments: read_list(from.get_assignments()?, source)?,
            configs: read_list(from.get_configs()?, source)?,
        })
    }
}

impl Twin for (PartitionId, Vec<NodeId>) {
    type Wire = schema::assignment::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_partition(self.0.0);
        write_nodes(&self.1, to.init_replicas(len(&self.1)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok((PartitionId(from.get_partition()), read_nodes(from.get_replicas()?, source)?))
    }
}

impl Twin for (String, Option<String>) {
    type Wire = schema::config::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(&self.0);
        write_optional_text!(&self.1, to.set_value);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok((read_text(from.get_name()?)?, read_optional_text!(from, has_value, get_value)))
    }
}

list_twin!(CreateTopicsResponse, create_topics_response, topics: init_topics, get_topics);

impl Twin for CreatedTopic {
    type Wire = schema::created_topic::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(self.name.as_str());
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
        write_uuid(self.id.0, to.reborrow().init_id());
        to.set_partitions(self.partitions);
        to.set_replication_factor(self.replication_factor);
        write_list(&self.configs, to.init_configs(len(&self.configs)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            name: read_name(from.get_name()?)?,
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
            id: TopicId(read_uuid(from.get_id()?)),
            partitions: from.get_partitions(),
            replication_factor: from.get_replication_factor(),
            configs: read_list(from.get_configs()?, source)?,
        })
    }
}

impl Twin for DeleteTopicsRequest {
    type Wire = schema::delete_topics_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.topics, to.init_topics(len(&self.topics)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { topics: read_list(from.get_topics()?, source)?, timeout: duration(from.get_timeout_ms()) })
    }
}

list_twin!(DeleteTopicsResponse, delete_topics_response, topics: init_topics, get_topics);

impl Twin for DeletedTopic {
    type Wire = schema::deleted_topic::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.topic.write(to.reborrow().init_topic());
        write_optional_text!(self.name.as_ref().map(TopicName::as_str), to.set_name);
        write_uuid(self.id.0, to.reborrow().init_id());
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            name: if from.has_name() { Some(read_name(from.get_name()?)?) } else { None },
            id: TopicId(read_uuid(from.get_id()?)),
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
        })
    }
}

impl Twin for CreatePartitionsRequest {
    type Wire = schema::create_partitions_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_validate_only(self.validate_only);
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.topics, to.init_topics(len(&self.topics)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topics: read_list(from.get_topics()?, source)?,
            validate_only: from.get_validate_only(),
            timeout: duration(from.get_timeout_ms()),
        })
    }
}

impl Twin for NewPartitions {
    type Wire = schema::new_partitions::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(self.name.as_str());
        to.set_total(self.total);
        let mut assignments = to.init_assignments(len(&self.assignments));
        for (index, replicas) in (0..).zip(&self.assignments) {
            write_nodes(replicas, assignments.reborrow().get(index).init_replicas(len(replicas)));
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        let assignments: Vec<(PartitionId, Vec<NodeId>)> = read_list(from.get_assignments()?, source)?;
        Ok(Self {
            name: read_name(from.get_name()?)?,
            total: from.get_total(),
            assignments: assignments.into_iter().map(|(_, replicas)| replicas).collect(),
        })
    }
}

list_twin!(CreatePartitionsResponse, create_partitions_response, topics: init_topics, get_topics);

impl Twin for CreatedPartitions {
    type Wire = schema::created_partitions::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(self.name.as_str());
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            name: read_name(from.get_name()?)?,
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
        })
    }
}

// ------------------------------------------------------------------------------------------------ settings

impl Twin for ConfigResource {
    type Wire = schema::config_resource::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        match self {
            Self::Topic(name) => to.set_topic(name.as_str()),
            Self::Broker(Some(node)) => to.set_broker(node.0),
            Self::Broker(None) => to.set_default_broker(()),
        }
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        use schema::config_resource::Which;
        Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the thing that has settings" })? {
            Which::Topic(name) => Self::Topic(read_name(name?)?),
            Which::Broker(node) => Self::Broker(Some(NodeId(node))),
            Which::DefaultBroker(()) => Self::Broker(None),
        })
    }
}

list_twin!(DescribeConfigsRequest, describe_configs_request, resources: init_resources, get_resources);

impl Twin for (ConfigResource, Option<Vec<String>>) {
    type Wire = schema::describe_configs_resource::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.0.write(to.reborrow().init_resource());
        let mut names = to.init_names();
        match &self.1 {
            None => names.set_all(()),
            Some(listed) => write_texts(listed.iter().map(String::as_str), names.init_listed(len(listed))),
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        use schema::describe_configs_resource::names::Which;
        let resource = ConfigResource::read(from.get_resource()?, source)?;
        let names = match from.get_names().which().map_err(|_| DecodeError::Unknown { what: "the choice of names" })? {
            Which::All(()) => None,
            Which::Listed(listed) => Some(read_texts(listed?, source, str::to_owned)?),
        };
        Ok((resource, names))
    }
}

list_twin!(DescribeConfigsResponse, describe_configs_response, resources: init_resources, get_resources);

impl Twin for DescribedConfigs {
    type Wire = schema::described_configs::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.resource.write(to.reborrow().init_resource());
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
        write_list(&self.entries, to.init_entries(len(&self.entries)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            resource: ConfigResource::read(from.get_resource()?, source)?,
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
            entries: read_list(from.get_entries()?, source)?,
        })
    }
}

impl Twin for ConfigEntry {
    type Wire = schema::config_entry::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(&self.name);
        write_optional_text!(&self.value, to.set_value);
        to.set_source(self.source as i8);
        to.set_kind(self.kind as i8);
        to.set_read_only(self.read_only);
        to.set_documentation(&self.documentation);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            name: read_text(from.get_name()?)?,
            value: read_optional_text!(from, has_value, get_value),
            source: read_source(from.get_source())?,
            read_only: from.get_read_only(),
            kind: read_kind(from.get_kind())?,
            documentation: read_text(from.get_documentation()?)?,
        })
    }
}

fn read_source(ordinal: i8) -> Result<ConfigSource, DecodeError> {
    Ok(match ordinal {
        1 => ConfigSource::DynamicTopic,
        2 => ConfigSource::DynamicBroker,
        3 => ConfigSource::DynamicDefaultBroker,
        4 => ConfigSource::StaticBroker,
        5 => ConfigSource::Default,
        value => return Err(DecodeError::Value { what: "the source of a setting", value: i64::from(value) }),
    })
}

fn read_kind(ordinal: i8) -> Result<ConfigKind, DecodeError> {
    Ok(match ordinal {
        1 => ConfigKind::Boolean,
        2 => ConfigKind::String,
        3 => ConfigKind::Int,
        5 => ConfigKind::Long,
        6 => ConfigKind::Double,
        7 => ConfigKind::List,
        value => return Err(DecodeError::Value { what: "the kind of a setting", value: i64::from(value) }),
    })
}

impl Twin for AlterConfigsRequest {
    type Wire = schema::alter_configs_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_validate_only(self.validate_only);
        write_list(&self.resources, to.init_resources(len(&self.resources)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { resources: read_list(from.get_resources()?, source)?, validate_only: from.get_validate_only() })
    }
}

impl Twin for AlterConfigsResource {
    type Wire = schema::alter_configs_resource::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.resource.write(to.reborrow().init_resource());
        to.set_replace_all(self.replace_all);
        write_list(&self.changes, to.init_changes(len(&self.changes)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            resource: ConfigResource::read(from.get_resource()?, source)?,
            replace_all: from.get_replace_all(),
            changes: read_list(from.get_changes()?, source)?,
        })
    }
}

impl Twin for ConfigChange {
    type Wire = schema::config_change::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_name(&self.name);
        match &self.operation {
            ConfigOperation::Set(value) => to.set_set(value),
            ConfigOperation::Delete => to.set_delete(()),
            ConfigOperation::Append(words) => to.set_append(words),
            ConfigOperation::Subtract(words) => to.set_subtract(words),
        }
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        use schema::config_change::Which;
        Ok(Self {
            name: read_text(from.get_name()?)?,
            operation: match from.which().map_err(|_| DecodeError::Unknown { what: "the change of a setting" })? {
                Which::Set(value) => ConfigOperation::Set(read_text(value?)?),
                Which::Delete(()) => ConfigOperation::Delete,
                Which::Append(words) => ConfigOperation::Append(read_text(words?)?),
                Which::Subtract(words) => ConfigOperation::Subtract(read_text(words?)?),
            },
        })
    }
}

list_twin!(AlterConfigsResponse, alter_configs_response, resources: init_resources, get_resources);

impl Twin for AlteredConfigs {
    type Wire = schema::altered_configs::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.resource.write(to.reborrow().init_resource());
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            resource: ConfigResource::read(from.get_resource()?, source)?,
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
        })
    }
}
