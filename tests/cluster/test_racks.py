"""Readers that say where they stand are served by the replica there (KIP-392)."""

import pytest
from confluent_kafka import Consumer, TopicPartition

from harness.clients import librdkafka
from harness.records import Record
from harness.server import run

RACKS = ("east", "south", "west")
RECORDS = [Record(b"k%d" % n, b"%06d" % n * 50) for n in range(1_000)]
BYTES = sum(len(record.value) for record in RECORDS)


@pytest.fixture
def spread(cluster):
    """A node in each rack, and a topic that all of them have, with records; who leads it, and who follows."""
    made = cluster(racks=RACKS, arguments=["--replica-selector", "rack"])
    made.start()
    made.create("near", min_insync_replicas=2)
    librdkafka.produce(made.kafka, "near", RECORDS, acks="all")
    made.wait_until(lambda: not made.status()["under_replicated"])
    leader = made.partitions("near")[0]["leader"]
    return made, leader, [node for node in made.nodes if node != leader]


def served(cluster):
    """The bytes that each node that runs has given to readers."""
    name = "kafka_server_brokertopicmetrics_bytesout_total "
    lines = {node: server.metrics().splitlines() for node, server in cluster.nodes.items() if server.process.poll() is None}
    return {node: next(int(line.split()[1]) for line in text if line.startswith(name)) for node, text in lines.items()}


def with_librdkafka(cluster, rack):
    rack = {"client.rack": rack} if rack else {}
    return [record.value for record in librdkafka.consume(cluster.kafka, "near", len(RECORDS), **rack)]


def with_tidelog(cluster, rack):
    rack = ["--rack", rack] if rack else []
    done = run("consume", "near", "--from", "earliest", "--count", len(RECORDS), *rack, "--bootstrap", cluster.native)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.splitlines()


def test_every_client_is_served_by_the_replica_in_its_rack(spread, java):
    cluster, leader, followers = spread

    def with_java(cluster, rack):
        rack = {"client.rack": rack} if rack else {}
        return [record.value for record in java.consume(cluster.kafka, "near", len(RECORDS), **rack)]

    for read in (with_librdkafka, with_java, with_tidelog):
        places = [(node, RACKS[node - 1]) for node in followers] + [(leader, RACKS[leader - 1]), (leader, "elsewhere"), (leader, None)]
        for server, rack in places:
            before = served(cluster)
            assert read(cluster, rack) == [record.value for record in RECORDS]
            given = {node: bytes_out - before[node] for node, bytes_out in served(cluster).items()}
            others = [given[node] for node in cluster.nodes if node != server]
            assert given[server] >= BYTES and not any(others), f"{read.__name__} in {rack} for {server}: {given}"
    assert cluster.stop() == {1: 0, 2: 0, 3: 0}, cluster.log_text()


def test_a_replica_that_dies_costs_its_readers_a_moment(spread):
    cluster, leader, (near, _) = spread
    settings = {"bootstrap.servers": cluster.kafka, "group.id": "by-hand", "enable.auto.commit": False, "log_level": 2}
    consumer = Consumer({**settings, "auto.offset.reset": "error", "client.rack": RACKS[near - 1], "fetch.wait.max.ms": 100})
    try:
        consumer.assign([TopicPartition("near", 0, 0)])
        found = []

        def read(count):
            while len(found) < count:
                messages = consumer.consume(count - len(found), 30)
                assert messages and not any(message.error() for message in messages), f"{len(found)} of {count}"
                found.extend(message.value() for message in messages)

        read(len(RECORDS))
        assert served(cluster)[near] >= BYTES
        cluster.nodes[near].kill()
        librdkafka.produce(cluster.nodes[leader].kafka, "near", RECORDS, acks="all")
        read(2 * len(RECORDS))
        assert found == 2 * [record.value for record in RECORDS]
        assert served(cluster)[leader] >= BYTES
    finally:
        consumer.close()
