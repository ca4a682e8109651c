"""What all outside tests share: one server for the session, the client processes, fresh topic names.

With TIDELOG_TEST_BOOTSTRAP=HOST:PORT the tests that speak only Kafka's protocol run against that broker instead: real
Kafka answers there as the oracle, and the tests that need tidelog itself are left out by name.
"""

import itertools
import os
import subprocess

import pytest

from harness.clients import aio, kafka_python, kcat, librdkafka
from harness.clients.worker import Worker
from harness.server import ROOT, Server, binary

FOREIGN = os.environ.get("TIDELOG_TEST_BOOTSTRAP")


def pytest_report_header():
    if FOREIGN:
        return f"broker: {FOREIGN} (not tidelog)"
    assert binary().exists(), f"{binary()} is not built; run `make test`, or name one in TIDELOG_BIN"
    return f"binary: {binary()}"


def pytest_collection_modifyitems(config, items):
    if FOREIGN:
        ours = [item for item in items if {"server", "own_server"} & set(item.fixturenames) or "/cli/" in str(item.path)]
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One tidelog for all tests that do not harm it. It must drain and exit with 0 in the end."""
    if FOREIGN:
        yield None
        return
    server = Server(tmp_path_factory.mktemp("shared"))
    server.start()
    yield server
    assert server.stop() == 0, server.log_text()


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def own_server(tmp_path):
    """Makes servers that a test has for itself: `own_server(arguments=[...])`, started, stopped at the end."""
    servers = []

    def make(**settings):
        server = Server(tmp_path / f"server-{len(servers)}", **settings)
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def bootstrap(shared_server):
    """Where Kafka clients connect."""
    return FOREIGN or shared_server.kafka


@pytest.fixture(scope="session")
def java(tmp_path_factory):
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "target/classes:target/libraries/*", "Worker"]
    worker = Worker("java", command, ROOT / "tests/java", tmp_path_factory.mktemp("java") / "log")
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    worker = Worker("kafkajs", ["node", "worker.mjs"], ROOT / "tests/node", tmp_path_factory.mktemp("node") / "log")
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def kafka_clients(java, node):
    """Every Kafka client by name: each has `produce` and `consume`."""
    modules = {module.NAME: module for module in (librdkafka, kafka_python, aio, kcat)}
    return {**modules, "java": java, "kafkajs": node}


_numbers = itertools.count()


@pytest.fixture
def topic_name(request):
    """A name that no other test has."""
    return f"{request.node.originalname.removeprefix('test_')[:80]}-{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session")
def kafka_tool():
    """Runs one of Kafka's own tools by class name and returns its stdout."""

    def run(name, *arguments):
        libraries = ROOT / "tests/java/target/libraries/*"
        command = ["java", "-Xmx256m", "-cp", libraries, f"org.apache.kafka.tools.{name}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return run
