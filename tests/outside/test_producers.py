"""Idempotent producers, automatic topics, and what a producer is told when it asks for too much."""

import time

import pytest

from harness import raw
from harness.clients import aio, kafka_python, librdkafka
from harness.clients.worker import WorkerError
from harness.records import Record, text_sample

OUT_OF_ORDER_SEQUENCE, DUPLICATE_SEQUENCE, INVALID_PRODUCER_EPOCH, CORRUPT_MESSAGE, UNKNOWN_TOPIC = 45, 46, 47, 2, 3


@pytest.fixture
def producer(java, bootstrap, topic_name):
    """A hand-made idempotent producer on a fresh topic: `producer(sequence, count)` gives (error, base offset)."""
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1)
    with raw.Connection(bootstrap) as connection:
        identity, epoch = connection.init_producer_id()
        now = int(time.time() * 1000)

        def send(sequence, count=3, epoch=epoch):
            batch = raw.batch([b"%d" % (sequence + i) for i in range(count)], now, identity, epoch, sequence)
            return connection.produce(topic_name, 0, batch)

        yield send


def test_a_repeated_batch_is_acknowledged_again_and_stored_once(producer, java, bootstrap, topic_name):
    assert [producer(sequence) for sequence in (0, 3, 6)] == [(0, 0), (0, 3), (0, 6)]
    assert [producer(sequence) for sequence in (0, 3, 6)] == [(0, 0), (0, 3), (0, 6)]
    assert java.call("offset", bootstrap=bootstrap, topic=topic_name, partition=0, at="latest")["offset"] == 9


def test_a_gap_in_the_sequence_is_refused(producer):
    assert producer(0) == (0, 0)
    assert producer(6) == (OUT_OF_ORDER_SEQUENCE, -1)
    assert producer(3) == (0, 3)


def test_a_batch_older_than_the_last_five_is_refused(producer):
    for sequence in range(0, 21, 3):
        assert producer(sequence) == (0, sequence)
    assert producer(6) == (0, 6), "five batches back is still known"
    assert producer(0)[0] in (OUT_OF_ORDER_SEQUENCE, DUPLICATE_SEQUENCE)


def test_an_older_epoch_is_refused(producer):
    assert producer(0, epoch=5) == (0, 0)
    assert producer(3, epoch=4) == (INVALID_PRODUCER_EPOCH, -1)
    assert producer(3, epoch=5) == (0, 3)


def test_a_new_epoch_starts_at_sequence_zero(producer):
    assert producer(0) == (0, 0)
    assert producer(3, epoch=1) == (OUT_OF_ORDER_SEQUENCE, -1)
    assert producer(0, epoch=1) == (0, 3)


def test_a_batch_whose_bytes_were_hurt_is_refused(java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1)
    batch = bytearray(raw.batch([b"x" * 100], int(time.time() * 1000)))
    batch[-5] ^= 1
    with raw.Connection(bootstrap) as connection:
        assert connection.produce(topic_name, 0, bytes(batch)) == (CORRUPT_MESSAGE, -1)
        batch[-5] ^= 1
        assert connection.produce(topic_name, 0, bytes(batch)) == (0, 0)
        assert connection.produce(topic_name, 7, bytes(batch)) == (UNKNOWN_TOPIC, -1)


@pytest.mark.parametrize("client", [librdkafka, kafka_python, aio])
def test_a_topic_is_made_when_first_written_to(client, bootstrap, topic_name):
    assert client.produce(bootstrap, topic_name, text_sample()) == list(range(40))
    assert len(client.consume(bootstrap, topic_name, 40)) == 40


def test_java_and_kafkajs_make_topics_by_writing(java, node, bootstrap, topic_name):
    for worker in (java, node):
        assert worker.produce(bootstrap, f"{topic_name}-{worker.name}", text_sample()) == list(range(40))


def test_a_record_larger_than_the_topic_allows_is_refused(java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1, configs={"max.message.bytes": "5000"})
    with pytest.raises(RuntimeError, match="(?i)message size too large"):
        librdkafka.produce(bootstrap, topic_name, [Record(None, b"x" * 10_000)])
    with pytest.raises(WorkerError, match="^RecordTooLargeException"):
        java.produce(bootstrap, topic_name, [Record(None, b"x" * 10_000)])
    assert librdkafka.produce(bootstrap, topic_name, [Record(None, b"x" * 4000)]) == [0]


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_level_of_acknowledgement_writes(acks, java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1)
    librdkafka.produce(bootstrap, topic_name, text_sample(), **{"acks": acks, "enable.idempotence": False})
    assert len(librdkafka.consume(bootstrap, topic_name, 40)) == 40


def test_the_broker_stamps_where_the_topic_says_so(java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1, configs={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    librdkafka.produce(bootstrap, topic_name, [Record(None, b"x", timestamp=before - 3_000_000)])
    [read] = librdkafka.consume(bootstrap, topic_name, 1)
    assert before <= read.timestamp <= int(time.time() * 1000)
