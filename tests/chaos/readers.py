"""Readers of a history: one that follows while it is written, and a fresh one at the end.

    python -m chaos.readers BOOTSTRAP TOPIC NAME     follows all partitions until standard input ends, and then to their ends
"""

import json
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from chaos.values import number_of

SETTINGS = {
    "log_level": 2,
    "group.id": "assigned-by-hand",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 200,
}
RECORDS_A_LINE = 1000


def watermarks(consumer, topic, partition, within=60):
    """Where a partition begins and ends; a client that has just seen all nodes die may not know at once."""
    deadline = time.monotonic() + within
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def follow():
    bootstrap, topic, name = sys.argv[1:]
    stopping = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    consumer = Consumer({"bootstrap.servers": bootstrap, **SETTINGS})
    partitions = sorted(consumer.list_topics(topic, 30).topics[topic].partitions)
    positions = {partition: 0 for partition in partitions}
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ends = None
    give_up = None
    while ends is None or any(positions[partition] < end for partition, end in ends.items()):
        if stopping.is_set() and ends is None:
            ends = {p: watermarks(consumer, topic, p)[1] for p in partitions}
            give_up = time.monotonic() + 60
        if give_up and time.monotonic() > give_up:
            sys.exit(f"{name}: stuck at {positions}, the ends are {ends}")
        found = {}
        for message in consumer.consume(1000, 0.1):
            if message.error():
                # Brokers that are down are what this is about; anything that concerns an offset is not.
                if not message.error().retriable() and message.partition() is not None and message.partition() >= 0:
                    sys.exit(f"{name}: partition {message.partition()} at {positions.get(message.partition())}: {message.error()}")
                continue
            found.setdefault(message.partition(), []).append([message.offset(), number_of(message.value())])
        for partition, records in found.items():
            line = {"process": name, "type": "ok", "f": "poll", "partition": f"{topic}-{partition}", "assignment": 0}
            print(json.dumps({**line, "position": positions[partition], "records": records}, separators=(",", ":")), flush=True)
            positions[partition] = records[-1][0] + 1
    consumer.close()


def read_through(bootstrap, topic, partitions):
    """Every partition from its start to its end, as lines of a history."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **SETTINGS})
    for partition in partitions:
        start, end = watermarks(consumer, topic, partition)
        consumer.assign([TopicPartition(topic, partition, start)])
        line = {"process": "end", "type": "ok", "f": "final", "partition": f"{topic}-{partition}", "start": start, "end": end}
        position, records = start, []
        while position < end:
            messages = consumer.consume(min(RECORDS_A_LINE, end - position), 30)
            assert messages, f"{topic}-{partition}: nothing more at {position}, end is {end}"
            for message in messages:
                assert not message.error(), f"{topic}-{partition} at {position}: {message.error()}"
                if message.offset() < end:
                    records.append([message.offset(), number_of(message.value())])
                position = message.offset() + 1
            if len(records) >= RECORDS_A_LINE:
                yield json.dumps({**line, "records": records}, separators=(",", ":"))
                records = []
        yield json.dumps({**line, "records": records}, separators=(",", ":"))
    consumer.close()


if __name__ == "__main__":
    follow()
