"""The loads: each runs once against a broker and returns what it measured."""

import json
import os
import re
import subprocess
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from harness.server import ROOT, binary

HERE = Path(__file__).parent
RECORD_BYTES = 1024
BATCH_BYTES = 65_536
LIBRARIES = ROOT / "tests/java/target/libraries/*"


def build_rdkafka():
    """Compiles the C program against Debian's librdkafka."""
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bench/rdkafka"
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-o", program, HERE / "rdkafka.c", "-lrdkafka"], check=True)
    return program


def create_topic(broker, name, partitions=1, replicas=1):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 2})
    settings = {"min.insync.replicas": str(min(2, replicas))}
    admin.create_topics([NewTopic(name, partitions, replicas, config=settings)], request_timeout=120)[name].result(120)


def measured(broker, megabytes, run):
    """Runs a load; adds the rate, and what it cost the broker."""
    before = broker.process.cpu_seconds()
    seconds, more = run()
    cost = broker.process.cpu_seconds() - before
    return {"MB/s": megabytes / seconds, "server CPU ms/MB": 1000 * cost / megabytes, **more}


def librdkafka_produce(broker, program, topic, records, partitions=1):
    def run():
        command = [program, "produce", broker.bootstrap, topic, str(records), str(RECORD_BYTES), str(partitions)]
        command += ["acks=all", "linger.ms=5", f"batch.size={BATCH_BYTES}", "queue.buffering.max.messages=200000"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
        return said["seconds"], {"client core": said["cpu_seconds"] / said["seconds"]}

    return measured(broker, records * RECORD_BYTES / 1e6, run)


def librdkafka_consume(broker, program, topic, records, partitions=1):
    def run():
        command = [program, "consume", broker.bootstrap, topic, str(records), str(RECORD_BYTES), str(partitions)]
        command += ["fetch.message.max.bytes=4194304", "queued.max.messages.kbytes=262144", "queued.min.messages=200000"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
        return said["seconds"], {"client core": said["cpu_seconds"] / said["seconds"]}

    return measured(broker, records * RECORD_BYTES / 1e6, run)


def java_produce(broker, topic, records):
    def run():
        arguments = ["--topic", topic, "--num-records", str(records), "--record-size", str(RECORD_BYTES), "--throughput", "-1"]
        arguments += ["--producer-props", f"bootstrap.servers={broker.bootstrap}", "acks=all", f"batch.size={BATCH_BYTES}", "linger.ms=5"]
        said = java("ProducerPerformance", arguments)
        # "500000 records sent, 81234.5 records/sec (79.33 MB/sec), ...": the last such line is the whole run.
        rate = float(re.findall(r"([\d.]+) records/sec", said)[-1])
        return records / rate, {}

    return measured(broker, records * RECORD_BYTES / 1e6, run)


def java_consume(broker, topic, records):
    """The Java consumer without a group. A JVM of its own each time, as with Kafka's own tools."""

    def run():
        request = {"id": 0, "op": "drain", "bootstrap": broker.bootstrap, "topic": topic, "count": records}
        request["settings"] = {"max.partition.fetch.bytes": 4 << 20, "max.poll.records": 5000}
        command = ["java", "-Xmx1g", "-cp", f"{ROOT / 'tests/java/target/classes'}:{LIBRARIES}", "Worker"]
        said = subprocess.run(command, check=True, input=json.dumps(request), capture_output=True, text=True, timeout=600).stdout
        return json.loads(said)["result"], {}

    return measured(broker, records * RECORD_BYTES / 1e6, run)


def java(tool, arguments):
    command = ["java", "-Xmx1g", "-cp", LIBRARIES, f"org.apache.kafka.tools.{tool}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout


def tidelog_bench(*arguments):
    """`tidelog bench ...`, with what it prints for machines."""
    command = [binary(), "bench", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)


def bare_append(folder, megabytes, group_bytes):
    """The floor: one thread appends 64 KiB at a time and syncs each group."""
    sync_every = max(1, round(group_bytes / BATCH_BYTES))
    size = int(megabytes * 1e6)
    said = tidelog_bench("disk", "--dir", folder, "--write-size", BATCH_BYTES, "--sync-every", sync_every, "--bytes", size)
    return {"MB/s": said["bytes_per_second"] / 1e6, "group KiB": sync_every * BATCH_BYTES / 1024}


def bare_latency(folder, rate, seconds):
    """1 KiB appended and synced `rate` times a second, each wait counted from the moment it was due."""
    said = tidelog_bench("disk", "--dir", folder, "--write-size", RECORD_BYTES, "--rate", rate, "--duration", f"{seconds}s")
    return percentiles(said)


def native_produce(broker, topic, records, record_bytes):
    """The native client, as fast as it goes."""

    def run():
        to = ("--bootstrap", broker.server.native, "--topic", topic)
        said = tidelog_bench("produce", *to, "--records", records, "--record-size", record_bytes, "--batch-size", BATCH_BYTES)
        return seconds_and_core(said)

    return measured(broker, records * record_bytes / 1e6, run)


def native_consume(broker, topic, records, record_bytes):
    """The native client, from the beginning, looking at every record."""

    def run():
        to = ("--bootstrap", broker.server.native, "--topic", topic)
        return seconds_and_core(tidelog_bench("consume", *to, "--records", records))

    return measured(broker, records * record_bytes / 1e6, run)


def native_latency(broker, topic, rate, seconds):
    """One record at a time, sent when it is due and not later, however long the one before took."""
    to = ("--bootstrap", broker.server.native, "--topic", topic)
    return percentiles(tidelog_bench("latency", *to, "--rate", rate, "--duration", f"{seconds}s", "--linger", "0ms"))


def seconds_and_core(said):
    seconds = said["elapsed_us"] / 1e6
    return seconds, {"client core": said["client_cpu_ms"] / 1000 / seconds}


def percentiles(said):
    return {f"{name} ms": said[f"{key}_us"] / 1000 for name, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p99_9"))}
