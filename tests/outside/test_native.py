"""The native protocol, spoken by a client that has only the schema: what it writes Kafka's clients read, and back."""

import os
import random
import socket
import struct
import time

import pytest

from harness.clients import librdkafka, native
from harness.records import sample
from harness.server import run

INVALID_REQUEST, UNKNOWN_TOPIC, OFFSET_OUT_OF_RANGE = 42, 3, 1


@pytest.fixture
def connection(server):
    with native.Connection(server.native) as connection:
        yield connection


@pytest.fixture
def topic(connection, topic_name):
    answer, _ = connection.call("createTopics", {"topics": [{"name": topic_name, "partitions": 2}], "timeoutMs": 10_000})
    assert [(made["error"], made["partitions"]) for made in answer["topics"]] == [(0, 2)]
    return topic_name


def test_the_greeting_says_who_answers(connection):
    assert connection.hello["software"].startswith("tidelog/")
    assert len(connection.hello["clusterId"]) == 22
    assert connection.hello["frameBytesMax"] > 1 << 20


@pytest.mark.parametrize("codec", native.CODECS)
def test_records_cross_from_one_protocol_to_the_other(codec, server, topic):
    # kafka-python's batches, which this client writes, know no null among header values.
    written = [record for record in sample() if all(value is not None for _, value in record.headers)]
    assert native.produce(server.native, topic, written, codec) == list(range(len(written)))
    assert librdkafka.consume(server.kafka, topic, len(written)) == written

    assert librdkafka.produce(server.kafka, topic, sample(), codec, partition=1) == list(range(40))
    assert native.consume(server.native, topic, 40, partition=1) == librdkafka.consume(server.kafka, topic, 40, partition=1)


def test_offsets_are_found_by_name_and_time(connection, server, topic):
    written = [record for record in sample() if all(value is not None for _, value in record.headers)]
    native.produce(server.native, topic, written)

    def find(spec):
        place = {"topic": {"name": topic}, "partition": 0, "spec": spec}
        answer, _ = connection.call("listOffsets", {"partitions": [place]})
        assert answer["partitions"][0]["error"] == 0
        return answer["partitions"][0]["offset"]

    assert find({"earliest": None}) == 0
    assert find({"latest": None}) == len(written)
    assert find({"at": written[12].timestamp}) == next(i for i, r in enumerate(written) if r.timestamp >= written[12].timestamp)
    assert find({"at": int(time.time() * 1000) + 60_000}) == -1


def test_topics_are_described_changed_and_deleted(connection, topic):
    answer, _ = connection.call("metadata", {"topics": {"listed": [{"name": topic}]}})
    assert [partition["partition"] for partition in answer["topics"][0]["partitions"]] == [0, 1]
    change = {"resource": {"topic": topic}, "changes": [{"name": "retention.ms", "set": "60000"}]}
    answer, _ = connection.call("alterConfigs", {"resources": [change]})
    assert answer["resources"][0]["error"] == 0
    answer, _ = connection.call("describeConfigs", {"resources": [{"resource": {"topic": topic}, "names": {"listed": ["retention.ms"]}}]})
    [entry] = answer["resources"][0]["entries"]
    assert (entry["name"], entry["value"], entry["source"]) == ("retention.ms", "60000", 1)
    answer, _ = connection.call("deleteTopics", {"topics": [{"name": topic}], "timeoutMs": 10_000})
    assert answer["topics"][0]["error"] == 0
    answer, _ = connection.call("metadata", {"topics": {"listed": [{"name": topic}]}})
    assert answer["topics"][0]["error"] == UNKNOWN_TOPIC


def test_errors_carry_kafkas_codes(server, topic):
    with pytest.raises(native.Refused) as refused:
        native.consume(server.native, topic, 1, offset=7)
    assert refused.value.error == OFFSET_OUT_OF_RANGE
    with pytest.raises(native.Refused) as refused:
        native.consume(server.native, "absent", 1)
    assert refused.value.error == UNKNOWN_TOPIC


def test_a_frame_that_makes_no_sense_is_refused_and_the_connection_goes_on(connection, topic):
    # A batch that is shorter than the header says.
    place = {"topic": {"name": topic}, "partition": 0, "recordsBytes": 100}
    with pytest.raises(native.Refused):
        connection.call("produce", {"acks": -1, "timeoutMs": 1000, "partitions": [place]}, b"x" * 10)
    answer, _ = connection.call("describeCluster")
    assert len(answer["brokers"]) == 1


GARBAGE = {
    "no greeting": b"GET / HTTP/1.1\r\n\r\n",
    "a frame of four gigabytes": native.PREAMBLE + struct.pack("<II", 2**32 - 1, 16),
    "a header longer than its frame": native.PREAMBLE + struct.pack("<II", 8, 4000) + b"x" * 4,
    "a header of two thousand million segments": native.PREAMBLE + struct.pack("<III", 12, 8, 0x7FFFFFFF) + b"\0" * 4,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_harms_nobody_else(what, server, connection):
    host, port = server.native.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as hostile:
        hostile.sendall(GARBAGE[what])
        hostile.shutdown(socket.SHUT_WR)
        while hostile.recv(1 << 16):
            pass
    assert connection.call("describeCluster")[0]["brokers"]


def test_random_headers_harm_nobody_else(server, connection):
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    places = [{"topic": {"name": "t"}, "partition": 0, "offset": 1} for _ in range(5)]
    sound = native.SCHEMA.Request.new_message(correlation=7, fetch={"partitions": places}).to_bytes()
    for _ in range(200):
        header = bytearray(sound)
        for _ in range(chance.randrange(1, 12)):
            header[chance.randrange(len(header))] = chance.randrange(256)
        with native.Connection(server.native) as hostile:
            hostile.send_frame(bytes(header), chance.randbytes(chance.randrange(50)))
            hostile.socket.shutdown(1)
            while hostile.socket.recv(1 << 16):
                pass
    assert connection.call("describeCluster")[0]["brokers"], f"SEED={seed}"


def test_the_command_line_speaks_to_the_same_server(server, topic):
    written = run("produce", topic, "--bootstrap", server.native, input=b"one\ntwo\n")
    assert written.returncode == 0, written.stderr
    read = run("consume", topic, "--bootstrap", server.native, "--from", "earliest", "--exit-at-end")
    assert sorted(read.stdout.split()) == [b"one", b"two"]
