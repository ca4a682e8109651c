"""Real text through three tools: what one writes, each of them reads back the same.

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
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TOOLS = ("tidelog", "kcat", "java")
# Between a record's parts, in what is written and in what is shown: the first of them ends the key.
SEPARATOR = b"\x1f"

pytestmark = pytest.mark.timeout(6 * SECONDS)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Lines of text, the same with a key before each, and how many."""
    folder = tmp_path_factory.mktemp("text")
    plain, keyed = folder / "lines", folder / "keyed"
    lines = real_text(plain, MEGABYTES)
    with open(plain, "rb") as source, open(keyed, "wb") as out:
        for number, line in enumerate(source):
            out.write(b"%d%s%s" % (number, SEPARATOR, line))
    yield plain, keyed, lines
    plain.unlink()
    keyed.unlink()


@pytest.fixture
def topic(server, java, topic_name):
    java.call("create", bootstrap=server.kafka, topic=topic_name, partitions=1)
    yield topic_name
    java.call("delete", bootstrap=server.kafka, topic=topic_name)


@pytest.fixture
def writers(server, java, topic):
    """Each tool as `write(path, codec)`: lines of KEY, separator, VALUE become records with one header."""
    between = SEPARATOR.decode()
    kcat = ["kcat", "-q", "-P", "-b", server.kafka, "-t", topic, "-p", "0", "-X", "enable.idempotence=true", "-K", between]
    native = [binary(), "produce", topic, "--bootstrap", server.native, "--key-separator", between]
    return {
        "tidelog": lambda path, codec: shell([*native, "--header", "from=tidelog", "--compression", codec], stdin=path),
        "kcat": lambda path, codec: shell([*kcat, "-H", "from=kcat", "-z", codec], stdin=path),
        "java": lambda path, codec: java.call(
            "write-lines", SECONDS, bootstrap=server.kafka, topic=topic, path=str(path), codec=codec, separator=between, header="java"
        ),
    }


@pytest.fixture
def readers(server, java, topic):
    """Each tool as `read(path, lines)`: records become lines of TIMESTAMP, KEY, HEADERS, VALUE."""
    kcat = ["kcat", "-q", "-C", "-b", server.kafka, "-t", topic, "-p", "0", "-o", "beginning", "-X", "check.crcs=true"]
    native = [binary(), "consume", topic, "--bootstrap", server.native, "--from", "earliest"]
    return {
        "tidelog": lambda path, lines: shell([*native, "--count", str(lines), "--format", shown("%t", "%k", "%h", "%v")], stdout=path),
        "kcat": lambda path, lines: shell([*kcat, "-c", str(lines), "-f", shown("%T", "%k", "%h", "%s")], stdout=path),
        "java": lambda path, lines: java.call(
            "read-lines", SECONDS, bootstrap=server.kafka, topic=topic, path=str(path), count=lines, separator=SEPARATOR.decode()
        ),
    }


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("writer", TOOLS)
def test_what_one_tool_writes_each_reads(writer, codec, text, writers, readers, tmp_path, capsys):
    plain, keyed, lines = text
    megabytes = plain.stat().st_size / 1e6
    begin, started = time.time(), time.perf_counter()
    writers[writer](keyed, codec)
    speeds = [f"{writer} wrote {megabytes / (time.perf_counter() - started):.0f} MB/s"]
    end = time.time()
    digests = set()
    for reader in TOOLS:
        path = tmp_path / reader
        started = time.perf_counter()
        readers[reader](path, lines)
        speeds.append(f"{reader} read {megabytes / (time.perf_counter() - started):.0f}")
        if not digests:
            assert digest_of_values(path, f"from={writer}", begin, end) == (lines, sha256(plain)), reader
        digests.add(sha256(path))
        path.unlink()
        assert len(digests) == 1, f"{reader} differs from {TOOLS[0]} in a timestamp, key, header or value"
    say(capsys, f"{megabytes:.0f} MB, {lines} records, {codec}: {', '.join(speeds)}; all three alike, values sha256 {sha256(plain)[:16]}")


@pytest.mark.parametrize("codec", CODECS)
def test_plain_lines_come_back_byte_for_byte(codec, text, server, topic, tmp_path, capsys):
    plain, _, lines = text
    started = time.perf_counter()
    shell([binary(), "produce", topic, "--bootstrap", server.native, "--compression", codec], stdin=plain)
    written = time.perf_counter()
    back = tmp_path / "back"
    shell([binary(), "consume", topic, "--bootstrap", server.native, "--from", "earliest", "--exit-at-end"], stdout=back)
    read = time.perf_counter()
    assert sha256(back) == sha256(plain)
    back.unlink()
    megabytes = plain.stat().st_size / 1e6
    say(
        capsys,
        f"{megabytes:.0f} MB, {lines} lines, {codec}: tidelog produce {megabytes / (written - started):.0f} MB/s, "
        f"tidelog consume {megabytes / (read - written):.0f} MB/s, sha256 {sha256(plain)[:16]} both",
    )


def shown(*parts):
    return SEPARATOR.decode().join(parts) + r"\n"


def shell(command, stdin=os.devnull, stdout=os.devnull):
    with open(stdin, "rb") as source, open(stdout, "wb") as out:
        subprocess.run(command, check=True, timeout=SECONDS, stdin=source, stdout=out)


def digest_of_values(path, headers, begin, end):
    """How many records a reader showed and the digest of their values as lines. Keys must count up; every record must have these
    headers and a timestamp between the two times."""
    headers, earliest, latest = headers.encode(), int(begin * 1e3), int(end * 1e3) + 1
    digest = hashlib.sha256()
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            stamp, key, found, value = line.split(SEPARATOR, 3)
            assert earliest <= int(stamp) <= latest and int(key) == number - 1 and found == headers, line
            digest.update(value)
    return number, digest.hexdigest()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(capsys, line):
    with capsys.disabled():
        print("\n" + line)
