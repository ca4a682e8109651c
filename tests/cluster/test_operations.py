"""What operators do to a living cluster, through the command line and through Kafka's own admin clients."""

import pytest
from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka import TopicPartition as PythonPartition
from kafka.admin import KafkaAdminClient

from harness.clients import librdkafka
from harness.records import Record
from harness.server import run

RECORDS = [Record(b"k%d" % n, b"v%d" % n) for n in range(200)]


@pytest.fixture
def running(cluster):
    """A started cluster of so many nodes with a topic `moved` of three replicas and some records in partition 0."""

    def make(nodes=3, partitions=3):
        made = cluster(nodes=nodes)
        made.start()
        made.create("moved", partitions, min_insync_replicas=2)
        librdkafka.produce(made.kafka, "moved", RECORDS, acks="all")
        return made

    return make


def values(cluster):
    return [record.value for record in librdkafka.consume(cluster.kafka, "moved", len(RECORDS))]


def is_settled(cluster):
    """Nothing moves, and every replica is in sync."""
    return not cluster.cli("topic", "reassign", "--list") and not cluster.status()["under_replicated"]


def refused(cluster, *arguments):
    """A verb that must fail: its exit code, its error and its hint."""
    done = run(*arguments, "--bootstrap", cluster.native)
    lines = done.stderr.decode().splitlines()
    assert done.returncode != 0 and done.stdout == b"", (arguments, done)
    assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("hint: "), done.stderr.decode()
    return done.returncode, *lines


def test_status_names_what_a_dead_node_leaves_behind(running):
    cluster = running()
    cluster.create("lonely", 3, replicas=1)
    assert cluster.status()["offline"] == []
    victim = cluster.status()["quorum"]["leader"]
    alone = [f"lonely-{of['partition']}" for of in cluster.partitions("lonely") if of["replicas"] == [victim]]
    assert alone
    cluster.nodes[victim].kill()
    cluster.wait_until(lambda: len(cluster.status()["under_replicated"]) == 3 + len(alone))
    status = cluster.status()
    assert status["offline"] == alone and status["under_min_isr"] == alone
    assert {node["node"]: node["fenced"] for node in status["nodes"]} == {node: node == victim for node in cluster.nodes}
    assert status["quorum"]["leader"] not in (None, victim)
    text = run("cluster", "status", "--bootstrap", cluster.native).stdout.decode()
    assert f"offline partitions: {len(alone)} ({' '.join(alone)})" in text, text
    assert "out of service" in text
    cluster.nodes[victim].start()
    cluster.wait_until(lambda: is_settled(cluster))
    assert cluster.stop() == {1: 0, 2: 0, 3: 0}, cluster.log_text()


def test_a_node_is_drained_stopped_and_forgotten(running):
    cluster = running(nodes=4)
    code, error, _ = refused(cluster, "cluster", "drain", 9)
    assert code == 4 and "node 9 is not known" in error
    planned = cluster.cli("cluster", "drain", 4, "--dry-run")
    assert {of["partition"] for of in planned} == {of["partition"] for of in cluster.partitions("moved") if 4 in of["replicas"]}
    assert planned, "four nodes share three partitions of three replicas"
    assert cluster.cli("cluster", "drain", 4) == planned
    cluster.wait_until(lambda: is_settled(cluster))
    assert all(4 not in of["replicas"] and 4 not in of["in_sync"] for of in cluster.partitions("moved"))
    assert {of["partition"]: of["replicas"] for of in cluster.partitions("moved") if of["partition"] in {p["partition"] for p in planned}} == {
        of["partition"]: of["replicas"] for of in planned
    }
    assert next(node for node in cluster.status()["nodes"] if node["node"] == 4)["replicas"] == 0
    assert values(cluster) == [record.value for record in RECORDS]
    assert cluster.nodes[4].stop() == 0
    assert cluster.cli("cluster", "unregister", 4) == {"node": 4, "registered": False}
    assert [node["node"] for node in cluster.status()["nodes"]] == [1, 2, 3]
    code, error, _ = refused(cluster, "cluster", "unregister", 4)
    assert code == 4, error
    # It comes back as a node that nobody knew.
    cluster.nodes[4].start()
    assert [node["node"] for node in cluster.status()["nodes"]] == [1, 2, 3, 4]
    assert cluster.stop() == {1: 0, 2: 0, 3: 0, 4: 0}, cluster.log_text()


def test_a_drain_without_room_is_refused(running):
    cluster = running()
    _, error, hint = refused(cluster, "cluster", "drain", 1)
    assert "no other node in service is free of it" in error and "start another node" in hint
    assert all(len(of["replicas"]) == 3 for of in cluster.partitions("moved"))


def test_elect_gives_the_lead_back(running):
    cluster = running()
    assert cluster.cli("topic", "elect") == {"elected": []}
    victim = cluster.partitions("moved")[0]["leader"]
    preferred = [of["partition"] for of in cluster.partitions("moved") if of["replicas"][0] == victim]
    cluster.nodes[victim].kill()
    cluster.wait_until(lambda: all(of["leader"] not in (None, victim) for of in cluster.partitions("moved")))
    cluster.nodes[victim].start()
    cluster.wait_until(lambda: is_settled(cluster))
    first, *_ = preferred
    assert cluster.cli("topic", "elect", "moved", "--partition", first) == {"elected": [f"moved-{first}"]}
    rest = [f"moved-{partition}" for partition in preferred if partition != first]
    assert sorted(cluster.cli("topic", "elect", "moved")["elected"]) == rest
    assert all(of["leader"] == of["replicas"][0] for of in cluster.partitions("moved"))
    assert refused(cluster, "topic", "elect", "nothing")[0] == 4
    assert values(cluster) == [record.value for record in RECORDS]


def test_reassign_moves_and_can_be_cancelled(running):
    cluster = running(nodes=4, partitions=1)
    old = cluster.partitions("moved")[0]["replicas"]
    (other,) = set(cluster.nodes) - set(old)
    target = [other, *old[:2]]
    cluster.nodes[other].kill()
    cluster.wait_until(lambda: any(node["fenced"] for node in cluster.status()["nodes"]))
    # Nobody is there to take it, so it stays on its way.
    cluster.cli("topic", "reassign", "moved", "--to", f"0={','.join(map(str, target))}")
    (moving,) = cluster.cli("topic", "reassign", "--list")
    assert (moving["topic"], moving["partition"], moving["adding"], moving["removing"]) == ("moved", 0, [other], [old[2]])
    assert sorted(moving["replicas"]) == [1, 2, 3, 4]
    assert cluster.cli("topic", "reassign", "moved", "--cancel", 0) == {"reassigned": ["moved-0"]}
    assert cluster.cli("topic", "reassign", "--list") == []
    assert cluster.partitions("moved")[0]["replicas"] == old
    assert "moved-0" in refused(cluster, "topic", "reassign", "moved", "--cancel", 0)[1]
    cluster.nodes[other].start()
    cluster.cli("topic", "reassign", "moved", "--to", f"0={','.join(map(str, target))}")
    cluster.wait_until(lambda: is_settled(cluster) and cluster.partitions("moved")[0]["replicas"] == target)
    assert values(cluster) == [record.value for record in RECORDS]
    # The replica that left takes no disk space any more.
    cluster.wait_until(lambda: not (cluster.nodes[old[2]].data / "moved-0").exists())
    assert cluster.cli("topic", "elect", "moved") == {"elected": ["moved-0"]}
    assert cluster.partitions("moved")[0]["leader"] == other
    assert values(cluster) == [record.value for record in RECORDS]


def test_javas_admin_client_moves_partitions_and_elects_leaders(running, java):
    cluster = running(nodes=4, partitions=1)

    def admin(op, **arguments):
        return java.call(op, bootstrap=cluster.kafka, topic="moved", **arguments)

    assert admin("cluster")["nodes"] == 4
    old = cluster.partitions("moved")[0]["replicas"]
    (other,) = set(cluster.nodes) - set(old)
    quorum = admin("quorum")
    assert quorum["leader"] == cluster.status()["quorum"]["leader"]
    assert sorted(voter["node"] for voter in quorum["voters"]) == [1, 2, 3, 4]
    assert all(voter["end"] > 0 for voter in quorum["voters"])
    cluster.nodes[other].kill()
    cluster.wait_until(lambda: any(node["fenced"] for node in cluster.status()["nodes"]))
    assert admin("reassignments") == {}
    admin("reassign", to={"0": [other, *old[:2]]})
    moving = admin("reassignments")["moved-0"]
    assert (moving["adding"], moving["removing"]) == ([other], [old[2]])
    admin("reassign", to={"0": None})
    assert admin("reassignments") == {}
    with pytest.raises(Exception, match="NoReassignmentInProgressException"):
        admin("reassign", to={"0": None})
    with pytest.raises(Exception, match="InvalidReplicaAssignmentException"):
        admin("reassign", to={"0": [99]})
    assert admin("elect", partition=0) == {"moved-0": "ElectionNotNeededException"}
    cluster.nodes[other].start()
    admin("reassign", to={"0": [other, *old[:2]]})
    cluster.wait_until(lambda: is_settled(cluster) and cluster.partitions("moved")[0]["replicas"][0] == other)
    if cluster.partitions("moved")[0]["leader"] != other:
        assert admin("elect", partition=0) == {"moved-0": ""}
    assert cluster.partitions("moved")[0]["leader"] == other
    assert values(cluster) == [record.value for record in RECORDS]
    admin("reassign", to={"0": old})
    cluster.wait_until(lambda: is_settled(cluster) and cluster.partitions("moved")[0]["replicas"] == old)
    assert cluster.nodes[other].stop() == 0
    admin("unregister", node=other)
    cluster.wait_until(lambda: admin("cluster")["nodes"] == 3)
    assert values(cluster) == [record.value for record in RECORDS]


def test_kafka_python_moves_partitions_and_elects_leaders(running):
    cluster = running(nodes=4, partitions=1)
    place = PythonPartition("moved", 0)
    admin = KafkaAdminClient(bootstrap_servers=cluster.kafka.split(","))
    try:
        assert sorted(broker["broker_id"] for broker in admin.describe_cluster()["brokers"]) == [1, 2, 3, 4]
        (topic,) = admin.describe_metadata_quorum()["topics"]
        (log,) = topic["partitions"]
        assert log["leader_id"] == cluster.status()["quorum"]["leader"]
        assert sorted(voter["replica_id"] for voter in log["current_voters"]) == [1, 2, 3, 4]
        old = cluster.partitions("moved")[0]["replicas"]
        (other,) = set(cluster.nodes) - set(old)
        cluster.nodes[other].kill()
        cluster.wait_until(lambda: any(node["fenced"] for node in cluster.status()["nodes"]))
        assert admin.alter_partition_reassignments({place: [other, *old[:2]]}) == {place: None}
        assert admin.list_partition_reassignments()[place]["adding_replicas"] == [other]
        assert admin.alter_partition_reassignments({place: None}) == {place: None}
        assert not admin.list_partition_reassignments()
        cluster.nodes[other].start()
        assert admin.alter_partition_reassignments({place: [other, *old[:2]]}) == {place: None}
        cluster.wait_until(lambda: is_settled(cluster) and cluster.partitions("moved")[0]["replicas"][0] == other)
        if cluster.partitions("moved")[0]["leader"] != other:
            admin.elect_leaders(0, {"moved": [0]})
        assert cluster.partitions("moved")[0]["leader"] == other
    finally:
        admin.close()
    assert values(cluster) == [record.value for record in RECORDS]


def test_librdkafka_elects_leaders_and_describes_the_cluster(running):
    cluster = running()
    admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 2})
    described = admin.describe_cluster().result(20)
    assert sorted(node.id for node in described.nodes) == [1, 2, 3]
    assert described.controller.id in cluster.nodes
    victim = cluster.partitions("moved")[0]["leader"]
    cluster.nodes[victim].kill()
    cluster.wait_until(lambda: cluster.partitions("moved")[0]["leader"] not in (None, victim))
    cluster.nodes[victim].start()
    cluster.wait_until(lambda: is_settled(cluster))
    partition = TopicPartition("moved", 0)
    assert admin.elect_leaders(ElectionType.PREFERRED, [partition]).result(20)[partition] is None
    assert cluster.partitions("moved")[0]["leader"] == victim
    again = admin.elect_leaders(ElectionType.PREFERRED, [partition]).result(20)[partition]
    assert again.name() == "ELECTION_NOT_NEEDED"
