"""The loads: each runs once against a broker and returns what it measured."""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
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


def create_topic(broker, name, partitions=1):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)], request_timeout=120)[name].result(120)


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


def bare_append(folder, megabytes, group_bytes):
    """The floor: one thread appends groups to a file and syncs each. Rate, and the median wait for one group."""
    group = os.urandom(int(group_bytes))
    waits = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        begin = time.perf_counter()
        for _ in range(max(1, int(megabytes * 1e6 / group_bytes))):
            start = time.perf_counter()
            os.write(file.fileno(), group)
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - start)
        seconds = time.perf_counter() - begin
    return {"MB/s": len(waits) * len(group) / 1e6 / seconds, **percentiles(waits)}


def bare_latency(folder, rate, seconds):
    """1 KiB appended and synced `rate` times a second, each wait counted from the moment it was due."""
    record = os.urandom(RECORD_BYTES)
    waits = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        begin = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            # Spinning, so that the timer's own delay is not measured.
            while time.perf_counter() < due:
                pass
            os.write(file.fileno(), record)
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - due)
    return percentiles(waits)


def percentiles(waits):
    cuts = statistics.quantiles(waits, n=1000, method="inclusive") if len(waits) > 1 else waits * 999
    return {"p50 ms": 1000 * cuts[499], "p99 ms": 1000 * cuts[989], "p99.9 ms": 1000 * cuts[998]}


def native(broker, verb, topic, *arguments):
    """`tidelog bench VERB`, as JSON."""
    command = [binary(), "bench", verb, topic, "--bootstrap", broker.server.native, "--json", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
