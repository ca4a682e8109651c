"""`tidelog bench` over both protocols: one report each, alike but for the protocol. Over Kafka's it also measures Kafka."""

import json

import pytest

from harness.server import run

@pytest.fixture
def bench(request, bootstrap):
    """Runs one measurement and returns its report."""

    def measure(protocol, *arguments):
        if protocol == "kafka":
            where = ["--kafka", bootstrap]
        else:
            where = ["--bootstrap", request.getfixturevalue("server").native]
        answer = run("bench", *arguments, *where, "--json", timeout=120)
        assert answer.returncode == 0, answer.stderr.decode()
        report = json.loads(answer.stdout)
        assert report["protocol"] == protocol
        return report

    return measure


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("acks", ["all", "1", "0"])
def test_what_is_produced_over_kafkas_protocol_is_consumed_over_it(acks, codec, bench, topic_name):
    load = ["--topic", topic_name, "--partitions", 3, "--records", 20_000, "--record-size", 300, "--acks", acks, "--compression", codec]
    written = bench("kafka", "produce", *load)
    assert (written["records"], written["partitions"]) == (20_000, 3)
    if acks == "0":
        return  # nobody said that they are there yet
    read = bench("kafka", "consume", "--topic", topic_name, "--iterate", "--fetch-size", 100_000)
    assert (read["records"], read["value_bytes"]) == (20_000, 6_000_000)


def test_latency_counts_every_record_that_was_due(bench, topic_name):
    report = bench("kafka", "latency", "--topic", topic_name, "--rate", 500, "--duration", "2s")
    assert report["samples"] == report["records"] >= 900
    assert 0 < report["p50_us"] <= report["p99_us"] <= report["max_us"]


@pytest.mark.parametrize("what", [["produce", "--records", 1000], ["consume"], ["latency", "--rate", 500, "--duration", "1s"]])
def test_both_protocols_report_the_same_things(what, server, bench, topic_name):
    bench("native", "produce", "--topic", topic_name, "--records", 10)
    verb, *arguments = what
    reports = [bench(protocol, verb, "--topic", topic_name, *arguments) for protocol in ("native", "kafka")]
    assert reports[0].keys() == reports[1].keys()


def test_a_listener_of_the_other_protocol_is_no_place_to_measure(server):
    answer = run("bench", "produce", "--kafka", server.native, timeout=60)
    assert answer.returncode != 0
    assert answer.stderr.decode().count("\n") == 2, answer.stderr
