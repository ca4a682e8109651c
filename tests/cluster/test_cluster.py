"""Three real nodes: they find each other, and what they have acknowledged outlives any one of them."""

import json
import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from crash.load import LibrdkafkaLoad, NativeLoad
from harness.clients import librdkafka
from harness.records import Record
from harness.server import binary, run

KILLS = int(os.environ.get("KILLS", "4"))
PARTITIONS = 3


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2]], ids=str)
def test_nodes_find_each_other_in_any_order(cluster, order):
    cluster = cluster()
    cluster.start(order)
    status = cluster.status()
    assert [node["node"] for node in status["nodes"]] == [1, 2, 3]
    assert not any(node["fenced"] for node in status["nodes"])
    brokers = AdminClient({"bootstrap.servers": cluster.nodes[2].kafka}).list_topics(timeout=20).brokers
    found = {broker.id: f"{broker.host}:{broker.port}" for broker in brokers.values()}
    assert found == {node: server.kafka for node, server in cluster.nodes.items()}
    ids = {(server.data / "meta.properties").read_text().split("cluster.id=")[1].split()[0] for server in cluster.nodes.values()}
    assert len(ids) == 1
    assert cluster.stop() == {1: 0, 2: 0, 3: 0}, cluster.log_text()


def test_every_client_writes_through_any_node_and_reads_through_any_other(cluster, java):
    cluster = cluster()
    cluster.start()
    cluster.create("shared", partitions=1, min_insync_replicas=2)
    records = [Record(b"k%d" % n, b"v%d" % n) for n in range(100)]
    written = []
    for client, node in ((librdkafka, 1), (java, 2), (librdkafka, 3)):
        client.produce(cluster.nodes[node].kafka, "shared", records, acks="all")
        written += records
    for node in cluster.nodes:
        found = librdkafka.consume(cluster.nodes[node].kafka, "shared", len(written))
        assert [record.value for record in found] == [record.value for record in written]
    assert cluster.stop() == {1: 0, 2: 0, 3: 0}, cluster.log_text()


@pytest.mark.timeout(180 + 30 * KILLS)
def test_nothing_acknowledged_is_lost_or_doubled_when_leaders_die(cluster, capsys):
    cluster = cluster()
    cluster.start()
    cluster.create("killed", PARTITIONS, min_insync_replicas=2)
    cluster.create("killed-native", 1, min_insync_replicas=2)
    loads = LibrdkafkaLoad(cluster.kafka, "killed", PARTITIONS), NativeLoad(cluster.as_server(), "killed-native")
    gaps = []
    try:
        for kill in range(KILLS):
            assert loads[0].wait_for_more(3_000), f"no acknowledgements: {cluster.log_text()}"
            partition = kill % PARTITIONS
            leader = cluster.partitions("killed")[partition]["leader"]
            cluster.nodes[leader].kill()
            gaps.append(time_to_next(loads[0], partition))
            cluster.nodes[leader].start()
            cluster.wait_until(lambda: not cluster.status()["under_replicated"])
    finally:
        wrong = [problem for load in loads for problem in load.stop()]
    wrong += loads[0].check() + loads[1].check(cluster.kafka)
    with capsys.disabled():
        acknowledged = sum(map(len, loads[0].acknowledged))
        print(f"\n{KILLS} leaders killed; acknowledged: {acknowledged} records through librdkafka, {loads[1].lines} natively")
        times = [f"{gap * 1000:.0f}" for gap in gaps]
        print(f"SIGKILL to the partition's next acknowledged write: median {statistics.median(gaps) * 1000:.0f} ms of {', '.join(times)}")
    assert not wrong, "; ".join(wrong)
    assert set(cluster.stop().values()) == {0}, cluster.log_text()


def time_to_next(load, partition, within=60):
    """Seconds until a record that was not acknowledged yet is, in this partition."""
    begin = time.perf_counter()
    before = len(load.acknowledged[partition])
    with load.progress:
        assert load.progress.wait_for(lambda: len(load.acknowledged[partition]) > before, within), "writing did not go on"
    return time.perf_counter() - begin


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=lambda end: end.name)
def test_dev_runs_three_nodes_and_leaves_none_behind(tmp_path, end):
    command = [binary(), "dev", "--nodes", "3", "--port", "0", "--data", tmp_path / "dev", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dev:
        told = json.loads(dev.stdout.readline())
        pids = [node["pid"] for node in told["nodes"]]
        done = run("topic", "create", "demo", "--replicas", 3, "--bootstrap", told["native"])
        assert done.returncode == 0, done.stderr
        dev.send_signal(end)
        assert dev.wait(30) == (0 if end == signal.SIGINT else -end)
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a node was left behind"
        time.sleep(0.02)


def is_running(pid):
    try:
        # An ended process that nobody has waited for is ended all the same.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
