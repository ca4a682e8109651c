"""Every way in which a verb can be used wrongly: one line, a hint, the right exit code."""

import socket

import pytest
from confluent_kafka import Consumer, TopicPartition

from harness.clients import librdkafka
from harness.records import Record, text_sample
from harness.server import run

# Exit codes, as `tidelog --help` lists them.
FAILED, USAGE, CONNECT, NOT_FOUND, TIMED_OUT, DATA = 1, 2, 3, 4, 5, 6


@pytest.fixture
def at(server):
    return ("--bootstrap", server.native)


@pytest.fixture
def topic(server, topic_name):
    assert server.cli("topic", "create", topic_name, "--partitions", "2").returncode == 0
    return topic_name


VERBS = {
    "topic list": ("topic", "list"),
    "topic create": ("topic", "create", "t"),
    "topic describe": ("topic", "describe", "t"),
    "topic delete": ("topic", "delete", "t"),
    "produce": ("produce", "t"),
    "consume": ("consume", "t"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_at_the_address(verb, refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    refused(CONNECT, *VERBS[verb], "--bootstrap", address, input=b"line\n", says=address, hint="tidelog serve|--bootstrap")


@pytest.mark.parametrize("address", ["127.0.0.1:x", "127.0.0.1:99999", "two words:1", ""])
def test_an_address_that_is_none(address, refused):
    refused(USAGE, "topic", "list", "--bootstrap", address, says="--bootstrap|127.0.0.1:9192", hint="--help|tidelog topic")


def test_a_host_that_there_is_not(refused):
    refused(CONNECT, "topic", "list", "--bootstrap", "nowhere.invalid:9192", "--timeout", "5s", says="nowhere.invalid")


def test_the_address_of_the_kafka_listener(refused, server):
    refused(CONNECT, "topic", "list", "--bootstrap", server.kafka, hint="native|9192")


ABSENT = {
    "describe": ("topic", "describe", "absent"),
    "delete": ("topic", "delete", "absent"),
    "alter": ("topic", "alter", "absent", "--set", "retention.ms=1000"),
    "consume": ("consume", "absent", "--exit-at-end"),
}


@pytest.mark.parametrize("verb", ABSENT)
def test_a_topic_that_is_not_there(verb, refused, at):
    refused(NOT_FOUND, *ABSENT[verb], *at, says="absent.* does not exist", hint="topic list")


def test_a_partition_that_is_not_there(refused, at, topic):
    refused(NOT_FOUND, "consume", topic, "--partition", "9", "--exit-at-end", *at, says="9")


def test_a_topic_that_is_there_already(refused, at, topic):
    refused(FAILED, "topic", "create", topic, *at, says="exists already", hint="--if-not-exists")


@pytest.mark.parametrize("name", ["a/b", "..", "n" * 250, "sp ace"])
def test_a_name_that_no_topic_may_have(name, refused, at):
    refused(FAILED, "topic", "create", name, *at, says="name|topic")


@pytest.mark.parametrize(
    "setting,code",
    [("retention.ms", USAGE), ("no.such=1", FAILED), ("retention.ms=soon", FAILED), ("min.insync.replicas=0", FAILED)],
)
def test_a_wrong_setting(setting, code, refused, at, topic):
    refused(code, "topic", "alter", topic, "--set", setting, *at, says=setting.split("=")[0])


@pytest.mark.parametrize("count", ["0", "-1", "x", "3.5"])
def test_a_wrong_number_of_partitions(count, refused, at, topic_name):
    answer = run("topic", "create", topic_name, "--partitions", count, *at)
    refused(answer.returncode, "topic", "create", topic_name, "--partitions", count, *at, says="partition")
    assert answer.returncode in (FAILED, USAGE)


def test_more_replicas_than_nodes(refused, at, topic_name):
    refused(FAILED, "topic", "create", topic_name, "--replicas", "3", *at, hint="--replicas 1")


@pytest.mark.parametrize("place", ["yesterday", "@noon", "-5", "1.5"])
def test_a_place_that_is_none(place, refused, at, topic):
    refused(USAGE, "consume", topic, f"--from={place}", "--exit-at-end", *at, says="--from", hint="earliest|--help")


def test_an_offset_past_the_end(refused, at, topic):
    refused(FAILED, "consume", topic, "--from", "1000", "--partition", "0", "--exit-at-end", *at, says="range", hint="topic describe")


@pytest.mark.parametrize("flags", [("--compression", "rar"), ("--acks", "2"), ("--header", "novalue")], ids=" ".join)
def test_a_wrong_flag_of_produce(flags, refused, at, topic):
    refused(USAGE, "produce", topic, *flags, *at, input=b"line\n", says=flags[0])


def test_a_record_that_is_too_large(refused, at, topic, server):
    server.cli("topic", "alter", topic, "--set", "max.message.bytes=2000")
    refused(FAILED, "produce", topic, *at, input=b"x" * 5000 + b"\n", says="MESSAGE_TOO_LARGE", hint="max.message.bytes")


def test_a_verb_that_there_is_not(refused):
    refused(USAGE, "topics", says="topics", hint="topic|--help")


def test_a_verb_without_its_topic(refused):
    refused(USAGE, "consume", says="TOPIC|topic", hint="--help|tidelog consume")


# ------------------------------------------------------------------------------------------------------- inspect


@pytest.fixture
def stopped(own_server):
    """The segment of a stopped server's topic."""
    server = own_server()
    librdkafka.produce(server.kafka, "inspected", text_sample() + [Record(b"k", b"v" * 3000)], "zstd")
    server.stop()
    return server.data / "inspected-0" / "00000000000000000000.log"


def test_inspect_shows_every_kind_of_file(stopped):
    for path in [stopped, *stopped.parent.iterdir()]:
        if path.stat().st_size:
            for flags in ((), ("--json",)):
                answer = run("inspect", path, *flags)
                assert answer.returncode == 0, (path, answer.stderr)
                assert answer.stdout, path


def test_inspect_of_a_hurt_segment(refused, stopped):
    data = bytearray(stopped.read_bytes())
    data[len(data) // 2] ^= 1
    stopped.write_bytes(data)
    answer = run("inspect", stopped)
    assert answer.returncode == DATA
    lines = answer.stderr.decode().splitlines()
    assert lines[0].startswith("error: ") and "CRC" in lines[0].upper() and lines[1].startswith("hint: "), lines


def test_inspect_of_what_is_not_there(refused, tmp_path):
    refused(NOT_FOUND, "inspect", tmp_path / "absent.log", says="absent.log")


def test_inspect_of_what_is_none_of_ours(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    answer = run("inspect", tmp_path / "thesis.txt")
    refused(answer.returncode, "inspect", tmp_path / "thesis.txt", says="thesis.txt")
    assert answer.returncode == DATA


# ------------------------------------------------------------------------------------------------------- in order


def test_keys_headers_and_formats_go_through(at, topic, server):
    made = run("produce", topic, *at, "--key-separator", ":", "--header", "from=test", "--compression", "lz4", input=b"a:1\nb:2\n")
    assert made.returncode == 0, made.stderr
    answer = run("consume", topic, *at, "--from", "earliest", "--count", "2", "--json")
    assert answer.returncode == 0 and len(answer.stdout.splitlines()) == 2, answer.stderr
    read = sorted(record for partition in (0, 1) for record in seen(server, topic, partition))
    assert read == [(b"a", b"1", (("from", b"test"),)), (b"b", b"2", (("from", b"test"),))]


def seen(server, topic, partition):
    consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": "assigned-by-hand"})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 20)
    consumer.close()
    if not end:
        return []
    return [(record.key, record.value, record.headers) for record in librdkafka.consume(server.kafka, topic, end, partition)]


def test_topics_are_listed_described_altered_and_deleted(server, topic):
    assert topic in server.cli("topic", "list").stdout.decode()
    assert server.cli("topic", "alter", topic, "--set", "retention.ms=1000").returncode == 0
    described = server.cli("topic", "describe", topic).stdout.decode()
    assert "retention.ms" in described and "1000" in described
    assert server.cli("topic", "delete", topic).returncode == 0
    assert topic not in server.cli("topic", "list").stdout.decode()


def test_help_has_examples_and_exit_codes():
    text = run("--help").stdout.decode()
    assert "Exit codes" in text
    for verb in ("serve", "topic", "produce", "consume", "inspect", "bench", "sim"):
        assert verb in text
        assert run(verb, "--help").returncode == 0
