"""One run, among the clients: cluster, writers, nemesis, readers, verdict. `python -m chaos` calls it."""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from chaos import failover, nemesis, readers
from chaos.net import Net
from harness.cluster import Cluster
from harness.server import ROOT, binary, run

TOPIC = "chaos"
PARTITIONS = 6
# Numbers of different writers must not meet.
NUMBERS = 1_000_000_000


class Process:
    """A writer or reader: its history in a file, its last words in another."""

    def __init__(self, name, command, folder):
        self.name = name
        self.history = folder / f"{name}.jsonl"
        self._errors = folder / f"{name}.err"
        self._process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT / "tests", stdin=subprocess.PIPE, stdout=open(self.history, "wb"), stderr=open(self._errors, "wb")
        )

    def wait_until_begun(self, within=30):
        deadline = time.monotonic() + within
        while self.history.stat().st_size == 0:
            assert time.monotonic() < deadline and self._process.poll() is None, f"{self.name} did not begin: {self._errors.read_text()}"
            time.sleep(0.05)

    def end(self):
        """Asks it to end."""
        self._process.stdin.close()

    def join(self, within):
        """What went wrong, if anything."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return [f"{self.name} does not end"]
        return [] if code == 0 else [f"{self.name} ended with {code}: {self._errors.read_text()[-2000:]}"]

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def outcomes(self):
        """How many of its sends came out how."""
        counts = {"invoke": 0, "ok": 0, "fail": 0, "info": 0}
        with open(self.history) as lines:
            for line in lines:
                counts[json.loads(line)["type"]] += 1
        return counts


def main():
    folder = Path(sys.argv[1])
    net = Net([1, 2, 3], owner=sys.argv[2]) if len(sys.argv) > 2 else None
    minutes = float(os.environ.get("MINUTES", "10"))
    seed = int(os.environ.get("SEED", "1"))
    rate = int(os.environ.get("RATE", "300"))
    failovers = int(os.environ.get("FAILOVERS", "10"))
    many = int(os.environ.get("FAILOVER_PARTITIONS", "1000"))
    begun = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - begun:7.1f}] {text}", flush=True)

    cluster = Cluster(folder, net=net)
    small_disk = None
    if len(sys.argv) > 3:
        small_disk = 3
        # In a mount namespace of its own, which ends with this process.
        options = f"size={sys.argv[3]}m"
        small_disk = small_disk if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", cluster.nodes[3].folder]).returncode == 0 else None
    without = os.environ.get("WITHOUT", "").split(",")
    faults = [
        fault for fault in nemesis.FAULTS
        if fault not in without and (net or fault not in nemesis.NEEDS_NET) and (small_disk or fault not in nemesis.NEEDS_SMALL_DISK)
    ]
    left_out = [fault for fault in nemesis.FAULTS if fault not in faults]
    chance = random.Random(seed)
    plan = nemesis.schedule(chance, faults, minutes * 60)
    say(f"seed {seed}, {minutes:g} minutes, {'one network namespace for each node' if net else 'all nodes on the loopback device'}")
    if left_out:
        say(f"left out, for want of root: {', '.join(left_out)}")
    for fault, whom, lasts, rest in plan:
        print(f"           {fault:18} {whom:16} {lasts:4} s, then {rest} s")

    say(f"ready after {cluster.start():.2f} s")
    settings = ["--set=min.insync.replicas=2"]
    cluster.cli("topic", "create", TOPIC, "--partitions", PARTITIONS, "--replicas", 3, *settings)
    striker = nemesis.Nemesis(cluster, TOPIC, chance, net, small_disk, say)
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "java/target/classes:java/target/libraries/*", "Recorder"]
    writers = [
        Process("librdkafka", [sys.executable, "-m", "chaos.rdkafka_writer", cluster.kafka, TOPIC, "librdkafka", 0, rate], folder),
        Process("java", [*java, cluster.kafka, TOPIC, "java", NUMBERS, rate], folder),
        Process("tidelog", [binary().parent / "examples/recorded", cluster.native, TOPIC, "tidelog", 2 * NUMBERS, rate], folder),
    ]
    tail = Process("tail", [sys.executable, "-m", "chaos.readers", cluster.kafka, TOPIC, "tail"], folder)
    problems = striker.problems
    times = {}
    try:
        for process in (*writers, tail):
            process.wait_until_begun()
        end = time.monotonic() + minutes * 60
        for fault, whom, lasts, rest in plan:
            if time.monotonic() > end:
                break
            striker.strike(fault, whom, lasts)
            time.sleep(rest)
        say("faults are over")
        striker.check_alive()
        striker.wait_until_whole()
        say("whole again")
        for process in writers:
            process.end()
        for process in writers:
            problems += process.join(150)
        tail.end()
        problems += tail.join(120)
        say("writers and reader have ended")
        last = folder / "final.jsonl"
        with open(last, "w") as out:
            out.writelines(line + "\n" for line in readers.read_through(cluster.kafka, TOPIC, range(PARTITIONS)))
        if failovers:
            times[1] = failover.measure(cluster, 1, failovers, say)
            times[many] = failover.measure(cluster, many, failovers, say)
    except AssertionError as error:
        problems.append(str(error))
    finally:
        for process in (*writers, tail):
            process.kill()
        try:
            codes = cluster.stop()
            if set(codes.values()) != {0}:
                problems.append(f"exit codes {codes}")
        except AssertionError as error:
            problems.append(str(error))
        for server in cluster.nodes.values():
            if server.process and server.process.poll() is None:
                server.kill()
    for node, server in cluster.nodes.items():
        if server.log.exists() and b"panicked" in server.log.read_bytes():
            problems.append(f"node {node} panicked; see {server.log}")
    if not problems:
        problems += compare_replicas(cluster)
    files = [process.history for process in (*writers, tail)] + [folder / "final.jsonl"]
    judged = run("sim", "history", *[file for file in files if file.exists()], timeout=300)
    if judged.returncode != 0:
        problems.append("the history does not hold")
    report(striker, writers, times, judged.stdout.decode() + judged.stderr.decode(), problems)
    sys.exit(1 if problems else 0)


def compare_replicas(cluster):
    """Whoever has a record has the same record: byte by byte, whatever the segments."""
    wrong = []
    for partition in range(PARTITIONS):
        name = f"{TOPIC}-{partition}"
        logs = {node: b"".join(path.read_bytes() for path in sorted((server.data / name).glob("*.log"))) for node, server in cluster.nodes.items()}
        if len(set(logs.values())) != 1:
            wrong.append(f"the replicas of {name} differ: {({node: len(log) for node, log in logs.items()})} bytes")
    return wrong


def report(striker, writers, times, verdict, problems):
    print("\n| fault | times |\n|---|---|")
    for fault, count in sorted(striker.done.items()):
        print(f"| {fault} | {count} |")
    print("\n| client | sent | acknowledged | failed | unknown |\n|---|---|---|---|---|")
    for writer in writers:
        counts = writer.outcomes()
        print(f"| {writer.name} | {counts['invoke']} | {counts['ok']} | {counts['fail']} | {counts['info']} |")
    if times:
        print("\n| leader SIGKILL to next acknowledged write, librdkafka | kills | median | worst |\n|---|---|---|---|")
        for partitions, (each, kills) in times.items():
            median, worst = statistics.median(each) * 1000, max(each) * 1000
            print(f"| {partitions} partition{'s' if partitions > 1 else ''} ({len(each)} led by a killed node) | {kills} | {median:.0f} ms | {worst:.0f} ms |")
    print(f"\n{verdict.strip()}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("all well" if not problems else f"{len(problems)} problems")


main()
