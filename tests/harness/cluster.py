"""A cluster under test: one `tidelog serve` for each node, on ports that the system picks, formed by a list."""

import json
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

from harness.server import Server, run


def free_ports(count):
    """Ports of 127.0.0.1 that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


class Cluster:
    """Nodes 1, 2, 3, ... of one cluster."""

    def __init__(self, folder, nodes=3, arguments=(), racks=(), net=None):
        """On ports of this host; or, with a `net` of hosts (chaos/net.py), each node on one of its own."""
        natives = [f"{net.hosts[node]}:9192" for node in net.nodes] if net else [f"127.0.0.1:{port}" for port in free_ports(nodes)]
        self.peers = ",".join(f"{node}@{native}" for node, native in enumerate(natives, 1))
        self.nodes = {}
        for node, native in enumerate(natives, 1):
            rack = ["--rack", racks[node - 1]] if racks else []
            place = {}
            if net:
                host = net.hosts[node]
                place = {"kafka": f"{host}:9092", "http": f"{host}:9292", "prefix": net.command(node)}
            every = ["--node-id", node, "--peers", self.peers, *rack, *arguments]
            self.nodes[node] = Server(folder / f"node-{node}", native=native, arguments=every, **place)

    def start(self, order=None, ready_within=60):
        """Starts the nodes in this order and returns the seconds until all of them served clients."""
        begin = time.perf_counter()
        failures = []

        def start(server):
            try:
                server.start(ready_within)
            except AssertionError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=start, args=[self.nodes[node]]) for node in order or self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, "\n".join(failures)
        return time.perf_counter() - begin

    @property
    def kafka(self):
        return ",".join(server.kafka for server in self.nodes.values())

    @property
    def native(self):
        return ",".join(server.native for server in self.nodes.values())

    def as_server(self):
        """What the loads take for a server."""
        return SimpleNamespace(kafka=self.kafka, native=self.native, log_text=self.log_text)

    def cli(self, *arguments, within=60):
        """Runs a verb against the cluster and returns what it printed as JSON."""
        done = run(*arguments, "--bootstrap", self.native, "--json", timeout=within)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}\n{self.log_text()}"
        return json.loads(done.stdout)

    def create(self, topic, partitions=1, replicas=3, **settings):
        """Makes a topic; its settings under their Kafka names, with `_` for dots."""
        pairs = [f"--set={name.replace('_', '.')}={value}" for name, value in settings.items()]
        return self.cli("topic", "create", topic, "--partitions", partitions, "--replicas", replicas, *pairs)

    def status(self):
        return self.cli("cluster", "status")

    def partitions(self, topic):
        """The partitions of a topic as `topic describe` has them."""
        return self.cli("topic", "describe", topic)[0]["partitions"]

    def wait_until(self, done, within=60):
        """Waits until `done()` says so; it may fail while the cluster is without a leader."""
        deadline = time.monotonic() + within
        while True:
            try:
                if done():
                    return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, f"it did not happen within {within} s:\n{self.log_text()}"
            time.sleep(0.05)

    def stop(self):
        """SIGTERM to all; returns the exit codes."""
        codes = {}
        threads = [
            threading.Thread(target=lambda node=node, server=server: codes.update({node: server.stop()}))
            for node, server in self.nodes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes

    def log_text(self):
        return "\n".join(f"--- node {node}\n{server.log_text()[-4000:]}" for node, server in self.nodes.items() if server.process)


def is_whole(cluster):
    """Is every node in service, every replica in sync, and every voter known to follow?"""
    status = cluster.cli("cluster", "status", within=20)
    in_service = [node["node"] for node in status["nodes"] if not node["fenced"]]
    followed = all(voter["lag"] is not None for voter in status["quorum"]["voters"])
    return not status["under_replicated"] and in_service == sorted(cluster.nodes) and followed


def wait_until_whole(cluster, within=90):
    deadline = time.monotonic() + within
    while True:
        try:
            if is_whole(cluster):
                return
        except (AssertionError, subprocess.TimeoutExpired):
            # It may be without a leader for a while.
            pass
        assert time.monotonic() < deadline, f"not whole within {within} s\n{cluster.log_text()}"
        time.sleep(0.1)
