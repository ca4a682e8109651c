"""The sections of the benchmark, each a question with its target."""

import os
import time

from bench import brokers, cluster, loads
from bench.size import MEGABYTES, RECORDS, REPEATS
from harness import raw
from harness.clients import native

# The directories of the start section: 5 GB in steps of one, unless BENCH_MB says otherwise.
STEPS = 5
STEP = f"{MEGABYTES / 1000:g} GB"
FULL = f"{STEPS * MEGABYTES / 1000:g} GB"


def produce(report, folder):
    """How fast is one partition written, against the bare disk and against Kafka?"""
    report.section("produce: 1 KiB records, 64 KiB batches, one partition, tidelog syncs before it acknowledges")
    program = loads.build_rdkafka()
    runs = {}

    def add(name, numbers):
        runs.setdefault(name, []).append(numbers)

    for repeat in range(REPEATS):
        with brokers.tidelog(folder) as broker:
            loads.create_topic(broker, "native")
            syncs = synced(broker)
            add("native, tidelog", loads.native_produce(broker, "native", RECORDS, loads.RECORD_BYTES))
            group = MEGABYTES * 1e6 / max(1, synced(broker) - syncs)
            add("bare append + fdatasync", loads.bare_append(folder, MEGABYTES, group))
        for name, open_broker in parties(folder):
            with open_broker() as broker:
                for client, load in (("librdkafka", loads.librdkafka_produce), ("java", loads.java_produce)):
                    topic = f"{client}-{repeat}"
                    loads.create_topic(broker, topic)
                    arguments = (program, topic) if client == "librdkafka" else (topic,)
                    add(f"{client}, {name}", load(broker, *arguments, RECORDS))
    medians = {name: report.row(name, repeats) for name, repeats in runs.items()}
    report.ratio("native / bare", medians["native, tidelog"]["MB/s"] / medians["bare append + fdatasync"]["MB/s"], 0.7, True)
    against_kafka(report, medians, ("librdkafka", "java"), cpu=True)


def consume(report, folder):
    """How fast is one partition read, from the page cache and from the disk?"""
    report.section("consume: 1 KiB records, one partition")
    program = loads.build_rdkafka()
    runs = {}
    # How a log was synced makes no difference to its readers.
    for name, open_broker in parties(folder)[:2]:
        with open_broker() as broker:
            topic = f"consume-{time.time_ns()}"
            loads.create_topic(broker, topic)
            loads.librdkafka_produce(broker, program, topic, RECORDS)
            for _ in range(REPEATS):
                runs.setdefault(f"librdkafka, {name}", []).append(loads.librdkafka_consume(broker, program, topic, RECORDS))
                runs.setdefault(f"java, {name}", []).append(loads.java_consume(broker, topic, RECORDS))
                if broker.server:
                    runs.setdefault("native, tidelog", []).append(loads.native_consume(broker, topic, RECORDS, loads.RECORD_BYTES))
                    forget_pages(broker.server.data)
                    runs.setdefault("native cold, tidelog", []).append(loads.native_consume(broker, topic, RECORDS, loads.RECORD_BYTES))
    medians = {name: report.row(name, repeats) for name, repeats in runs.items()}
    report.ratio("native MB/s", medians["native, tidelog"]["MB/s"], 1700, True)
    against_kafka(report, medians, ("librdkafka", "java"))


def latency(report, folder):
    """How long does one record take, synced, at a thousand a second?"""
    report.section("latency: 1 KiB records, 1 000 a second, synced before the acknowledgement")
    ours, bare = [], []
    with brokers.tidelog(folder) as broker:
        loads.create_topic(broker, "latency")
        for _ in range(REPEATS):
            ours.append(loads.native_latency(broker, "latency", 1000, 10))
            bare.append(loads.bare_latency(folder, 1000, 10))
    ours, bare = report.row("native, tidelog", ours), report.row("bare append + fdatasync", bare)
    report.ratio("p50 / bare", ours["p50 ms"] / bare["p50 ms"], 1.5, False)
    report.ratio("p99 / bare", ours["p99 ms"] / bare["p99 ms"], 5, False)


def small_records(report, folder):
    """What does one record cost the native client?"""
    report.section("native client: 100 B records")
    runs = []
    with brokers.tidelog(folder) as broker:
        loads.create_topic(broker, "small")
        for _ in range(REPEATS):
            runs.append(loads.native_produce(broker, "small", 5 * RECORDS, 100))
    medians = report.row("native produce", runs)
    report.ratio("million records/s per client core", medians["MB/s"] / 100 / medians["client core"], 2, True)


def memory(report, folder):
    """What does the server hold?"""
    report.section("memory and idle cost")
    program = loads.build_rdkafka()
    with brokers.tidelog(folder) as broker:
        idle = report.row("idle", [{"MB": broker.process.memory_mb()}])
        loads.create_topic(broker, "full-speed")
        loads.librdkafka_produce(broker, program, "full-speed", RECORDS)
        loads.librdkafka_consume(broker, program, "full-speed", RECORDS)
        after = report.row("after a full-speed run", [{"MB": broker.process.memory_mb()}])
    with brokers.tidelog(folder) as broker:
        begin = time.perf_counter()
        for number in range(10):
            loads.create_topic(broker, f"many-{number}", 1000)
        seconds = time.perf_counter() - begin
        before, start = broker.process.cpu_seconds(), time.perf_counter()
        time.sleep(10)
        core = (broker.process.cpu_seconds() - before) / (time.perf_counter() - start)
        memory_mb = broker.process.memory_mb()
        stop = stopped(broker.server)
        again = broker.server.start(60)
        numbers = {"MB": memory_mb, "% of a core": 100 * core, "s to create": seconds, "s to stop": stop, "s to start": again}
        many = report.row("10 000 partitions", [numbers])
    report.ratio("idle MB", idle["MB"], 15, False)
    report.ratio("MB after a full-speed run", after["MB"], 100, False)
    report.ratio("MB with 10 000 partitions", many["MB"], 150, False)
    report.ratio("% of a core with 10 000 partitions", many["% of a core"], 2, False)


def start(report, folder):
    """How soon is the first record acknowledged?"""
    report.section("start to first acknowledged record")
    empty = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        with brokers.tidelog(folder) as broker:
            empty.append({"ms": 1000 * (first_acknowledged(broker.server, "first", create=True) - begin)})
    program = loads.build_rdkafka()
    full = []
    with brokers.tidelog(folder) as broker:
        loads.create_topic(broker, "full", 1000)
        loads.librdkafka_produce(broker, program, "full", STEPS * RECORDS, 1000)
        for _ in range(REPEATS):
            broker.server.kill()
            begin = time.perf_counter()
            broker.server.start(60)
            full.append({"ms": 1000 * (first_acknowledged(broker.server, "full") - begin)})
        stops = []
        for _ in range(REPEATS):
            loads.librdkafka_produce(broker, program, "full", RECORDS // 10, 1000)
            stop = stopped(broker.server)
            begin = time.perf_counter()
            broker.server.start(60)
            stops.append({"s to stop": stop, "ms": 1000 * (first_acknowledged(broker.server, "full") - begin)})
    growing = {}
    with brokers.tidelog(folder) as broker:
        loads.create_topic(broker, "growing")
        for step in range(1, STEPS + 1):
            loads.native_produce(broker, "growing", RECORDS, loads.RECORD_BYTES)
            for _ in range(REPEATS):
                broker.server.kill()
                begin = time.perf_counter()
                broker.server.start(60)
                growing.setdefault(step, []).append({"ms": 1000 * (first_acknowledged(broker.server, "growing") - begin)})
    report.ratio("empty, ms", report.row("empty", empty)["ms"], 50, False)
    report.ratio(f"{FULL}, 1 000 partitions, SIGKILL, ms", report.row(f"{FULL}, 1 000 partitions, SIGKILL", full)["ms"], 1000, False)
    report.row("the same, stopped and started", stops)
    for step, repeats in growing.items():
        report.row(f"{step} x {STEP}, one partition, SIGKILL", repeats)


ALL = [produce, consume, latency, small_records, memory, start, *cluster.ALL]


def parties(folder):
    """Who is measured, and how to start each."""
    found = [("tidelog", lambda: brokers.tidelog(folder))]
    if brokers.PEER:
        found += [("kafka", brokers.kafka), ("kafka, synced", lambda: brokers.kafka(synced=True))]
    return found


def against_kafka(report, medians, clients, cpu=False):
    if not brokers.PEER:
        return
    for client in clients:
        ours, theirs = medians[f"{client}, tidelog"], medians[f"{client}, kafka"]
        report.ratio(f"{client}: tidelog / kafka", ours["MB/s"] / theirs["MB/s"], 2, True)
        if cpu:
            cost = "server CPU ms/MB"
            report.ratio(f"{client}: CPU tidelog / kafka", ours[cost] / theirs[cost], 0.25, False)


def synced(broker):
    """How often the server has synced a log so far."""
    for line in broker.server.metrics().splitlines():
        if line.startswith("kafka_log_logflushstats_logflush_seconds_count"):
            return float(line.split()[-1])
    raise LookupError("no metric counts the syncs")


def stopped(server):
    """Stops a server in order; returns the seconds that it took."""
    begin = time.perf_counter()
    assert server.stop(60) == 0, server.log_text()
    return time.perf_counter() - begin


def forget_pages(folder):
    """Asks the kernel to drop what it caches of these files."""
    for path in folder.rglob("*.log"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def first_acknowledged(server, topic, create=False):
    """Writes one record as soon as can be, and returns when it was acknowledged."""
    with native.Connection(server.native) as connection:
        if create:
            connection.call("createTopics", {"topics": [{"name": topic, "partitions": 1}], "timeoutMs": 10_000})
        batch = raw.batch([b"first"], int(time.time() * 1000))
        place = {"topic": {"name": topic}, "partition": 0, "recordsBytes": len(batch)}
        answer, _ = connection.call("produce", {"acks": -1, "timeoutMs": 10_000, "partitions": [place]}, batch)
        assert answer["partitions"][0]["error"] == 0
    return time.perf_counter()
