"""Topics and their settings, as the admin clients of several languages see them."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kafka.admin import KafkaAdminClient
from kafka.admin import NewTopic as PythonTopic

from harness.clients import librdkafka
from harness.clients.worker import WorkerError
from harness.records import text_sample


@pytest.fixture
def admin(java, bootstrap):
    """The Java admin client: `admin("create", topic=..)`."""

    def call(op, **arguments):
        return java.call(op, bootstrap=bootstrap, **arguments)

    return call


def test_a_topic_is_created_listed_described_and_deleted(admin, topic_name):
    admin("create", topic=topic_name, partitions=3)
    assert topic_name in admin("list")
    described = admin("describe", topic=topic_name)
    assert [partition["partition"] for partition in described["partitions"]] == [0, 1, 2]
    assert all(partition["leader"] >= 0 and partition["isr"] == 1 for partition in described["partitions"])
    assert not described["internal"]
    admin("delete", topic=topic_name)
    assert topic_name not in admin("list")


def test_a_topic_made_again_is_another_topic(admin, topic_name, bootstrap):
    admin("create", topic=topic_name, partitions=1)
    first = admin("describe", topic=topic_name)["id"]
    librdkafka.produce(bootstrap, topic_name, text_sample())
    admin("delete", topic=topic_name)
    admin("create", topic=topic_name, partitions=1)
    assert admin("describe", topic=topic_name)["id"] != first
    assert admin("offset", topic=topic_name, partition=0, at="latest")["offset"] == 0
    assert librdkafka.produce(bootstrap, topic_name, text_sample())[0] == 0


def test_partitions_are_added(admin, topic_name, bootstrap):
    admin("create", topic=topic_name, partitions=1)
    admin("partitions", topic=topic_name, count=4)
    assert len(admin("describe", topic=topic_name)["partitions"]) == 4
    assert librdkafka.produce(bootstrap, topic_name, text_sample(), partition=3)[0] == 0


REFUSED = {
    "a topic that is there": ("create", {"partitions": 1}, "TopicExistsException"),
    "a topic of no partitions": ("create", {"topic": "none", "partitions": 0}, "InvalidPartitionsException"),
    "a name with a slash": ("create", {"topic": "a/b", "partitions": 1}, "InvalidTopicException"),
    "a name of 250 bytes": ("create", {"topic": "n" * 250, "partitions": 1}, "InvalidTopicException"),
    "a name of two dots": ("create", {"topic": "..", "partitions": 1}, "InvalidTopicException"),
    "an unknown setting": ("create", {"topic": "x", "partitions": 1, "configs": {"no.such": "1"}}, "InvalidConfigurationException"),
    "a wrong value": ("create", {"topic": "x", "partitions": 1, "configs": {"retention.ms": "soon"}}, "InvalidConfigurationException"),
    "a value out of range": ("alter", {"set": {"min.insync.replicas": "0"}}, "InvalidConfigurationException"),
    "an unknown setting to alter": ("alter", {"set": {"no.such": "1"}}, "InvalidConfigurationException"),
    "fewer partitions": ("partitions", {"count": 1}, "InvalidPartitionsException"),
    "as many partitions": ("partitions", {"count": 2}, "InvalidPartitionsException"),
    "partitions of no topic": ("partitions", {"topic": "absent", "count": 2}, "UnknownTopicOrPartitionException"),
    "to delete no topic": ("delete", {"topic": "absent"}, "UnknownTopicOrPartitionException"),
    "to describe no topic": ("describe", {"topic": "absent"}, "UnknownTopicOrPartitionException"),
    "to delete records past the end": ("delete-records", {"partition": 0, "before": 99}, "OffsetOutOfRangeException"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_java_client_is_told_why_not(what, admin, topic_name):
    op, arguments, expected = REFUSED[what]
    admin("create", topic=topic_name, partitions=2)
    with pytest.raises(WorkerError, match=f"^{expected}"):
        admin(op, **{"topic": topic_name, **arguments})


def test_settings_are_set_described_and_unset(admin, topic_name):
    admin("create", topic=topic_name, partitions=1, configs={"cleanup.policy": "compact"})
    before = admin("configs", topic=topic_name)
    assert before["cleanup.policy"] == {"value": "compact", "source": "DYNAMIC_TOPIC_CONFIG"}
    assert before["retention.ms"] == {"value": "604800000", "source": "DEFAULT_CONFIG"}
    admin("alter", topic=topic_name, set={"retention.ms": "3600000", "max.message.bytes": "2000000"}, delete=["cleanup.policy"])
    after = admin("configs", topic=topic_name)
    assert after["retention.ms"] == {"value": "3600000", "source": "DYNAMIC_TOPIC_CONFIG"}
    assert after["max.message.bytes"]["value"] == "2000000"
    assert after["cleanup.policy"] == {"value": "delete", "source": "DEFAULT_CONFIG"}


def test_every_topic_setting_of_kafka_is_described(admin, topic_name):
    admin("create", topic=topic_name, partitions=1)
    told = admin("configs", topic=topic_name)
    for name in ("cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes", "message.timestamp.type",
                 "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "retention.bytes", "retention.ms",
                 "segment.bytes", "segment.ms"):  # fmt: skip
        assert name in told


def test_deleted_records_are_gone(admin, topic_name, bootstrap):
    admin("create", topic=topic_name, partitions=1)
    librdkafka.produce(bootstrap, topic_name, text_sample())
    assert admin("delete-records", topic=topic_name, partition=0, before=15) == 15
    assert admin("offset", topic=topic_name, partition=0, at="earliest")["offset"] == 15
    assert librdkafka.consume(bootstrap, topic_name, 1, offset=15)[0].offset == 15
    with pytest.raises(RuntimeError, match="(?i)out of range"):
        librdkafka.consume(bootstrap, topic_name, 1, offset=14)


def test_the_cluster_and_its_directories_are_described(admin, topic_name, bootstrap):
    admin("create", topic=topic_name, partitions=1)
    librdkafka.produce(bootstrap, topic_name, text_sample())
    cluster = admin("cluster")
    assert cluster["nodes"] == 1 and cluster["controller"] >= 0 and cluster["id"]
    assert admin("log-dirs")[f"{topic_name}-0"] > 1000


def test_librdkafka_administers(topic_name, bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic_name, 2, 1, config={"retention.ms": "7200000"})])[topic_name].result(20)
    admin.create_partitions([NewPartitions(topic_name, 3)])[topic_name].result(20)
    assert len(admin.list_topics(topic_name, 20).topics[topic_name].partitions) == 3
    librdkafka.produce(bootstrap, topic_name, text_sample(), partition=2)
    place = TopicPartition(topic_name, 2, 10)
    assert admin.delete_records([place])[place].result(20).low_watermark == 10
    admin.delete_topics([topic_name])[topic_name].result(20)
    assert topic_name not in admin.list_topics(timeout=20).topics


def test_kafka_python_administers(topic_name, bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([PythonTopic(topic_name, 2, 1)])
    assert topic_name in admin.list_topics()
    admin.delete_topics([topic_name])
    assert topic_name not in admin.list_topics()
    admin.close()


def test_kafkajs_administers(topic_name, bootstrap, node):
    def admin(method, *arguments):
        return node.call("admin", bootstrap=bootstrap, method=method, arguments=arguments)

    assert admin("createTopics", {"topics": [{"topic": topic_name, "numPartitions": 2}], "waitForLeaders": True}) is True
    assert topic_name in admin("listTopics")
    admin("createPartitions", {"topicPartitions": [{"topic": topic_name, "count": 3}]})
    described = admin("fetchTopicMetadata", {"topics": [topic_name]})
    assert len(described["topics"][0]["partitions"]) == 3
    librdkafka.produce(bootstrap, topic_name, text_sample())
    ends = {entry["partition"]: entry["offset"] for entry in admin("fetchTopicOffsets", topic_name)}
    assert ends == {0: "40", 1: "0", 2: "0"}
    settings = admin("describeConfigs", {"resources": [{"type": 2, "name": topic_name}], "includeSynonyms": False})
    assert any(entry["configName"] == "retention.ms" for entry in settings["resources"][0]["configEntries"])
    admin("deleteTopics", {"topics": [topic_name]})
    assert topic_name not in admin("listTopics")
