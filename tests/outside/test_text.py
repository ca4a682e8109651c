"""Real text through the command lines: what goes in with one comes out with another, byte for byte.

TEXT_MB says how much (16 if unset; `make roundtrip` says 220).
"""

import hashlib
import os
import subprocess
import time

import pytest

from harness.server import binary
from harness.text import real_text

MEGABYTES = float(os.environ.get("TEXT_MB", "16"))
SECONDS = 60 + 4 * MEGABYTES

pytestmark = pytest.mark.timeout(4 * SECONDS)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "lines"
    lines = real_text(path, MEGABYTES)
    yield path, lines
    path.unlink()


@pytest.fixture
def tools(server, java):
    """Writers and readers of lines: `write(path, topic, codec)`, `read(path, topic, lines)`."""

    def shell(command, path, mode):
        with open(path, mode) as file:
            subprocess.run(command, check=True, timeout=SECONDS, **{"stdin" if mode == "rb" else "stdout": file})

    def java_lines(op, path, topic, **more):
        java.call(op, SECONDS, bootstrap=server.kafka, topic=topic, path=str(path), **more)

    kcat = ["kcat", "-q", "-b", server.kafka, "-p", "0", "-t"]
    native = ["--bootstrap", server.native]
    writers = {
        "tidelog": lambda path, topic, codec: shell([binary(), "produce", topic, *native, "--compression", codec], path, "rb"),
        "kcat": lambda path, topic, codec: shell([*kcat, topic, "-P", "-z", codec, "-X", "enable.idempotence=true"], path, "rb"),
        "java": lambda path, topic, codec: java_lines("write-lines", path, topic, codec=codec),
    }
    readers = {
        "tidelog": lambda path, topic, lines: shell(
            [binary(), "consume", topic, *native, "--from", "earliest", "--count", str(lines)], path, "wb"
        ),
        "kcat": lambda path, topic, lines: shell([*kcat, topic, "-C", "-o", "beginning", "-c", str(lines)], path, "wb"),
        "java": lambda path, topic, lines: java_lines("read-lines", path, topic, count=lines),
    }
    return writers, readers


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("writer,reader", [("tidelog", "tidelog"), ("tidelog", "kcat"), ("kcat", "java"), ("java", "tidelog")])
def test_text_comes_out_as_it_went_in(writer, reader, codec, text, tools, java, server, topic_name, tmp_path, capsys):
    path, lines = text
    writers, readers = tools
    java.call("create", bootstrap=server.kafka, topic=topic_name, partitions=1)
    times = [time.perf_counter()]
    writers[writer](path, topic_name, codec)
    times.append(time.perf_counter())
    readers[reader](tmp_path / "read", topic_name, lines)
    times.append(time.perf_counter())
    try:
        assert sha256(tmp_path / "read") == sha256(path)
    finally:
        (tmp_path / "read").unlink()
        java.call("delete", bootstrap=server.kafka, topic=topic_name)
    megabytes = path.stat().st_size / 1e6
    with capsys.disabled():
        print(
            f"\n{megabytes:.0f} MB, {lines} lines, {codec}: {writer} wrote at {megabytes / (times[1] - times[0]):.0f} MB/s, "
            f"{reader} read at {megabytes / (times[2] - times[1]):.0f} MB/s, sha256 {sha256(path)[:16]}"
        )


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
