"""A disk that fills up, and one that rots: refused and said, nothing else harmed, and over when the cause is gone."""

import os
import subprocess
import time

import pytest

from harness.clients import librdkafka
from harness.records import Record, text_sample
from harness.server import Server, run

FAILED, TIMED_OUT = 1, 5


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    assert os.geteuid() == 0, "a small file system can be mounted by root only; run this test as root"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_refuses_writes_until_there_is_space(small_disk):
    server = Server(small_disk)
    server.start()
    try:
        kept = librdkafka.produce(server.kafka, "kept", text_sample())
        assert kept == list(range(40))
        fill(small_disk / "ballast", leave=4 << 20)
        answer = run("produce", "kept", "--bootstrap", server.native, "--timeout", "3s", input=lines(16 << 20))
        assert answer.returncode in (FAILED, TIMED_OUT), answer.stderr
        error, hint = answer.stderr.decode().splitlines()[-2:]
        assert error.startswith("error: ") and "KAFKA_STORAGE_ERROR" in error and hint.startswith("hint: the node's disk"), answer.stderr
        # What was there can be read, and the server says what is wrong.
        assert len(librdkafka.consume(server.kafka, "kept", 40)) == 40
        assert "tidelog_disk_full 1" in server.metrics()
        (small_disk / "ballast").unlink()
        # Writes are taken at once; that the disk is well is said after some of them.
        patience = time.monotonic() + 20
        while "tidelog_disk_full 1" in server.metrics():
            assert time.monotonic() < patience
            assert librdkafka.produce(server.kafka, "kept", text_sample())
        assert server.stop() == 0, server.log_text()
    finally:
        server.stop()


def fill(path, leave):
    """Takes all space but so many bytes."""
    free = os.statvfs(path.parent)
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)


def lines(size):
    return (b"x" * 999 + b"\n") * (size // 1000)


def test_a_batch_that_rots_is_reported_and_harms_no_other(own_server):
    server = own_server()
    for topic in ("sound", "rotten"):
        librdkafka.produce(server.kafka, topic, [Record(None, b"%05d" % i * 200) for i in range(200)], **{"batch.num.messages": 20})
    assert server.stop() == 0
    segment = server.data / "rotten-0" / "00000000000000000000.log"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)

    server.start()
    assert len(librdkafka.consume(server.kafka, "sound", 200)) == 200
    with pytest.raises((RuntimeError, AssertionError)):
        librdkafka.consume(server.kafka, "rotten", 200, timeout=5)
    answer = run("consume", "rotten", "--bootstrap", server.native, "--from", "earliest", "--exit-at-end")
    assert answer.returncode == FAILED
    error = answer.stderr.decode().splitlines()[-2]
    assert error.startswith("error: ") and "corrupt" in error.lower(), answer.stderr
    assert "rotten-0" in server.log_text()
    assert librdkafka.produce(server.kafka, "sound", text_sample())[0] == 200
