"""The brokers that are measured: tidelog, and real Kafka where KAFKA_PEER names a way to start it.

KAFKA_PEER is a script: `$KAFKA_PEER start` returns once a broker serves on KAFKA_PEER_BOOTSTRAP (127.0.0.1:19092 if
unset), `$KAFKA_PEER stop` ends it. `KOPT="name=value ..."` in its environment adds broker settings. `$KAFKA_PEER start 3`
starts a cluster on that port and the next but one and so on (KAFKA_PEER_CLUSTER names others).
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from bench.machine import Process, Processes, listener
from harness.cluster import Cluster
from harness.server import Server

PEER = os.environ.get("KAFKA_PEER")
PEER_BOOTSTRAP = os.environ.get("KAFKA_PEER_BOOTSTRAP", "127.0.0.1:19092")

PEER_CLUSTER = os.environ.get("KAFKA_PEER_CLUSTER", "127.0.0.1:19092,127.0.0.1:19094,127.0.0.1:19096")


class Broker:
    """A running broker: where it listens, and its process."""

    def __init__(self, name, bootstrap, process=None, server=None):
        self.name = name
        self.bootstrap = bootstrap
        self._process = process
        self.server = server

    @property
    def process(self):
        """The one that runs now: a server that was started again is another."""
        return self._process or Process(self.server.process.pid)


@contextmanager
def tidelog(folder, arguments=()):
    """tidelog on an empty folder, with its defaults: synced before it acknowledges."""
    folder = tempfile.mkdtemp(prefix="tidelog-", dir=folder)
    server = Server(folder, arguments=arguments)
    server.start()
    try:
        yield Broker("tidelog", server.kafka, server=server)
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def kafka(synced=False):
    """Kafka as it comes: it acknowledges from the page cache. `synced` makes it flush every batch."""
    options = {"KOPT": "log.flush.interval.messages=1"} if synced else {}
    subprocess.run([PEER, "start"], check=True, env={**os.environ, **options}, stdout=subprocess.DEVNULL)
    try:
        process = listener(int(PEER_BOOTSTRAP.rsplit(":", 1)[1]))
        yield Broker("kafka, synced" if synced else "kafka", PEER_BOOTSTRAP, process)
    finally:
        subprocess.run([PEER, "stop"], check=True, stdout=subprocess.DEVNULL)


class TidelogCluster:
    """Three nodes with their defaults, as the loads take a broker."""

    name = "tidelog"

    def __init__(self, cluster):
        self.cluster = cluster
        self.server = cluster.as_server()
        self.bootstrap = cluster.kafka

    @property
    def process(self):
        """Those that run now."""
        return Processes(Process(server.process.pid) for server in self.cluster.nodes.values())


@contextmanager
def tidelog_cluster(folder):
    """Three tidelog nodes on empty folders: every replica syncs before the acknowledgement."""
    folder = Path(tempfile.mkdtemp(prefix="tidelog-", dir=folder))
    cluster = Cluster(folder)
    cluster.start()
    try:
        yield TidelogCluster(cluster)
    finally:
        for server in cluster.nodes.values():
            if server.process and server.process.poll() is None:
                server.kill()
        shutil.rmtree(folder)


@contextmanager
def kafka_cluster():
    """Three nodes of Kafka as it comes: they acknowledge from their page caches."""
    subprocess.run([PEER, "start", "3"], check=True, stdout=subprocess.DEVNULL)
    try:
        nodes = Processes(listener(int(address.rsplit(":", 1)[1])) for address in PEER_CLUSTER.split(","))
        yield Broker("kafka", PEER_CLUSTER, nodes)
    finally:
        subprocess.run([PEER, "stop"], check=True, stdout=subprocess.DEVNULL)
