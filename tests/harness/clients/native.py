"""The native protocol from its schema alone: pycapnp, a socket, and kafka-python's own record batches.

Nothing of tidelog's code is used here, so that `schemas/` is shown to be enough for a client in another language.
"""

import socket
import struct
from pathlib import Path

import capnp
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from harness.records import Record

NAME = "native"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

SCHEMA = capnp.load(str(Path(__file__).resolve().parents[3] / "schemas/native.capnp"))
PREAMBLE = struct.pack("<4sH", b"TIDE", 1)


class Refused(Exception):
    """The node refused a request: its Kafka error code and its reason."""

    def __init__(self, error, message):
        super().__init__(f"error {error}: {message}")
        self.error = error


class Connection:
    """One connection, greeted. Requests are called one after the other."""

    def __init__(self, address, timeout=30):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self._correlation = 0
        self.socket.sendall(PREAMBLE)
        assert self._exactly(4) == b"TIDE"
        assert struct.unpack("<H", self._exactly(2))[0] >= 1
        hello, _ = self.call("hello", {"software": "pycapnp-tests", "features": 0})
        self.hello = hello

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, kind, fields=None, body=b""):
        """Sends a request and returns the answer's struct and body."""
        self._correlation += 1
        self.send(kind, fields, body)
        return self.receive(kind)

    def send(self, kind, fields=None, body=b""):
        message = SCHEMA.Request.new_message(**{"correlation": self._correlation, kind: fields})
        self.send_frame(message.to_bytes(), body)

    def send_frame(self, header, body=b""):
        self.socket.sendall(struct.pack("<II", 4 + len(header) + len(body), len(header)) + header + body)

    def receive(self, kind):
        (length,) = struct.unpack("<I", self._exactly(4))
        frame = self._exactly(length)
        (header_length,) = struct.unpack_from("<I", frame)
        with SCHEMA.Response.from_bytes(frame[4 : 4 + header_length]) as response:
            assert response.correlation == self._correlation
            which = response.which()
            if which == "refused":
                raise Refused(response.refused.error, response.refused.message)
            assert which == kind, f"{kind} was asked, {which} answered"
            return getattr(response, which).to_dict(), frame[4 + header_length :]

    def is_closed_by_peer(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                raise ConnectionError("the node closed the connection")
            data += part
        return data


def produce(address, topic, records, codec="none", partition=0):
    """Appends the records as one idempotent batch; returns their offsets."""
    with Connection(address) as connection:
        identity, _ = connection.call("initProducerId", {})
        assert identity["error"] == 0
        builder = MemoryRecordsBuilder(
            2,
            CODECS.index(codec),
            16 << 20,
            producer_id=identity["producerId"],
            producer_epoch=identity["producerEpoch"],
            base_sequence=0,
        )
        for record in records:
            builder.append(record.timestamp, record.key, record.value, list(record.headers))
        builder.close()
        batch = bytes(builder.buffer())
        place = {"topic": {"name": topic}, "partition": partition, "recordsBytes": len(batch)}
        answer, _ = connection.call("produce", {"acks": -1, "timeoutMs": 30_000, "partitions": [place]}, batch)
        [answer] = answer["partitions"]
        if answer["error"]:
            raise Refused(answer["error"], "produce")
        return [answer["baseOffset"] + index for index in range(len(records))]


def consume(address, topic, count, partition=0, offset=0, timeout=30):
    """Reads `count` records from `offset` on."""
    records = []
    with Connection(address, timeout) as connection:
        while len(records) < count:
            place = {"topic": {"name": topic}, "partition": partition, "offset": offset, "maxBytes": 8 << 20}
            wanted = {"maxWaitMs": 5000, "minBytes": 1, "maxBytes": 16 << 20, "partitions": [place]}
            answer, body = connection.call("fetch", wanted)
            [answer] = answer["partitions"]
            if answer["error"]:
                raise Refused(answer["error"], "fetch")
            batches = MemoryRecords(body[: answer["recordsBytes"]])
            while (batch := batches.next_batch()) is not None:
                for record in batch:
                    if record.offset >= offset and len(records) < count:
                        records.append(Record(record.key, record.value, tuple(record.headers), record.timestamp, record.offset))
                        offset = record.offset + 1
    return records
