"""Voters of the metadata quorum that come and go (KIP-853), and controllers that keep no partitions, on real processes."""

from harness.cluster import free_ports
from harness.server import Server, run


def voters(cluster):
    return {voter["node"] for voter in cluster.status()["quorum"]["voters"]}


def observers(cluster):
    return {observer["node"]: observer["lag"] for observer in cluster.status()["quorum"]["observers"]}


def join(cluster, folder, node, *more):
    """A node that follows the quorum of the others without a vote."""
    native = f"127.0.0.1:{free_ports(1)[0]}"
    arguments = ["--node-id", node, "--join", cluster.peers, "--metadata-snapshot-size", "2KiB", *more]
    cluster.nodes[node] = Server(folder / f"node-{node}", native=native, arguments=arguments)
    cluster.nodes[node].start(60)


def test_a_node_joins_votes_and_another_goes(cluster, tmp_path):
    cluster = cluster(nodes=3, arguments=["--metadata-snapshot-size", "2KiB"])
    cluster.start()
    for number in range(20):
        # Enough for snapshots: what the new node lacks is in one.
        cluster.create(f"before-{number}", 3)
    join(cluster, tmp_path, 4)
    cluster.wait_until(lambda: observers(cluster).get(4) == 0)
    assert cluster.cli("cluster", "add-voter", "4") == {"node": 4, "votes": True}
    assert voters(cluster) == {1, 2, 3, 4}
    again = run("cluster", "add-voter", "4", "--bootstrap", cluster.native)
    assert again.returncode != 0 and b"DUPLICATE_VOTER" in again.stderr, again

    old = cluster.status()["quorum"]["leader"]
    cluster.cli("cluster", "remove-voter", str(old))
    cluster.wait_until(lambda: cluster.status()["quorum"]["leader"] not in (None, old))
    assert voters(cluster) == {1, 2, 3, 4} - {old}
    cluster.wait_until(lambda: old in observers(cluster))
    cluster.create("after", 3)

    # It is remembered by those who stop and start again.
    assert set(cluster.stop().values()) == {0}
    cluster.start()
    cluster.wait_until(lambda: voters(cluster) == {1, 2, 3, 4} - {old})
    names = {topic["name"] for topic in cluster.cli("topic", "list")}
    assert names >= {"after", *(f"before-{number}" for number in range(20))}


def test_controllers_decide_and_brokers_keep_what_they_decide(cluster, tmp_path):
    cluster = cluster(nodes=3, arguments=["--roles", "controller"])
    cluster.start()
    for node in [4, 5]:
        join(cluster, tmp_path, node, "--roles", "broker")
    cluster.create("before", 4, 2)
    assert {replica for partition in cluster.partitions("before") for replica in partition["replicas"]} == {4, 5}
    status = cluster.status()
    assert ({node["node"] for node in status["nodes"]}, voters(cluster)) == ({4, 5}, {1, 2, 3})
    old = status["quorum"]["leader"]
    cluster.nodes.pop(old).kill()
    cluster.wait_until(lambda: cluster.status()["quorum"]["leader"] not in (None, old))
    cluster.create("after", 1, 2)
