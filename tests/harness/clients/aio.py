"""aiokafka: a client on asyncio."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from harness.records import Record

NAME = "aiokafka"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(bootstrap, topic, records, codec="none", partition=0, **settings):
    """Writes and returns the offsets."""

    async def run():
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if codec == "none" else codec,
            enable_idempotence=True,
            linger_ms=20,
            **settings,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic, record.value, record.key, partition, record.timestamp, headers=list(record.headers)
                )
                for record in records
            ]
            return [(await future).offset for future in sent]
        finally:
            await producer.stop()

    return asyncio.run(asyncio.wait_for(run(), 60))


def consume(bootstrap, topic, count, partition=0, offset=0, timeout=30):
    """Reads `count` records from `offset` on, without a group."""

    async def run():
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=100)
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek(place, offset)
            messages = [await consumer.getone() for _ in range(count)]
            return [Record(m.key, m.value, tuple(m.headers), m.timestamp, m.offset) for m in messages]
        finally:
            await consumer.stop()

    return asyncio.run(asyncio.wait_for(run(), timeout))
