"""The faults, and the order in which a seed strikes with them."""

import contextlib
import os
import shutil
import signal
import threading
import time

from chaos.net import CLIENTS
from harness.cluster import wait_until_whole

# Each fault by name, and how often it is drawn against the others.
FAULTS = {
    "kill": 5,
    "kill two": 2,
    "kill all": 1,
    "pause": 4,
    "split": 3,
    "split with clients": 3,
    "mute": 2,
    "deaf": 2,
    "cut pair": 2,
    "slow link": 2,
    "full disk": 2,
    "rolling restart": 1,
    "replace": 1,
}
NEEDS_NET = {"split", "split with clients", "mute", "deaf", "cut pair", "slow link"}
NEEDS_SMALL_DISK = {"full disk"}
# Seconds within which a cluster that is left alone must be whole again.
WHOLE_WITHIN = 90


def schedule(chance, faults, seconds):
    """The faults of a run: (name, whom, how long, pause after). Every fault comes once before any comes twice."""
    plan, planned = [], 0.0
    hand = []
    while planned < seconds:
        if not hand:
            hand = chance.sample(faults, len(faults))
            # The rest of a round by weight: what hurts more comes more often.
            hand += chance.choices(faults, [FAULTS[fault] for fault in faults], k=len(faults))
        fault = hand.pop(0)
        # Whoever leads has most to lose.
        whom = chance.choice(["quorum leader", "partition leader", "partition leader", "node"])
        lasts = round(chance.choice([chance.uniform(0.2, 1.5), chance.uniform(2, 8)]), 1)
        rest = round(chance.choice([0.2, chance.uniform(1, 4)]), 1)
        plan.append((fault, whom, lasts, rest))
        # Most take longer than this; what is too much is left out.
        planned += lasts + rest
    return plan


class Nemesis:
    """Strikes a cluster, and puts right what it did before it strikes again."""

    def __init__(self, cluster, topic, chance, net, small_disk, say):
        self.cluster = cluster
        self.topic = topic
        self.chance = chance
        self.net = net
        # The node with the small disk, if any.
        self.small_disk = small_disk
        self.say = say
        self.done = {}
        self.problems = []

    def strike(self, fault, whom, lasts):
        target = self.small_disk if fault == "full disk" else self.pick(whom)
        self.say(f"{fault}: node {target} ({whom}), {lasts} s")
        begin = time.monotonic()
        with self.clean():
            getattr(self, "_" + fault.replace(" ", "_"))(target, lasts)
        self.done[fault] = self.done.get(fault, 0) + 1
        self.say(f"{fault}: over after {time.monotonic() - begin:.1f} s")

    @contextlib.contextmanager
    def clean(self):
        """Whatever happens within, all nodes run afterwards and all paths are open."""
        self.check_alive()
        try:
            yield
        finally:
            if self.net:
                self.net.heal()
            for server in self.cluster.nodes.values():
                if server.process.poll() is None:
                    server.process.send_signal(signal.SIGCONT)
            self.start(node for node, server in self.cluster.nodes.items() if server.process.poll() is not None)

    def start(self, nodes):
        """Starts nodes side by side: one alone may have to wait for another before it serves."""
        threads = []
        for node in nodes:

            def run(node=node):
                try:
                    self.cluster.nodes[node].start(ready_within=60)
                except AssertionError as error:
                    self.problems.append(f"node {node} did not start: {error}")

            threads.append(threading.Thread(target=run))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def check_alive(self):
        """Nodes must not end by themselves."""
        for node, server in self.cluster.nodes.items():
            code = server.process.poll()
            if code is not None:
                self.problems.append(f"node {node} ended by itself with {code}: {server.log_text()[-2000:]}")

    def pick(self, whom):
        """The node that plays a role now; any, if nobody can say."""
        try:
            if whom == "quorum leader":
                return self.cluster.cli("cluster", "status", within=10)["quorum"]["leader"] or self.any()
            if whom == "partition leader":
                return self.chance.choice(self.cluster.partitions(self.topic))["leader"] or self.any()
        except Exception:
            # A cluster under attack need not answer in time.
            pass
        return self.any()

    def any(self):
        return self.chance.choice(list(self.cluster.nodes))

    def others(self, target):
        return [node for node in self.cluster.nodes if node != target]

    def wait_until_whole(self):
        wait_until_whole(self.cluster, WHOLE_WITHIN)

    def state(self):
        try:
            return self.cluster.cli("cluster", "status", within=20)
        except Exception as error:
            return f"no status: {error}"

    def kill_now(self, targets):
        for target in targets:
            self.cluster.nodes[target].process.kill()
        for target in targets:
            self.cluster.nodes[target].process.wait()

    def _kill(self, target, lasts):
        self.kill_now([target])
        time.sleep(lasts)

    def _kill_two(self, target, lasts):
        self.kill_now([target, self.chance.choice(self.others(target))])
        time.sleep(lasts)

    def _kill_all(self, target, lasts):
        self.kill_now(list(self.cluster.nodes))
        time.sleep(lasts / 4)

    def _pause(self, target, lasts):
        os.kill(self.cluster.nodes[target].process.pid, signal.SIGSTOP)
        time.sleep(lasts)

    def _split(self, target, lasts):
        for other in self.others(target):
            self.net.cut(target, other)
            self.net.cut(other, target)
        time.sleep(lasts)

    def _split_with_clients(self, target, lasts):
        self.net.cut(target, CLIENTS)
        self.net.cut(CLIENTS, target)
        self._split(target, lasts)

    def _mute(self, target, lasts):
        for other in self.others(target):
            self.net.cut(target, other)
        time.sleep(lasts)

    def _deaf(self, target, lasts):
        for other in self.others(target):
            self.net.cut(other, target)
        time.sleep(lasts)

    def _cut_pair(self, target, lasts):
        other = self.chance.choice(self.others(target))
        self.net.cut(target, other)
        self.net.cut(other, target)
        time.sleep(lasts)

    def _slow_link(self, target, lasts):
        self.net.slow(target, self.chance.choice(["256kbit", "2mbit"]))
        time.sleep(lasts)

    def _full_disk(self, target, lasts):
        filler = self.cluster.nodes[target].folder / "filler"
        try:
            with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 20))
            time.sleep(max(lasts, 3))
        finally:
            filler.unlink(missing_ok=True)

    def _rolling_restart(self, target, lasts):
        for node, server in self.cluster.nodes.items():
            try:
                code = server.stop(within=60)
                if code != 0:
                    self.problems.append(f"node {node} ended with {code} after SIGTERM: {server.log_text()[-2000:]}")
            except AssertionError as error:
                self.problems.append(f"node {node}: {error}")
            self.start([node])
            self.wait_until_whole()

    def _replace(self, target, lasts):
        """An empty disk under the same id: lawful only when the others have everything, the metadata included."""
        self.wait_until_whole()
        self.kill_now([target])
        others = self.others(target)

        def is_told():
            status = self.cluster.cli("cluster", "status", within=20)
            have = [partition["in_sync"] for partition in self.cluster.partitions(self.topic)]
            lags = {voter["node"]: voter["lag"] for voter in status["quorum"]["voters"]}
            return status["quorum"]["leader"] in others and all(lags[node] is not None and lags[node] < 5 for node in others) \
                and all(set(isr) == set(others) for isr in have)

        deadline = time.monotonic() + WHOLE_WITHIN
        while True:
            with contextlib.suppress(Exception):
                if is_told():
                    break
            assert time.monotonic() < deadline, f"node {target} is not missed: {self.state()}"
            time.sleep(0.2)
        shutil.rmtree(self.cluster.nodes[target].data)
        self.start([target])
        self.wait_until_whole()
