"""A Kafka connection by hand: for what a well-behaved client never sends, and for answers that a client hides."""

import socket
import struct

from kafka.record.memory_records import MemoryRecordsBuilder

PRODUCE, FETCH, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 3, 18, 22


class Connection:
    """One connection; requests and answers are bytes after the header (version 1, so no tagged fields)."""

    def __init__(self, bootstrap, timeout=20):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self._correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, key, version, body, client="raw"):
        self._correlation += 1
        frame = struct.pack(">hhi", key, version, self._correlation) + string(client) + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        """The body of the next answer; None when the broker closed the connection instead."""
        head = self._exactly(8)
        if head is None:
            return None
        length, correlation = struct.unpack(">ii", head)
        assert correlation == self._correlation, "answers come in the order of the requests"
        return self._exactly(length - 4)

    def call(self, key, version, body):
        self.send(key, version, body)
        return self.receive()

    def is_closed_by_peer(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data

    def init_producer_id(self):
        """A producer id and its epoch, without a transactional id."""
        _, error, producer, epoch = struct.unpack(">ihqh", self.call(INIT_PRODUCER_ID, 1, string(None) + struct.pack(">i", 60_000)))
        assert error == 0
        return producer, epoch

    def produce(self, topic, partition, batch, acks=-1):
        """Appends one batch, as version 7. Returns the error code and the base offset."""
        body = string(None) + struct.pack(">hii", acks, 20_000, 1) + string(topic) + struct.pack(">iii", 1, partition, len(batch)) + batch
        answer = self.call(PRODUCE, 7, body)
        # [topics] name [partitions] index error base_offset log_append_time log_start_offset, throttle
        at = 4 + 2 + len(topic) + 4
        _, error, base = struct.unpack_from(">ihq", answer, at)
        return error, base


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def batch(values, timestamp, producer=-1, epoch=-1, sequence=-1, codec=0):
    """The bytes of a record batch of version 2."""
    builder = MemoryRecordsBuilder(2, codec, 1 << 20, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)
    for value in values:
        builder.append(timestamp, None, value, [])
    builder.close()
    return bytes(builder.buffer())
