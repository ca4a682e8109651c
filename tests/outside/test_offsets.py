"""Finding offsets by name and by time, with three clients that ask by different versions."""

from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as PythonPartition

from harness.clients import librdkafka
from harness.records import sample


@pytest.fixture
def stamped(java, bootstrap, topic_name):
    """A topic of 40 records whose timestamps are ten seconds apart but for the newest, which stands in the middle."""
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1)
    records = sample()
    start = records[0].timestamp
    records = [replace(record, timestamp=start + index * 10_000) for index, record in enumerate(records)]
    records[20] = replace(records[20], timestamp=start + 900_000)
    for at in range(0, 40, 10):
        librdkafka.produce(bootstrap, topic_name, records[at : at + 10])
    return records


def test_java_finds_offsets_by_name_and_time(stamped, java, bootstrap, topic_name):
    def find(at):
        return java.call("offset", bootstrap=bootstrap, topic=topic_name, partition=0, at=at)

    assert find("earliest")["offset"] == 0
    assert find("latest")["offset"] == 40
    assert find("max-timestamp") == {"offset": 20, "timestamp": stamped[20].timestamp}
    assert find(stamped[0].timestamp - 1)["offset"] == 0
    assert find(stamped[7].timestamp) == {"offset": 7, "timestamp": stamped[7].timestamp}
    assert find(stamped[7].timestamp + 1) == {"offset": 8, "timestamp": stamped[8].timestamp}
    # The first record at or after a time, by offset: the one in the middle hides those that follow it.
    assert find(stamped[19].timestamp + 1)["offset"] == 20
    assert find(stamped[30].timestamp)["offset"] == 20
    assert find(stamped[20].timestamp + 1) == {"offset": -1, "timestamp": -1}


def test_librdkafka_finds_offsets_by_time(stamped, bootstrap, topic_name):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "assigned-by-hand"})
    assert consumer.get_watermark_offsets(TopicPartition(topic_name, 0), 20) == (0, 40)
    found = consumer.offsets_for_times([TopicPartition(topic_name, 0, stamped[7].timestamp + 1)], 20)
    assert found[0].offset == 8
    consumer.close()


def test_kafka_python_finds_offsets_by_time(stamped, bootstrap, topic_name):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    place = PythonPartition(topic_name, 0)
    assert consumer.beginning_offsets([place]) == {place: 0}
    assert consumer.end_offsets([place]) == {place: 40}
    assert consumer.offsets_for_times({place: stamped[7].timestamp})[place].offset == 7
    assert consumer.offsets_for_times({place: stamped[20].timestamp + 1})[place] is None
    consumer.close()


def test_kafkajs_finds_offsets_by_time(stamped, bootstrap, topic_name, node):
    found = node.call("admin", bootstrap=bootstrap, method="fetchTopicOffsetsByTimestamp", arguments=[topic_name, stamped[7].timestamp + 1])
    assert [(entry["partition"], entry["offset"]) for entry in found] == [(0, "8")]
