"""Stopping: SIGTERM finishes what is begun, syncs, and exits with 0; the next start has nothing to recover."""

import signal
import threading

import pytest

from harness.clients import librdkafka
from harness.records import text_sample


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_server_in_order(name, own_server):
    server = own_server()
    librdkafka.produce(server.kafka, "kept", text_sample())
    server.process.send_signal(signal.Signals[name])
    assert server.process.wait(20) == 0, server.log_text()
    server.start()
    assert len(librdkafka.consume(server.kafka, "kept", 40)) == 40
    assert "clean=true" in server.log_text()


def test_an_open_connection_does_not_keep_the_server(own_server):
    server = own_server()
    librdkafka.produce(server.kafka, "t", text_sample())
    reader = threading.Thread(target=lambda: pytest.raises(Exception, librdkafka.consume, server.kafka, "t", 41, timeout=3))
    reader.start()
    assert server.stop(within=15) == 0
    reader.join()


def test_health_and_metrics_are_served(own_server):
    server = own_server()
    assert server.get("/healthz") and server.get("/readyz")
    librdkafka.produce(server.kafka, "counted", text_sample())
    metrics = server.metrics()
    for name in ("kafka_server_brokertopicmetrics_messagesin_total", "kafka_network_requestmetrics_requests_total",
                 "kafka_controller_kafkacontroller_activecontrollercount", "kafka_log_log_size"):  # fmt: skip
        assert name in metrics
