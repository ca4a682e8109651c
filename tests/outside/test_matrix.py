"""Each client writes with each codec, and each other client reads the same: keys, values, headers, timestamps."""

from dataclasses import replace

import pytest

from harness.clients import kcat
from harness.records import sample, text_sample

CLIENTS = ("confluent-kafka", "kafka-python", "aiokafka", "kcat", "java", "kafkajs")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("writer", CLIENTS)
def test_every_client_reads_what_one_wrote(writer, codec, kafka_clients, java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=2)
    written = what_it_can_write(writer)
    offsets = kafka_clients[writer].produce(bootstrap, topic_name, written, codec, partition=1)
    assert offsets in (None, list(range(len(written)))), "offsets are handed out from 0 on, in order"

    stamps = None
    for reader in CLIENTS:
        read = kafka_clients[reader].consume(bootstrap, topic_name, len(written), partition=1)
        assert [record.offset for record in read] == list(range(len(written))), reader
        stamps = stamps or [record.timestamp for record in read]
        for expected, found, stamp in zip(written, read, stamps, strict=True):
            assert found.timestamp == (expected.timestamp or stamp), reader
            assert (found.key, found.value) == (expected.key, expected.value), reader
            assert headers_as_seen(expected, reader) == headers_as_seen(found, reader, read=True), reader


def what_it_can_write(writer):
    if writer == "kcat":
        return text_sample()
    records = sample()
    if writer in ("kafka-python", "kafkajs"):
        # These two have no null among header values.
        records = [replace(r, headers=tuple(header for header in r.headers if header[1] is not None)) for r in records]
    return records


def headers_as_seen(record, reader, read=False):
    if reader == "kcat":
        return record.headers if read else kcat.headers_text(record)
    return record.by_header_name().headers if reader == "kafkajs" else record.headers


@pytest.mark.parametrize("reader", CLIENTS)
def test_a_reader_may_start_in_the_middle_of_a_batch(reader, kafka_clients, java, bootstrap, topic_name):
    java.call("create", bootstrap=bootstrap, topic=topic_name, partitions=1)
    written = text_sample()
    kafka_clients["java"].produce(bootstrap, topic_name, written, "lz4")
    read = kafka_clients[reader].consume(bootstrap, topic_name, 7, offset=31)
    assert [record.offset for record in read] == list(range(31, 38))
    assert [record.value for record in read] == [record.value for record in written[31:38]]
