"""Frames that no client sends. Each is answered as Kafka answers it, or its connection is closed; others go on."""

import os
import random
import struct

import pytest

from harness import raw
from harness.clients import librdkafka
from harness.records import text_sample

UNSUPPORTED_VERSION = 35


def test_an_unknown_version_of_api_versions_is_answered_in_the_oldest(bootstrap):
    with raw.Connection(bootstrap) as connection:
        # Its header is of the newest kind, so a tag count follows the client's name.
        answer = connection.call(raw.API_VERSIONS, 99, b"\0")
        error, count = struct.unpack_from(">hi", answer)
        assert error == UNSUPPORTED_VERSION
        entries = [struct.unpack_from(">hhh", answer, 6 + 6 * index) for index in range(count)]
        assert any(key == raw.API_VERSIONS and oldest == 0 for key, oldest, _ in entries)
        # The connection is still good.
        assert struct.unpack_from(">h", connection.call(raw.API_VERSIONS, 0, b""))[0] == 0


@pytest.mark.parametrize("key,version", [(raw.METADATA, 99), (999, 0), (-1, 0), (raw.PRODUCE, -1)])
def test_what_is_not_served_closes_the_connection(key, version, bootstrap):
    with raw.Connection(bootstrap) as connection:
        connection.send(key, version, b"")
        assert connection.is_closed_by_peer()


GARBAGE = {
    "a negative length": struct.pack(">i", -5),
    "a length of two gigabytes": struct.pack(">i", 2**31 - 1) + b"x" * 100,
    "a frame of nothing": struct.pack(">i", 0),
    "half a header": struct.pack(">ihh", 4, 18, 3),
    "a client name past the end": struct.pack(">ihhih", 10, 3, 1, 1, 3000),
    "an array of two thousand million": struct.pack(">ihhihi", 14, 3, 1, 1, -1, 2_000_000_000),
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_harms_nobody_else(what, bootstrap, topic_name):
    with raw.Connection(bootstrap) as innocent, raw.Connection(bootstrap) as connection:
        connection.socket.sendall(GARBAGE[what])
        connection.socket.shutdown(1)
        connection.socket.settimeout(5)
        assert connection.is_closed_by_peer()
        assert struct.unpack_from(">h", innocent.call(raw.API_VERSIONS, 0, b""))[0] == 0
    assert librdkafka.produce(bootstrap, topic_name, text_sample())[0] == 0


def test_random_bytes_after_a_sound_header_harm_nobody(bootstrap, topic_name):
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    for _ in range(200):
        with raw.Connection(bootstrap) as connection:
            key, version = chance.choice([0, 1, 2, 3, 10, 18, 19, 20, 21, 22, 23, 32, 37, 44, 60, 75]), chance.randrange(0, 8)
            connection.send(key, version, chance.randbytes(chance.randrange(0, 200)))
            connection.socket.shutdown(1)
            connection.socket.recv(1 << 16)
    assert librdkafka.produce(bootstrap, topic_name, text_sample())[0] == 0, f"SEED={seed}"
