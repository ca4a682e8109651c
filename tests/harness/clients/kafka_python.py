"""kafka-python: a client in Python alone."""

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from harness.records import Record

NAME = "kafka-python"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(bootstrap, topic, records, codec="none", partition=0, **settings):
    """Writes and returns the offsets."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        acks="all",
        linger_ms=20,
        **settings,
    )
    try:
        sent = [
            producer.send(topic, record.value, record.key, list(record.headers), partition, record.timestamp) for record in records
        ]
        return [future.get(30).offset for future in sent]
    finally:
        producer.close()


def consume(bootstrap, topic, count, partition=0, offset=0, timeout=30):
    """Reads `count` records from `offset` on, without a group."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, consumer_timeout_ms=timeout * 1000, fetch_max_wait_ms=100
    )
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        records = []
        for message in consumer:
            records.append(Record(message.key, message.value, tuple(message.headers), message.timestamp, message.offset))
            if len(records) == count:
                return records
        raise AssertionError(f"{len(records)} of {count} records after {timeout} s")
    finally:
        consumer.close()
