"""Kafka's own DumpLogSegments reads what tidelog wrote: a test that was not written here."""

import re

from harness.clients import kafka_python, librdkafka
from harness.records import sample


def test_kafkas_dump_tool_finds_valid_batches_and_sound_indexes(own_server, java, kafka_tool, topic_name):
    server = own_server()
    java.call("create", bootstrap=server.kafka, topic=topic_name, partitions=1, configs={"segment.bytes": str(1 << 20), "index.interval.bytes": "4096"})
    written = 0
    for _ in range(8):
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            written += len(librdkafka.produce(server.kafka, topic_name, sample() * 3, codec, **{"batch.num.messages": 25}))
    written += len(kafka_python.produce(server.kafka, topic_name, [r for r in sample() if None not in dict(r.headers).values()]))
    assert server.stop() == 0

    partition = server.data / f"{topic_name}-0"
    segments = sorted(partition.glob("*.log"))
    assert len(segments) >= 3, "enough was written to roll"
    expected = 0
    for segment in segments:
        out = kafka_tool("DumpLogSegments", "--deep-iteration", "--files", str(segment))
        batches = [line for line in out.splitlines() if line.startswith("baseOffset:")]
        assert batches and all("isvalid: true" in line and "magic: 2" in line for line in batches)
        for line in batches:
            assert int(re.search(r"baseOffset: (\d+)", line)[1]) == expected
            expected = int(re.search(r"lastOffset: (\d+)", line)[1]) + 1
        assert f"Log starting offset: {int(segment.stem)}" in out
        assert "invalid" not in out.lower().replace("isvalid", "")
    assert expected == written

    indexes = [path for segment in segments for path in (segment.with_suffix(".index"), segment.with_suffix(".timeindex"))]
    assert all(index.stat().st_size > 0 for index in indexes[:-2]), "rolled segments have filled indexes"
    indexes = [index for index in indexes if index.stat().st_size > 0]
    out = kafka_tool("DumpLogSegments", "--verify-index-only", "--files", ",".join(map(str, indexes)))
    for complaint in ("mismatch", "out of order", "indexed offset", "Found timestamp"):
        assert complaint.lower() not in out.lower(), out
    for snapshot in partition.glob("*.snapshot"):
        assert "producerId:" in kafka_tool("DumpLogSegments", "--files", str(snapshot))
