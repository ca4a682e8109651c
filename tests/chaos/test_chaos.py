"""A short run of the chaos harness, and what its judge says of histories that are known to be bad."""

import json
import os
import signal
import subprocess
import sys

import pytest

from chaos import net
from harness.server import ROOT, run

SEED = os.environ.get("SEED", "1")


def lines(*events):
    return "".join(json.dumps(event) + "\n" for event in events).encode()


def sent(value, offset):
    begin = {"process": "java", "f": "send", "value": value}
    return {**begin, "type": "invoke", "partition": "orders-0"}, {**begin, "type": "ok", "offset": offset}


def found(*records):
    return {"process": "end", "type": "ok", "f": "final", "partition": "orders-0", "start": 0, "end": len(records), "records": records}


PLANTED = {
    "nothing": (found([0, 7], [1, 8]), None),
    "a loss": (found([1, 8], [2, 9]), "lost-write"),
    "a duplicate": (found([0, 7], [1, 8], [2, 7]), "duplicate"),
    "an offset with two values": (found([0, 8], [1, 7]), "inconsistent-offsets"),
    "a stranger": (found([0, 7], [1, 8], [2, 99]), "garbage"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_judge_finds_what_was_planted(tmp_path, planted):
    last, anomaly = PLANTED[planted]
    events = [*sent(7, 0), *sent(8, 1)]
    if planted == "a loss":
        events += sent(9, 2)
    history = tmp_path / "history.jsonl"
    history.write_bytes(lines(*events, last))
    judged = run("sim", "history", history, "--json")
    violation = json.loads(judged.stdout)["violation"]
    assert (violation and violation["anomaly"]) == anomaly
    assert judged.returncode == (10 if anomaly else 0)


def test_a_file_that_is_no_history_is_refused(tmp_path):
    history = tmp_path / "history.jsonl"
    history.write_bytes(b'{"f":"dance","type":"ok"}\n')
    refused = run("sim", "history", history)
    assert refused.returncode == 1 and b"line 1" in refused.stderr


# Starting and stopping everything takes as long as the faults do.
@pytest.mark.timeout(300)
def test_a_cluster_under_attack_keeps_its_promises(tmp_path, capsys, java):
    settings = {"MINUTES": "0.4", "SEED": SEED, "RATE": "200", "FAILOVERS": "1", "FAILOVER_PARTITIONS": "100", "CHAOS_DIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "chaos"], cwd=ROOT / "tests", env={**os.environ, **settings}, stdout=subprocess.PIPE) as chaos:
        try:
            said = chaos.communicate(timeout=270)[0].decode()
        except subprocess.TimeoutExpired:
            # It takes its nodes and namespaces away.
            chaos.send_signal(signal.SIGINT)
            said = chaos.communicate(timeout=30)[0].decode()
    with capsys.disabled():
        print("\n" + said[said.find("| fault") :])
    assert chaos.returncode == 0, said
    if net.is_available():
        assert "one network namespace for each node" in said
