"""Clusters that tests have for themselves."""

import pytest

from harness.cluster import Cluster


@pytest.fixture
def cluster(tmp_path):
    """Makes clusters: `cluster(nodes=4)`. What still runs in the end is killed."""
    made = []

    def make(**settings):
        cluster = Cluster(tmp_path / f"cluster-{len(made)}", **settings)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        for server in cluster.nodes.values():
            if server.process and server.process.poll() is None:
                server.kill()
