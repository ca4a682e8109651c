"""confluent-kafka: librdkafka as most of its users have it."""

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from harness.records import Record

NAME = "confluent-kafka"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(bootstrap, topic, records, codec="none", partition=0, **settings):
    """Writes and returns the offsets; raises the first error that a record came back with."""
    outcomes = [None] * len(records)
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "log_level": 2,
        "compression.type": codec,
        "enable.idempotence": True,
        "linger.ms": 20,
        "topic.metadata.refresh.interval.ms": 1000,
        "delivery.timeout.ms": 30_000,
        **settings,
    })
    for index, record in enumerate(records):

        def delivered(error, message, index=index):
            outcomes[index] = error or message.offset()

        stamp = {} if record.timestamp is None else {"timestamp": record.timestamp}
        producer.produce(topic, record.value, record.key, partition, on_delivery=delivered, headers=list(record.headers), **stamp)
    assert producer.flush(40) == 0, "librdkafka still holds records after its delivery timeout"
    for outcome in outcomes:
        if isinstance(outcome, KafkaError):
            raise RuntimeError(outcome.str())
    return outcomes


def consume(bootstrap, topic, count, partition=0, offset=0, timeout=30, **settings):
    """Reads `count` records from `offset` on, without a group."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "log_level": 2,
        "group.id": "assigned-by-hand",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
        **settings,
    })
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        records = []
        while len(records) < count:
            messages = consumer.consume(count - len(records), timeout)
            assert messages, f"{len(records)} of {count} records after {timeout} s"
            for message in messages:
                if message.error():
                    raise RuntimeError(message.error().str())
                headers = tuple(message.headers() or ())
                records.append(Record(message.key(), message.value(), headers, message.timestamp()[1], message.offset()))
        return records
    finally:
        consumer.close()
