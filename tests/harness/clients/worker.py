"""Clients of other runtimes: one process each, asked by lines of JSON and answering by lines of JSON."""

import itertools
import json
import subprocess
import threading

from harness.records import Record


class Worker:
    """A process that carries out one request a line. `call` raises what the client there raised."""

    def __init__(self, name, command, cwd, log):
        self.name = name
        self._log = log
        self._ids = itertools.count()
        self._process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(log, "wb"), text=True
        )

    def call(self, op, within=60, **arguments):
        request = {"id": next(self._ids), "op": op, **arguments}
        watchdog = threading.Timer(within, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"{self.name} ended during {op}; see {self._log}"
        answer = json.loads(line)
        assert answer["id"] == request["id"], f"{self.name} answers another request"
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer.get("result")

    def produce(self, bootstrap, topic, records, codec="none", partition=0, **settings):
        records = [record.to_json() for record in records]
        return self.call(
            "produce", bootstrap=bootstrap, topic=topic, partition=partition, codec=codec, records=records, settings=settings
        )

    def consume(self, bootstrap, topic, count, partition=0, offset=0, timeout=30, **settings):
        place = {"topic": topic, "partition": partition, "offset": offset}
        found = self.call("consume", timeout + 15, bootstrap=bootstrap, count=count, timeout=timeout, settings=settings, **place)
        return [Record.from_json(fields) for fields in found]

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class WorkerError(Exception):
    """What the client in the other process raised, as `Class: message`."""
