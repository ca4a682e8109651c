"""Loads that keep writing while the server dies and comes back, and what they know for certain afterwards."""

import subprocess
import threading

from confluent_kafka import Consumer, Producer, TopicPartition

from harness.server import binary

VALUE_BYTES = 200


class LibrdkafkaLoad:
    """An idempotent acks=all producer. Each partition gets its own numbers 0, 1, 2, ..., so that every loss, doubling
    and reordering shows in what is read back."""

    def __init__(self, bootstrap, topic, partitions):
        self.topic = topic
        self.bootstrap = bootstrap
        self.sent = [0] * partitions
        # Per partition, the offset under which each number was acknowledged.
        self.acknowledged = [{} for _ in range(partitions)]
        self.failures = []
        self.count = 0
        self.progress = threading.Condition()
        self._stopping = threading.Event()
        self._producer = Producer({
            "bootstrap.servers": bootstrap,
            # That connections are refused while the server is down is no news.
            "log_level": 2,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "batch.size": 65_536,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 20_000,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 10,
            "retry.backoff.max.ms": 100,
            "message.timeout.ms": 300_000,
        })
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        partition = 0
        while not self._stopping.is_set():
            partition = (partition + 1) % len(self.sent)
            number = self.sent[partition]

            def delivered(error, message, partition=partition, number=number):
                if error:
                    self.failures.append(f"{partition}/{number}: {error.str()}")
                else:
                    self.acknowledged[partition][number] = message.offset()
                with self.progress:
                    self.count += 1
                    self.progress.notify_all()

            try:
                self._producer.produce(self.topic, value(partition, number), partition=partition, on_delivery=delivered)
                self.sent[partition] += 1
                self._producer.poll(0)
            except BufferError:
                self._producer.poll(0.01)
        self._unflushed = self._producer.flush(120)

    def wait_for_more(self, records, timeout=60):
        """Waits until that many more records have been acknowledged."""
        with self.progress:
            goal = self.count + records
            return self.progress.wait_for(lambda: self.count >= goal, timeout)

    def stop(self):
        """Stops writing, waits for the last acknowledgement, and says which records have none."""
        self._stopping.set()
        self._thread.join()
        return self.failures + ([f"{self._unflushed} records still in the queue"] if self._unflushed else [])

    def check(self):
        """Reads everything back. Every acknowledged record must be where it was acknowledged, once, in order."""
        wrong = []
        for partition, acknowledged in enumerate(self.acknowledged):
            stored = list(read_all(self.bootstrap, self.topic, partition))
            numbers = [int(data.split(b" ")[1]) for _, data in stored]
            offsets = dict(zip(numbers, (offset for offset, _ in stored), strict=True))
            doubled = len(numbers) - len(offsets)
            lost = [number for number in acknowledged if number not in offsets]
            moved = [number for number, offset in acknowledged.items() if offsets.get(number, offset) != offset]
            if doubled or lost or moved or numbers != sorted(numbers):
                wrong.append(f"partition {partition}: {doubled} doubled, lost {lost[:5]}, moved {moved[:5]}, in order {numbers == sorted(numbers)}")
            if numbers != list(range(self.sent[partition])):
                wrong.append(f"partition {partition}: {len(numbers)} records stored of {self.sent[partition]} that were acknowledged")
        return wrong


def value(partition, number):
    return b"%d %d " % (partition, number) + b"." * VALUE_BYTES


def read_all(bootstrap, topic, partition):
    """Every record of a partition, as (offset, value), up to its end as it is now."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "assigned-by-hand",
        "enable.auto.commit": False,
        "check.crcs": True,
        "auto.offset.reset": "error",
    })
    start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
    consumer.assign([TopicPartition(topic, partition, start)])
    position = start
    while position < end:
        messages = consumer.consume(min(10_000, end - position), 30)
        assert messages, f"{topic}-{partition}: nothing more at {position}, end is {end}"
        for message in messages:
            assert not message.error(), message.error()
            position = message.offset() + 1
            yield message.offset(), message.value()
    consumer.close()


class NativeLoad:
    """`tidelog produce`, fed line by line: it exits with 0 only when every line was acknowledged."""

    def __init__(self, server, topic):
        self.topic = topic
        self.lines = 0
        self._stopping = threading.Event()
        command = [binary(), "produce", topic, "--bootstrap", server.native]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self):
        try:
            while not self._stopping.is_set():
                lines = range(self.lines, self.lines + 50)
                self._process.stdin.write(b"".join(value(0, number) + b"\n" for number in lines))
                self._process.stdin.flush()
                self.lines = lines.stop
                # About 2 MB/s: the other load is the one that pushes.
                self._stopping.wait(0.005)
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def stop(self):
        """Ends the input; returns what went wrong until the last line was acknowledged."""
        self._stopping.set()
        self._thread.join()
        try:
            code = self._process.wait(150)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return [f"{self.topic}: tidelog produce does not end"]
        said = self._process.stderr.read().decode()
        return [] if code == 0 else [f"{self.topic}: tidelog produce ended with {code}: {said}"]

    def check(self, bootstrap):
        numbers = [int(data.split(b" ")[1]) for _, data in read_all(bootstrap, self.topic, 0)]
        if numbers == list(range(self.lines)):
            return []
        kinds = f"{len(numbers)} stored of {self.lines} acknowledged, {len(numbers) - len(set(numbers))} doubled"
        return [f"{self.topic}: {kinds}, in order {numbers == sorted(numbers)}"]
