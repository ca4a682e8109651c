"""Three nodes on this machine: the sections of the benchmark that are about a cluster."""

import statistics
import time

from bench import brokers, loads
from bench.size import MEGABYTES, RECORDS, REPEATS
from chaos import failover
from harness.cluster import wait_until_whole

KILLS = 10
MANY = 1000
# 5 GB, unless BENCH_MB says otherwise.
FULL = 5 * RECORDS
FULL_SIZE = f"{5 * MEGABYTES / 1000:g} GB"


def cluster_produce(report, folder):
    """How fast is a replicated partition written, against Kafka?"""
    report.section("three nodes: 1 KiB records, 64 KiB batches, RF 3, acks=all, tidelog syncs every replica, Kafka none")
    program = loads.build_rdkafka()
    runs = {}
    parties = [lambda: brokers.tidelog_cluster(folder)] + ([brokers.kafka_cluster] if brokers.PEER else [])
    for repeat in range(REPEATS):
        for open_broker in parties:
            with open_broker() as broker:

                def add(client, load, *arguments, broker=broker, repeat=repeat):
                    topic = f"{client}-{repeat}"
                    loads.create_topic(broker, topic, replicas=3)
                    numbers = load(broker, *arguments, topic, RECORDS)
                    runs.setdefault(f"{client}, {broker.name}", []).append({**numbers, "MB held, largest node": broker.process.memory_mb()})

                add("librdkafka", loads.librdkafka_produce, program)
                add("java", loads.java_produce)
                if broker.server:
                    add("native", lambda broker, topic, records: loads.native_produce(broker, topic, records, loads.RECORD_BYTES))
    medians = {name: report.row(name, repeats) for name, repeats in runs.items()}
    report.ratio("native MB/s", medians["native, tidelog"]["MB/s"], 100, True)
    if brokers.PEER:
        for client in ("librdkafka", "java"):
            ours, theirs = (medians[f"{client}, {party}"]["MB/s"] for party in ("tidelog", "kafka"))
            report.ratio(f"{client}: tidelog / kafka", ours / theirs, 3, True)


def cluster_latency(report, folder):
    """How long does one record take to be on three disks, at a thousand a second?"""
    report.section("three nodes: 1 KiB records, 1 000 a second, RF 3, acks=all, every replica synced")
    ours, bare = [], []
    with brokers.tidelog_cluster(folder) as broker:
        loads.create_topic(broker, "latency", replicas=3)
        for _ in range(REPEATS):
            ours.append(loads.native_latency(broker, "latency", 1000, 10))
            bare.append(loads.bare_latency(folder, 1000, 10))
    ours, bare = report.row("native, tidelog", ours), report.row("bare append + fdatasync", bare)
    report.ratio("p50 / bare", ours["p50 ms"] / bare["p50 ms"], 2.5, False)
    report.ratio("p99 / bare", ours["p99 ms"] / bare["p99 ms"], 6, False)


def cluster_failover(report, folder):
    """How soon after a leader's SIGKILL is the next write acknowledged?"""
    report.section("three nodes: SIGKILL of a leader to the next acknowledged write of each partition that it led")
    with brokers.tidelog_cluster(folder) as broker:
        for partitions in (1, MANY):
            times, kills = failover.measure(broker.cluster, partitions, KILLS)
            numbers = {"median ms": 1000 * statistics.median(times), "worst ms": 1000 * max(times), "kills": kills}
            row = report.row(f"librdkafka, {partitions} partitions", [numbers])
            report.ratio(f"median ms, {partitions} partitions", row["median ms"], 300, False)
            report.ratio(f"worst ms, {partitions} partitions", row["worst ms"], 1000, False)


def cluster_return(report, folder):
    """How soon is a killed node in every ISR again?"""
    report.section(f"three nodes: back in every ISR after SIGKILL, {MANY} partitions, {FULL_SIZE}")
    program = loads.build_rdkafka()
    missed_mb = MEGABYTES / 20
    runs = []
    with brokers.tidelog_cluster(folder) as broker:
        loads.create_topic(broker, "full", MANY, replicas=3)
        loads.librdkafka_produce(broker, program, "full", FULL, MANY)
        for repeat in range(REPEATS):
            server = broker.cluster.nodes[1 + repeat % 3]
            server.kill()
            begin = time.perf_counter()
            broker.cluster.wait_until(lambda: len(broker.cluster.status()["under_replicated"]) == MANY)
            missed = time.perf_counter() - begin
            # What is written now has to be copied.
            loads.librdkafka_produce(_Living(broker), program, "full", RECORDS // 20, MANY)
            begin = time.perf_counter()
            ready = server.start(120)
            wait_until_whole(broker.cluster, within=300)
            runs.append({"s": time.perf_counter() - begin, "s to ready": ready, "s until it was missed": missed, "MB to copy": missed_mb})
    row = report.row("SIGKILL, back in every ISR", runs)
    report.ratio("s, the copying included", row["s"], 5, False)


def cluster_memory(report, folder):
    """What do ten thousand replicated partitions cost when nothing happens?"""
    report.section("three nodes: memory and idle cost of each, RF 3")
    with brokers.tidelog_cluster(folder) as broker:
        report.row("empty", [idle(broker)])
        begin = time.perf_counter()
        for number in range(10):
            loads.create_topic(broker, f"many-{number}", MANY, replicas=3)
        wait_until_whole(broker.cluster, within=300)
        seconds = time.perf_counter() - begin
        # Followers ask less often once nothing comes.
        time.sleep(5)
        many = report.row("10 000 partitions", [{**idle(broker), "s to create": seconds}])
    report.ratio("MB, largest node", many["MB"], 150, False)
    report.ratio("% of a core, busiest node", many["% of a core"], 3, False)


ALL = [cluster_produce, cluster_latency, cluster_failover, cluster_return, cluster_memory]


class _Living:
    """A cluster of which one node is dead: only the others cost anything."""

    def __init__(self, broker):
        self.bootstrap = broker.bootstrap
        self.process = brokers.Processes(process for process in broker.process.all if process.is_running())


def idle(broker):
    """Of ten seconds in which nothing is asked: the largest and the busiest node."""
    nodes = broker.process.all
    before, start = [node.cpu_seconds() for node in nodes], time.perf_counter()
    time.sleep(10)
    seconds = time.perf_counter() - start
    return {
        "MB": broker.process.memory_mb(),
        "% of a core": 100 * max(node.cpu_seconds() - was for node, was in zip(nodes, before, strict=True)) / seconds,
    }
