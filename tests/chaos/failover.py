"""How soon after a leader's SIGKILL is a write of its partitions acknowledged again?

A producer writes all the time, to all partitions in turn, as one that matters does: an idle librdkafka looks for new leaders
once a second only. The moment that a leader is killed, one more record goes to each of its partitions, and the times
until their acknowledgements are what is measured.
"""

import contextlib
import threading
import time

from confluent_kafka import Producer

from chaos.values import value
from harness.cluster import wait_until_whole

# Seconds that one kill may take to be over.
WITHIN = 60
# Between two records of the steady load.
PAUSE = 0.002


def measure(cluster, partitions, kills, say=lambda text: None):
    """Kills the node that leads most, so many times. Returns the seconds for each partition that it led, and the kills."""
    topic = f"failover-{partitions}"
    cluster.cli("topic", "create", topic, "--partitions", partitions, "--replicas", 3, "--set=min.insync.replicas=2")
    wait_until_whole(cluster)
    producer = Producer({
        "bootstrap.servers": cluster.kafka,
        "log_level": 2,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 100,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 100,
        "delivery.timeout.ms": 60_000,
    })
    everything = range(partitions)
    # Warm: every leader is known, every connection open.
    write_all(producer, topic, everything)
    times = []
    for _ in range(kills):
        led = {}
        for partition in cluster.partitions(topic):
            led.setdefault(partition["leader"], []).append(partition["partition"])
        target = max(led, key=lambda node: len(led[node]))
        with steady_load(producer, topic, partitions):
            time.sleep(0.5)
            cluster.nodes[target].process.kill()
            begin = time.perf_counter()
            acknowledged = write_all(producer, topic, led[target])
        times += [at - begin for at in acknowledged.values()]
        worst = max(acknowledged.values()) - begin
        say(f"{topic}: node {target} killed, which led {len(led[target])}: first {1000 * (min(acknowledged.values()) - begin):.0f} ms, last {1000 * worst:.0f} ms")
        cluster.nodes[target].process.wait()
        cluster.nodes[target].start(60)
        wait_until_whole(cluster)
        write_all(producer, topic, everything)
    return times, kills


@contextlib.contextmanager
def steady_load(producer, topic, partitions):
    """Keeps writing, partition after partition."""
    stopping = threading.Event()

    def run():
        number = 0
        while not stopping.wait(PAUSE):
            # A full queue is no news here.
            with contextlib.suppress(BufferError):
                producer.produce(topic, value(number), partition=number % partitions)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def write_all(producer, topic, partitions):
    """One record to each; when each was acknowledged."""
    acknowledged, failed = {}, []
    done = threading.Event()

    def delivered(error, message, partition):
        if error:
            failed.append(f"{topic}-{partition}: {error.str()}")
        else:
            acknowledged[partition] = time.perf_counter()
        if len(acknowledged) + len(failed) == len(partitions):
            done.set()

    for partition in partitions:
        producer.produce(
            topic, value(partition), partition=partition,
            on_delivery=lambda error, message, partition=partition: delivered(error, message, partition),
        )
    deadline = time.monotonic() + WITHIN
    while not done.is_set():
        producer.poll(0.005)
        assert time.monotonic() < deadline, f"{topic}: {len(acknowledged)} of {len(partitions)} partitions can be written"
    assert not failed, "; ".join(failed[:5])
    return acknowledged
