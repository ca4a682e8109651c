"""Keeps writing numbered records through librdkafka, idempotent with acks=all, until standard input ends.

    python -m chaos.rdkafka_writer BOOTSTRAP TOPIC NAME FIRST-NUMBER RECORDS-A-SECOND

What becomes of each record goes to standard output as JSON lines, a history that `tidelog sim history` judges; the
acknowledgements have the time, too (CLOCK_MONOTONIC, ns).
"""

import sys
import threading
import time

from confluent_kafka import KafkaException, Producer

from chaos.values import value

TICK = 0.01


def main():
    bootstrap, topic, name, first, rate = sys.argv[1:]
    out = sys.stdout
    stopping = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "log_level": 2,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 2,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 100,
        "queue.buffering.max.messages": 500_000,
        "delivery.timeout.ms": 60_000,
    })
    partitions = len(producer.list_topics(topic, 30).topics[topic].partitions)
    number = int(first)
    fatal = []

    def delivered(error, message, number):
        line = f'{{"process":"{name}","f":"send","value":{number},"time":{time.monotonic_ns()}'
        if error is None:
            # A batch that is found to be there already is acknowledged without an offset.
            offset = "" if message.offset() is None or message.offset() < 0 else f',"offset":{message.offset()}'
            out.write(f'{line},"type":"ok"{offset}}}\n')
        else:
            # librdkafka does not say whether it was stored.
            out.write(f'{line},"type":"info","error":"{error.name()}"}}\n')
            if error.fatal():
                fatal.append(error.name())

    begin = time.monotonic()
    sent = 0
    while not stopping.is_set() and not fatal:
        due = int((time.monotonic() - begin) * int(rate))
        for _ in range(due - sent):
            partition = number % partitions
            out.write(f'{{"process":"{name}","type":"invoke","f":"send","partition":"{topic}-{partition}","value":{number}}}\n')
            try:
                producer.produce(
                    topic, value(number), partition=partition,
                    on_delivery=lambda error, message, number=number: delivered(error, message, number),
                )
            except (BufferError, KafkaException) as error:
                out.write(f'{{"process":"{name}","f":"send","value":{number},"type":"fail","error":"{type(error).__name__}"}}\n')
            number += 1
        sent = due
        out.flush()
        producer.poll(TICK)
    left = producer.flush(90)
    out.flush()
    if fatal or left:
        sys.exit(f"{name}: {fatal or f'{left} records were neither acknowledged nor given up'}")


main()
