"""SIGKILL, again and again, under load, on one data directory: what was acknowledged stays, once, in order.

CRASHES says how often (20 if unset; `make crash` says 200), SEED draws the moments. A killed process leaves its page
cache behind; the power cuts that take it too are the simulator's.
"""

import os
import random
import statistics
from pathlib import Path

import pytest

from crash.load import LibrdkafkaLoad, NativeLoad
from harness.server import Server

CRASHES = int(os.environ.get("CRASHES", "20"))
SEED = int(os.environ.get("SEED", "1"))
PARTITIONS = 4


@pytest.mark.timeout(120 + 10 * CRASHES)
def test_no_acknowledged_record_is_lost_doubled_or_moved(tmp_path, java, capsys):
    chance = random.Random(SEED)
    server = Server(tmp_path)
    server.start()
    java.call("create", bootstrap=server.kafka, topic="crash", partitions=PARTITIONS, configs={"segment.bytes": str(64 << 20)})
    java.call("create", bootstrap=server.kafka, topic="crash-native", partitions=1)
    loads = LibrdkafkaLoad(server.kafka, "crash", PARTITIONS), NativeLoad(server, "crash-native")
    starts = []
    try:
        for _ in range(CRASHES):
            assert loads[0].wait_for_more(chance.randrange(1, 8_000)), f"no acknowledgements: {server.log_text()}"
            server.kill()
            # Now and then it dies again before it has recovered.
            while chance.random() < 0.15:
                server.start_and_kill(chance.uniform(0, 0.03))
            starts.append((size_mb(server.data), server.start()))
    finally:
        wrong = [problem for load in loads for problem in load.stop()]
    wrong += loads[0].check() + loads[1].check(server.kafka)
    report(capsys, starts, loads)
    assert not wrong, f"SEED={SEED} CRASHES={CRASHES}: " + "; ".join(wrong)
    assert server.stop() == 0, server.log_text()
    assert max(seconds for _, seconds in starts) < 5, "a restart took longer than five seconds"


def size_mb(folder):
    # Files come and go under a living server; this one is dead.
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def report(capsys, starts, loads):
    quarter = max(1, len(starts) // 4)
    with capsys.disabled():
        print(f"\n{len(starts)} times killed and restarted, seed {SEED}")
        print(f"acknowledged: {sum(map(len, loads[0].acknowledged))} records through librdkafka, {loads[1].lines} through tidelog produce")
        for name, part in (("first", starts[:quarter]), ("last", starts[-quarter:])):
            sizes, seconds = zip(*part, strict=True)
            print(
                f"start to ready, {name} quarter: median {statistics.median(seconds) * 1000:.0f} ms, "
                f"longest {max(seconds) * 1000:.0f} ms, with {sizes[0]:.0f} to {sizes[-1]:.0f} MB of log"
            )
